//! The attempts at one blob: how often it is requested, and from which pull source.

use std::collections::VecDeque;
use std::sync::Arc;

use backon::{BackoffBuilder, ExponentialBackoff};
use containers_image_proxy::oci_spec::image::{Descriptor, Digest};
use tokio::io::{AsyncReadExt, BufReader};

use super::Error;
use super::body::Body;
use super::check::Delivered;
use super::pool::{Failed, Pool};
use super::pull_source::PullSource;
use crate::source::Source;

/// Size of the buffer for bytes that are skipped.
const SKIP_BUFFER: usize = 64 << 10;

/// The attempts that are left.
pub(super) struct Attempts {
    pool: Arc<Pool>,
    blob: Descriptor,
    source: PullSource,
    fallback: Option<Fallback>,
    backoff: ExponentialBackoff,
}

/// The other pull sources, once one did not have the blob.
struct Fallback {
    /// The error of the first pull source.
    first: Error,
    names: Vec<String>,
    /// How many pull sources to skip in each of the attempts that are left.
    left: VecDeque<usize>,
}

impl Attempts {
    pub(super) async fn new(
        pool: Arc<Pool>,
        source: &Source,
        blob: &Descriptor,
    ) -> Result<Self, Error> {
        let source = pool.preferred(source).await?;
        let backoff = pool.settings.pauses().build();
        Ok(Self { pool, blob: blob.clone(), source, fallback: None, backoff })
    }

    /// Records that the blob was delivered unchecked.
    pub(super) fn record_in(&self, delivered: &Delivered) {
        delivered.record(self.blob.digest(), self.source.clone());
    }

    /// Requests the blob until an attempt succeeds. The body starts after the bytes that were `received`
    /// before.
    ///
    /// # Errors
    /// If there is no attempt left.
    pub(super) async fn body(&mut self, received: u64) -> Result<Body, Error> {
        loop {
            match self.try_body(received).await {
                Ok(body) => return Ok(body),
                Err(failed) => self.recover(failed, received).await?,
            }
        }
    }

    async fn try_body(&self, received: u64) -> Result<Body, Failed> {
        let mut body = self.pool.body(&self.source, &self.blob).await?;
        if received > 0 {
            let mut skipped = BufReader::with_capacity(SKIP_BUFFER, (&mut body).take(received));
            let copied = tokio::io::copy_buf(&mut skipped, &mut tokio::io::sink()).await;
            copied.map_err(|error| Failed::Blob(error.into()))?;
        }
        if self.source.skip > 0 {
            self.pool.prefer(&self.source);
        }
        Ok(body)
    }

    /// Prepares the next attempt, after a pause or at another pull source.
    ///
    /// # Errors
    /// If there is no attempt left.
    pub(super) async fn recover(&mut self, failed: Failed, received: u64) -> Result<(), Error> {
        let error = failed.error();
        if error.is_worth_a_retry()
            && let Some(pause) = self.backoff.next()
        {
            tracing::info!(digest = %self.blob.digest(), received, %error, "trying again");
            tokio::time::sleep(pause).await;
            return Ok(());
        }
        if error.is_wrong() {
            return Err(self.reject(error.clone()).await?);
        }
        self.move_on(&failed).await
    }

    /// Turns to the next pull source.
    ///
    /// # Errors
    /// That of the first pull source, if there is no other one left.
    async fn move_on(&mut self, failed: &Failed) -> Result<(), Error> {
        let error = failed.error();
        let fallback = match &mut self.fallback {
            Some(fallback) => fallback,
            None => self.fallback.insert(Fallback::new(&self.source, error).await?),
        };
        if let Failed::Image(_) = failed {
            // With more pull sources skipped, skopeo would ask those that it has asked just now.
            fallback.left.retain(|skip| *skip < self.source.skip);
        }
        let next = fallback.left.pop_front().ok_or_else(|| fallback.first.clone())?;
        let (skip, asked) = fallback.names.split_at(next);
        tracing::warn!(
            digest = %self.blob.digest(), %error, ?skip, ?asked,
            "blob unavailable where its manifest is; asking the next pull source"
        );
        self.source.skip = next;
        self.backoff = self.pool.settings.pauses().build();
        Ok(())
    }

    /// The error for wrong bytes, some of which may have been delivered. The next reader of the blob
    /// starts with the next pull source, if there is one. `MirrorCorrupt` if there may be a next reader.
    async fn reject(&self, error: Error) -> Result<Error, Error> {
        match reject(&self.pool, &self.source, self.blob.digest()).await? {
            true => Ok(Error::MirrorCorrupt(Box::new(error))),
            false => Ok(error),
        }
    }
}

/// Counts a transfer with wrong bytes, after which further requests start with the next pull source, if there
/// is one. Whether the blob may be requested once more.
pub(super) async fn reject(
    pool: &Pool,
    sender: &PullSource,
    digest: &Digest,
) -> Result<bool, Error> {
    if !pool.may_repeat(digest) {
        return Ok(false);
    }
    tracing::warn!(%digest, "wrong bytes; the next reader gets others");
    let next = sender.skipping(sender.skip + 1);
    if next.skip < next.names().await?.len() {
        pool.prefer(&next);
    }
    Ok(true)
}

impl Fallback {
    /// The pull sources after this one, then those before it.
    async fn new(source: &PullSource, error: &Error) -> Result<Self, Error> {
        let names = source.names().await?;
        let left = (source.skip + 1..names.len()).chain(0..source.skip).collect();
        Ok(Self { first: error.clone(), names, left })
    }
}
