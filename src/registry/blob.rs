//! A blob as a stream that survives failed transfers and is checked.

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use containers_image_proxy::oci_spec::image::Descriptor;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, ReadBuf};

use super::Error;
use super::pool::Pool;
use super::transfer::Transfer;
use crate::source::Source;

/// A blob's bytes.
///
/// When a transfer fails, the blob is requested again, from the next pull source if need be, and the
/// stream continues where it was. Size and digest are checked when the last byte has come and before it
/// is delivered: a reader that got all bytes got the right ones. When a read has failed, all later
/// reads fail, too. An [`Error`] is inside each [`io::Error`].
pub struct Blob {
    size: u64,
    state: State,
}

enum State {
    Reading(Box<Transfer>),
    Recovering(BoxFuture<'static, Result<Box<Transfer>, Error>>),
    Ended(Result<(), Error>),
}

impl Blob {
    /// Opens a blob; returns when the registry has begun to answer.
    pub(super) async fn open(
        pool: Arc<Pool>,
        source: &Source,
        descriptor: &Descriptor,
    ) -> Result<Self, Error> {
        let transfer = Transfer::start(pool, source, descriptor).await?;
        Ok(Self { size: descriptor.size(), state: State::Reading(Box::new(transfer)) })
    }

    /// The blob's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn recover(&mut self, error: Error) {
        let failed = State::Ended(Err(error.clone()));
        if let State::Reading(transfer) = mem::replace(&mut self.state, failed) {
            self.state = State::Recovering(Box::pin(transfer.recover(error)));
        }
    }
}

impl AsyncRead for Blob {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let blob = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            match &mut blob.state {
                State::Reading(transfer) => match ready!(transfer.poll_read(cx, buf)) {
                    Ok(()) => {
                        if transfer.is_complete() {
                            blob.state = State::Ended(Ok(()));
                        }
                        return Poll::Ready(Ok(()));
                    }
                    Err(error) => blob.recover(error),
                },
                State::Recovering(recovering) => {
                    let recovered = ready!(recovering.as_mut().poll(cx));
                    blob.state =
                        recovered.map_or_else(|error| State::Ended(Err(error)), State::Reading);
                }
                State::Ended(ended) => return Poll::Ready(ended.clone().map_err(io::Error::from)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_can_be_read_on_any_thread() {
        fn check<T: AsyncRead + Unpin + Send + 'static>() {}
        check::<Blob>();
    }
}
