//! What to do about a failure.

use super::error::Cause;
use crate::containers_config::auth::{self, AuthEntry};
use crate::containers_config::registries::credential_helpers;
use crate::containers_config::{certs, policy};
use crate::error_kind::{Failure, Kind};
use crate::reference::Reference;
use crate::registry::{self, INCOMPLETE};
use crate::source::Source;

/// What to do if a file system is read-only: most likely it is so only for the service.
const SANDBOX: &str = "the system's service writes below /var/cache: for more, set ReadWritePaths= of dnf5-oci.service";

/// What to do if the layer store is too small.
const ENLARGE: &str = "raise limits.store-size in /etc/dnf5-oci/config.toml";

/// What to do about a package that nothing leads to.
const TITLE: &str = "have its owner push each package as a layer with its name as the title, or run createrepo_c \
                     --checksum sha256";

/// What to do about it, where there is something to be done that the fact itself does not say.
pub(super) fn remedy(cause: &Cause, source: &Source) -> Option<String> {
    let special = match cause {
        Cause::Again(cause) => return remedy(cause, source),
        Cause::Registry(registry::Error::Certificate(_)) => return Some(certify(source)),
        Cause::Registry(error) => error.remedy(),
        Cause::NoSuchFile(_) => Some(INCOMPLETE),
        Cause::Cache(error) if error.is_read_only() => Some(SANDBOX),
        Cause::Store(error) if error.is_over_limit() => Some(ENLARGE),
        Cause::NotSha256 { .. } => Some(TITLE),
        _ => None,
    };
    match (special, cause.kind()) {
        (Some(special), _) => Some(special.to_owned()),
        (None, Kind::Unauthorized) => Some(log_in(source)),
        (None, Kind::PolicyRejected) => Some(satisfy_policy(&source.reference)),
        (None, kind) => default_remedy(kind).map(str::to_owned),
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
    let host = own_host(&repositories);
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
fn satisfy_policy(reference: &Reference) -> String {
    match policy::rule(reference) {
        Ok(rule) => format!("{rule}; {}", rule.remedy()),
        Err(error) => error.to_string(),
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
            "run dnf5 again with --refresh; if that does not help, have its owner push it again"
        }
        Kind::PackageNotInRepository => {
            "run dnf5 again with --refresh; if that does not help, have its owner push the package"
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
