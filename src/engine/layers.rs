//! Tar layers of a repository, unpacked into the layer store once for each digest.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use containers_image_proxy::oci_spec::image::Descriptor;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Engine;
use super::error::Cause;
use super::failures::Failures;
use super::reading::{read_confined, retry_next_mirror};
use super::unpack::{Links, Part, Unpacked};
use crate::blocking::{Cancelled, join};
use crate::layer_store::{Layer, StagedLayer, Store};
use crate::registry::Check;
use crate::source::Source;

/// One lock for each layer that is being unpacked, by its key.
#[derive(Clone, Default)]
pub(super) struct UnpackLocks(Arc<Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>>);

impl UnpackLocks {
    async fn acquire(&self, key: &str) -> OwnedMutexGuard<()> {
        let layer = {
            let mut all = lock(&self.0);
            all.retain(|_, layer| layer.strong_count() > 0);
            let layer = all.get(key).and_then(Weak::upgrade).unwrap_or_default();
            all.insert(key.to_owned(), Arc::downgrade(&layer));
            layer
        };
        layer.lock_owned().await
    }
}

/// The layers of one view. Unpacking goes on when the request that began it is cancelled, since dnf5
/// asks again after a while, and ends when this is dropped.
pub(super) struct Layers {
    failures: Arc<Failures>,
    cancelled: CancellationToken,
    _cancel_when_dropped: DropGuard,
}

/// A layer to be unpacked, and all that it takes.
struct Unpacking {
    engine: Engine,
    source: Source,
    layer: Descriptor,
    part: Part,
    store: Arc<Store>,
}

impl Default for Layers {
    fn default() -> Self {
        let cancelled = CancellationToken::new();
        let _cancel_when_dropped = cancelled.clone().drop_guard();
        Self { failures: Arc::default(), cancelled, _cancel_when_dropped }
    }
}

impl Layers {
    /// A part of a layer, unpacked now if it has not been yet.
    pub(super) async fn get(
        &self,
        engine: &Engine,
        source: &Source,
        layer: &Descriptor,
        part: Part,
    ) -> Result<Layer, Cause> {
        let unpacking = Unpacking::new(engine, source, layer, part).await?;
        if let Some(unpacked) = unpacking.store.layer(&unpacking.key()) {
            return Ok(unpacked);
        }
        let failures = Arc::clone(&self.failures);
        self.run(async move { unpacking.unpack_once(&failures).await }).await
    }

    /// One file of a layer, if it has it. Nothing else of the layer is kept.
    pub(super) async fn get_file(
        &self,
        engine: &Engine,
        source: &Source,
        layer: &Descriptor,
        part: Part,
        path: String,
    ) -> Result<Option<(File, Metadata)>, Cause> {
        let unpacking = Unpacking::new(engine, source, layer, part).await?;
        self.run(async move {
            retry_next_mirror(|| {
                unpacking.unpack(path.clone(), |staged, path| Ok(staged.into_file(&path)))
            })
            .await
        })
        .await
    }

    /// Runs work that goes on when its caller is cancelled.
    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Cause>> + Send + 'static,
    ) -> Result<T, Cause> {
        let cancelled = self.cancelled.clone();
        join(tokio::spawn(async move {
            cancelled.run_until_cancelled(work).await.unwrap_or(Err(Cancelled.into()))
        }))
        .await
    }
}

impl Unpacking {
    async fn new(
        engine: &Engine,
        source: &Source,
        layer: &Descriptor,
        part: Part,
    ) -> Result<Self, Cause> {
        let store = engine.store().await?;
        let (engine, source, layer) = (engine.clone(), source.clone(), layer.clone());
        Ok(Self { engine, source, layer, part, store })
    }

    fn key(&self) -> String {
        self.part.key(self.layer.digest().as_ref())
    }

    /// Unpacks the layer unless another request has done so, or failed to, in the meantime. A failure is
    /// recorded here: the request that began this may be gone by then.
    async fn unpack_once(&self, failures: &Failures) -> Result<Layer, Cause> {
        let key = self.key();
        let _only_one = self.engine.unpack_locks.acquire(&key).await;
        if let Some(unpacked) = self.store.layer(&key) {
            return Ok(unpacked);
        }
        if let Some(cause) = failures.recent(&key) {
            return Err(cause);
        }
        let commit = |staged: StagedLayer<'_>, key: String| Ok(staged.commit(&key)?);
        let unpacked = retry_next_mirror(|| self.unpack(key.clone(), commit)).await;
        unpacked.map_err(|cause| failures.record(&key, cause))
    }

    /// Unpacks the layer and passes it to `finish`, with `name`. A layer with links may have to be read
    /// twice.
    async fn unpack<T: Send + 'static>(
        &self,
        name: String,
        finish: fn(StagedLayer<'_>, String) -> Result<T, Cause>,
    ) -> Result<T, Cause> {
        match self.read(name.clone(), None, finish).await? {
            Ok(unpacked) => Ok(unpacked),
            Err(links) => self.read(name, Some(links), finish).await?.map_err(|_| Cancelled.into()),
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        name: String,
        links: Option<Links>,
        finish: fn(StagedLayer<'_>, String) -> Result<T, Cause>,
    ) -> Result<Result<T, Links>, Cause> {
        let blob = self.engine.registry.blob(&self.source, &self.layer, Check::Here).await?;
        let limits = self.part.limits(&self.engine.settings, self.layer.size());
        let (part, store) = (self.part.clone(), Arc::clone(&self.store));
        let rules = store.confinement()?;
        read_confined(blob, rules, move |reader| {
            match part.unpack(reader, &limits, &store, links.as_ref())? {
                Unpacked::Complete(staged) => Ok(Ok(finish(staged, name)?)),
                Unpacked::Again(links) => Ok(Err(links)),
            }
        })
        .await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
