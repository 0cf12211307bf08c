//! The transfer of one blob: attempts at it, and the check of what has come.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use backon::{BackoffBuilder, ExponentialBackoff};
use containers_image_proxy::oci_spec::image::Descriptor;
use tokio::io::{AsyncRead, AsyncReadExt, BufReader, ReadBuf, Take};

use super::Error;
use super::body::Body;
use super::pool::{Failed, Pool};
use super::pull_source::PullSource;
use crate::checksum::{Checksum, Hasher};
use crate::containers_config::Fingerprint;
use crate::source::Source;

/// Size of the buffer for bytes that are skipped.
const SKIP_BUFFER: usize = 64 << 10;

/// A transfer whose body is open, and all that is needed to open another one.
pub(super) struct Transfer {
    attempts: Attempts,
    /// Limited to the bytes that are still to come.
    body: Take<Body>,
    expected: Checksum,
    hasher: Hasher,
    received: u64,
}

/// The attempts that are left.
struct Attempts {
    pool: Arc<Pool>,
    descriptor: Descriptor,
    source: PullSource,
    /// The number of pull sources that the first attempt skips.
    first_skip: usize,
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

impl Transfer {
    /// Requests a blob; returns when the registry has begun to answer.
    pub(super) async fn start(
        pool: Arc<Pool>,
        source: &Source,
        descriptor: &Descriptor,
    ) -> Result<Self, Error> {
        let digest = descriptor.digest().to_string();
        let expected: Checksum = digest.parse().map_err(|_| Error::UnknownDigest(digest))?;
        let mut attempts = Attempts::new(pool, source, descriptor.clone());
        let body = attempts.body(0).await?;
        let hasher = expected.hasher();
        Ok(Self { attempts, body, expected, hasher, received: 0 })
    }

    /// Reads the next bytes; the last ones only if all are right.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), Error>> {
        let start = buf.filled().len();
        ready!(Pin::new(&mut self.body).poll_read(cx, buf))?;
        let bytes = &buf.filled()[start..];
        self.hasher.update(bytes);
        self.received += bytes.len() as u64;
        let outcome = match bytes.is_empty() {
            _ if self.is_complete() => self.check(cx),
            true => Err(self.short()),
            false => Ok(()),
        };
        Poll::Ready(outcome.inspect_err(|_| buf.set_filled(start)))
    }

    /// Whether the last byte has come.
    pub(super) fn is_complete(&self) -> bool {
        self.received == self.attempts.descriptor.size()
    }

    /// Continues with another body after an error.
    ///
    /// # Errors
    /// If there is no attempt left, or what has come is wrong.
    pub(super) async fn recover(mut self: Box<Self>, error: Error) -> Result<Box<Self>, Error> {
        let error = match error {
            // skopeo knows more; but nothing when it was killed.
            Error::Short { .. } => self.body.get_mut().outcome().await.err().unwrap_or(error),
            other => other,
        };
        self.attempts.recover(Failed::Blob(error), self.received).await?;
        self.body = self.attempts.body(self.received).await?;
        Ok(self)
    }

    /// Checks size and digest. What skopeo says of the end does not matter when all is right.
    fn check(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        // As far as can be told without waiting for the end.
        let mut excess = [0];
        let mut excess = ReadBuf::new(&mut excess);
        let more = Pin::new(self.body.get_mut()).poll_read(cx, &mut excess);
        if more.is_ready() && !excess.filled().is_empty() {
            let Attempts { descriptor, .. } = &self.attempts;
            let digest = descriptor.digest().to_string();
            return Err(Error::Long { digest, size: descriptor.size() });
        }
        let found = self.hasher.clone().finish();
        if found == self.expected {
            return Ok(());
        }
        Err(Error::DigestMismatch { expected: self.expected.to_string(), found: found.to_string() })
    }

    fn short(&self) -> Error {
        let Attempts { descriptor, .. } = &self.attempts;
        let digest = descriptor.digest().to_string();
        Error::Short { digest, received: self.received, size: descriptor.size() }
    }
}

impl Attempts {
    fn new(pool: Arc<Pool>, source: &Source, descriptor: Descriptor) -> Self {
        let source = pool.first_pull_source(source);
        Self {
            backoff: pool.backoff().build(),
            first_skip: source.skip,
            fallback: None,
            pool,
            descriptor,
            source,
        }
    }

    /// Requests the blob until an attempt succeeds. The body begins after the bytes that were `received`
    /// before.
    ///
    /// # Errors
    /// If there is no attempt left.
    async fn body(&mut self, received: u64) -> Result<Take<Body>, Error> {
        loop {
            match self.try_body(received).await {
                Ok(body) => return Ok(body),
                Err(failed) => self.recover(failed, received).await?,
            }
        }
    }

    async fn try_body(&self, received: u64) -> Result<Take<Body>, Failed> {
        let body = self.pool.body(&self.source, self.descriptor.digest()).await?;
        let mut body = body.take(self.descriptor.size());
        if received > 0 {
            let skipped = (&mut body).take(received);
            let mut skipped = BufReader::with_capacity(SKIP_BUFFER, skipped);
            let copied = tokio::io::copy_buf(&mut skipped, &mut tokio::io::sink()).await;
            copied.map_err(Error::from)?;
        }
        Ok(body)
    }

    /// Prepares the next attempt, after a pause or at another pull source.
    ///
    /// # Errors
    /// If there is no attempt left.
    async fn recover(&mut self, failed: Failed, received: u64) -> Result<(), Error> {
        let error = failed.error();
        if error.is_worth_a_retry()
            && let Some(pause) = self.backoff.next()
        {
            tracing::info!(digest = %self.descriptor.digest(), received, %error, "trying again");
            tokio::time::sleep(pause).await;
            return Ok(());
        }
        if error.is_wrong() {
            return Err(self.reject(error.clone()));
        }
        self.move_on(&failed)
    }

    /// Turns to the next pull source.
    ///
    /// # Errors
    /// That of the first pull source, if there is no other one left.
    fn move_on(&mut self, failed: &Failed) -> Result<(), Error> {
        let error = failed.error();
        let fallback = self.fallback.get_or_insert_with(|| Fallback::new(&self.source, error));
        if let Failed::Image(_) = failed {
            // If more are skipped, those are asked that were asked just now.
            fallback.left.retain(|skip| *skip < self.source.skip);
        }
        let next = fallback.left.pop_front().ok_or_else(|| fallback.first.clone())?;
        let (skip, asked) = fallback.names.split_at(next);
        tracing::warn!(
            digest = %self.descriptor.digest(), %error, ?skip, ?asked,
            "blob unavailable where its manifest is; asking the next pull source"
        );
        self.source.skip = next;
        self.backoff = self.pool.backoff().build();
        Ok(())
    }

    /// The error for wrong bytes, some of which may have been delivered. The next reader of the blob
    /// starts with the next pull source, if there is one.
    fn reject(&self, error: Error) -> Error {
        let mut next = self.source.clone();
        next.skip += 1;
        // Never backwards, or readers that try again would never stop.
        if self.source.skip < self.first_skip || next.skip >= next.names().len() {
            return error;
        }
        tracing::warn!(digest = %self.descriptor.digest(), %error, "wrong bytes; the next reader asks the next pull source");
        self.pool.note(&next, Fingerprint::now(&next.source.access));
        Error::MirrorCorrupt(Box::new(error))
    }
}

impl Fallback {
    /// The pull sources after this one, then those before it.
    fn new(source: &PullSource, error: &Error) -> Self {
        let names = source.names();
        let left = (source.skip + 1..names.len()).chain(0..source.skip).collect();
        Self { first: error.clone(), names, left }
    }
}
