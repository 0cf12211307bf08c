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
