//! Blobs for synchronous readers.
//!
//! Decompression, tar and files are synchronous work: it runs on a thread of its own, which reads
//! the blob through a bridge. Such a thread cannot be dropped like a future, so the bridge ends
//! the stream when the future that waits for it is dropped.

use std::io::{self, Read};

use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::error::Cause;
use crate::artifact::archive;
use crate::registry::Blob;

/// The error of a stream whose reader nobody waits for any more.
#[derive(Debug, thiserror::Error)]
#[error("given up")]
pub(crate) struct GivenUp;

/// Runs `work` on a thread that may block, with `blob` to read from.
pub(crate) async fn with_reader<T, W>(blob: Blob, work: W) -> Result<T, Cause>
where
    T: Send + 'static,
    W: FnOnce(&mut Bridge) -> Result<T, Cause> + Send + 'static,
{
    let given_up = CancellationToken::new();
    let mut bridge = Bridge { blob, given_up: given_up.clone(), runtime: Handle::current() };
    let _end_the_stream_when_dropped = given_up.drop_guard();
    run(move || {
        let outcome = work(&mut bridge);
        if let Err(Cause::Archive(archive::Error::Damaged(_))) = outcome {
            // It may not be what the repository has: the digest tells, at the end.
            io::copy(&mut bridge, &mut io::sink())?;
        }
        outcome
    })
    .await
}

/// Reads blobs; once more from the beginning when one was wrong and another place may have it.
pub(crate) async fn retry_next_mirror<T, F>(mut read: impl FnMut() -> F) -> Result<T, Cause>
where
    F: Future<Output = Result<T, Cause>>,
{
    loop {
        match read().await {
            Err(cause) if cause.is_mirror_fault() => {}
            outcome => return outcome,
        }
    }
}

/// Runs `work` on a thread that may block.
pub(crate) async fn run<T, W>(work: W) -> Result<T, Cause>
where
    T: Send + 'static,
    W: FnOnce() -> Result<T, Cause> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down.
        Err(_) => Err(Cause::Cancelled),
    }
}

/// A blob as a synchronous reader.
pub(crate) struct Bridge {
    blob: Blob,
    given_up: CancellationToken,
    runtime: Handle,
}

impl Read for Bridge {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.given_up.cancelled() => Err(io::Error::other(GivenUp)),
                read = self.blob.read(buffer) => read,
            }
        })
    }
}
