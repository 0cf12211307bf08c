//! Blobs of a skopeo that has no GetRawBlob, only GetBlob.
//!
//! The bytes are the same. But skopeo reports the end of a body, and closes the pipe, only when it is asked with
//! FinishPipe, and until then it answers no other request. So the body is copied into a pipe that ends with it,
//! and skopeo is asked when all bytes have come. If none come for a while, it is asked too, since the body may
//! have broken off; from then on this worker gets no other request.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use containers_image_proxy::OpenedImage;
use containers_image_proxy::oci_spec::image::Descriptor;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use super::Error;
use super::worker::Worker;
use crate::blocking::{self, Cancelled};

/// How long a body may send nothing before skopeo is asked whether it has ended.
const QUIET: Duration = Duration::from_secs(1);

/// Timeout for that question when all bytes have come.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Size of the buffer, in bytes: that of skopeo's pipe.
const BUFFER: usize = 64 << 10;

/// Requests a blob, and sends the pipe with its bytes when the registry has begun to answer. The future tells
/// why they ended; dropping it cancels the transfer unless all bytes have come.
pub(super) fn start(
    worker: Arc<Worker>,
    image: Arc<OpenedImage>,
    blob: Descriptor,
    data: oneshot::Sender<pipe::Receiver>,
) -> BoxFuture<'static, Result<(), Error>> {
    let (reader, cancelled) = oneshot::channel();
    let task = tokio::spawn(relay(worker, image, blob, data, cancelled));
    Box::pin(async move {
        let _reader = reader;
        blocking::join(task).await
    })
}

async fn relay(
    worker: Arc<Worker>,
    image: Arc<OpenedImage>,
    blob: Descriptor,
    data: oneshot::Sender<pipe::Receiver>,
    cancelled: oneshot::Receiver<Infallible>,
) -> Result<(), Error> {
    let copied = async {
        let (body, finish) = worker.checked_blob(&image, &blob).await?;
        let unfinished = Unfinished(Some(&worker));
        let (sender, receiver) = pipe::pipe()?;
        data.send(receiver).map_err(|_| Cancelled)?;
        let mut finish = Box::pin(finish);
        let ended = copy(&worker, body, sender, blob.size(), &mut finish).await?;
        Ok::<_, Error>((unfinished, finish, ended))
    };
    let (mut unfinished, finish, ended) = tokio::select! {
        biased;
        copied = copied => copied?,
        _ = cancelled => return Err(Cancelled.into()),
    };
    let ended = match ended {
        Some(ended) => ended,
        None => tokio::time::timeout(FINISH_TIMEOUT, finish)
            .await
            .map_err(|_| Error::Stalled(FINISH_TIMEOUT))?,
    };
    unfinished.0 = None;
    worker.end_of_blob(ended).await
}

/// Copies a body until all of it has come, or until it has ended early: then what skopeo reports.
async fn copy<E>(
    worker: &Worker,
    body: impl AsyncRead,
    mut pipe: pipe::Sender,
    mut left: u64,
    mut finish: impl Future<Output = E> + Unpin,
) -> io::Result<Option<E>> {
    let mut body = pin!(body);
    let mut buffer = vec![0; BUFFER];
    let (mut is_asked, mut ended) = (false, None);
    while left > 0 {
        let read = tokio::select! {
            biased;
            read = body.read(&mut buffer) => read?,
            end = &mut finish, if is_asked && ended.is_none() => {
                ended = Some(end);
                continue;
            }
            () = tokio::time::sleep(QUIET), if !is_asked => {
                worker.retire("a body has paused");
                is_asked = true;
                continue;
            }
        };
        if read == 0 {
            break;
        }
        pipe.write_all(&buffer[..read]).await?;
        left = left.saturating_sub(read as u64);
    }
    Ok(ended)
}

/// A worker with a body that may not have ended.
struct Unfinished<'a>(Option<&'a Worker>);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(worker) = self.0 {
            worker.retire("a body was cancelled");
        }
    }
}
