//! All workers: which one gets a request, and when they end.
//!
//! Each pull source has a pool of workers with its image open. A request takes an idle one, or starts one
//! if there may be another one, or waits. A blob needs its worker only until the registry has begun to answer:
//! bodies are transferred in parallel.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use backon::Retryable;
use containers_image_proxy::oci_spec::image::{Descriptor, Digest};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::Body;
use super::places::{Need, Place};
use super::pull_source::PullSource;
use super::source_pool::{Connection, SourcePool};
use super::{Error, Manifest, Settings};
use crate::error_kind::{Failure, Kind};
use crate::source::Source;

pub(super) struct Pool {
    pub(super) settings: Settings,
    /// One for each worker.
    total: Arc<Semaphore>,
    sources: Mutex<HashMap<PullSource, Arc<SourcePool>>>,
    /// How many pull sources to skip at first, by the first one: those before did not have a blob.
    preferred: Mutex<HashMap<PullSource, usize>>,
    /// How often a blob has come with wrong bytes, and when it did last.
    wrong: Mutex<HashMap<Digest, (usize, Instant)>>,
}

/// How long a worker must have been idle before another pull source may have its place: dnf5 asks for the next
/// file when it has read the one before.
const MIN_IDLE: Duration = Duration::from_millis(250);

/// How long transfers with wrong bytes count.
const WRONG_HOLDS: Duration = Duration::from_secs(60);

/// A worker for a request.
struct Obtained {
    connection: Connection,
    /// Whether it has opened the image for this request.
    is_fresh: bool,
}

/// Why a blob request failed.
pub(super) enum Failed {
    /// No pull source that was not skipped has opened the image.
    Image(Error),
    /// The pull source that has opened the image did not send the blob.
    Blob(Error),
}

impl Failed {
    pub(super) fn error(&self) -> &Error {
        match self {
            Self::Image(error) | Self::Blob(error) => error,
        }
    }
}

impl Pool {
    pub(super) fn new(settings: Settings) -> Arc<Self> {
        let total = Arc::new(Semaphore::new(settings.max_total_processes.max(1)));
        let (sources, preferred, wrong) = Default::default();
        Arc::new(Self { settings, total, sources, preferred, wrong })
    }

    pub(super) async fn manifest(self: &Arc<Self>, source: &Source) -> Result<Manifest, Error> {
        let source = PullSource::first(source).await?;
        (|| self.try_manifest(&source))
            .retry(self.settings.pauses())
            .when(Error::is_worth_a_retry)
            .notify(|error, pause| tracing::info!(%error, ?pause, "retrying the manifest"))
            .await
    }

    async fn try_manifest(self: &Arc<Self>, source: &PullSource) -> Result<Manifest, Error> {
        let pool = self.source_pool(source);
        let Obtained { mut connection, is_fresh } = self.worker(&pool, source).await?;
        let manifest = match is_fresh {
            true => connection.manifest().await,
            // Opening the image again is the request.
            false => connection.reopen(&source.source).await,
        };
        pool.put(connection);
        pool.record(&manifest);
        manifest
    }

    /// Requests a blob, without a retry.
    pub(super) async fn body(
        self: &Arc<Self>,
        source: &PullSource,
        blob: &Descriptor,
    ) -> Result<Body, Failed> {
        let pool = self.source_pool(source);
        pool.places.requested();
        let obtained = self.worker(&pool, source).await.map_err(Failed::Image)?;
        let Obtained { mut connection, is_fresh } = obtained;
        let begin = Instant::now();
        let mut body = connection.body(blob).await;
        pool.places.answered(begin.elapsed());
        if let Err(error) = &body
            && error.kind() == Kind::Unauthorized
            && !is_fresh
        {
            // The token that came with the image has expired. skopeo requests another one only when it
            // believes the token to be older than a minute.
            tracing::info!(digest = %blob.digest(), %error, "opening the image again");
            let reopened = connection.reopen(&source.source).await;
            pool.record(&reopened);
            reopened.map_err(Failed::Image)?;
            body = connection.body(blob).await;
        }
        pool.record(&body);
        pool.put(connection);
        body.map_err(Failed::Blob)
    }

    /// Whether a worker has the image open.
    pub(super) async fn is_open(&self, source: &Source) -> Result<bool, Error> {
        let source = self.preferred(source).await?;
        Ok(self.sources().get(&source).is_some_and(|pool| pool.places.are_open()))
    }

    /// A worker with the image open: an idle one, or another one if there may be one.
    async fn worker(&self, pool: &Arc<SourcePool>, source: &PullSource) -> Result<Obtained, Error> {
        let mut waiting = None;
        loop {
            pool.check()?;
            let mut changed = pin!(pool.places.changed.notified());
            changed.as_mut().enable();
            if let Some(connection) = pool.take() {
                return Ok(Obtained { connection, is_fresh: false });
            }
            let pause = match self.share(pool.places.are_free()) {
                None => MIN_IDLE,
                Some(share) => match pool.places.take(share, Need::Now) {
                    Err(pause) => pause,
                    Ok(place) => {
                        waiting = None;
                        match self.connect(pool, source, place).await? {
                            Some(connection) => {
                                return Ok(Obtained { connection, is_fresh: true });
                            }
                            None => continue,
                        }
                    }
                },
            };
            waiting.get_or_insert_with(|| pool.places.wait());
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// A share of the total number of workers. The first worker of a pull source may have that of one that
    /// is idle elsewhere.
    pub(super) fn share(&self, is_first: bool) -> Option<OwnedSemaphorePermit> {
        let try_acquire = || Arc::clone(&self.total).try_acquire_owned().ok();
        try_acquire().or_else(|| {
            if is_first {
                self.end_one_idle();
            }
            try_acquire()
        })
    }

    /// Ends the worker that has been idle for longest.
    fn end_one_idle(&self) {
        let sources = self.sources();
        let idle = sources.values().filter_map(|pool| Some((pool.idle_since()?, pool)));
        let longest = idle.min_by_key(|(since, _)| *since);
        if let Some((since, pool)) = longest.filter(|(since, _)| since.elapsed() >= MIN_IDLE) {
            pool.end(since);
        }
    }

    /// Starts a worker. `None` if a pull source did not answer in time, which is skipped from now on.
    pub(super) async fn connect(
        &self,
        pool: &SourcePool,
        source: &PullSource,
        place: Place,
    ) -> Result<Option<Connection>, Error> {
        let begin = Instant::now();
        let skipped = pool.silent.load(Ordering::Relaxed);
        let asked = source.skipping(source.skip + skipped);
        let connection = Connection::start(&self.settings, &asked, place).await;
        pool.places.opened(begin.elapsed());
        pool.record(&connection);
        if let Err(error) = &connection
            && error.is_silence()
            && asked.skip + 1 < asked.names().await?.len()
        {
            tracing::warn!(%error, "skipping the first pull source");
            pool.silent.fetch_max(skipped + 1, Ordering::Relaxed);
            return Ok(None);
        }
        connection.map(Some)
    }

    /// The pull source that gets the first request for a blob.
    pub(super) async fn preferred(&self, source: &Source) -> Result<PullSource, Error> {
        let first = PullSource::first(source).await?;
        let skip = self.preferences().get(&first).copied().unwrap_or_default();
        Ok(first.skipping(skip))
    }

    /// Makes further requests for blobs start with this pull source, or with one after it if they do so
    /// already.
    pub(super) fn prefer(&self, source: &PullSource) {
        let mut preferred = self.preferences();
        let skip = preferred.entry(source.skipping(0)).or_default();
        *skip = source.skip.max(*skip);
    }

    /// Counts a transfer with wrong bytes. Whether the blob may be requested once more.
    pub(super) fn may_repeat(&self, digest: &Digest) -> bool {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.retain(|_, (_, last)| last.elapsed() < WRONG_HOLDS);
        let (times, last) = wrong.entry(digest.clone()).or_insert((0, Instant::now()));
        (*times, *last) = (*times + 1, Instant::now());
        let may = *times < self.settings.attempts;
        if !may {
            wrong.remove(digest);
        }
        may
    }

    /// Whether the blob has come with wrong bytes a moment ago.
    pub(super) fn is_suspect(&self, digest: &Digest) -> bool {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.get(digest).is_some_and(|(_, last)| last.elapsed() < WRONG_HOLDS)
    }

    pub(super) fn source_pool(self: &Arc<Self>, source: &PullSource) -> Arc<SourcePool> {
        let mut sources = self.sources();
        if sources.is_empty() {
            tokio::spawn(end_idle(Arc::downgrade(self)));
        }
        let pool = sources.entry(source.clone()).or_insert_with(|| SourcePool::new(&self.settings));
        Arc::clone(pool)
    }

    fn sources(&self) -> MutexGuard<'_, HashMap<PullSource, Arc<SourcePool>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn preferences(&self) -> MutexGuard<'_, HashMap<PullSource, usize>> {
        self.preferred.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends workers that were idle for too long, until there are no more.
async fn end_idle(pool: Weak<Pool>) {
    while let Some(idle) = pool.upgrade().map(|pool| pool.settings.idle) {
        tokio::time::sleep(idle / 2).await;
        let Some(pool) = pool.upgrade() else {
            return;
        };
        let mut sources = pool.sources();
        sources.retain(|_, source_pool| {
            source_pool.end_idle(&pool.settings);
            // Each request holds a reference.
            Arc::strong_count(source_pool) > 1 || !source_pool.is_empty()
        });
        pool.preferences().retain(|first, skip| sources.contains_key(&first.skipping(*skip)));
        if sources.is_empty() {
            return;
        }
    }
}
