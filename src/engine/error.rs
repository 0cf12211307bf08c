//! The one clear line: which repository, which reference, what failed and what to do about it.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::advice::{Remedy, is_signature, remedy};
use super::line::Line;
use crate::artifact::{self, archive, locations};
use crate::blocking::Cancelled;
use crate::checksum::Algorithm;
use crate::containers_config::auth;
use crate::error_kind::{Failure, Kind, MAX_LINE, facts, printable, shortened};
use crate::reference::Reference;
use crate::registry;
use crate::source::Source;
use crate::{dnf_cache, layer_store, repomd, staging};

/// Why an operation failed.
///
/// Its text is the whole line that a user sees; the cause is part of it, not its `source()`.
#[derive(Debug)]
pub struct Error {
    repository: Option<String>,
    reference: Reference,
    cause: Cause,
    /// What failed, without secrets.
    fact: String,
    remedy: Option<Remedy>,
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
    Locations(locations::Error),
    #[error(transparent)]
    Cache(#[from] dnf_cache::Error),
    #[error(transparent)]
    Store(#[from] layer_store::Error),
    #[error("reading an unpacked layer failed: {0}")]
    UnpackedLayer(io::Error),
    /// What happened to the same layer a moment ago.
    #[error(transparent)]
    Again(Arc<Cause>),
    #[error("the repository has no {}", no_file(.0))]
    NoSuchFile(String),
    #[error("{path:?} is larger than {limit} bytes")]
    LargeFile { path: String, limit: u64 },
    #[error("package {0:?} is not in the repository")]
    PackageNotInRepository(String),
    #[error("package {location:?} has no layer with its name, and its {} finds none", .algorithm.name())]
    NotSha256 { location: String, algorithm: Algorithm },
    #[error("confining a thread failed: {0}")]
    Confinement(io::Error),
    #[error("the index of packages cannot be used: {0}")]
    Index(io::Error),
    #[error("checksum mismatch for {location:?}: expected {expected}, got {found}")]
    PackageChanged { location: String, expected: String, found: String },
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// A file that is missing. What the signature is for, its path does not say.
fn no_file(path: &str) -> String {
    match is_signature(path) {
        true => format!("signature ({path:?})"),
        false => format!("{path:?}"),
    }
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

impl From<locations::Error> for Cause {
    /// A failure of the stream below a table is the registry's, not the table's.
    fn from(error: locations::Error) -> Self {
        match error {
            locations::Error::Read(error) => Self::reading(error),
            error => Self::Locations(error),
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
    pub(crate) fn reading(error: io::Error) -> Self {
        let inner = match error.downcast::<registry::Error>() {
            Ok(error) => return Self::Registry(error),
            Err(error) => error,
        };
        match inner.downcast::<Cancelled>() {
            Ok(cancelled) => Self::Cancelled(cancelled),
            Err(error) => Self::UnpackedLayer(error),
        }
    }

    /// A package that has another size than its metadata says.
    pub(super) fn other_size(location: &str, expected: u64, found: u64) -> Self {
        let [expected, found] = [expected, found].map(|size| format!("{size} bytes"));
        Self::PackageChanged { location: location.to_owned(), expected, found }
    }

    /// Whether the layer store has no room for the layer.
    pub(crate) fn is_over_limit(&self) -> bool {
        match self {
            Self::Again(cause) => cause.is_over_limit(),
            Self::Store(error) => error.is_over_limit(),
            _ => false,
        }
    }

    /// Whether a layer is not what its title or annotation promised.
    pub(crate) fn is_no_archive(&self) -> bool {
        match self {
            Self::Again(cause) => cause.is_no_archive(),
            Self::Archive(_) => true,
            _ => false,
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
            Self::Locations(error) => error.kind(),
            Self::Cache(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Again(cause) => cause.kind(),
            Self::NoSuchFile(_) => Kind::NotFound,
            Self::LargeFile { .. } => Kind::BadRepository,
            Self::UnpackedLayer(_) => Kind::CacheDirectory,
            Self::PackageNotInRepository(_) | Self::NotSha256 { .. } => {
                Kind::PackageNotInRepository
            }
            Self::Index(error) | Self::Confinement(error) => staging::kind(error),
            Self::PackageChanged { .. } => Kind::DigestMismatch,
            Self::Cancelled(_) => Kind::Cancelled,
        }
    }
}

impl Error {
    /// Reads auth files, to show no secret of theirs. Logs the line if it is too long for a user.
    pub(crate) fn new(repository: Option<&str>, source: &Source, cause: Cause) -> Self {
        let error = Self {
            repository: repository.map(printable),
            reference: source.reference.clone(),
            remedy: remedy(&cause, source),
            fact: auth::secrets(&source.access).hide(&facts(&cause)),
            cause,
        };
        error.line().log_if_long();
        error
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
        Line::advice(&shortened(&self.fact, MAX_LINE), self.remedy.as_ref())
    }

    fn line(&self) -> Line {
        Line {
            repository: self.repository.clone(),
            reference: printable(&self.reference.to_string()),
            fact: self.fact.clone(),
            remedy: self.remedy.clone(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line().fmt(f)
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
    use crate::source::{Access, Login};
    use proptest::prelude::*;

    fn refused(kind: Kind, message: &str) -> Cause {
        registry::Error::Refused { kind, retryable: false, message: message.to_owned() }.into()
    }

    fn failed(reference: &str, cause: Cause) -> Error {
        let reference = reference.parse().expect("valid");
        Error::new(Some("tools"), &Source { reference, access: Access::default() }, cause)
    }

    #[test]
    fn the_middle_of_the_fact_is_left_out_first() {
        let message = format!("reading manifest: {}: the end", "x".repeat(20_000));
        let line = failed("oci://quay.io/a/b:1", refused(Kind::Unreachable, &message)).to_string();
        assert_eq!(line.chars().count(), MAX_LINE);
        assert!(line.starts_with("repository tools oci://quay.io/a/b:1: reading manifest: xxx"));
        assert!(line.ends_with(
            "x: the end; check the network, the registry, and registries.conf for its mirrors"
        ));
    }

    #[test]
    fn the_beginning_of_digests_is_enough() {
        let [expected, found] = ["a1", "b2"].map(|digits| format!("sha256:{}", digits.repeat(32)));
        let location = format!("{}/one-1-1.noarch.rpm", "p".repeat(40));
        let cause = Cause::PackageChanged { location: location.clone(), expected, found };
        let line = failed("oci://quay.io/a/b:1", cause).to_string();
        let fact = format!(
            "{location:?}: expected sha256:a1a1a1a1a1a1…, got sha256:b2b2b2b2b2b2…; refresh"
        );
        assert!(line.contains(&fact), "{line}");
    }

    #[test]
    fn where_credentials_were_looked_for_is_told_if_there_is_room() {
        let reference = "oci://quay.io/a/b:1".parse().expect("valid");
        let access = Access { auth_file: Some("/x".into()), ..Access::default() };
        let source = Source { reference, access };
        let denied = |message: &str| {
            Error::new(Some("tools"), &source, refused(Kind::Unauthorized, message)).to_string()
        };
        assert!(denied("no").ends_with("as the user that runs dnf5; looked for credentials in /x"));
        assert!(denied(&"no ".repeat(70)).ends_with("as the user that runs dnf5"));
    }

    #[test]
    fn what_comes_from_a_manifest_shows_no_secret() {
        let reference = "oci://quay.io/a/b:1".parse().expect("valid");
        let login = Login { username: "me".into(), password: "s3cr&t".to_owned().into() };
        let source =
            Source { reference, access: Access { login: Some(login), ..Access::default() } };
        let cause = Cause::PackageNotInRepository("a/s3cr&amp;t.rpm".into());
        let line = Error::new(Some("tools"), &source, cause).to_string();
        assert!(line.contains("package \"a/***.rpm\" is not in the repository"), "{line}");
    }

    #[test]
    fn remedies_of_this_machine() {
        let full = || io::Error::from_raw_os_error(28);
        let store = layer_store::Error::at(std::path::Path::new("/var/cache/dnf5-oci/x"), full());
        let many = || io::Error::from_raw_os_error(24);
        for (cause, expected) in [
            (Cause::Store(store), "free space there, or set a lower limits.store-size"),
            (Cause::UnpackedLayer(many()), "set a higher LimitNOFILE="),
            (registry::Error::Process(many().to_string()).into(), "ulimit -n"),
            (refused(Kind::Unreachable, "500: Too many open files"), "check the network"),
            (Cause::NoSuchFile("repodata/repomd.xml.asc".into()), "set repo_gpgcheck=0"),
        ] {
            let line = failed("oci://quay.io/a/b:1", cause).to_string();
            assert!(line.contains(expected), "{line}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_line_is_bounded_and_names_what_where_and_the_remedy(
            text in "(?s).{0,2000}", kind in 0_usize..4, name in "[a-z0-9]{1,240}"
        ) {
            let kind = [Kind::Unreachable, Kind::NotFound, Kind::Stalled, Kind::NoSpace][kind];
            let reference = format!("oci://quay.io/{name}:1");
            let line = failed(&reference, refused(kind, &text)).to_string();
            prop_assert!(line.chars().count() <= MAX_LINE);
            prop_assert_eq!(&printable(&line), &line);
            prop_assert!(line.starts_with("repository tools oci://quay.io/"));
            let remedy = remedy(&refused(kind, ""), &source_of(&reference)).expect("one");
            prop_assert!(line.ends_with(&format!("; {}", remedy.action)), "{line}");
            if name.len() < 80 {
                prop_assert!(line.contains(&reference), "{line}");
            }
        }
    }

    fn source_of(reference: &str) -> Source {
        Source { reference: reference.parse().expect("valid"), access: Access::default() }
    }

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
            assert_eq!(facts(&cause), "/x: no storage space");
        }
    }
}
