//! What to do about a failure.

use super::error::Cause;
use crate::containers_config::auth::{self, AuthEntry};
use crate::containers_config::registries::credential_helpers;
use crate::containers_config::{certs, policy};
use crate::error_kind::{Failure, Kind};
use crate::reference::Reference;
use crate::registry::{self, INCOMPLETE};
use crate::source::Source;

/// What to do where a file system cannot be written: most likely only the service cannot.
const SANDBOX: &str = "the system's service writes below /var/cache: for more, set ReadWritePaths= of dnf5-oci.service";

/// What to do about it, where there is something to be done that the fact itself does not say.
pub(super) fn remedy(cause: &Cause, source: &Source) -> Option<String> {
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
        if let Some((file, AuthEntry::Malformed { line })) = found {
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
