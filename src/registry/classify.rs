//! What skopeo's messages mean.
//!
//! skopeo passes on what registries, TLS and its own policy say as text, with one bit on whether
//! another try could help. This is the only place that reads that text.

use containers_image_proxy as proxy;

use super::Error;
use crate::failure::Kind;

/// Words of a message, in lower case, and what they mean. The first that fits counts.
const WORDS: &[(&str, Kind)] = &[
    ("permission denied", Kind::Unreachable),
    ("rejected by policy", Kind::PolicyRejected),
    ("signature was required", Kind::PolicyRejected),
    ("none of the signatures were accepted", Kind::PolicyRejected),
    ("signature verification policy", Kind::PolicyRejected),
    ("no public keys imported", Kind::PolicyRejected),
    ("signature for", Kind::PolicyRejected),
    ("invalid signature", Kind::PolicyRejected),
    ("is blocked in", Kind::PolicyRejected),
    ("authentication required", Kind::Unauthorized),
    ("unauthorized", Kind::Unauthorized),
    ("invalid username/password", Kind::Unauthorized),
    ("denied", Kind::Unauthorized),
    ("403 (forbidden)", Kind::Unauthorized),
    ("no image found in manifest list", Kind::BadRepository),
    ("no image found in image index", Kind::BadRepository),
    ("unsupported manifest mime type", Kind::BadRepository),
    ("unsupported legacy manifest", Kind::BadRepository),
    ("unknown: artifact", Kind::NotFound),
    ("manifest unknown", Kind::NotFound),
    ("name unknown", Kind::NotFound),
    ("blob unknown", Kind::NotFound),
    ("repository name not known", Kind::NotFound),
    ("no descriptor found for reference", Kind::NotFound),
    ("no image found in", Kind::NotFound),
    ("no such file or directory", Kind::NotFound),
    ("404 (not found)", Kind::NotFound),
];

/// The first version of the protocol with GetRawBlob, whose error pipe tells what happened to a
/// body; skopeo 1.19.
pub(super) const WANTED_PROTOCOL: &str = "0.2.8";

/// An answer of skopeo that was an error.
pub(super) fn refused(message: &str, retryable: bool) -> Error {
    let message = without_secrets(message);
    let kind = kind(&message);
    // skopeo calls a blob that the registry does not have worth a retry.
    Error::Refused { kind, retryable: retryable && kind == Kind::Unreachable, message }
}

/// An error of the crate that talks to skopeo.
pub(super) fn failed(error: proxy::Error) -> Error {
    let retryable = error.is_retryable();
    match error {
        proxy::Error::RequestInitiationFailure { error, .. }
        | proxy::Error::RetryableRequestFailure { error, .. } => refused(&error, retryable),
        proxy::Error::BlobError(error) => body(error),
        proxy::Error::ProxyTooOld { found_version, .. } => {
            Error::SkopeoTooOld { found: found_version.into(), wanted: WANTED_PROTOCOL }
        }
        other => Error::Process(without_secrets(&other.to_string())),
    }
}

/// What the error pipe of a body said.
pub(super) fn body(error: proxy::GetBlobError) -> Error {
    match error {
        proxy::GetBlobError::Retryable(message) => refused(&message, true),
        proxy::GetBlobError::Other(message) => refused(&message, false),
        other => refused(&other.to_string(), false),
    }
}

fn kind(message: &str) -> Kind {
    let message = message.to_lowercase();
    WORDS
        .iter()
        .find(|(words, _)| message.contains(words))
        .map_or(Kind::Unreachable, |(_, kind)| *kind)
}

/// Cuts what could be a password out of URLs: `//user:password@`.
fn without_secrets(message: &str) -> String {
    let mut clean = String::with_capacity(message.len());
    let mut rest = message;
    while let Some((before, after)) = rest.split_once("://") {
        clean.push_str(before);
        clean.push_str("://");
        let authority = after.split(['/', ' ', '"', '?', '#']).next().unwrap_or(after);
        rest = match authority.rfind('@') {
            Some(at) => &after[at + 1..],
            None => after,
        };
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    #[test]
    fn messages_of_skopeo_1_22() {
        for (message, expected) in [
            (
                "pinging container registry 127.0.0.1:5009: Get \"https://127.0.0.1:5009/v2/\": dial tcp 127.0.0.1:5009: connect: connection refused",
                Kind::Unreachable,
            ),
            (
                "pinging container registry nohost.invalid: Get \"https://nohost.invalid/v2/\": dial tcp: lookup nohost.invalid: no such host",
                Kind::Unreachable,
            ),
            (
                "pinging container registry 127.0.0.1:5000: Get \"https://127.0.0.1:5000/v2/\": http: server gave HTTP response to HTTPS client",
                Kind::Unreachable,
            ),
            (
                "pinging container registry registry.example: Get \"https://registry.example/v2/\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
                Kind::Unreachable,
            ),
            ("reading manifest 2 in 127.0.0.1:5000/a/b: manifest unknown", Kind::NotFound),
            ("fetching blob: blob unknown to registry", Kind::NotFound),
            ("open /nonexist/index.json: no such file or directory", Kind::NotFound),
            (
                "reading manifest 1 in 127.0.0.1:5001/a/b: authentication required",
                Kind::Unauthorized,
            ),
            (
                "unable to retrieve auth token: invalid username/password: unauthorized: incorrect username or password",
                Kind::Unauthorized,
            ),
            (
                "reading manifest latest in ghcr.io/a/b: requested access to the resource is denied",
                Kind::Unauthorized,
            ),
            (
                "Running image docker://127.0.0.1:5000/a/b:1 is rejected by policy.",
                Kind::PolicyRejected,
            ),
            (
                "Source image rejected: A signature was required, but no signature exists",
                Kind::PolicyRejected,
            ),
            (
                "registry blocked.example is blocked in /etc/containers/registries.conf",
                Kind::PolicyRejected,
            ),
            ("received unexpected HTTP status: 503 Service Unavailable", Kind::Unreachable),
        ] {
            assert_eq!(refused(message, false).kind(), expected, "{message}");
        }
    }

    #[test]
    fn only_what_can_pass_is_tried_again() {
        assert!(refused("connect: connection refused", true).is_worth_a_retry());
        assert!(!refused("x509: unknown authority", false).is_worth_a_retry());
        assert!(!refused("fetching blob: blob unknown to registry", true).is_worth_a_retry());
    }

    #[test]
    fn secrets_are_cut_out() {
        for (message, clean) in [
            ("Get \"https://user:pa@ss@host/v2/\": refused", "Get \"https://host/v2/\": refused"),
            ("proxyconnect http://u:p@proxy:3128 x@y", "proxyconnect http://proxy:3128 x@y"),
            ("https://host/a@b", "https://host/a@b"),
            ("a://b://c", "a://b://c"),
        ] {
            assert_eq!(without_secrets(message), clean);
        }
    }
}
