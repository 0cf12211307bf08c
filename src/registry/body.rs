//! The bytes of a blob that skopeo sends.

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use containers_image_proxy::OpenedImage;
use containers_image_proxy::oci_spec::image::Digest;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use super::Error;
use super::messages;
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
    stall: Duration,
    timer: Pin<Box<Sleep>>,
    /// Whether the timer runs.
    waiting: bool,
}

impl Body {
    /// Asks for a blob; returns when the registry has begun to answer.
    pub(super) async fn request(
        worker: Arc<Worker>,
        image: Arc<OpenedImage>,
        digest: Digest,
        stall: Duration,
    ) -> Result<Self, Error> {
        let (sender, receiver) = oneshot::channel();
        let requester = Arc::clone(&worker);
        // The proxy's future for the outcome borrows the proxy, so that one future must own both.
        let mut outcome: BoxFuture<'static, Result<(), Error>> = Box::pin(async move {
            let (data, outcome) = requester.raw_blob(&image, &digest, stall).await?;
            let _ = sender.send(data);
            // Reading the outcome blocks a thread, so it has to wait until the body has ended.
            tokio::task::yield_now().await;
            outcome.await.map_err(messages::body)
        });
        let data = tokio::select! {
            biased;
            result = &mut outcome => return Err(result.err().unwrap_or_else(no_data)),
            data = receiver => data.map_err(|_| no_data())?,
        };
        let data = data.into_std().await;
        if let Err(error) = rustix::pipe::fcntl_setpipe_size(&data, PIPE_SIZE) {
            // All pipes of a user share one limit.
            tracing::debug!(%error, "the pipe keeps its size");
        }
        let data = pipe::Receiver::from_file(data)?;
        let timer = Box::pin(tokio::time::sleep(stall));
        Ok(Self { worker, data, outcome, stall, timer, waiting: false })
    }

    /// Whether more bytes are there already.
    pub(super) fn has_more(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        let mut byte = ReadBuf::new(&mut byte);
        Pin::new(&mut self.data).poll_read(cx, &mut byte).is_ready() && !byte.filled().is_empty()
    }

    /// Asks skopeo why the body has ended; to be called once.
    pub(super) async fn outcome(&mut self) -> Result<(), Error> {
        match tokio::time::timeout(self.stall, &mut self.outcome).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.worker.kill("it did not report how a body ended");
                Err(Error::Stalled(self.stall))
            }
        }
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
        // The time between two reads is the reader's, not skopeo's.
        if !mem::replace(&mut body.waiting, true) {
            body.timer.as_mut().reset(Instant::now() + body.stall);
        }
        ready!(body.timer.as_mut().poll(cx));
        body.worker.kill("a body stalled");
        Poll::Ready(Err(Error::Stalled(body.stall).into()))
    }
}

fn no_data() -> Error {
    Error::Process("it sent no data".to_owned())
}
