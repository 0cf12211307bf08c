//! A blob as a stream that survives failed transfers and is checked.

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use containers_image_proxy::oci_spec::image::{Descriptor, Digest};
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf, Take};
use tokio_util::task::AbortOnDropHandle;

use super::Error;
use super::attempts::{self, Attempts};
use super::body::Body;
use super::check::{Check, Delivered};
use super::pool::{Failed, Pool};
use crate::blocking;
use crate::checksum::{Checksum, Hasher};
use crate::source::Source;

/// A blob's bytes.
///
/// When a transfer fails, the blob is requested again, from the next pull source if need be, and the
/// stream continues where it was. Size and digest are checked when the last byte has come and before it
/// is delivered: a reader that got all bytes got the right ones, unless it is to check the digest itself
/// ([`Check::ByReader`]). When a read has failed, all later reads fail, too. An [`Error`] is inside each
/// [`io::Error`].
pub struct Blob {
    size: u64,
    state: State,
}

enum State {
    Reading(Box<Transfer>),
    Recovering(BoxFuture<'static, Result<Box<Transfer>, Error>>),
    Ended(Result<(), Error>),
}

/// A body that is being read, and what it takes to open another one when it fails.
struct Transfer {
    attempts: Attempts,
    /// Limited to the bytes that are still to come.
    body: Take<Body>,
    size: u64,
    received: u64,
    expected: Checksum,
    verification: Verification,
}

/// How the digest is checked.
enum Verification {
    Hash(Hasher),
    ByReader(Arc<Delivered>),
}

impl Blob {
    /// Opens a blob; returns when the registry has begun to answer.
    pub(super) async fn open(
        pool: Arc<Pool>,
        source: &Source,
        descriptor: &Descriptor,
        check: Check<'_>,
    ) -> Result<Self, Error> {
        let digest = descriptor.digest().to_string();
        let expected: Checksum = digest.parse().map_err(|_| Error::UnknownDigest(digest))?;
        let delivered = left_to_reader(&pool, descriptor.digest(), check).await?;
        let verification = match delivered {
            Some(delivered) => Verification::ByReader(delivered),
            None => Verification::Hash(expected.hasher()),
        };
        let mut attempts = Attempts::new(pool, source, descriptor).await?;
        let size = descriptor.size();
        let body = attempts.body(0).await?.take(size);
        let transfer = Transfer { attempts, body, size, received: 0, expected, verification };
        Ok(Self { size, state: State::Reading(Box::new(transfer)) })
    }

    /// The blob's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn recover(&mut self, error: Error) {
        let failed = State::Ended(Err(error.clone()));
        if let State::Reading(transfer) = mem::replace(&mut self.state, failed) {
            // A task, because the thread that reads may be confined.
            let task = AbortOnDropHandle::new(tokio::spawn(transfer.recover(error)));
            self.state = State::Recovering(Box::pin(blocking::join(task)));
        }
    }
}

/// Where to record the delivery of a blob that its reader is to check. `None` if it is checked here: also
/// where this reader, or any other one, has got wrong bytes a moment ago.
async fn left_to_reader(
    pool: &Pool,
    digest: &Digest,
    check: Check<'_>,
) -> Result<Option<Arc<Delivered>>, Error> {
    let Check::ByReader(delivered) = check else {
        return Ok(None);
    };
    if let Some(sender) = delivered.take(digest) {
        attempts::reject(pool, &sender, digest).await?;
        return Ok(None);
    }
    Ok((!pool.is_suspect(digest)).then(|| Arc::clone(delivered)))
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
                    Ok(()) if transfer.is_complete() => blob.state = State::Ended(Ok(())),
                    Ok(()) => return Poll::Ready(Ok(())),
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

impl Transfer {
    /// Reads the next bytes; the last ones only if all are right.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), Error>> {
        let start = buf.filled().len();
        ready!(Pin::new(&mut self.body).poll_read(cx, buf))?;
        let bytes = &buf.filled()[start..];
        if let Verification::Hash(hasher) = &mut self.verification {
            hasher.update(bytes);
        }
        self.received += bytes.len() as u64;
        let outcome = if self.is_complete() {
            self.check()
        } else if bytes.is_empty() {
            let digest = self.expected.to_string();
            Err(Error::Short { digest, received: self.received, size: self.size })
        } else {
            Ok(())
        };
        Poll::Ready(outcome.inspect_err(|_| buf.set_filled(start)))
    }

    /// Whether the last byte has come.
    fn is_complete(&self) -> bool {
        self.received == self.size
    }

    /// Continues with another body after an error.
    ///
    /// # Errors
    /// If there is no attempt left, or what has come is wrong.
    async fn recover(mut self: Box<Self>, error: Error) -> Result<Box<Self>, Error> {
        let error = match error {
            // skopeo knows why, unless it was killed.
            Error::Short { .. } => self.body.get_mut().outcome().await.err().unwrap_or(error),
            other => other,
        };
        self.attempts.recover(Failed::Blob(error), self.received).await?;
        let body = self.attempts.body(self.received).await?;
        self.body = body.take(self.size - self.received);
        Ok(self)
    }

    /// Checks size and digest. If they are right, what skopeo reports of the end does not matter.
    fn check(&mut self) -> Result<(), Error> {
        if self.body.get_ref().has_more() {
            return Err(Error::Long { digest: self.expected.to_string(), size: self.size });
        }
        let hasher = match &mut self.verification {
            Verification::Hash(hasher) => mem::replace(hasher, self.expected.hasher()),
            Verification::ByReader(delivered) => {
                self.attempts.record_in(delivered);
                return Ok(());
            }
        };
        let found = hasher.finish();
        if found == self.expected {
            return Ok(());
        }
        Err(Error::DigestMismatch { expected: self.expected.to_string(), found: found.to_string() })
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
