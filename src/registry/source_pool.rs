//! The workers of one pull source.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use containers_image_proxy::OpenedImage;
use containers_image_proxy::oci_spec::image::Digest;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::body::Body;
use super::pull_source::{PullSource, RegistriesConf};
use super::worker::Worker;
use super::{Error, Manifest, Settings};
use crate::blocking;
use crate::source::Source;

pub(super) struct SourcePool {
    /// One for each request at a time, and so for each worker.
    pub(super) permits: Semaphore,
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
        let permits = Semaphore::new(settings.max_processes.max(1));
        Arc::new(Self { permits, idle: Mutex::default() })
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
        }
    }

    /// Ends workers that were idle for that long.
    pub(super) fn end_idle(&self, limit: Duration) {
        self.idle().retain_mut(|idle| {
            // A body that is being transferred shares the worker.
            if Arc::strong_count(&idle.connection.worker) > 1 {
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

impl Connection {
    /// Starts a worker and opens the image.
    pub(super) async fn start(settings: &Settings, source: &PullSource) -> Result<Self, Error> {
        let (settings, source) = (settings.clone(), source.clone());
        // A task runs on a worker thread, whatever thread this is: see `Child`.
        let task = tokio::spawn(async move {
            let file = source.registries_conf().await?;
            let file = file.as_ref().map(RegistriesConf::path);
            let worker = Worker::start(settings, &source.source, file).await?;
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
    pub(super) async fn body(&self, digest: &Digest) -> Result<Body, Error> {
        let (worker, image) = (Arc::clone(&self.worker), Arc::clone(&self.image));
        Body::request(worker, image, digest.clone()).await
    }
}
