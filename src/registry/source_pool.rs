//! The workers of one pull source.

use std::mem;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use containers_image_proxy::OpenedImage;
use containers_image_proxy::oci_spec::image::Descriptor;
use tokio_util::task::AbortOnDropHandle;

use super::body::Body;
use super::places::{Place, Places};
use super::pull_source::{PullSource, RegistriesConf};
use super::worker::Worker;
use super::{Error, Manifest, Settings};
use crate::blocking;
use crate::source::Source;

/// How long requests fail at once after the registry has limited them.
const LIMIT_HOLDS: Duration = Duration::from_secs(30);

pub(super) struct SourcePool {
    pub(super) places: Arc<Places>,
    /// How many pull sources to skip because they have not answered.
    pub(super) silent: AtomicUsize,
    /// That the registry limits requests, and since when.
    limited: Mutex<Option<(Instant, Error)>>,
    /// The most recently used last.
    idle: Mutex<Vec<IdleWorker>>,
}

struct IdleWorker {
    connection: Connection,
    since: Instant,
}

/// A worker with the image open.
pub(super) struct Connection {
    worker: Arc<Worker>,
    image: Arc<OpenedImage>,
}

impl SourcePool {
    pub(super) fn new(settings: &Settings) -> Arc<Self> {
        Arc::new(Self {
            places: Places::new(settings),
            silent: AtomicUsize::default(),
            limited: Mutex::default(),
            idle: Mutex::default(),
        })
    }

    /// Fails if the registry has limited requests a moment ago, so that it gets none until then.
    pub(super) fn check(&self) -> Result<(), Error> {
        let limited = self.limited.lock().unwrap_or_else(PoisonError::into_inner);
        match &*limited {
            Some((since, error)) if since.elapsed() < LIMIT_HOLDS => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Records the outcome of a request.
    pub(super) fn record<T>(&self, outcome: &Result<T, Error>) {
        if let Err(error @ Error::Limited { waited: true, .. }) = outcome {
            let mut limited = self.limited.lock().unwrap_or_else(PoisonError::into_inner);
            *limited = Some((Instant::now(), error.clone()));
        }
    }

    /// Takes an idle connection.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut idle = self.idle();
        let mut connections = std::iter::from_fn(|| Some(idle.pop()?.connection));
        connections.find(|connection| connection.worker.is_alive())
    }

    /// Returns a connection to the pool.
    pub(super) fn put(&self, connection: Connection) {
        if connection.worker.is_alive() {
            self.idle().push(IdleWorker { connection, since: Instant::now() });
            self.places.changed.notify_one();
        }
    }

    /// Since when the worker has been idle that was used before all others.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let idle = self.idle();
        idle.iter().filter(|idle| idle.has_no_transfer()).map(|idle| idle.since).min()
    }

    /// Ends the worker that has been idle since then.
    pub(super) fn end(&self, since: Instant) {
        self.idle().retain(|idle| idle.since != since || !idle.has_no_transfer());
    }

    /// Ends workers that were idle for too long: longer where packages are announced.
    pub(super) fn end_idle(&self, settings: &Settings) {
        let limit = match self.places.are_announced() {
            true => settings.ready.max(settings.idle),
            false => settings.idle,
        };
        self.idle().retain_mut(|idle| {
            if !idle.has_no_transfer() {
                idle.since = Instant::now();
            }
            idle.since.elapsed() < limit && idle.connection.worker.is_alive()
        });
    }

    /// Whether no worker is idle.
    pub(super) fn is_empty(&self) -> bool {
        self.idle().is_empty()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<IdleWorker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IdleWorker {
    /// Whether it sends no body, which would share the worker.
    fn has_no_transfer(&self) -> bool {
        Arc::strong_count(&self.connection.worker) == 1
    }
}

impl Connection {
    /// Starts a worker and opens the image.
    pub(super) async fn start(
        settings: &Settings,
        source: &PullSource,
        place: Place,
    ) -> Result<Self, Error> {
        let (settings, source) = (settings.clone(), source.clone());
        // A task runs on a worker thread, whatever thread this is: see `Child`.
        let task = tokio::spawn(async move {
            let file = source.registries_conf().await?;
            let file = file.as_ref().map(RegistriesConf::path);
            let worker = Worker::start(settings, &source.source, file, place).await?;
            let image = worker.open(&source.source).await?;
            Ok(Self { worker: Arc::new(worker), image: Arc::new(image) })
        });
        blocking::join(AbortOnDropHandle::new(task)).await
    }

    /// Opens the image again, which asks the registry for the current manifest.
    pub(super) async fn reopen(&mut self, source: &Source) -> Result<Manifest, Error> {
        let image = self.worker.open(source).await?;
        let old = mem::replace(&mut self.image, Arc::new(image));
        self.worker.close(&old).await?;
        self.manifest().await
    }

    /// The manifest of the image.
    pub(super) async fn manifest(&self) -> Result<Manifest, Error> {
        self.worker.manifest(&self.image).await
    }

    /// Requests a blob of the image.
    pub(super) async fn body(&self, blob: &Descriptor) -> Result<Body, Error> {
        let (worker, image) = (Arc::clone(&self.worker), Arc::clone(&self.image));
        Body::request(worker, image, blob.clone()).await
    }
}
