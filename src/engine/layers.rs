//! Tar layers of a repository, unpacked into the store once for each digest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use containers_image_proxy::oci_spec::image::Descriptor;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Engine;
use super::blocking::{retry_next_mirror, with_reader};
use super::copy::copy;
use super::error::Cause;
use crate::artifact::archive::{Limits, read_archive};
use crate::layer_store::{Layer, Store};
use crate::source::Source;

/// How long a failure holds for all that is in the layer: dnf5 wants many files of it, and asks for
/// each several times.
const FAILURE_HOLDS: Duration = Duration::from_secs(10);

/// The unpack_locks of those who want to unpack a layer, by its digest.
#[derive(Clone, Default)]
pub(super) struct UnpackLocks(Arc<Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>>);

impl UnpackLocks {
    /// Waits until nobody else unpacks this layer.
    async fn take(&self, digest: &str) -> OwnedMutexGuard<()> {
        let unpack_lock = {
            let mut all = lock(&self.0);
            all.retain(|_, unpack_lock| unpack_lock.strong_count() > 0);
            let unpack_lock = all.get(digest).and_then(Weak::upgrade).unwrap_or_default();
            all.insert(digest.to_owned(), Arc::downgrade(&unpack_lock));
            unpack_lock
        };
        unpack_lock.lock_owned().await
    }
}

/// The layers of one repository. Unpacking goes on when the request that began it is given up, since
/// dnf5 asks again when it has waited for a while, and ends when this is dropped.
pub(super) struct Layers {
    store: Arc<Store>,
    failed: Mutex<HashMap<String, (Instant, Arc<Cause>)>>,
    given_up: CancellationToken,
    _give_up_when_dropped: DropGuard,
}

impl Layers {
    pub(super) fn new(store: Arc<Store>) -> Self {
        let given_up = CancellationToken::new();
        let _give_up_when_dropped = given_up.clone().drop_guard();
        Self { store, failed: Mutex::default(), given_up, _give_up_when_dropped }
    }

    /// A layer, unpacked now if it has not been yet.
    pub(super) async fn get(
        &self,
        engine: &Engine,
        source: &Source,
        layer: &Descriptor,
        limits: &Limits,
    ) -> Result<Layer, Cause> {
        let digest = layer.digest().to_string();
        if let Some(unpacked) = self.store.layer(&digest) {
            return Ok(unpacked);
        }
        let unpack_lock = engine.unpack_locks.take(&digest).await;
        if let Some(unpacked) = self.store.layer(&digest) {
            return Ok(unpacked);
        }
        if let Some(cause) = self.failure(&digest) {
            return Err(Cause::Again(cause));
        }
        let (engine, store) = (engine.clone(), Arc::clone(&self.store));
        let (source, layer, limits) = (source.clone(), layer.clone(), limits.clone());
        let given_up = self.given_up.clone();
        let task = tokio::spawn(async move {
            let work = retry_next_mirror(|| unpack(&engine, &source, &layer, &limits, &store));
            let result = given_up.run_until_cancelled(work).await;
            (result.unwrap_or(Err(Cause::Cancelled)), unpack_lock)
        });
        let (result, _turn) = task.await.map_err(|_| Cause::Cancelled)?;
        // A failure is noted before the next in unpack_lock can look for it.
        result.map_err(|cause| {
            let cause = Arc::new(cause);
            lock(&self.failed).insert(digest, (Instant::now(), Arc::clone(&cause)));
            Cause::Again(cause)
        })
    }

    fn failure(&self, digest: &str) -> Option<Arc<Cause>> {
        let mut failed = lock(&self.failed);
        failed.retain(|_, (when, _)| when.elapsed() < FAILURE_HOLDS);
        failed.get(digest).map(|(_, cause)| Arc::clone(cause))
    }
}

async fn unpack(
    engine: &Engine,
    source: &Source,
    layer: &Descriptor,
    limits: &Limits,
    store: &Arc<Store>,
) -> Result<Layer, Cause> {
    let blob = engine.registry.blob(source, layer).await?;
    let digest = layer.digest().to_string();
    let (limits, store) = (limits.clone(), Arc::clone(store));
    with_reader(blob, move |reader| {
        let staged = store.stage()?;
        read_archive(reader, &limits, |path, _size, member| copy(member, &mut staged.file(path)?))?;
        Ok(staged.commit(&digest)?)
    })
    .await
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
