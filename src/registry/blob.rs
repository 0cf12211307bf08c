//! One blob as a stream that is tried again and checked.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff};
use containers_image_proxy::oci_spec::image::{Descriptor, Digest};
use tokio::io::AsyncReadExt;

use super::Error;
use super::pool::{Failed, Pool};
use super::pull_source::PullSource;
use super::worker::{Body, Worker};
use crate::checksum::{Checksum, Hasher};
use crate::containers_config::Fingerprint;
use crate::source::Source;

/// A blob's bytes.
///
/// When its process dies or stalls, or the registry breaks off, the blob is opened again on another
/// process and goes on where it was: a blob is known by its digest, which is checked at the end
/// over all that was delivered. For the same reason it goes on at another place when it cannot be had
/// from the one that has its manifest.
pub struct Blob {
    pool: Arc<Pool>,
    place: PullSource,
    /// How many places were passed over when the blob was first asked for.
    began: usize,
    fallback: Option<Fallback>,
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

/// What is known when a place did not have the blob.
struct Fallback {
    /// What the first place said.
    first: Error,
    names: Vec<String>,
    /// How many places are to be passed over in the tries that are left.
    left: VecDeque<usize>,
}

/// One try at the blob.
struct Opened {
    process: Arc<Worker>,
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
        let place = pool.first_pull_source(&source);
        let mut blob = Self {
            pauses: pool.backoff().build(),
            began: place.skip,
            fallback: None,
            opened: None,
            size: descriptor.size(),
            received: 0,
            hasher: expected.hasher(),
            ended: None,
            pool,
            place,
            digest,
            expected,
        };
        while let Err(failed) = blob.try_open().await {
            blob.recover(failed).await?;
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
                Err(failed) => {
                    self.opened = None;
                    if let Err(error) = self.recover(failed).await {
                        self.ended = Some(Err(error));
                    }
                }
            }
        }
    }

    /// Prepares the next try, after a pause or at another place; an error comes back if there is to
    /// be none.
    async fn recover(&mut self, failed: Failed) -> Result<(), Error> {
        let error = failed.error();
        if error.is_worth_a_retry()
            && let Some(pause) = self.pauses.next()
        {
            tracing::info!(digest = %self.digest, received = self.received, %error, "trying again");
            tokio::time::sleep(pause).await;
            return Ok(());
        }
        if error.is_wrong() {
            return Err(self.give_up(error.clone()));
        }
        self.move_on(&failed)
    }

    /// Turns to the next place; the first error comes back if none is left.
    fn move_on(&mut self, failed: &Failed) -> Result<(), Error> {
        let error = failed.error();
        let fallback = self.fallback.get_or_insert_with(|| Fallback::new(&self.place, error));
        if let Failed::Image(_) = failed {
            // Whoever is asked with more places passed over was asked just now.
            fallback.left.retain(|skip| *skip < self.place.skip);
        }
        let next = fallback.left.pop_front().ok_or_else(|| fallback.first.clone())?;
        let (skip, asked) = fallback.names.split_at(next);
        tracing::warn!(
            digest = %self.digest, %error, ?skip, ?asked,
            "a blob cannot be had where its manifest is: the image is opened again"
        );
        self.place.skip = next;
        self.pauses = self.pool.backoff().build();
        Ok(())
    }

    /// Ends with wrong bytes, which cannot be taken back from who has read them. If there is a
    /// further place, the next to read the blob will ask that one.
    fn give_up(&self, error: Error) -> Error {
        let mut next = self.place.clone();
        next.skip += 1;
        // Only ever further on, so that trying again comes to an end.
        if self.place.skip < self.began || next.skip >= next.names().len() {
            return error;
        }
        tracing::warn!(digest = %self.digest, %error, "another place will be asked for it");
        self.pool.note(&next, Fingerprint::now(&next.source.access));
        Error::MirrorCorrupt(Box::new(error))
    }

    async fn try_open(&mut self) -> Result<&mut Opened, Failed> {
        let (process, body) = self.pool.body(&self.place, &self.digest).await?;
        Ok(self.opened.insert(Opened { process, body, skip: self.received }))
    }

    async fn try_read(&mut self, buffer: &mut [u8]) -> Result<usize, Failed> {
        let stall = self.pool.settings.stall;
        let opened = match &mut self.opened {
            Some(opened) => opened,
            None => self.try_open().await?,
        };
        opened.pass_over(buffer, stall).await?;
        let read = opened.read(buffer, stall).await?;
        if read == 0 {
            return Ok(self.check().await.map(|()| 0)?);
        }
        self.received += read as u64;
        if self.received > self.size {
            return Err(Error::Long { digest: self.digest.to_string(), size: self.size }.into());
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

impl Fallback {
    /// First all that comes after the place, then what comes before it.
    fn new(place: &PullSource, error: &Error) -> Self {
        let names = place.names();
        let left = (place.skip + 1..names.len()).chain(0..place.skip).collect();
        Self { first: error.clone(), names, left }
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
