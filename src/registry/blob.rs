//! One blob as a stream that is tried again and checked.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff};
use containers_image_proxy::oci_spec::image::{Descriptor, Digest};
use tokio::io::AsyncReadExt;

use super::pool::Pool;
use super::process::{Body, Process};
use super::{Error, Source};
use crate::checksum::{Checksum, Hasher};

/// A blob's bytes.
///
/// When its process dies or stalls, or the registry breaks off, the blob is opened again on another
/// process and goes on where it was: a blob is known by its digest, which is checked at the end
/// over all that was delivered.
pub struct Blob {
    pool: Arc<Pool>,
    source: Source,
    digest: Digest,
    expected: Checksum,
    size: u64,
    opened: Option<Opened>,
    pauses: ExponentialBackoff,
    /// Bytes delivered.
    received: u64,
    /// What was delivered.
    hasher: Hasher,
    /// How it ended, once it has. All reads after that say the same: what failed must never look
    /// complete to one who reads on.
    ended: Option<Result<(), Error>>,
}

/// One try at the blob.
struct Opened {
    process: Arc<Process>,
    body: Body,
    /// Bytes still to come that an earlier try has delivered.
    skip: u64,
}

impl Blob {
    /// Opens a blob; returns when the registry has begun to answer.
    pub(super) async fn open(
        pool: Arc<Pool>,
        source: Source,
        descriptor: &Descriptor,
    ) -> Result<Self, Error> {
        let digest = descriptor.digest().clone();
        let expected: Checksum =
            digest.to_string().parse().map_err(|_| Error::UnknownDigest(digest.to_string()))?;
        let mut blob = Self {
            pauses: pool.backoff().build(),
            opened: None,
            size: descriptor.size(),
            received: 0,
            hasher: expected.hasher(),
            ended: None,
            pool,
            source,
            digest,
            expected,
        };
        while let Err(error) = blob.try_open().await {
            blob.pause(error).await?;
        }
        Ok(blob)
    }

    /// The blob's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads the next bytes; none means that all have been read and that they are right. Dropping
    /// the future loses no bytes.
    ///
    /// # Errors
    /// If the bytes cannot be had after as many tries as the settings say, or are wrong.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(ended) = &self.ended {
                return ended.clone().map(|()| 0);
            }
            match self.try_read(buffer).await {
                Ok(0) => self.ended = Some(Ok(())),
                Ok(read) => return Ok(read),
                Err(error) => {
                    self.opened = None;
                    if let Err(error) = self.pause(error).await {
                        self.ended = Some(Err(error));
                    }
                }
            }
        }
    }

    /// Waits before the next try; the error comes back if there is to be none.
    async fn pause(&mut self, error: Error) -> Result<(), Error> {
        if !error.is_worth_a_retry() {
            return Err(error);
        }
        let pause: Duration = self.pauses.next().ok_or_else(|| error.clone())?;
        tracing::info!(digest = %self.digest, received = self.received, %error, "trying again");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    async fn try_open(&mut self) -> Result<&mut Opened, Error> {
        let (process, body) = self.pool.body(&self.source, &self.digest).await?;
        Ok(self.opened.insert(Opened { process, body, skip: self.received }))
    }

    async fn try_read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let stall = self.pool.settings.stall;
        let opened = match &mut self.opened {
            Some(opened) => opened,
            None => self.try_open().await?,
        };
        opened.pass_over(buffer, stall).await?;
        let read = opened.read(buffer, stall).await?;
        if read == 0 {
            return self.check().await.map(|()| 0);
        }
        self.received += read as u64;
        if self.received > self.size {
            return Err(Error::Long { digest: self.digest.to_string(), size: self.size });
        }
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }

    /// Checks what was delivered, now that the stream has ended.
    ///
    /// What skopeo says of the end does not matter when all bytes are there and right; and it says
    /// nothing when it was killed.
    async fn check(&mut self) -> Result<(), Error> {
        if self.received < self.size {
            if let Some(opened) = self.opened.take() {
                opened.end(self.pool.settings.stall).await?;
            }
            let digest = self.digest.to_string();
            return Err(Error::Short { digest, received: self.received, size: self.size });
        }
        let found = self.hasher.clone().finish();
        if found == self.expected {
            return Ok(());
        }
        Err(Error::DigestMismatch { expected: self.expected.to_string(), found: found.to_string() })
    }
}

impl Opened {
    /// Reads, for as long as bytes come; a process that sends none for too long is killed.
    async fn read(&mut self, buffer: &mut [u8], stall: Duration) -> Result<usize, Error> {
        match tokio::time::timeout(stall, self.body.data.read(buffer)).await {
            Ok(read) => Ok(read?),
            Err(_) => Err(self.stalled(stall)),
        }
    }

    /// Reads what an earlier try delivered, or less if the stream ends before; `buffer` is only
    /// room for it.
    async fn pass_over(&mut self, buffer: &mut [u8], stall: Duration) -> Result<(), Error> {
        while self.skip > 0 {
            let room = usize::try_from(self.skip).unwrap_or(usize::MAX).min(buffer.len());
            match self.read(&mut buffer[..room], stall).await? {
                0 => break,
                read => self.skip -= read as u64,
            }
        }
        Ok(())
    }

    /// Hears from skopeo why the body ended.
    async fn end(self, stall: Duration) -> Result<(), Error> {
        match tokio::time::timeout(stall, self.body.end.ask()).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.process.kill("it did not say how a body ended");
                Err(Error::Stalled(stall))
            }
        }
    }

    fn stalled(&self, stall: Duration) -> Error {
        self.process.kill("a body stalled");
        Error::Stalled(stall)
    }
}
