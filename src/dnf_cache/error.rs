//! How the cache directory can fail.

use std::io;
use std::path::{Path, PathBuf};

use crate::error_kind::{Failure, Kind};
use crate::repomd;

/// Why something could not be put into the cache.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path is not a plain absolute one.
    #[error("the cache directory {0:?} is not an absolute path without \"..\"")]
    NotAbsolute(PathBuf),
    /// The system refused.
    #[error("{path}: {error}", path = .path.display())]
    Io {
        /// What it was about.
        path: PathBuf,
        /// What the system said; part of the text, and no source of its own.
        error: io::Error,
    },
    /// The location of a package ends in no usable name.
    #[error("{0:?} is no name for a package")]
    PackageName(String),
    /// A package's bytes are not those that the metadata promise.
    #[error("{location:?} is {found} where its metadata say {wanted}")]
    WrongPackage {
        /// Its location.
        location: String,
        /// What came.
        found: String,
        /// What should have come.
        wanted: String,
    },
    /// repomd.xml cannot be relied upon.
    #[error(transparent)]
    Repomd(#[from] repomd::Error),
    /// There is no repomd.xml.
    #[error("the repository has no repodata/repomd.xml")]
    NoRepomd,
    /// There is nothing that dnf5 could load.
    #[error("repomd.xml lists no primary metadata")]
    NoPrimary,
    /// A metadata file that repomd.xml lists is not there.
    #[error("repomd.xml lists {0:?}, which the repository does not have")]
    MissingFile(String),
    /// A metadata file is not what repomd.xml says.
    #[error("repodata/{name} is {found} where repomd.xml says {wanted}")]
    WrongFile {
        /// Its name.
        name: String,
        /// What came.
        found: String,
        /// What should have come.
        wanted: String,
    },
    /// A name that is not a plain one, or is ours.
    #[error("repodata/{0:?} is no name for a metadata file")]
    FileName(String),
}

impl Error {
    pub(crate) fn at(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), error }
    }

    /// Whether nothing can be written there, whoever owns it.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self, Self::Io { error, .. } if error.kind() == io::ErrorKind::ReadOnlyFilesystem)
    }
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NotAbsolute(_) => Kind::CacheDirectory,
            Self::Io { error, .. } => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::NoSpace,
                _ => Kind::CacheDirectory,
            },
            Self::WrongPackage { .. } => Kind::DigestMismatch,
            Self::PackageName(_)
            | Self::Repomd(_)
            | Self::NoRepomd
            | Self::NoPrimary
            | Self::MissingFile(_)
            | Self::WrongFile { .. }
            | Self::FileName(_) => Kind::BadMetadata,
        }
    }
}

impl From<Error> for io::Error {
    /// The system's kind is kept: an interrupted write is tried again by it.
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Io { error, .. } => error.kind(),
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<io::Error> for Error {
    /// Takes the error of a staged file's `Write` out of its wrapping.
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(inner) => inner,
            Err(error) => Self::Io { path: PathBuf::new(), error },
        }
    }
}
