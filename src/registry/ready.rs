//! Workers that are started before the requests come.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Error;
use super::places::{Announced, Need, Place};
use super::pool::Pool;
use super::pull_source::PullSource;
use super::source_pool::SourcePool;
use crate::blocking::Cancelled;
use crate::source::Source;

/// Blobs that are going to be requested. Workers for them are kept for as long as this lives, within limits.
pub struct Expected {
    pool: Arc<Pool>,
    source: PullSource,
    workers: Arc<SourcePool>,
    _announced: Announced,
}

impl Expected {
    pub(super) async fn new(pool: Arc<Pool>, source: &Source, blobs: usize) -> Result<Self, Error> {
        let source = pool.preferred(source).await?;
        let workers = pool.source_pool(&source);
        let _announced = workers.places.announce(blobs);
        Ok(Self { pool, source, workers, _announced })
    }

    /// Starts as many workers, side by side, as the blobs will keep busy, besides those that are there. Without any,
    /// it starts the first one alone: what the others are worth is known when it has the image open.
    ///
    /// # Errors
    /// If one could not open the image.
    pub async fn start_workers(&self) -> Result<(), Error> {
        if self.workers.places.are_free() {
            self.start_missing().await?;
        }
        self.start_missing().await
    }

    /// Starts them as soon as the processors have time for it.
    async fn start_missing(&self) -> Result<(), Error> {
        let mut starting = JoinSet::new();
        loop {
            self.workers.check()?;
            let Some(share) = self.pool.share(self.workers.places.are_free()) else {
                break;
            };
            match self.workers.places.take(share, Need::Ahead) {
                Ok(place) => starting.spawn(self.start(place)),
                Err(Duration::MAX) => break,
                Err(pause) => {
                    tokio::time::sleep(pause).await;
                    continue;
                }
            };
        }
        while let Some(started) = starting.join_next().await {
            started.map_err(|_| Error::from(Cancelled))??;
        }
        Ok(())
    }

    fn start(&self, place: Place) -> impl Future<Output = Result<(), Error>> + use<> {
        let (pool, workers) = (Arc::clone(&self.pool), Arc::clone(&self.workers));
        let source = self.source.clone();
        async move {
            if let Some(connection) = pool.connect(&workers, &source, place).await? {
                workers.put(connection);
            }
            Ok(())
        }
    }
}
