//! The one clear line: which repository, which reference, what failed and what to do about it.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::advice::remedy;
use crate::artifact::{self, archive};
use crate::blocking::Cancelled;
use crate::error_kind::{Failure, Kind, one_line};
use crate::reference::Reference;
use crate::registry;
use crate::source::Source;
use crate::{dnf_cache, layer_store, repomd};

/// Why an operation failed.
///
/// Its text is the whole line that a user sees; the cause is part of it, not its `source()`.
#[derive(Debug)]
pub struct Error {
    repository: Option<String>,
    reference: Reference,
    cause: Cause,
    remedy: Option<String>,
}

/// What failed, before it is known for which repository.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error(transparent)]
    Registry(#[from] registry::Error),
    #[error(transparent)]
    Artifact(#[from] artifact::Error),
    #[error(transparent)]
    Archive(archive::Error),
    #[error(transparent)]
    Repodata(repomd::Error),
    #[error(transparent)]
    Cache(#[from] dnf_cache::Error),
    #[error(transparent)]
    Store(#[from] layer_store::Error),
    #[error("reading an unpacked layer failed: {0}")]
    UnpackedLayer(io::Error),
    /// What happened to the same layer a moment ago.
    #[error(transparent)]
    Again(Arc<Cause>),
    #[error("the repository has no {0:?}")]
    NoSuchFile(String),
    #[error("package {0:?} is not in the repository")]
    PackageNotInRepository(String),
    #[error("checksum mismatch for {location:?}: expected {expected}, got {found}")]
    PackageChanged { location: String, expected: String, found: String },
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<archive::Error> for Cause {
    /// A failure of the stream below an archive is the registry's, not the archive's.
    fn from(error: archive::Error) -> Self {
        match error {
            archive::Error::Read(error) => Self::reading(error),
            error => Self::Archive(error),
        }
    }
}

impl From<repomd::Error> for Cause {
    /// A failure of the stream below a document is the registry's, not the document's.
    fn from(error: repomd::Error) -> Self {
        match error {
            repomd::Error::Read(error) => Self::reading(error),
            error => Self::Repodata(error),
        }
    }
}

impl Cause {
    /// What an error of writing to a staged file means: of the layer store or of DNF's cache.
    pub(super) fn writing(error: io::Error) -> Self {
        match error.downcast() {
            Ok(error) => Self::Store(error),
            Err(error) => Self::Cache(error.into()),
        }
    }

    /// What an error of reading [`super::Content`] means. That of a blob has the registry's error in it; any
    /// other is about a file of an unpacked layer.
    pub(super) fn reading(error: io::Error) -> Self {
        let inner = match error.downcast::<registry::Error>() {
            Ok(error) => return Self::Registry(error),
            Err(error) => error,
        };
        match inner.downcast::<Cancelled>() {
            Ok(cancelled) => Self::Cancelled(cancelled),
            Err(error) => Self::UnpackedLayer(error),
        }
    }

    /// The same for a package that is a blob at best: a registry without it has no such package.
    pub(crate) fn of_unlisted(self, location: String) -> Self {
        match self.kind() {
            Kind::NotFound => Self::PackageNotInRepository(location),
            _ => self,
        }
    }

    /// Whether the registry has refused it, which it may do once and not again.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_refusal(),
            Self::PackageNotInRepository(_) => true,
            Self::Again(cause) => cause.is_refusal(),
            _ => false,
        }
    }

    /// Whether wrong bytes came: asking again asks another mirror, or the registry once more.
    pub(crate) fn is_mirror_fault(&self) -> bool {
        matches!(self, Self::Registry(registry::Error::MirrorCorrupt(_)))
    }
}

impl Failure for Cause {
    fn kind(&self) -> Kind {
        match self {
            Self::Registry(error) => error.kind(),
            Self::Artifact(error) => error.kind(),
            Self::Archive(error) => error.kind(),
            Self::Repodata(error) => error.kind(),
            Self::Cache(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Again(cause) => cause.kind(),
            Self::NoSuchFile(_) => Kind::NotFound,
            Self::UnpackedLayer(_) => Kind::CacheDirectory,
            Self::PackageNotInRepository(_) => Kind::PackageNotInRepository,
            Self::PackageChanged { .. } => Kind::DigestMismatch,
            Self::Cancelled(_) => Kind::Cancelled,
        }
    }
}

impl Error {
    pub(crate) fn new(repository: Option<&str>, source: &Source, cause: Cause) -> Self {
        Self {
            repository: repository.map(str::to_owned),
            reference: source.reference.clone(),
            remedy: remedy(&cause, source),
            cause,
        }
    }

    /// Whether the registry has refused it, which it may do once and not again.
    pub fn is_refusal(&self) -> bool {
        self.cause.is_refusal()
    }

    /// Whether wrong bytes came: asking again asks another mirror, or the registry once more.
    pub fn is_mirror_fault(&self) -> bool {
        self.cause.is_mirror_fault()
    }

    /// What failed and what to do about it, for those who know which repository it is about.
    pub fn advice(&self) -> String {
        let fact = one_line(&self.cause);
        match &self.remedy {
            Some(remedy) => format!("{}; {remedy}", fact.trim_end_matches('.')),
            None => fact,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(id) = &self.repository {
            write!(f, "repository {id} ")?;
        }
        write!(f, "{}: {}", self.reference, self.advice())
    }
}

impl std::error::Error for Error {}

impl Failure for Error {
    fn kind(&self) -> Kind {
        self.cause.kind()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_read_of_a_local_file_is_not_the_registrys() {
        let local = Cause::reading(io::Error::from_raw_os_error(5));
        assert_eq!(local.kind(), Kind::CacheDirectory);
        let stalled = registry::Error::Stalled(std::time::Duration::from_secs(30));
        assert_eq!(Cause::reading(stalled.into()).kind(), Kind::Stalled);
        assert_eq!(Cause::reading(io::Error::other(Cancelled)).kind(), Kind::Cancelled);
    }

    #[test]
    fn wrong_bytes_are_the_mirrors_whatever_was_read() {
        let wrong = || registry::Error::MirrorCorrupt(Box::new(registry::Error::NoOtherPullSource));
        assert!(Cause::from(archive::Error::Read(wrong().into())).is_mirror_fault());
        assert!(Cause::from(repomd::Error::Read(wrong().into())).is_mirror_fault());
    }

    #[test]
    fn a_failed_write_names_its_file_once() {
        let path = std::path::Path::new("/x");
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        for error in
            [dnf_cache::Error::at(path, full()).into(), layer_store::Error::at(path, full()).into()]
        {
            let cause = Cause::writing(error);
            assert_eq!(cause.kind(), Kind::NoSpace);
            assert_eq!(one_line(&cause), "/x: no storage space");
        }
    }
}
