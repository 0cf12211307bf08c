//! Tar layers of a repository, unpacked into the layer store once for each digest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use containers_image_proxy::oci_spec::image::Descriptor;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Engine;
use super::content::Content;
use super::error::Cause;
use super::failures::Failures;
use super::reading::{copy, read_blocking, retry_next_mirror};
use crate::artifact::archive::{Limits, read_archive};
use crate::blocking::{Cancelled, join};
use crate::layer_store::{Layer, Store};
use crate::source::Source;

/// One lock for each layer that is being unpacked, by its digest.
#[derive(Clone, Default)]
pub(super) struct UnpackLocks(Arc<Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>>);

impl UnpackLocks {
    async fn acquire(&self, digest: &str) -> OwnedMutexGuard<()> {
        let layer = {
            let mut all = lock(&self.0);
            all.retain(|_, layer| layer.strong_count() > 0);
            let layer = all.get(digest).and_then(Weak::upgrade).unwrap_or_default();
            all.insert(digest.to_owned(), Arc::downgrade(&layer));
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
    limits: Limits,
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
    /// A layer, unpacked now if it has not been yet.
    pub(super) async fn get(
        &self,
        engine: &Engine,
        source: &Source,
        layer: &Descriptor,
        limits: &Limits,
    ) -> Result<Layer, Cause> {
        let store = engine.store().await?;
        if let Some(unpacked) = store.layer(layer.digest().as_ref()) {
            return Ok(unpacked);
        }
        let unpacking = Unpacking {
            engine: engine.clone(),
            source: source.clone(),
            layer: layer.clone(),
            limits: limits.clone(),
            store,
        };
        let (failures, cancelled) = (Arc::clone(&self.failures), self.cancelled.clone());
        join(tokio::spawn(async move {
            let work = unpacking.unpack_once(&failures);
            cancelled.run_until_cancelled(work).await.unwrap_or(Err(Cancelled.into()))
        }))
        .await
    }
}

impl Unpacking {
    /// Unpacks the layer unless another request has done so, or failed to, in the meantime. A failure is
    /// recorded here: the request that began this may be gone by then.
    async fn unpack_once(&self, failures: &Failures) -> Result<Layer, Cause> {
        let digest = self.layer.digest().as_ref();
        let _only_one = self.engine.unpack_locks.acquire(digest).await;
        if let Some(unpacked) = self.store.layer(digest) {
            return Ok(unpacked);
        }
        if let Some(cause) = failures.recent(digest) {
            return Err(cause);
        }
        let unpacked = retry_next_mirror(|| self.unpack()).await;
        unpacked.map_err(|cause| failures.record(digest, cause))
    }

    async fn unpack(&self) -> Result<Layer, Cause> {
        let blob = self.engine.registry.blob(&self.source, &self.layer).await?;
        let digest = self.layer.digest().to_string();
        let (limits, store) = (self.limits.clone(), Arc::clone(&self.store));
        read_blocking(Content::Blob(Box::new(blob)), move |reader| {
            let staged = store.stage()?;
            read_archive(reader, &limits, |path, _size, member| {
                copy(member, &mut staged.file(path)?)
            })?;
            Ok(staged.commit(&digest)?)
        })
        .await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
