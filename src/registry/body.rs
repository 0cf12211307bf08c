//! The bytes of a blob that skopeo sends.

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use containers_image_proxy::OpenedImage;
use containers_image_proxy::oci_spec::image::Digest;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use super::Error;
use super::worker::Worker;

/// The size of a body's pipe, in bytes: the most that an ordinary user may have (pipe(7),
/// pipe-max-size). A larger pipe saves wake-ups.
const PIPE_SIZE: usize = 1 << 20;

/// The body of a blob, unchecked. Reading fails when no byte comes for too long. Dropping it cancels
/// the transfer.
pub(super) struct Body {
    worker: Arc<Worker>,
    data: pipe::Receiver,
    /// Reports why the body ended.
    outcome: BoxFuture<'static, Result<(), Error>>,
    timer: Pin<Box<Sleep>>,
    /// Whether the timer runs.
    waiting: bool,
}

impl Body {
    /// Requests a blob; returns when the registry has begun to answer.
    pub(super) async fn request(
        worker: Arc<Worker>,
        image: Arc<OpenedImage>,
        digest: Digest,
    ) -> Result<Self, Error> {
        let (sender, receiver) = oneshot::channel();
        let owned = Arc::clone(&worker);
        // The future for the outcome borrows from the worker. This future owns both.
        let mut outcome: BoxFuture<'static, Result<(), Error>> = Box::pin(async move {
            let (data, outcome) = owned.blob(&image, &digest).await?;
            let _ = sender.send(data);
            // Reading the outcome occupies a thread until the body ends, so it waits for its caller.
            tokio::task::yield_now().await;
            match outcome.await {
                Ok(()) => Ok(()),
                Err(error) => Err(owned.body_error(error).await),
            }
        });
        let data = tokio::select! {
            biased;
            Err(error) = &mut outcome => return Err(error),
            Ok(data) = receiver => data.into_std().await,
            else => return Err(Error::Process("no data".to_owned())),
        };
        if let Err(error) = rustix::pipe::fcntl_setpipe_size(&data, PIPE_SIZE) {
            // All pipes of a user share one limit.
            tracing::debug!(%error, "the pipe keeps its size");
        }
        let data = pipe::Receiver::from_file(data)?;
        let timer = Box::pin(tokio::time::sleep(worker.settings.stall));
        Ok(Self { worker, data, outcome, timer, waiting: false })
    }

    /// Whether more bytes are there already.
    pub(super) fn has_more(&self) -> bool {
        matches!(self.data.try_read(&mut [0]), Ok(1))
    }

    /// Asks skopeo why the body has ended; to be called once.
    pub(super) async fn outcome(&mut self) -> Result<(), Error> {
        let limit = self.worker.settings.stall;
        tokio::time::timeout(limit, &mut self.outcome).await.unwrap_or_else(|_| {
            self.worker.kill("it did not report why a body ended");
            Err(Error::Stalled(limit))
        })
    }
}

impl AsyncRead for Body {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let body = self.get_mut();
        if let Poll::Ready(read) = Pin::new(&mut body.data).poll_read(cx, buf) {
            body.waiting = false;
            return Poll::Ready(read);
        }
        let limit = body.worker.settings.stall;
        // Not earlier: the time between two reads is the reader's.
        if !mem::replace(&mut body.waiting, true) {
            body.timer.as_mut().reset(Instant::now() + limit);
        }
        ready!(body.timer.as_mut().poll(cx));
        body.worker.kill("a body stalled");
        Poll::Ready(Err(Error::Stalled(limit).into()))
    }
}
