//! Workers that are started before the requests come.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::Error;
use super::places::{Announced, Need};
use super::pool::Pool;
use super::pull_source::PullSource;
use super::source_pool::SourcePool;
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

    async fn start_missing(&self) -> Result<(), Error> {
        let mut starting = FuturesUnordered::new();
        while let Some(share) = self.pool.share(self.workers.places.are_free()) {
            self.workers.check()?;
            let Ok(place) = self.workers.places.take(share, Need::Ahead) else {
                break;
            };
            starting.push(self.pool.connect(&self.workers, &self.source, place));
        }
        while let Some(connection) = starting.next().await {
            if let Some(connection) = connection? {
                self.workers.put(connection);
            }
        }
        Ok(())
    }
}
