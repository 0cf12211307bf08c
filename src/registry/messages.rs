//! What skopeo's messages mean.
//!
//! skopeo passes on the errors of registries, TLS and its own policy as text, and whether another attempt
//! could succeed. This is the only module that reads that text. OpenImageOptional would not help: it
//! reports only one of the ways in which registries say "not found", and drops what the mirrors said.

mod programs;

use std::io::ErrorKind;

use containers_image_proxy as proxy;

use super::Error;
use crate::error_kind::{Kind, printable, shortened};
use crate::redact::{Secrets, without_secrets};
pub(super) use programs::{of_copy, of_delete, of_inspect};

/// Words in messages, in lower case, and their meaning. The first match counts. None of them can be part
/// of a reference, which many messages quote: most have a space, or the character before or after a
/// reference.
const WORDS: &[(&str, Kind)] = &[
    ("proxy authentication required", Kind::Unreachable),
    ("getting username and password", Kind::Unauthorized),
    ("rejected by policy", Kind::PolicyRejected),
    ("signature verification policy", Kind::PolicyRejected),
    // Signatures that are missing, unreachable, malformed, or wrong.
    ("reading signature from", Kind::PolicyRejected),
    // Part of the URL of a signature in a lookaside, and of nothing else.
    ("@sha256=", Kind::PolicyRejected),
    ("signature was required", Kind::PolicyRejected),
    ("none of the signatures were accepted", Kind::PolicyRejected),
    ("no public keys imported", Kind::PolicyRejected),
    ("parsing public key", Kind::PolicyRejected),
    ("parsing rekor public key", Kind::PolicyRejected),
    ("parsing signature", Kind::PolicyRejected),
    ("signature for", Kind::PolicyRejected),
    ("signature by key", Kind::PolicyRejected),
    ("signature type", Kind::PolicyRejected),
    ("is not a signature", Kind::PolicyRejected),
    ("invalid signature", Kind::PolicyRejected),
    ("invalid gpg signature", Kind::PolicyRejected),
    ("gpg signature count", Kind::PolicyRejected),
    ("gpg cannot read", Kind::PolicyRejected),
    ("cryptographic signature verification", Kind::PolicyRejected),
    ("cosign/signature annotation", Kind::PolicyRejected),
    ("cosign/bundle annotation", Kind::PolicyRejected),
    ("cosign/certificate annotation", Kind::PolicyRejected),
    ("rekor set", Kind::PolicyRejected),
    ("the rekorset", Kind::PolicyRejected),
    ("fulcio certificate", Kind::PolicyRejected),
    ("fulcio ca certificates", Kind::PolicyRejected),
    ("oidc issuer", Kind::PolicyRejected),
    ("leaf certificate failed", Kind::PolicyRejected),
    ("required email", Kind::PolicyRejected),
    ("unexpected subject hostname", Kind::PolicyRejected),
    ("authentication required", Kind::Unauthorized),
    ("invalid username/password", Kind::Unauthorized),
    (": unauthorized", Kind::Unauthorized),
    (": denied", Kind::Unauthorized),
    ("is denied", Kind::Unauthorized),
    ("403 (forbidden)", Kind::Unauthorized),
    ("403 forbidden", Kind::Unauthorized),
    ("statuscode: 403", Kind::Unauthorized),
    ("401 (unauthorized)", Kind::Unauthorized),
    ("401 unauthorized", Kind::Unauthorized),
    ("statuscode: 401", Kind::Unauthorized),
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
    ("404 not found", Kind::NotFound),
    ("statuscode: 404", Kind::NotFound),
];

/// Answers that some registries also give for a repository that does not exist.
const HIDING: &[&str] = &[
    ": denied",
    "is denied",
    "is not authorized",
    "403 (forbidden)",
    "403 forbidden",
    "statuscode: 403",
];

/// Part of the message about a registry that registries.conf blocks.
const BLOCKED: &str = " is blocked in ";

/// Words in messages about certificates, the registry's and the client's, in lower case.
const CERTIFICATES: &[&str] = &["x509: ", "tls: ", "client certificate"];

/// Words in messages about a limit on requests, in lower case.
const LIMITED: &[&str] =
    &["toomanyrequests", "too many requests", "statuscode: 429", "status: 429"];

/// Words in messages about podman's configuration, in lower case: another attempt fails alike.
const CONFIGURED: &[&str] = &[
    "server gave http response to https client",
    "certs.d",
    "registries.conf",
    "toml: ",
    "uri schemes are not supported",
];

/// Words in messages about a manifest with wrong bytes, in lower case.
const CORRUPT: &[&str] = &["does not match provided manifest digest"];

/// Words in messages about malformed files of the signature policy, in lower case.
const DAMAGED: &[&str] = &[
    "no policy.json file",
    "invalid policy in",
    "open /etc/containers/policy.json: ",
    "/.config/containers/policy.json: ",
    "parsing /etc/containers/registries.d/",
    "/.config/containers/registries.d/",
    "signature storage configuration",
    "invalid signature storage url",
];

/// Remedies for failures of that kind with these words, in lower case.
const REMEDIES: &[(Kind, &str, &str)] = &[
    (
        Kind::Unreachable,
        "server gave http response to https client",
        "it has no TLS: set insecure = true for it in registries.conf, or sslverify=0 in the .repo \
         file",
    ),
    (
        Kind::Unreachable,
        WEB_PAGE,
        "check the address, and whether a proxy or a login page (captive portal) answers in its place",
    ),
    (
        Kind::NotFound,
        "initiating layer upload",
        "create the repository in the registry first: it is not made by the first push there",
    ),
    (Kind::BadRepository, "no image found in", "push it with an entry for this architecture"),
];

/// What Go's parser of JSON says of HTML, and what that means.
const NO_JSON: &str = "invalid character '<' looking for beginning of value";
const WEB_PAGE: &str = "answered with a web page instead of the registry's protocol";

/// Start of a message of containers-image-proxy. The request and the process's status follow.
const EXITED: &str = "skopeo proxy unexpectedly exited during request method ";

/// What Go's runtime prints when a program crashes.
const CRASH: &[&str] = &["panic: ", "fatal error: ", "[signal sig", "\ngoroutine "];

/// The most that is kept of a message, in characters. Lines in the log have it whole, those for the user not.
const MAX_MESSAGE: usize = 4096;

/// Start of GPG's verdict on a signature, which has all of its fields.
const GPG_VERDICT: &str = "gpgme.Signature{";

/// GPG's messages about malformed signatures, which do not mention signatures.
const GPG_MESSAGES: [&str; 3] = ["No data", "Bad data", "Unknown compression algorithm"];

/// The separator between the errors of the mirrors and that of the registry itself.
const AFTER_MIRRORS: &str = "]): ";

/// The oldest version of the protocol that is supported, which skopeo 1.18 has. Older ones do not check the
/// signature policy.
pub(super) const OLDEST_PROTOCOL: (u64, u64, u64) = (0, 2, 6);

/// Words in what skopeo reports when it has checked a body with GetBlob.
const CHECKED: &[&str] = &["corrupted blob, expecting ", " bytes in blob, got "];

/// The error for a message of skopeo, without the secrets that it repeats.
pub fn refused(message: &str, retryable: bool, secrets: &Secrets) -> Error {
    let message = with_web_page(&without_internals(&without_secrets(message)));
    // The meaning is in the words that skopeo wrote, even if one of them is somebody's password.
    let mut shown = shown(&message, secrets);
    // A blocked mirror does not matter, since the registry itself is asked.
    if own_part(&message).contains(BLOCKED) {
        return Error::Blocked(shown);
    }
    if contains_any(&message.to_lowercase(), DAMAGED) {
        return Error::Damaged(shown);
    }
    let kind = kind(&message);
    if kind == Kind::Unauthorized && contains_any(&message.to_lowercase(), HIDING) {
        shown.push_str(" (some registries answer this for a repository that does not exist)");
    }
    let own = own_part(&message).to_lowercase();
    if kind == Kind::Unreachable && !retryable && contains_any(&own, CERTIFICATES) {
        return Error::Certificate(shown);
    }
    if kind == Kind::Unreachable && contains_any(&own, LIMITED) {
        return Error::Limited { message: shown, waited: false };
    }
    let retryable = match kind {
        // skopeo calls few of these retryable. dnf5 repeats a request whatever the failure is.
        Kind::Unreachable => !contains_any(&own, CONFIGURED),
        // Of these, it calls only an unreachable lookaside retryable.
        Kind::PolicyRejected => retryable,
        Kind::BadRepository => contains_any(&own, CORRUPT),
        // It calls a missing blob retryable.
        _ => false,
    };
    Error::Refused { kind, retryable, message: shown }
}

/// What is kept of a text from skopeo or a registry.
fn shown(message: &str, secrets: &Secrets) -> String {
    shortened(&printable(secrets.hide(message).trim()), MAX_MESSAGE)
}

/// The remedy for such a message, where there is a better one than that of its kind.
pub(super) fn remedy(kind: Kind, message: &str) -> Option<&'static str> {
    let message = message.to_lowercase();
    let known = REMEDIES.iter().find(|(of, words, _)| *of == kind && message.contains(words));
    known.map(|(_, _, remedy)| *remedy)
}

/// The error for one of containers-image-proxy.
pub(super) fn failed(error: proxy::Error, secrets: &Secrets) -> Error {
    let retryable = error.is_retryable();
    match error {
        proxy::Error::RequestInitiationFailure { error, .. }
        | proxy::Error::RetryableRequestFailure { error, .. } => {
            refused(&error, retryable, secrets)
        }
        proxy::Error::BlobError(error) => body(error, secrets),
        proxy::Error::SerDe(_) if has_ended(&error) => Error::Process("it has ended".to_owned()),
        // The crate reads 32 KiB of a reply. Only those with a text of the registry can be longer.
        proxy::Error::SerDe(error) if error.is_eof() => Error::Refused {
            kind: Kind::Unreachable,
            retryable: true,
            message: "the registry's answer is too long to read".to_owned(),
        },
        proxy::Error::ProxyTooOld { found_version, .. } => Error::too_old(found_version.into()),
        proxy::Error::Other(message) => match message.strip_prefix(EXITED) {
            // The request comes first.
            Some(exit) => {
                let (_, status) = exit.split_once(": ").unwrap_or(("", exit));
                Error::Process(shown(status, secrets))
            }
            None => Error::Process(shown(&message, secrets)),
        },
        other => Error::Process(shown(&other.to_string(), secrets)),
    }
}

/// Whether the process has ended, and nothing is known of the reason: its reply is empty, or the request could
/// not be sent.
pub(super) fn has_ended(error: &proxy::Error) -> bool {
    match error {
        proxy::Error::SerDe(error) => error.is_eof() && error.column() == 0,
        proxy::Error::Io(error) => {
            matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
        }
        _ => false,
    }
}

/// The error for a process that has ended with this status, and these words on its standard error.
pub(super) fn ended(status: &str, words: &str, secrets: &Secrets) -> Error {
    let status = shown(status, secrets);
    let first = shown(words.lines().next().unwrap_or_default(), secrets);
    if contains_any(&words.to_lowercase(), CRASH) {
        tracing::warn!(status, "skopeo crashed: {}", shown(words, secrets));
        return Error::Crashed(first);
    }
    Error::Process(format!("{}: {first}", status.trim_end()))
}

/// The error of a body. The registry had begun to send, so every failure is temporary, though skopeo calls
/// only some of them retryable. If a token expired before skopeo asked for the rest, the next attempt gets
/// a new one.
pub(super) fn body(error: proxy::GetBlobError, secrets: &Secrets) -> Error {
    let message = match error {
        proxy::GetBlobError::Retryable(message) | proxy::GetBlobError::Other(message) => message,
        other => other.to_string().into(),
    };
    match refused(&message, true, secrets) {
        Error::Refused { kind: kind @ Kind::Unauthorized, message, .. } => {
            Error::Refused { kind, retryable: true, message }
        }
        error => error,
    }
}

/// Why a body of GetBlob ended. Size and digest are checked here as well, with errors that say more.
pub(super) fn end_of_checked(message: Box<str>, secrets: &Secrets) -> Result<(), Error> {
    match contains_any(&message, CHECKED) {
        true => Ok(()),
        false => Err(body(proxy::GetBlobError::Other(message), secrets)),
    }
}

/// The meaning of a message. The registry itself decides before its mirrors, unless it was unreachable.
fn kind(message: &str) -> Kind {
    if let Some(kind) = of_a_file(message) {
        return kind;
    }
    // Lets ": denied" match at the start, too.
    let message = format!(": {}", message.to_lowercase());
    known(own_part(&message)).or_else(|| known(&message)).unwrap_or(Kind::Unreachable)
}

/// The meaning of a message that consists of a path and the reason why it cannot be opened.
fn of_a_file(message: &str) -> Option<Kind> {
    if message.starts_with("lstat /") {
        return Some(Kind::NotFound);
    }
    let path = message.strip_prefix("open ").filter(|path| path.starts_with('/'))?;
    let path = path.rsplit_once(": ").map_or(path, |(path, _reason)| path);
    let has_name = |name| path.split('/').any(|part| part == name);
    Some(match path {
        // Files of a layout.
        _ if ["index.json", "oci-layout", "blobs"].into_iter().any(has_name) => Kind::NotFound,
        _ if has_name("certs.d") => Kind::Unreachable,
        // Other files are keys that the policy names, and signatures.
        _ => Kind::PolicyRejected,
    })
}

/// The part of a message that is about the registry itself, not about its mirrors.
fn own_part(message: &str) -> &str {
    message.rfind(AFTER_MIRRORS).map_or(message, |at| &message[at..])
}

fn known(message: &str) -> Option<Kind> {
    WORDS.iter().find(|(words, _)| message.contains(words)).map(|(_, kind)| *kind)
}

fn contains_any(message: &str, words: &[&str]) -> bool {
    words.iter().any(|words| message.contains(words))
}

/// Replaces what Go's parser says of a web page.
fn with_web_page(message: &str) -> String {
    match message.strip_suffix(NO_JSON) {
        Some("") => format!("the registry {WEB_PAGE}"),
        Some(before) => {
            let before = before.strip_suffix(": ").unwrap_or(before);
            let host = before.strip_prefix("pinging container registry ");
            host.map_or_else(
                || format!("{before}: it {WEB_PAGE}"),
                |host| format!("{host} {WEB_PAGE}"),
            )
        }
        None => message.to_owned(),
    }
}

/// Replaces GPG's verdict on a signature by the key that made it, and completes GPG's shortest messages.
fn without_internals(message: &str) -> String {
    if GPG_MESSAGES.contains(&message) {
        return format!("GPG cannot read the signature: {message}");
    }
    let mut clean = String::with_capacity(message.len());
    let mut rest = message;
    while let Some((before, verdict)) = rest.split_once(GPG_VERDICT) {
        let mut open = 1;
        let end = verdict.find(|c| {
            open += i32::from(c == '{') - i32::from(c == '}');
            open == 0
        });
        let (fields, after) = verdict.split_at(end.unwrap_or(verdict.len()));
        let key = fields.split_once("Fingerprint:\"").and_then(|(_, key)| key.split('"').next());
        clean.push_str(before);
        match key.filter(|key| !key.is_empty()) {
            Some(key) => clean.extend(["made with the key ", key]),
            None => clean.push_str("made with an unknown key"),
        }
        rest = after.strip_prefix('}').unwrap_or(after);
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_kind::Failure;
    use proptest::prelude::*;

    fn refused(message: &str, retryable: bool) -> Error {
        super::refused(message, retryable, &Secrets::default())
    }

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
            ("lstat /nonexist: no such file or directory", Kind::NotFound),
            ("open /srv/m/blobs/sha256/0a1b: no such file or directory", Kind::NotFound),
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
                "Signature for identity \"quay.io/acme/rpms:old\" is not accepted",
                Kind::PolicyRejected,
            ),
            (
                "pinging container registry registry.example: Get \"https://registry.example/v2/\": Proxy Authentication Required",
                Kind::Unreachable,
            ),
            (
                "Invalid GPG signature: gpgme.Signature{Summary:128, Fingerprint:\"F4D9\", Status:gpgme.Error{err:0x9}, HashAlgo:10}",
                Kind::PolicyRejected,
            ),
            ("Unexpected GPG signature count 0", Kind::PolicyRejected),
            ("No data", Kind::PolicyRejected),
            (
                "None of the signatures were accepted, reasons: Unexpected GPG signature count 0; Unexpected GPG signature count 0",
                Kind::PolicyRejected,
            ),
            ("No public keys imported", Kind::PolicyRejected),
            (
                "cryptographic signature verification failed: invalid signature when validating ASN.1 encoded signature",
                Kind::PolicyRejected,
            ),
            ("parsing public key 1: PEM decoding failed", Kind::PolicyRejected),
            (
                "parsing signature \"/srv/sigs/acme/rpms@sha256=9fa8/signature-1\": unrecognized signature format, starting with binary 0x68",
                Kind::PolicyRejected,
            ),
            (
                "Get \"http://sigs.example/acme/rpms@sha256=9fa8/signature-1\": dial tcp 127.0.0.1:8099: connect: connection refused",
                Kind::PolicyRejected,
            ),
            (
                "Unsupported scheme when reading signature from ftp://sigs.example/acme/rpms@sha256=9fa8/signature-1",
                Kind::PolicyRejected,
            ),
            ("open /etc/pki/containers/acme.gpg: no such file or directory", Kind::PolicyRejected),
            ("open /etc/pki/containers/acme.pub: permission denied", Kind::PolicyRejected),
            (
                "open /etc/containers/certs.d/quay.io/client.key: permission denied",
                Kind::Unreachable,
            ),
            ("received unexpected HTTP status: 503 Service Unavailable", Kind::Unreachable),
            (
                "pinging container registry 127.0.0.1:6001: StatusCode: 429, \"slow\"",
                Kind::Unreachable,
            ),
            (
                "Requesting bearer token: received unexpected HTTP status: 403 Forbidden",
                Kind::Unauthorized,
            ),
            ("pinging container registry 127.0.0.1:6004: denied", Kind::Unauthorized),
            (
                "pinging container registry 127.0.0.1:6009: StatusCode: 403, \"<html>no\"",
                Kind::Unauthorized,
            ),
            (
                "reading manifest 1 in 127.0.0.1:6013/a/b: unauthorized: access to the requested resource is not authorized",
                Kind::Unauthorized,
            ),
            (
                "getting username and password: reading JSON file \"/tmp/bad.json\": unmarshaling JSON at \"/tmp/bad.json\": invalid character 'n' looking for beginning of object key string",
                Kind::Unauthorized,
            ),
            ("unauthorized: authentication is required", Kind::Unauthorized),
            ("pinging container registry 127.0.0.1:6005: name unknown", Kind::NotFound),
            (
                "pinging container registry 127.0.0.1:6007: StatusCode: 404, \"<html>nope\"",
                Kind::NotFound,
            ),
            (
                "pinging container registry 127.0.0.1:6011: unknown: artifact a/b:1 not found",
                Kind::NotFound,
            ),
            ("no descriptor found for reference \"nope\"", Kind::NotFound),
        ] {
            assert_eq!(refused(message, false).kind(), expected, "{message}");
        }
    }

    #[test]
    fn a_blocked_registry_is_not_a_refused_signature() {
        let message = "registry blocked.example is blocked in /etc/containers/registries.conf";
        assert!(matches!(refused(message, false), Error::Blocked(text) if text == message));
        let of_a_mirror = format!("(Mirrors also failed: [m/a: {message}]): host/a: no such host");
        assert_eq!(refused(&of_a_mirror, false).kind(), Kind::Unreachable);
    }

    #[test]
    fn damaged_files_are_not_refused_signatures() {
        for message in [
            "no policy.json file found at any of the following: \"/root/.config/containers/policy.json\", \"/etc/containers/policy.json\"",
            "invalid policy in \"/etc/containers/policy.json\": invalid character 'b' looking for beginning of object key string",
            "open /etc/containers/policy.json: permission denied",
            "parsing /etc/containers/registries.d/x.yaml: yaml: line 1: did not find expected node content",
        ] {
            let error = refused(message, false);
            assert!(matches!(&error, Error::Damaged(text) if text == message), "{error:?}");
            assert_eq!(error.kind(), Kind::PolicyRejected);
        }
    }

    #[test]
    fn some_messages_have_remedies() {
        for (message, has) in [
            ("http: server gave HTTP response to HTTPS client", "insecure = true"),
            ("no image found in image index for architecture \"arm64\"", "an entry for this"),
        ] {
            let remedy = refused(message, false).remedy();
            assert!(remedy.is_some_and(|remedy| remedy.contains(has)), "{message}");
        }
        assert_eq!(refused("connect: connection refused", false).remedy(), None);
    }

    #[test]
    fn gpgs_verdict_is_reduced_to_the_key() {
        let verdict = |key: &str| {
            format!(
                "Invalid GPG signature: gpgme.Signature{{Summary:128, Fingerprint:\"{key}\", \
                 Status:gpgme.Error{{err:0x9}}, HashAlgo:10}}"
            )
        };
        let reasons = format!("reasons: {}; {}; more", verdict("F4D9"), verdict(""));
        assert_eq!(
            without_internals(&reasons),
            "reasons: Invalid GPG signature: made with the key F4D9; Invalid GPG signature: made \
             with an unknown key; more"
        );
        assert!(
            without_internals("gpgme.Signature{Summary:1").ends_with("made with an unknown key")
        );
    }

    #[test]
    fn names_in_messages_mean_nothing() {
        let message = "reading manifest denied in host/acme/unauthorized: manifest unknown";
        assert_eq!(refused(message, false).kind(), Kind::NotFound);
    }

    #[test]
    fn the_registry_itself_decides_before_its_mirrors() {
        let failed = |mirror: &str, own: &str| {
            let message = format!("(Mirrors also failed: [mirror/a: {mirror}]): host/a: {own}");
            refused(&message, false).kind()
        };
        assert_eq!(failed("authentication required", "manifest unknown"), Kind::NotFound);
        assert_eq!(failed("authentication required", "no such host"), Kind::Unauthorized);
    }

    #[test]
    fn certificate_errors_are_not_network_errors() {
        for (message, is_one) in [
            (
                "Get \"https://h/v2/\": tls: failed to verify certificate: x509: unknown authority",
                true,
            ),
            ("Get \"https://h/v2/\": remote error: tls: certificate required", true),
            ("missing key a.key for client certificate a.cert. Note that CA certificates", true),
            ("(Mirrors also failed: [m/a: x509: expired]): h/a: no such host", false),
            ("Get \"https://h/v2/\": net/http: TLS handshake timeout", false),
        ] {
            let refused = refused(message, false);
            assert_eq!(matches!(refused, Error::Certificate(_)), is_one, "{message}");
            assert_eq!(refused.kind(), Kind::Unreachable);
        }
    }

    #[test]
    fn a_denied_repository_may_not_exist() {
        let hint = "(some registries answer this for a repository that does not exist)";
        let denied = refused("reading manifest 1 in ghcr.io/a/b: denied", false);
        assert!(denied.to_string().ends_with(hint), "{denied}");
        let required = refused("reading manifest 1 in host/a/b: authentication required", false);
        assert!(!required.to_string().contains(hint), "{required}");
    }

    #[test]
    fn a_body_that_ends_early_is_retried() {
        for message in [
            "unexpected EOF",
            "unexpected EOF (after reconnecting, fetching blob: authentication required)",
        ] {
            assert!(
                body(proxy::GetBlobError::Other(message.into()), &Secrets::default())
                    .is_worth_a_retry(),
                "{message}"
            );
        }
    }

    #[test]
    fn only_temporary_failures_are_retried() {
        assert!(refused("connect: connection refused", true).is_worth_a_retry());
        assert!(!refused("x509: unknown authority", false).is_worth_a_retry());
        assert!(refused("tls: internal error", true).is_worth_a_retry());
        assert!(!refused("fetching blob: blob unknown to registry", true).is_worth_a_retry());
        let lookaside = "Get \"http://sigs.example/a@sha256=9fa8/signature-1\": connection refused";
        assert!(refused(lookaside, true).is_worth_a_retry());
    }

    #[test]
    fn a_password_that_is_a_word_of_skopeo_changes_no_meaning() {
        let mut secrets = Secrets::default();
        secrets.add_login("me", "unknown");
        let error = super::refused("reading manifest 1 in h/a: manifest unknown", false, &secrets);
        assert_eq!(error.kind(), Kind::NotFound);
        assert_eq!(error.to_string(), "reading manifest 1 in h/a: manifest ***");
    }

    #[test]
    fn a_web_page_is_no_syntax_error() {
        for (message, expected) in [
            (
                format!("pinging container registry h:5000: {NO_JSON}"),
                "h:5000 answered with a web page",
            ),
            (format!("Requesting bearer token: {NO_JSON}"), "Requesting bearer token: it answered"),
            (NO_JSON.to_owned(), "the registry answered with a web page"),
        ] {
            let error = refused(&message, false);
            assert!(error.to_string().starts_with(expected), "{error}");
            assert!(error.remedy().is_some_and(|remedy| remedy.contains("captive portal")));
        }
    }

    #[test]
    fn a_stack_trace_is_not_shown() {
        let trace = "panic: runtime error\n\ngoroutine 1 [running]:\nmain.main()\n";
        for (words, expected) in [
            (trace, "skopeo crashed (panic: runtime error)"),
            ("no such flag\nusage:\n", "skopeo failed: exit status: 2: no such flag"),
        ] {
            let error = proxy::Error::Other(format!("{EXITED}OpenImage: exit status: 2\n").into());
            let Error::Process(status) = failed(error, &Secrets::default()) else {
                panic!("another error");
            };
            assert_eq!(ended(&status, words, &Secrets::default()).to_string(), expected);
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_is_too_long() {
        let cut = serde_json::from_str::<String>("\"too").expect_err("cut off");
        let error = failed(proxy::Error::SerDe(cut), &Secrets::default());
        assert_eq!(error.to_string(), "the registry's answer is too long to read");
        assert!(error.is_worth_a_retry());
        let none = serde_json::from_str::<String>("").expect_err("empty");
        let error = failed(proxy::Error::SerDe(none), &Secrets::default());
        assert_eq!(error.to_string(), "skopeo failed: it has ended");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn a_message_is_bounded_and_printable(text in "(?s).{0,9000}", retryable: bool) {
            let line = refused(&text, retryable).to_string();
            prop_assert!(line.chars().count() <= MAX_MESSAGE + 100);
            prop_assert_eq!(&printable(&line), &line);
        }
    }
}
