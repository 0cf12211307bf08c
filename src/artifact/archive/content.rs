//! The content of one member of an archive.

use std::io::{self, Read};

/// A reader that fails if the member is not complete.
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

    /// The failure of the archive while the member was read. The visitor got one as well, but what it
    /// made of it does not matter.
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
