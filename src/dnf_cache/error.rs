use std::io;
use std::path::{Path, PathBuf};

use crate::error_kind::{Failure, Kind};
use crate::{repomd, staging};

/// Why the cache directory cannot be used, or something cannot be put into it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path of the directory is relative, or has `..` in it.
    #[error("the cache directory {0:?} is not an absolute path without \"..\"")]
    NotAbsolute(PathBuf),
    /// A file cannot be read or written.
    #[error("{path}: {error}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Part of the text, and therefore not the source.
        error: io::Error,
    },
    /// The location of a package does not end in a file name.
    #[error("invalid package location {0:?}")]
    PackageName(String),
    /// A package is not the one that the metadata lists.
    #[error(transparent)]
    WrongPackage(Mismatch),
    /// repomd.xml is invalid.
    #[error(transparent)]
    Repomd(#[from] repomd::Error),
    /// There is no repomd.xml.
    #[error("the repository has no repodata/repomd.xml")]
    NoRepomd,
    /// repomd.xml does not list the file that dnf5 needs most.
    #[error("repomd.xml lists no primary metadata")]
    NoPrimary,
    /// A metadata file that repomd.xml lists is missing.
    #[error("repomd.xml lists {0:?}, which the repository does not have")]
    MissingFile(String),
    /// A metadata file is not the one that repomd.xml lists.
    #[error(transparent)]
    WrongFile(Mismatch),
    /// The name of a metadata file has a slash or control characters, or is reserved.
    #[error("invalid metadata file name {0:?}")]
    FileName(String),
}

/// A file that differs from what the metadata says about it.
#[derive(Debug, thiserror::Error)]
#[error("{property} mismatch for {file:?}: expected {expected}, got {found}")]
pub struct Mismatch {
    property: &'static str,
    file: String,
    expected: String,
    found: String,
}

impl Mismatch {
    pub(super) fn new(
        property: &'static str,
        file: &str,
        expected: impl ToString,
        found: impl ToString,
    ) -> Self {
        let (expected, found) = (expected.to_string(), found.to_string());
        Self { property, file: file.to_owned(), expected, found }
    }
}

impl Error {
    pub(crate) fn at(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), error }
    }

    /// Whether the file system is mounted read-only, as it is for a service in a sandbox.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self, Self::Io { error, .. } if error.kind() == io::ErrorKind::ReadOnlyFilesystem)
    }
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NotAbsolute(_) => Kind::CacheDirectory,
            Self::Io { error, .. } => staging::kind(error),
            Self::WrongPackage(_) => Kind::DigestMismatch,
            Self::PackageName(_)
            | Self::Repomd(_)
            | Self::NoRepomd
            | Self::NoPrimary
            | Self::MissingFile(_)
            | Self::WrongFile(_)
            | Self::FileName(_) => Kind::BadMetadata,
        }
    }
}

impl From<Error> for io::Error {
    /// Keeps the system's kind, so that `Write` retries what was interrupted.
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Io { error, .. } => error.kind(),
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<io::Error> for Error {
    /// Unwraps the error of a staged file's `Write`.
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(inner) => inner,
            Err(error) => Self::Io { path: PathBuf::new(), error },
        }
    }
}
