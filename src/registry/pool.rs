//! How many processes there are, which one gets the next request, and when they end.
//!
//! Each source has a few slots, each with room for one process that has the source's image open. A
//! request takes the slot with the fewest requests; a new slot is opened when all have some, up to
//! the bound. A blob holds its slot only until the registry has begun to answer: bodies flow
//! beside each other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use containers_image_proxy::OpenedImage;
use containers_image_proxy::oci_spec::image::Digest;

use super::configuration::Configuration;
use super::process::{Body, Process};
use super::{Error, Manifest, Settings, Source};

/// How long closing an image may take; it is no request to the registry.
const CLOSE: Duration = Duration::from_secs(5);

pub(super) struct Pool {
    pub(super) settings: Settings,
    slots: Mutex<HashMap<Source, Vec<Arc<Slot>>>>,
}

struct Slot {
    /// Requests that wait for this slot or have it.
    requests: AtomicUsize,
    used: Mutex<Instant>,
    connection: tokio::sync::Mutex<Option<Connection>>,
}

/// A process with the source's image open.
struct Connection {
    process: Arc<Process>,
    image: Arc<OpenedImage>,
    configuration: Configuration,
}

/// A turn at a slot; counts as one of its requests.
struct Turn(Arc<Slot>);

impl Pool {
    pub(super) fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self { settings, slots: Mutex::default() })
    }

    /// The pauses between tries.
    pub(super) fn backoff(&self) -> ExponentialBuilder {
        ExponentialBuilder::default()
            .with_min_delay(self.settings.backoff)
            .with_max_times(self.settings.attempts.saturating_sub(1))
            .with_jitter()
    }

    pub(super) async fn manifest(self: &Arc<Self>, source: &Source) -> Result<Manifest, Error> {
        (|| self.try_manifest(source))
            .retry(self.backoff())
            .when(Error::is_worth_a_retry)
            .notify(|error, pause| tracing::info!(%error, ?pause, "asking for the manifest again"))
            .await
    }

    async fn try_manifest(self: &Arc<Self>, source: &Source) -> Result<Manifest, Error> {
        let limit = self.settings.open;
        let turn = self.turn(source);
        let mut connection = turn.0.connection.lock().await;
        if let Some(used) = connection.take_if(|connection| connection.is_usable(source)) {
            // A process that runs is used again, but the image is opened anew: that is the request.
            let image = used.process.open(&source.reference.to_skopeo(), limit).await?;
            let manifest = used.process.manifest(&image, limit).await?;
            used.process.close(&used.image, CLOSE).await?;
            *connection = Some(Connection { image: Arc::new(image), ..used });
            return Ok(manifest);
        }
        let fresh = Connection::start(&self.settings, source).await?;
        let manifest = fresh.process.manifest(&fresh.image, limit).await?;
        *connection = Some(fresh);
        Ok(manifest)
    }

    /// Has a process send a blob; no retry.
    pub(super) async fn body(
        self: &Arc<Self>,
        source: &Source,
        digest: &Digest,
    ) -> Result<(Arc<Process>, Body), Error> {
        let turn = self.turn(source);
        let mut slot = turn.0.connection.lock().await;
        let connection = match slot.take() {
            Some(usable) if usable.is_usable(source) => usable,
            _ => Connection::start(&self.settings, source).await?,
        };
        let Connection { process, image, .. } = slot.insert(connection);
        let body = process.blob(image, digest, self.settings.stall).await?;
        Ok((Arc::clone(process), body))
    }

    /// Takes a turn at the slot with the fewest requests.
    fn turn(self: &Arc<Self>, source: &Source) -> Turn {
        let mut slots = self.slots();
        if slots.is_empty() {
            tokio::spawn(end_idle(Arc::downgrade(self), self.settings.idle));
        }
        let line = slots.entry(source.clone()).or_default();
        let least = line.iter().min_by_key(|slot| slot.requests.load(Ordering::Relaxed));
        let slot = match least {
            Some(slot)
                if slot.requests.load(Ordering::Relaxed) == 0
                    || line.len() >= self.settings.max_processes =>
            {
                Arc::clone(slot)
            }
            _ => {
                let slot = Arc::new(Slot::new());
                line.push(Arc::clone(&slot));
                slot
            }
        };
        slot.requests.fetch_add(1, Ordering::Relaxed);
        Turn(slot)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Source, Vec<Arc<Slot>>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends processes that had no work for `idle`, for as long as there are any.
async fn end_idle(pool: Weak<Pool>, idle: Duration) {
    loop {
        tokio::time::sleep(idle / 2).await;
        let Some(pool) = pool.upgrade() else {
            return;
        };
        let mut slots = pool.slots();
        for line in slots.values_mut() {
            line.retain(|slot| !slot.is_idle(idle));
        }
        slots.retain(|_, line| !line.is_empty());
        if slots.is_empty() {
            return;
        }
    }
}

impl Slot {
    fn new() -> Self {
        Self {
            requests: AtomicUsize::new(0),
            used: Mutex::new(Instant::now()),
            connection: tokio::sync::Mutex::new(None),
        }
    }

    fn is_idle(&self, idle: Duration) -> bool {
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        // A body on its way shares the process.
        let sending = self.connection.try_lock().is_ok_and(|connection| {
            connection.as_ref().is_some_and(|it| Arc::strong_count(&it.process) > 1)
        });
        self.requests.load(Ordering::Relaxed) == 0 && !sending && used.elapsed() >= idle
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    async fn start(settings: &Settings, source: &Source) -> Result<Self, Error> {
        // Noted first: what changes while it starts counts as changed.
        let configuration = Configuration::now(&source.access);
        let process = Process::start(settings, &source.access).await?;
        let image = process.open(&source.reference.to_skopeo(), settings.open).await?;
        Ok(Self { process: Arc::new(process), image: Arc::new(image), configuration })
    }

    fn is_usable(&self, source: &Source) -> bool {
        self.process.is_alive() && self.configuration == Configuration::now(&source.access)
    }
}
