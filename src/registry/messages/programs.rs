//! What the messages of `skopeo copy`, `inspect` and `delete` mean.

use super::{LIMITED, contains_any, shown};
use crate::error_kind::Kind;
use crate::reference::Reference;
use crate::registry::Error;
use crate::registry::program::Failure;

/// What precedes the reason if the source cannot be read: the reference is between the two.
const SOURCE: [(&str, &str); 2] =
    [("initializing source ", ": "), ("Error parsing image name \"", "\": ")];

/// Words in messages about the source, in lower case.
const READING: &[&str] = &["initializing source", "reading blob", "reading manifest", "fetching"];

/// Words in messages about a manifest that is sent, in lower case.
const MANIFEST: &str = "uploading manifest ";

/// Words in a registry's answers to a manifest that it does not accept as it is, in lower case: with these,
/// Amazon ECR answers to many layers, GitLab, Harbor and proxies to many bytes.
const REJECTED: &[&str] = &[
    "number of layers",
    "manifest invalid",
    "too large",
    "too big",
    "exceed",
    "statuscode: 400",
    "statuscode: 405",
    "statuscode: 413",
    "statuscode: 422",
];

/// Words in answers about a tag that may not be moved, in lower case.
const IMMUTABLE: &[&str] = &["immutable", "tag invalid"];

/// Words in messages about a body that is too large, in lower case.
const TOO_LARGE: &[&str] = &["statuscode: 413", "413 request entity too large", "too large"];

/// Words in messages about a file that is not what the manifest says, in lower case.
const WRONG_BYTES: &str = "digest did not match";
const READING_BLOB: &str = "reading blob ";
const NO_FILE: &str = "no such file or directory";

/// Words in messages about signing, in lower case.
const SIGNING: &[&str] =
    &["creating signature", "private key", "passphrase", "parse --sign-identity"];

/// What `skopeo delete` says instead of the registry's 404.
const NOT_THERE: &str = "image may not exist";

/// Words in answers to a deletion that is not allowed, in lower case.
const NO_DELETION: &[&str] = &["unsupported", "not allowed", "statuscode: 405", "disabled"];

/// The error of `skopeo inspect`.
pub fn of_inspect(mut failure: Failure) -> Error {
    failure.message = failure.message.map(|message| without_source(&message).to_owned());
    failure.into_error()
}

/// The error of `skopeo delete`.
pub fn of_delete(failure: Failure) -> Error {
    let message = failure.message.clone().unwrap_or_default();
    let (text, shown) = (message.to_lowercase(), shown(&message, &failure.secrets));
    if text.contains(NOT_THERE) {
        return Error::Refused { kind: Kind::NotFound, retryable: false, message: shown };
    }
    if contains_any(&text, NO_DELETION) {
        return Error::DeleteNotAllowed(shown);
    }
    failure.into_error()
}

/// The error of `skopeo copy`.
pub fn of_copy(mut failure: Failure, from: &Reference, to: &Reference) -> Error {
    let Some(whole) = failure.message.take() else {
        return failure.into_error();
    };
    let message = without_source(&whole).to_owned();
    let (text, shown) = (whole.to_lowercase(), shown(&message, &failure.secrets));
    let is_about_manifest = text.contains(MANIFEST);
    let is_push = matches!(to, Reference::Registry(_)) && !contains_any(&text, READING);
    failure.message = Some(message);
    let is_gone = text.starts_with(READING_BLOB) && text.contains(NO_FILE);
    if matches!(from, Reference::Layout(_)) && (is_gone || text.contains(WRONG_BYTES)) {
        return Error::Changed(shown);
    }
    // Of files that are opened before anything else, only that with the passphrase can be missing.
    if contains_any(&text, SIGNING) || text.starts_with("open ") {
        return Error::Signing(shown);
    }
    if is_push && contains_any(&text, IMMUTABLE) {
        return Error::TagImmutable(shown);
    }
    let is_rejected = contains_any(&text, REJECTED) && !contains_any(&text, LIMITED);
    if is_push && is_about_manifest && is_rejected {
        return Error::ManifestRejected(shown);
    }
    if is_push && contains_any(&text, TOO_LARGE) {
        return Error::BlobTooLarge(shown);
    }
    match failure.into_error() {
        Error::Refused { kind: Kind::Unauthorized, message, .. } if is_push => {
            Error::PushDenied(message)
        }
        error => error,
    }
}

/// A message without the name of the source before the reason.
fn without_source(message: &str) -> &str {
    let rest = SOURCE.iter().find_map(|(before, after)| {
        let rest = message.strip_prefix(before)?;
        rest.split_once(after).map(|(_, reason)| reason)
    });
    rest.unwrap_or(message)
}
