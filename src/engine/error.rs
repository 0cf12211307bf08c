//! The one clear line: which repository, which reference, what failed and what to do about it.

use std::fmt;
use std::sync::Arc;

use crate::artifact::{self, archive};
use crate::containers_config::auth::{self, Entry};
use crate::containers_config::registries::credential_helpers;
use crate::containers_config::{certs, policy};
use crate::error_kind::{Failure, Kind, one_line};
use crate::reference::Reference;
use crate::registry::{self, INCOMPLETE};
use crate::source::Source;
use crate::{dnf_cache, layer_store, repomd};

/// What to do where a file system cannot be written: most likely only the service cannot.
const SANDBOX: &str = "the system's service writes below /var/cache: for more, set ReadWritePaths= of dnf5-oci.service";

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
    Registry(registry::Error),
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
    #[error("the repodata layer has {0:?}, which is not a file directly below repodata/")]
    StrayMember(String),
    /// What happened to the same layer a moment ago.
    #[error(transparent)]
    Again(Arc<Cause>),
    #[error("the repository has no {0:?}")]
    NoSuchFile(String),
    #[error("package {0:?} is not in the repository")]
    PackageNotInRepository(String),
    #[error("package {location:?} is {found} in the repository where its metadata say {wanted}")]
    PackageChanged { location: String, wanted: String, found: String },
    #[error("given up")]
    Cancelled,
}

impl From<registry::Error> for Cause {
    fn from(error: registry::Error) -> Self {
        Self::Registry(error)
    }
}

impl From<archive::Error> for Cause {
    /// A failure of the stream below an archive is the registry's, not the archive's.
    fn from(error: archive::Error) -> Self {
        match error {
            archive::Error::Read(error) => Self::from(error),
            error => Self::Archive(error),
        }
    }
}

impl From<repomd::Error> for Cause {
    /// A failure of the stream below a document is the registry's, not the document's.
    fn from(error: repomd::Error) -> Self {
        match error {
            repomd::Error::Read(error) => Self::from(error),
            error => Self::Repodata(error),
        }
    }
}

impl From<std::io::Error> for Cause {
    /// For errors of reading a blob, whose inner error says what happened.
    fn from(error: std::io::Error) -> Self {
        if error.get_ref().is_some_and(|inner| inner.is::<super::blocking::GivenUp>()) {
            return Self::Cancelled;
        }
        Self::Registry(error.into())
    }
}

impl Cause {
    /// For errors of writing to a staged file, of the layer store or of DNF's cache.
    pub(crate) fn writing(error: std::io::Error) -> Self {
        match error.downcast() {
            Ok(error) => Self::Store(error),
            Err(error) => Self::Cache(error.into()),
        }
    }

    /// The same for a package that is a blob at best: a registry without it has no such package.
    pub(crate) fn of_unlisted(self, location: String) -> Self {
        match self.kind() {
            Kind::NotFound => Self::PackageNotInRepository(location),
            _ => self,
        }
    }

    /// Whether a mirror was to blame: asking again will ask another place.
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
            Self::StrayMember(_) => Kind::BadMetadata,
            Self::PackageNotInRepository(_) => Kind::PackageNotInRepository,
            Self::PackageChanged { .. } => Kind::DigestMismatch,
            Self::Cancelled => Kind::Cancelled,
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

    /// Whether a mirror was to blame: asking again will ask another place.
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

/// What to do about it, where there is something to be done that the fact itself does not say.
fn remedy(cause: &Cause, source: &Source) -> Option<String> {
    let special = match cause {
        Cause::Again(cause) => return remedy(cause, source),
        Cause::Registry(registry::Error::Certificate(_)) => return Some(certify(source)),
        Cause::Registry(error) => error.remedy(),
        Cause::NoSuchFile(_) => Some(INCOMPLETE),
        Cause::Cache(error) if error.is_read_only() => Some(SANDBOX),
        _ => None,
    };
    match (special, cause.kind()) {
        (Some(special), _) => Some(special.to_owned()),
        (None, Kind::Unauthorized) => Some(log_in(source)),
        (None, Kind::PolicyRejected) => Some(satisfy_policy(&source.reference)),
        (None, kind) => usual_remedy(kind).map(str::to_owned),
    }
}

/// How to log in, and where credentials were looked for.
fn log_in(source: &Source) -> String {
    let Source { reference, access } = source;
    if access.login.is_some() {
        return "check the username and password in the repository's configuration".to_owned();
    }
    let repositories = auth::repositories(reference);
    for repository in &repositories {
        let found = auth::effective(access, repository);
        if let Some((file, Entry::Malformed { line })) = found {
            let file = file.display();
            return format!("correct {file}, which is not valid JSON from line {line} on");
        }
    }
    let host = asked_last(&repositories);
    let searched = auth::search_order(access);
    let helpers = credential_helpers().unwrap_or_default();
    let helpers = helpers.iter().map(|helper| format!("docker-credential-{helper}"));
    let files = searched.iter().map(|file| file.display().to_string());
    let searched: Vec<_> = files.chain(helpers).collect();
    format!(
        "run \"podman login {host}\" or \"skopeo login {host}\" as the user that runs dnf5; looked \
         for credentials in {}",
        searched.join(", ")
    )
}

/// The host of the registry itself, which is asked after its mirrors: what it says counts.
fn asked_last(repositories: &[String]) -> &str {
    repositories.last().map(|last| auth::host(last)).unwrap_or_default()
}

/// Origin certificates belong.
fn certify(source: &Source) -> String {
    if source.access.certificates.named().next().is_some() {
        return "check the certificates in the repository's configuration".to_owned();
    }
    let repositories = auth::repositories(&source.reference);
    let host = asked_last(&repositories);
    let directory = certs::directory(host);
    format!(
        "certificates for {host} belong into {}: see containers-certs.d(5)",
        directory.display()
    )
}

/// Which scope of which file has refused the artifact.
fn satisfy_policy(reference: &Reference) -> String {
    match policy::rule(reference) {
        Ok(rule) => format!("{rule}; {}", rule.remedy()),
        Err(error) => error.to_string(),
    }
}

fn usual_remedy(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::NotFound => "check the reference's spelling and tag, and that it was pushed",
        Kind::Unreachable => "check the network, the registry, and registries.conf for its mirrors",
        Kind::BadRepository => "push it anew: createrepo_c . && oras push REFERENCE repodata *.rpm",
        Kind::BadMetadata => "have its owner run createrepo_c and push it again",
        Kind::DigestMismatch => {
            "run dnf5 again with --refresh; if it stays, the repository's owner must push it anew"
        }
        Kind::PackageNotInRepository => {
            "run dnf5 again with --refresh; if it stays, the package was never pushed"
        }
        Kind::NoSpace => "free space where the cache is, for example with \"dnf5 clean packages\"",
        Kind::Stalled => "try again; the registry or a proxy in between stopped sending",
        Kind::SkopeoMissing => "install skopeo",
        Kind::SkopeoTooOld => "install skopeo 1.19 or newer",
        Kind::CacheDirectory => "check that it exists, and its owner and permissions",
        Kind::InvalidReference
        | Kind::Unauthorized
        | Kind::PolicyRejected
        | Kind::Cancelled
        | Kind::AccessDenied
        | Kind::InvalidSettings => return None,
    })
}
