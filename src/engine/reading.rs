//! Content for synchronous readers.
//!
//! Decompression, tar and files are synchronous work, which runs on threads that may block. Such a thread
//! cannot be dropped like a future; its stream fails instead when the future that waits for it is dropped.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::SyncIoBridge;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use super::content::Content;
use super::error::Cause;
use crate::blocking::{self, Cancelled};
use crate::confinement::Confinement;
use crate::registry::Blob;

/// The one buffer that a stream's bytes pass through.
const BUFFER: usize = 128 * 1024;

/// Runs `work` on a thread that may block, with `content` to read from.
pub(super) async fn read_blocking<T, W>(content: Content, work: W) -> Result<T, Cause>
where
    T: Send + 'static,
    W: FnOnce(&mut dyn Read) -> Result<T, Cause> + Send + 'static,
{
    let blob = match content {
        Content::Blob(blob) => blob,
        Content::Embedded(mut content) => return run(move || work(&mut content)).await,
        Content::File(file, layer) => {
            let mut file = file.into_std().await;
            return run(move || {
                let _in_use = layer;
                work(&mut file)
            })
            .await;
        }
    };
    let (mut reader, _cancel_when_dropped) = synchronous(blob);
    run(move || work(&mut reader)).await
}

/// The same for a blob, on a thread that can open nothing but what is in one directory.
pub(super) async fn read_confined<T, W>(blob: Blob, rules: Confinement, work: W) -> Result<T, Cause>
where
    T: Send + 'static,
    W: FnOnce(&mut dyn Read) -> Result<T, Cause> + Send + 'static,
{
    let (mut reader, _cancel_when_dropped) = synchronous(Box::new(blob));
    blocking::run_on_own_thread(move || {
        rules.impose().map_err(Cause::Confinement)?;
        work(&mut reader)
    })
    .await
}

fn synchronous(blob: Box<Blob>) -> (SyncIoBridge<Cancellable<Box<Blob>>>, DropGuard) {
    let token = CancellationToken::new();
    let cancelled = Box::pin(token.clone().cancelled_owned());
    (SyncIoBridge::new(Cancellable { inner: blob, cancelled }), token.drop_guard())
}

/// Runs `work`; once more from the beginning when a mirror had wrong bytes and another may have the right
/// ones.
pub(super) async fn retry_next_mirror<T, F>(mut work: impl FnMut() -> F) -> Result<T, Cause>
where
    F: Future<Output = Result<T, Cause>>,
{
    loop {
        match work().await {
            Err(cause) if cause.is_mirror_fault() => {}
            outcome => return outcome,
        }
    }
}

/// Runs `work`, which fails as the engine does, on a thread that may block.
pub(super) async fn run<T, W>(work: W) -> Result<T, Cause>
where
    T: Send + 'static,
    W: FnOnce() -> Result<T, Cause> + Send + 'static,
{
    blocking::run(work).await
}

/// Copies with failures told apart: those of the reader are the registry's, those of the writer
/// the cache's.
pub(super) fn copy(
    from: &mut (impl Read + ?Sized),
    to: &mut (impl Write + ?Sized),
) -> Result<(), Cause> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer).map_err(Cause::reading)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read]).map_err(Cause::writing)?,
        }
    }
}

/// A reader that fails from the moment it is cancelled.
struct Cancellable<R> {
    inner: R,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Cancellable<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.cancelled.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::other(Cancelled))),
            Poll::Pending => Pin::new(&mut self.inner).poll_read(context, buffer),
        }
    }
}
