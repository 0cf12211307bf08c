//! Readers that stand between the stream, the decompressor and the tar crate: they see to it that
//! nothing is without end, and that each failure is known for what it is.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read};
use std::rc::Rc;

/// The most bytes of a member that is not a file but describes the next one (GNU long names, pax
/// headers): the tar crate holds these in memory.
const MAX_EXTENSION: u64 = 1 << 20;

/// Keeps the error of the stream below apart from those of the layers above it.
pub(super) struct ErrorTap<'a, R> {
    pub(super) stream: R,
    pub(super) failure: &'a mut Option<io::Error>,
}

impl<R: Read> Read for ErrorTap<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let kind = error.kind();
                    *self.failure = Some(error);
                    return Err(io::Error::new(kind, "the stream failed"));
                }
                read => return read,
            }
        }
    }
}

/// Ends an expansion that does not end by itself.
pub(super) struct Bounded<R> {
    content: R,
    limit: u64,
    left: u64,
    allowance: HeaderBudget,
    ended: bool,
}

/// The content is longer than this many bytes.
#[derive(Debug, thiserror::Error)]
#[error("more than {0} bytes")]
pub(super) struct Expanded(pub(super) u64);

impl<R: Read> Bounded<R> {
    pub(super) fn new(content: R, limit: u64, allowance: HeaderBudget) -> Self {
        Self { content, limit, left: limit, allowance, ended: false }
    }

    /// Whether all that there is has been read.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.ended |= read == 0 && !buffer.is_empty();
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other(Expanded(self.limit)))?;
        self.allowance.spend(read as u64)?;
        Ok(read)
    }
}

/// How much the tar crate may read from one member to the next. Beside headers these are the
/// extensions, which it holds in memory whatever size they claim.
#[derive(Clone, Default)]
pub(super) struct HeaderBudget(Rc<Cell<Option<u64>>>);

impl HeaderBudget {
    pub(super) fn during<T>(&self, advance: impl FnOnce() -> T) -> T {
        self.0.set(Some(MAX_EXTENSION));
        let result = advance();
        self.0.set(None);
        result
    }

    fn spend(&self, read: u64) -> io::Result<()> {
        match self.0.get().map(|left| left.checked_sub(read)) {
            None => Ok(()),
            Some(Some(left)) => {
                self.0.set(Some(left));
                Ok(())
            }
            Some(None) => Err(io::Error::other("a header of unreasonable size")),
        }
    }
}

/// The content of a member, which must be all there.
pub(super) struct Content<R> {
    entry: R,
    left: u64,
    failure: Option<io::Error>,
}

impl<R: Read> Content<R> {
    pub(super) fn new(entry: R, size: u64) -> Self {
        Self { entry, left: size, failure: None }
    }

    /// Reads what the visitor has left.
    pub(super) fn skip(&mut self) -> io::Result<()> {
        io::copy(self, &mut io::sink()).map(drop)
    }

    /// What went wrong with the archive while the member was read. The reader of the member was
    /// told so as well, but what it made of that does not matter.
    pub(super) fn into_failure(self) -> Option<io::Error> {
        self.failure
    }
}

impl<R: Read> Read for Content<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = match self.entry.read(buffer) {
            Ok(0) if self.left > 0 && !buffer.is_empty() => {
                Err(io::Error::other("it ends within a member"))
            }
            result => result,
        };
        match result {
            Ok(read) => {
                self.left = self.left.saturating_sub(read as u64);
                Ok(read)
            }
            Err(error) => {
                self.failure = Some(error);
                Err(io::Error::other("the archive failed"))
            }
        }
    }
}
