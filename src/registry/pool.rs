//! All workers: which one gets a request, and when they end.
//!
//! Each pull source has a pool of workers with its image open. A request takes an idle one, or starts one
//! if the pool is not full, or waits. A blob needs its worker only until the registry has begun to answer:
//! bodies are transferred in parallel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use containers_image_proxy::oci_spec::image::Digest;

use super::body::Body;
use super::pull_source::PullSource;
use super::source_pool::{Connection, SourcePool};
use super::{Error, Manifest, Settings};
use crate::error_kind::{Failure, Kind};
use crate::source::Source;

pub(super) struct Pool {
    pub(super) settings: Settings,
    sources: Mutex<HashMap<PullSource, Arc<SourcePool>>>,
    /// How many pull sources to skip at first, by the first one: those before did not have a blob.
    preferred: Mutex<HashMap<PullSource, usize>>,
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
        Arc::new(Self { settings, sources: Mutex::default(), preferred: Mutex::default() })
    }

    /// The pauses between attempts.
    pub(super) fn backoff(&self) -> ExponentialBuilder {
        ExponentialBuilder::default()
            .with_min_delay(self.settings.backoff)
            .with_max_times(self.settings.attempts.saturating_sub(1))
            .with_jitter()
    }

    pub(super) async fn manifest(self: &Arc<Self>, source: &Source) -> Result<Manifest, Error> {
        let source = PullSource::first(source).await?;
        (|| self.try_manifest(&source))
            .retry(self.backoff())
            .when(Error::is_worth_a_retry)
            .notify(|error, pause| tracing::info!(%error, ?pause, "retrying the manifest"))
            .await
    }

    async fn try_manifest(self: &Arc<Self>, source: &PullSource) -> Result<Manifest, Error> {
        let pool = self.source_pool(source);
        let _permit = pool.permit().await;
        let (connection, manifest) = match pool.take() {
            // The image is opened again: that is the request.
            Some(mut used) => {
                let manifest = used.reopen(&source.source, self.settings.open).await;
                (used, manifest)
            }
            None => {
                let fresh = self.connect(&pool, source).await?;
                let manifest = fresh.manifest(self.settings.open).await;
                (fresh, manifest)
            }
        };
        pool.put(connection);
        manifest
    }

    /// Requests a blob, without a retry.
    pub(super) async fn body(
        self: &Arc<Self>,
        source: &PullSource,
        digest: &Digest,
    ) -> Result<Body, Failed> {
        let pool = self.source_pool(source);
        let _permit = pool.permit().await;
        if let Some(used) = pool.take() {
            match used.body(digest, &self.settings).await {
                // The token that came with the image has expired. skopeo requests another one only when it
                // believes the token to be older than a minute.
                Err(error) if error.kind() == Kind::Unauthorized => {
                    tracing::info!(%digest, %error, "opening the image again");
                }
                body => return self.finish(&pool, source, used, body),
            }
        }
        let fresh = self.connect(&pool, source).await.map_err(Failed::Image)?;
        let body = fresh.body(digest, &self.settings).await;
        self.finish(&pool, source, fresh, body)
    }

    async fn connect(&self, pool: &SourcePool, source: &PullSource) -> Result<Connection, Error> {
        let begin = Instant::now();
        let connection = Connection::start(&self.settings, source).await?;
        if begin.elapsed() > self.settings.slow_open {
            pool.restrict_to_one(&self.settings);
        }
        Ok(connection)
    }

    fn finish(
        &self,
        pool: &SourcePool,
        source: &PullSource,
        connection: Connection,
        body: Result<Body, Error>,
    ) -> Result<Body, Failed> {
        if body.is_ok() && source.skip > 0 {
            self.prefer(source);
        }
        pool.put(connection);
        body.map_err(Failed::Blob)
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

    fn source_pool(self: &Arc<Self>, source: &PullSource) -> Arc<SourcePool> {
        let mut sources = self.sources();
        if sources.is_empty() {
            tokio::spawn(end_idle(Arc::downgrade(self), self.settings.idle));
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

/// Ends workers that were idle for that long, until there are no more.
async fn end_idle(pool: Weak<Pool>, idle: Duration) {
    loop {
        tokio::time::sleep(idle / 2).await;
        let Some(pool) = pool.upgrade() else {
            return;
        };
        let mut sources = pool.sources();
        sources.retain(|_, pool| {
            pool.end_idle(idle);
            // Each request holds a reference.
            Arc::strong_count(pool) > 1 || !pool.is_empty()
        });
        pool.preferences().retain(|first, skip| sources.contains_key(&first.skipping(*skip)));
        if sources.is_empty() {
            return;
        }
    }
}
