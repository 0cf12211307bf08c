//! From skopeo to the manifest. This is a single request; the kind of its failure says how far it got.

use std::env;

use super::{Check, Step, Verdict, auth};
use crate::config_file;
use crate::confinement;
use crate::containers_config::certs;
use crate::containers_config::policy;
use crate::containers_config::registries::{Registries, RegistryEntry};
use crate::engine::Error;
use crate::error_kind::{Failure, Kind};
use crate::redact::without_secrets;
use crate::reference::Reference;
use crate::registry::{self, Manifest};
use crate::source::{Environment, Source};

/// What is known once the registry has answered.
const SENT: [Check; 3] = [Check::Registry, Check::Credentials, Check::Manifest];

/// The variables that send skopeo's requests through a proxy.
const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

/// The outcome of the request: where it ended, if it failed.
struct Request {
    failed: Option<(Check, String)>,
    /// Whether a request was sent at all.
    was_sent: bool,
}

/// The steps, given the version of skopeo and the outcome of the request for the manifest.
pub(super) fn steps(
    source: &Source,
    version: Option<String>,
    manifest: &Result<Manifest, registry::Error>,
) -> Vec<Step> {
    let entry = match &source.reference {
        Reference::Registry(registry) => {
            Registries::read().map(|all| all.entry(&registry.name()).cloned())
        }
        Reference::Layout(_) => Ok(None),
    };
    let request = Request::new(source, manifest.as_ref().err(), entry.is_err());
    let version = version.map_or(String::new(), |version| match confinement::is_available() {
        true => format!("version {version}"),
        false => format!("version {version}, not confined: this kernel has no Landlock"),
    });
    let manifest = manifest.as_ref().map_or("it is there".to_owned(), describe);
    vec![
        request.step(Check::Skopeo, &version),
        registries_step(&request, source, entry),
        registry_step(&request, source),
        credentials_step(&request, source),
        request.outcome(Check::Manifest, &manifest, ""),
        policy_step(&request, source),
    ]
}

fn registries_step(
    request: &Request,
    source: &Source,
    entry: Result<Option<RegistryEntry>, config_file::Error>,
) -> Step {
    match (entry, &source.reference) {
        (Ok(Some(entry)), _) => request.step(Check::Registries, &entry.to_string()),
        (Ok(None), Reference::Registry(registry)) => {
            request.step(Check::Registries, &format!("no entry for {}", registry.host()))
        }
        (Ok(None), Reference::Layout(_)) => request.step(Check::Registries, "not needed"),
        (Err(error), _) => request.step(Check::Registries, &error.to_string()).at_least_a_warning(),
    }
}

fn registry_step(request: &Request, source: &Source) -> Step {
    let registry = match &source.reference {
        Reference::Registry(registry) => registry,
        Reference::Layout(layout) => {
            let text = format!("{} is a directory of this machine", layout.directory().display());
            return request.step(Check::Registry, &text);
        }
    };
    let notes = notes(source, registry.host()).join(", ");
    let answers = match notes.as_str() {
        "" => format!("{} answers", registry.host()),
        notes => format!("{} answers; {notes}", registry.host()),
    };
    request.outcome(Check::Registry, &answers, &notes)
}

/// What affects how the registry is reached.
fn notes(source: &Source, host: &str) -> Vec<String> {
    let unchecked = source.access.tls_verify == Some(false);
    let unchecked = unchecked.then(|| "TLS is not verified, as asked for".to_owned());
    let given: Vec<_> = source.access.certificates.named().map(|(_, file)| file.clone()).collect();
    let certificates = match given.is_empty() {
        true => certs::effective(host).into_iter().collect(),
        false => given,
    };
    let certificates =
        certificates.into_iter().map(|path| format!("certificates from {}", path.display()));
    let proxy = match (&source.access.proxy, &source.access.environment) {
        (Some(proxy), _) => Some(format!("through the proxy {}", without_secrets(proxy.reveal()))),
        (None, Environment::WithoutProxies) => None,
        (None, Environment::With(callers)) => {
            let set = |name: &&&str| {
                callers.contains_key(**name)
                    || env::var_os(name).is_some_and(|value| !value.is_empty())
            };
            PROXIES.iter().find(set).map(|name| format!("through the proxy in ${name}"))
        }
    };
    unchecked.into_iter().chain(certificates).chain(proxy).collect()
}

fn credentials_step(request: &Request, source: &Source) -> Step {
    if let Reference::Layout(_) = source.reference {
        return request.step(Check::Credentials, "not needed");
    }
    let found = auth::look(source);
    let step = request.step(Check::Credentials, &found.text);
    if found.is_open { step.at_least_a_warning() } else { step }
}

fn policy_step(request: &Request, source: &Source) -> Step {
    // The advice on a refusal begins with the rule.
    if request.ended_at(Check::Policy) {
        return request.outcome(Check::Policy, "", "");
    }
    match policy::rule(&source.reference) {
        Ok(rule) => request.step(Check::Policy, &rule.to_string()),
        Err(error) => request.step(Check::Policy, &error.to_string()).at_least_a_warning(),
    }
}

fn describe(manifest: &Manifest) -> String {
    let kind =
        manifest.image.media_type().as_ref().map_or(String::new(), |kind| format!(", {kind}"));
    format!("{}{kind}, {} layers", manifest.digest, manifest.image.layers().len())
}

impl Request {
    fn new(source: &Source, error: Option<&registry::Error>, unreadable: bool) -> Self {
        let failed = error.map(|error| {
            let advice = Error::new(None, source, error.clone().into()).advice();
            (where_it_ended(error, unreadable), advice)
        });
        let was_sent = !matches!(error, Some(registry::Error::Damaged(_)));
        Self { failed, was_sent }
    }

    fn ended_at(&self, check: Check) -> bool {
        self.failed.as_ref().is_some_and(|(end, _)| *end == check)
    }

    /// A step that reports `known`, whatever the outcome of the request.
    fn step(&self, check: Check, known: &str) -> Step {
        self.outcome(check, known, known)
    }

    /// A step that reports `good` if the request got that far, and `known` otherwise.
    fn outcome(&self, check: Check, good: &str, known: &str) -> Step {
        match &self.failed {
            Some((end, _)) if check > *end => Step::skipped(check, known),
            Some((end, advice)) if check == *end => {
                let separator = if known.is_empty() { "" } else { "; " };
                Step::new(check, Verdict::Failed, format!("{known}{separator}{advice}"))
            }
            _ if !self.was_sent && SENT.contains(&check) => Step::skipped(check, known),
            _ => Step::new(check, Verdict::Ok, good.to_owned()),
        }
    }
}

/// The check at which a request has failed. If registries.conf is `unreadable`, skopeo stops there, too.
fn where_it_ended(error: &registry::Error, unreadable: bool) -> Check {
    match error {
        registry::Error::Process(_) | registry::Error::Crashed(_) => return Check::Skopeo,
        registry::Error::Blocked(_) => return Check::Registries,
        _ => {}
    }
    match error.kind() {
        Kind::SkopeoMissing | Kind::SkopeoTooOld => Check::Skopeo,
        Kind::Unauthorized => Check::Credentials,
        Kind::NotFound | Kind::BadRepository | Kind::DigestMismatch => Check::Manifest,
        _ if unreadable => Check::Registries,
        Kind::PolicyRejected => Check::Policy,
        _ => Check::Registry,
    }
}

impl Step {
    fn at_least_a_warning(mut self) -> Self {
        if self.verdict == Verdict::Ok {
            self.verdict = Verdict::Warning;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: Kind) -> registry::Error {
        registry::Error::Refused { kind, retryable: false, message: "no".to_owned() }
    }

    #[test]
    fn a_failure_ends_the_request_at_its_part() {
        let crashed = registry::Error::Process("killed".to_owned());
        for (error, unreadable, check) in [
            (refused(Kind::SkopeoTooOld), false, Check::Skopeo),
            (crashed, false, Check::Skopeo),
            (refused(Kind::Unreachable), false, Check::Registry),
            (refused(Kind::Unreachable), true, Check::Registries),
            (registry::Error::Blocked("no".to_owned()), false, Check::Registries),
            (refused(Kind::PolicyRejected), false, Check::Policy),
            (refused(Kind::Unauthorized), false, Check::Credentials),
            (refused(Kind::NotFound), false, Check::Manifest),
        ] {
            assert_eq!(where_it_ended(&error, unreadable), check, "{error:?} {unreadable}");
        }
    }

    #[test]
    fn what_comes_before_a_failure_is_good_and_what_comes_after_is_not_tried() {
        let failed = Some((Check::Credentials, "log in".to_owned()));
        let request = Request { failed, was_sent: true };
        for (check, known, verdict, text) in [
            (Check::Registry, "known", Verdict::Ok, "good"),
            (Check::Credentials, "known", Verdict::Failed, "known; log in"),
            (Check::Credentials, "", Verdict::Failed, "log in"),
            (Check::Manifest, "", Verdict::Skipped, "not tried"),
            (Check::Policy, "known", Verdict::Skipped, "not tried; known"),
        ] {
            assert_eq!(
                request.outcome(check, "good", known),
                Step::new(check, verdict, text.to_owned())
            );
        }
    }

    #[test]
    fn nothing_is_said_of_a_registry_that_was_not_asked() {
        let failed = Some((Check::Policy, "damaged".to_owned()));
        let request = Request { failed, was_sent: false };
        for (check, verdict) in [
            (Check::Registries, Verdict::Ok),
            (Check::Registry, Verdict::Skipped),
            (Check::Manifest, Verdict::Skipped),
            (Check::Policy, Verdict::Failed),
        ] {
            assert_eq!(request.outcome(check, "good", "").verdict, verdict, "{check:?}");
        }
    }
}
