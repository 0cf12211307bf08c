//! The bytes of a blob that skopeo sends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use containers_image_proxy::OpenedImage;
use containers_image_proxy::oci_spec::image::Descriptor;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use super::Error;
use super::relay;
use super::speed::Speedometer;
use super::worker::Worker;

/// The size of a body's pipe, in bytes: the most that an ordinary user may have (pipe(7),
/// pipe-max-size). A larger pipe saves wake-ups.
const PIPE_SIZE: usize = 1 << 20;

/// The body of a blob, unchecked. Reading fails when too little comes for too long. Dropping it cancels
/// the transfer.
pub(super) struct Body {
    worker: Arc<Worker>,
    data: pipe::Receiver,
    /// Reports why the body ended.
    outcome: BoxFuture<'static, Result<(), Error>>,
    speed: Speedometer,
    timer: Pin<Box<Sleep>>,
    /// Since when a reader has been waiting for bytes: the time between two reads is the reader's.
    waiting: Option<Instant>,
}

impl Body {
    /// Requests a blob; returns when the registry has begun to answer.
    pub(super) async fn request(
        worker: Arc<Worker>,
        image: Arc<OpenedImage>,
        blob: Descriptor,
    ) -> Result<Self, Error> {
        let (sender, receiver) = oneshot::channel();
        let owned = Arc::clone(&worker);
        let mut outcome = match worker.has_raw_blobs() {
            true => raw(owned, image, blob, sender),
            false => relay::start(owned, image, blob, sender),
        };
        let data = tokio::select! {
            biased;
            Err(error) = &mut outcome => return Err(error),
            Ok(data) = receiver => data,
            else => return Err(Error::Process("no data".to_owned())),
        };
        if let Err(error) = rustix::pipe::fcntl_setpipe_size(&data, PIPE_SIZE) {
            // All pipes of a user share one limit.
            tracing::debug!(%error, "the pipe keeps its size");
        }
        let speed = Speedometer::new(worker.min_speed);
        let timer = Box::pin(tokio::time::sleep(speed.slice()));
        Ok(Self { worker, data, outcome, speed, timer, waiting: None })
    }

    /// Whether more bytes are there already.
    pub(super) fn has_more(&self) -> bool {
        matches!(self.data.try_read(&mut [0]), Ok(1))
    }

    /// Returns the time from which it runs.
    fn restart_timer(&mut self) -> Instant {
        let now = Instant::now();
        self.timer.as_mut().reset(now + self.speed.slice());
        now
    }

    fn give_up(&self) -> Error {
        self.worker.kill("a body was too slow");
        self.worker.too_slow()
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

/// Requests a blob, and sends the pipe with its bytes when the registry has begun to answer. The future tells
/// why they ended.
fn raw(
    worker: Arc<Worker>,
    image: Arc<OpenedImage>,
    blob: Descriptor,
    sender: oneshot::Sender<pipe::Receiver>,
) -> BoxFuture<'static, Result<(), Error>> {
    // The future for the outcome borrows from the worker. This future owns both.
    Box::pin(async move {
        let (data, outcome) = worker.blob(&image, blob.digest()).await?;
        let _ = sender.send(data);
        // Reading the outcome occupies a thread until the body ends, so it waits for its caller.
        tokio::task::yield_now().await;
        match outcome.await {
            Ok(()) => Ok(()),
            Err(error) => Err(worker.body_error(error).await),
        }
    })
}

impl AsyncRead for Body {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let body = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut body.data).poll_read(cx, buf);
        let received = buf.filled().len() - before;
        let since = body.waiting.take();
        if let Poll::Ready(read) = read {
            let waited = since.map(|since| since.elapsed()).unwrap_or_default();
            // The end is never too slow.
            if received > 0 && body.speed.is_too_slow(waited, received as u64) {
                buf.set_filled(before);
                return Poll::Ready(Err(body.give_up().into()));
            }
            return Poll::Ready(read);
        }
        let mut since = since.unwrap_or_else(|| body.restart_timer());
        while body.timer.as_mut().poll(cx).is_ready() {
            // skopeo itself asks for the rest of a body that breaks off, and may have to wait for that.
            if !body.worker.is_paused() && body.speed.is_too_slow(since.elapsed(), 0) {
                return Poll::Ready(Err(body.give_up().into()));
            }
            since = body.restart_timer();
        }
        body.waiting = Some(since);
        Poll::Pending
    }
}
