//! What to do about a failure.

use std::path::Path;

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::error::Cause;
use crate::containers_config::auth::{self, AuthEntry};
use crate::containers_config::registries::credential_helpers;
use crate::containers_config::{certs, paths, policy};
use crate::error_kind::{Failure, Kind, one_line};
use crate::reference::Reference;
use crate::registry::{self, INCOMPLETE};
use crate::source::Source;

/// What to do if a file system is read-only: most likely it is so only for the service.
const SANDBOX: &str = "the system's service writes below /var/cache: for more, set ReadWritePaths= of dnf5-oci.service";

/// What to do if the layer store is too small.
const ENLARGE: &str = "raise limits.store-size in /etc/dnf5-oci/config.toml";

/// What to do about a package that nothing leads to.
const TITLE: &str = "have its owner push packages with titles, or run createrepo_c with its default checksum, sha256";

/// What skopeo says of a credential helper that has failed. It does not pass on why.
const HELPER_FAILED: &str = "error getting credentials";

/// The end of the path of the signature that dnf5 requests with `repo_gpgcheck=1`.
const SIGNATURE: &str = "repomd.xml.asc";

/// What the system says if a process, or all of them, have too many files open: strerror(3).
const TOO_MANY_FILES: &str = "Too many open files";

/// What to do about a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remedy {
    /// The remedy.
    pub(super) action: String,
    /// What else may help, for those who have room for it.
    pub(super) note: Option<String>,
}

impl<T: Into<String>> From<T> for Remedy {
    fn from(action: T) -> Self {
        Self { action: action.into(), note: None }
    }
}

/// What to do about it, where there is something to be done that the fact itself does not say.
pub(super) fn remedy(cause: &Cause, source: &Source) -> Option<Remedy> {
    let special = match cause {
        Cause::Again(cause) => return remedy(cause, source),
        Cause::Registry(registry::Error::Certificate(_)) => return Some(certify(source).into()),
        Cause::Registry(registry::Error::Refused { kind: Kind::Unauthorized, message, .. }) => {
            return Some(log_in(source, message));
        }
        Cause::Registry(error) if error.remedy().is_some() => error.remedy(),
        Cause::NoSuchFile(path) if is_signature(path) => {
            Some("have its owner sign it, or set repo_gpgcheck=0")
        }
        Cause::NoSuchFile(_) => Some(INCOMPLETE),
        Cause::Cache(error) if error.is_read_only() => Some(SANDBOX),
        Cause::Store(error) if error.is_over_limit() => Some(ENLARGE),
        Cause::NotSha256 { .. } => Some(TITLE),
        Cause::Store(_) if cause.kind() == Kind::NoSpace => {
            Some("free space there, or set a lower limits.store-size")
        }
        // Its words are the registry's.
        Cause::Registry(registry::Error::Refused { .. }) => None,
        cause if one_line(cause).contains(TOO_MANY_FILES) => {
            Some("set a higher LimitNOFILE= of dnf5-oci.service; without the service, ulimit -n")
        }
        _ => None,
    };
    match (special, cause.kind()) {
        (Some(special), _) => Some(special.into()),
        (None, Kind::Unauthorized) => Some(log_in(source, "")),
        (None, Kind::PolicyRejected) => Some(satisfy_policy(&source.reference)),
        (None, kind) => default_remedy(kind).map(Remedy::from),
    }
}

/// Whether a path is that of the signature of the metadata.
pub(super) fn is_signature(path: &str) -> bool {
    path.ends_with(SIGNATURE)
}

/// How to log in, and where credentials were looked for.
fn log_in(source: &Source, message: &str) -> Remedy {
    let Source { reference, access } = source;
    if access.login.is_some() {
        return "check the username and password in the repository's configuration".into();
    }
    let home = paths::home();
    if message.contains(HELPER_FAILED) && is_read_only(&home) {
        return format!(
            "the unit lets no credential helper write below {}: set ReadWritePaths= of \
             dnf5-oci.service, or backend=private in oci.conf",
            home.display()
        )
        .into();
    }
    let repositories = auth::repositories(reference);
    for repository in &repositories {
        let found = auth::effective(access, repository);
        if let Some((file, AuthEntry::Malformed { line })) = found {
            let file = file.display();
            return format!("correct {file}, which is not valid JSON from line {line} on").into();
        }
    }
    let host = own_host(&repositories);
    let searched = auth::search_order(access);
    let helpers = credential_helpers().unwrap_or_default();
    let helpers = helpers.iter().map(|helper| format!("docker-credential-{helper}"));
    let files = searched.iter().map(|file| file.display().to_string());
    let searched: Vec<_> = files.chain(helpers).collect();
    Remedy {
        action: format!("run \"podman login {host}\" as the user that runs dnf5"),
        note: Some(format!("looked for credentials in {}", searched.join(", "))),
    }
}

/// Whether a directory is on a file system that is read-only for this process: access(2).
fn is_read_only(directory: &Path) -> bool {
    access(directory, Access::WRITE_OK) == Err(Errno::ROFS)
}

/// The host of the registry itself, which is the last pull source: its answer is the one that is shown.
fn own_host(repositories: &[String]) -> &str {
    repositories.last().map(|last| auth::host(last)).unwrap_or_default()
}

/// Where to put certificates.
fn certify(source: &Source) -> String {
    if source.access.certificates.named().next().is_some() {
        return "check the certificates in the repository's configuration".to_owned();
    }
    let repositories = auth::repositories(&source.reference);
    let host = own_host(&repositories);
    let directory = certs::directory(host);
    format!("put certificates for {host} into {}; see containers-certs.d(5)", directory.display())
}

/// The rule that has refused the artifact, and how to satisfy it.
fn satisfy_policy(reference: &Reference) -> Remedy {
    match policy::rule(reference) {
        Ok(rule) => {
            let (action, note) = rule.remedy();
            Remedy { action: format!("{rule}; {action}"), note: Some(note.to_owned()) }
        }
        Err(error) => error.to_string().into(),
    }
}

fn default_remedy(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::NotFound => "check the reference's spelling and tag, and that it was pushed",
        Kind::Unreachable => "check the network, the registry, and registries.conf for its mirrors",
        Kind::BadRepository => {
            "push it again: createrepo_c . && oras push REFERENCE repodata *.rpm"
        }
        Kind::BadMetadata => "have its owner run createrepo_c and push it again",
        Kind::DigestMismatch => {
            "refresh the metadata with --refresh; if that does not help, have its owner push it again"
        }
        Kind::PackageNotInRepository => {
            "refresh the metadata with --refresh; if that does not help, have its owner push the package"
        }
        Kind::NoSpace => "free space where the cache is, for example with \"dnf5 clean packages\"",
        Kind::Stalled => "try again; the registry or a proxy in between stopped sending",
        Kind::SkopeoMissing => "install skopeo",
        Kind::SkopeoTooOld => "install skopeo 1.18 or newer",
        Kind::CacheDirectory => "check that it exists, and its owner and permissions",
        Kind::InvalidReference
        | Kind::Unauthorized
        | Kind::PolicyRejected
        | Kind::Cancelled
        | Kind::AccessDenied
        | Kind::InvalidSettings => return None,
    })
}
