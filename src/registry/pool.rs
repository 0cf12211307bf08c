//! How many processes there are, which one gets the next request, and when they end.
//!
//! Each place of a source has a line of processes that have its image open. A request takes a process that has
//! none; a new one is started if all have one, up to the bound; beyond that requests wait for the
//! first that is free. A blob holds its process only until the registry has begun to answer: bodies
//! flow beside each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use containers_image_proxy::OpenedImage;
use containers_image_proxy::oci_spec::image::Digest;
use tempfile::NamedTempFile;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::body::Body;
use super::pull_source::PullSource;
use super::worker::Worker;
use super::{Error, Manifest, Settings};
use crate::containers_config::Fingerprint;
use crate::error_kind::{Failure, Kind};
use crate::source::Source;

/// How long closing an image may take; it is no request to the registry.
const CLOSE: Duration = Duration::from_secs(5);

pub(super) struct Pool {
    pub(super) settings: Settings,
    lines: Mutex<HashMap<PullSource, Arc<SourcePool>>>,
    /// Where a blob was found that places before did not have.
    found: Mutex<HashMap<Source, Found>>,
}

/// A place, and the configuration that it was one of.
struct Found {
    place: PullSource,
    configuration: Fingerprint,
}

/// Why a body could not be had.
pub(super) enum Failed {
    /// No place that was not passed over gave the image.
    Image(Error),
    /// The place that gave the image did not send the blob.
    Blob(Error),
}

impl Failed {
    pub(super) fn error(&self) -> &Error {
        match self {
            Self::Image(error) | Self::Blob(error) => error,
        }
    }
}

impl From<Error> for Failed {
    /// For what goes wrong while a body is read.
    fn from(error: Error) -> Self {
        Self::Blob(error)
    }
}

/// The processes of one place.
struct SourcePool {
    /// One permit for each request that may be under way; there are never more processes.
    permits: Semaphore,
    /// Those without a request, the last used last.
    free: Mutex<Vec<IdleWorker>>,
}

struct IdleWorker {
    connection: Connection,
    since: Instant,
}

/// A process with the source's image open.
struct Connection {
    process: Arc<Worker>,
    image: Arc<OpenedImage>,
    configuration: Fingerprint,
}

impl Pool {
    pub(super) fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self { settings, lines: Mutex::default(), found: Mutex::default() })
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
        let place = PullSource::any(source);
        let line = self.line(&place);
        // Never closed: this waits, and does not fail.
        let _permit = line.permits.acquire().await;
        let (connection, manifest) = match line.take(source) {
            // The image is opened anew: that is the request.
            Some(mut used) => {
                let manifest = used.reopen(source, self.settings.open).await;
                (used, manifest)
            }
            None => {
                let fresh = self.connect(&line, &place).await?;
                let manifest = fresh.process.manifest(&fresh.image, self.settings.open).await;
                (fresh, manifest)
            }
        };
        line.put(connection);
        manifest
    }

    /// Has a process send a blob; no retry.
    pub(super) async fn body(
        self: &Arc<Self>,
        place: &PullSource,
        digest: &Digest,
    ) -> Result<Body, Failed> {
        let line = self.line(place);
        let _permit = line.permits.acquire().await;
        if let Some(used) = line.take(&place.source) {
            match used.body(digest, &self.settings).await {
                // The registry takes the token that came with the image no more. skopeo asks for
                // another only when it believes the token to be older than a minute at least.
                Err(error) if error.kind() == Kind::Unauthorized => {
                    tracing::info!(%digest, %error, "opening the image again");
                }
                body => {
                    self.put(&line, place, used, body.is_ok());
                    return Ok(body?);
                }
            }
        }
        let fresh = self.connect(&line, place).await.map_err(Failed::Image)?;
        let body = fresh.body(digest, &self.settings).await;
        self.put(&line, place, fresh, body.is_ok());
        Ok(body?)
    }

    async fn connect(&self, line: &SourcePool, place: &PullSource) -> Result<Connection, Error> {
        let begin = Instant::now();
        let connection = Connection::start(&self.settings, place).await?;
        if begin.elapsed() > self.settings.slow_open {
            // All but that of this request, and those of requests that will come here as well.
            line.permits.forget_permits(self.settings.max_processes);
        }
        Ok(connection)
    }

    /// Keeps a connection, and in mind where it leads to if a blob has been `found` there.
    fn put(&self, line: &SourcePool, place: &PullSource, connection: Connection, found: bool) {
        if found && place.skip > 0 {
            self.note(place, connection.configuration);
        }
        line.put(connection);
    }

    /// The place to ask first: that of the last blob that had to be looked for.
    pub(super) fn first_pull_source(&self, source: &Source) -> PullSource {
        let mut found = self.found();
        match found.get(source) {
            None => PullSource::any(source),
            Some(Found { place, configuration })
                if *configuration == Fingerprint::now(&source.access) =>
            {
                place.clone()
            }
            Some(_) => {
                found.remove(source);
                PullSource::any(source)
            }
        }
    }

    /// Has what comes next begin at this place, if it does not at one after it.
    pub(super) fn note(&self, place: &PullSource, configuration: Fingerprint) {
        let mut found = self.found();
        let further =
            |known: &Found| known.configuration == configuration && known.place.skip > place.skip;
        if !found.get(&place.source).is_some_and(further) {
            found.insert(place.source.clone(), Found { place: place.clone(), configuration });
        }
    }

    fn line(self: &Arc<Self>, place: &PullSource) -> Arc<SourcePool> {
        let mut lines = self.lines();
        if lines.is_empty() {
            tokio::spawn(end_idle(Arc::downgrade(self), self.settings.idle));
        }
        let line = lines.entry(place.clone()).or_insert_with(|| SourcePool::new(&self.settings));
        Arc::clone(line)
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<PullSource, Arc<SourcePool>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self) -> MutexGuard<'_, HashMap<Source, Found>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends processes that had no work for `idle`, for as long as there are any.
async fn end_idle(pool: Weak<Pool>, idle: Duration) {
    loop {
        tokio::time::sleep(idle / 2).await;
        let Some(pool) = pool.upgrade() else {
            return;
        };
        let mut lines = pool.lines();
        lines.retain(|_, line| {
            line.end_idle(idle);
            // A request that is under way, or waits, holds its line.
            Arc::strong_count(line) > 1 || !line.free().is_empty()
        });
        pool.found().retain(|_, found| lines.contains_key(&found.place));
        if lines.is_empty() {
            return;
        }
    }
}

impl SourcePool {
    fn new(settings: &Settings) -> Arc<Self> {
        let permits = Semaphore::new(settings.max_processes.max(1));
        Arc::new(Self { permits, free: Mutex::default() })
    }

    /// A connection to use again.
    fn take(&self, source: &Source) -> Option<Connection> {
        let mut free = self.free();
        while let Some(IdleWorker { connection, .. }) = free.pop() {
            if connection.is_usable(source) {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for the next request.
    fn put(&self, connection: Connection) {
        if connection.process.is_alive() {
            self.free().push(IdleWorker { connection, since: Instant::now() });
        }
    }

    fn end_idle(&self, idle: Duration) {
        self.free().retain_mut(|free| {
            // A body on its way shares the process.
            if Arc::strong_count(&free.connection.process) > 1 {
                free.since = Instant::now();
            }
            free.since.elapsed() < idle && free.connection.process.is_alive()
        });
    }

    fn free(&self) -> MutexGuard<'_, Vec<IdleWorker>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Starts a process and opens the image.
    async fn start(settings: &Settings, place: &PullSource) -> Result<Self, Error> {
        let (settings, place) = (settings.clone(), place.clone());
        // On a worker of the runtime, whatever thread asks: skopeo ends with the thread that
        // started it.
        let started = tokio::spawn(async move {
            let source = &place.source;
            // Noted first: what changes while it starts counts as changed.
            let configuration = Fingerprint::now(&source.access);
            // Removed when the image is open.
            let file = place.registries_conf()?;
            let file = file.as_ref().map(NamedTempFile::path);
            let process = Worker::start(&settings, source, file).await?;
            let image = process.open(&source.reference.to_skopeo(), settings.open).await?;
            Ok(Self { process: Arc::new(process), image: Arc::new(image), configuration })
        });
        AbortOnDropHandle::new(started)
            .await
            .unwrap_or_else(|error| Err(Error::Process(error.to_string())))
    }

    /// Asks the registry for the image again.
    async fn reopen(&mut self, source: &Source, limit: Duration) -> Result<Manifest, Error> {
        let image = self.process.open(&source.reference.to_skopeo(), limit).await?;
        let old = std::mem::replace(&mut self.image, Arc::new(image));
        self.process.close(&old, CLOSE).await?;
        self.process.manifest(&self.image, limit).await
    }

    /// Has the process send a blob of the image.
    async fn body(&self, digest: &Digest, settings: &Settings) -> Result<Body, Error> {
        let (process, image) = (Arc::clone(&self.process), Arc::clone(&self.image));
        Body::request(process, image, digest.clone(), settings.stall).await
    }

    fn is_usable(&self, source: &Source) -> bool {
        self.process.is_alive() && self.configuration == Fingerprint::now(&source.access)
    }
}
