use std::io;
use std::path::{Path, PathBuf};

use crate::error_kind::{Failure, Kind};
use crate::staging;

/// Why a layer cannot be stored.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {error}", path = .path.display())]
pub struct Error {
    path: PathBuf,
    /// Part of the text, and therefore not the source.
    error: io::Error,
}

impl Error {
    /// Whether the layer would not fit into the limit of the store.
    pub(crate) fn is_over_limit(&self) -> bool {
        self.error.get_ref().is_some_and(|inner| inner.is::<OverLimit>())
    }

    pub(crate) fn at(path: &Path, error: io::Error) -> Self {
        Self { path: path.to_owned(), error }
    }
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        staging::kind(&self.error)
    }
}

impl From<Error> for io::Error {
    /// Keeps the system's kind, which callers of `Write` look at.
    fn from(error: Error) -> Self {
        Self::new(error.error.kind(), error)
    }
}

/// The store would take more than its limit in bytes.
#[derive(Debug, thiserror::Error)]
#[error("unpacked layers would take more than {} MiB", .0 >> 20)]
pub(super) struct OverLimit(pub(super) u64);

/// The file system would be left with less than its reserve in bytes.
#[derive(Debug, thiserror::Error)]
#[error("less than {} MiB would be left on its file system", .0 >> 20)]
pub(super) struct NoReserve(pub(super) u64);

/// These count as a lack of space.
pub(super) fn full(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, error)
}
