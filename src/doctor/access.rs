//! From skopeo to the manifest. All is one request, and the kind of its failure says how far it
//! came.

use std::env;

use super::{Part, Step, Verdict, credentials};
use crate::backend::Error;
use crate::certificates;
use crate::failure::{Failure, Kind};
use crate::policy;
use crate::reference::Reference;
use crate::registries::{Entry, Registries, Unreadable};
use crate::registry::{self, Manifest, Source};
use crate::secret::without_secrets;

/// What is known once the registry has answered.
const SENT: [Part; 3] = [Part::Registry, Part::Credentials, Part::Manifest];

/// The variables that send skopeo's requests through a proxy.
const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

/// The outcome of the request: where it ended, if it failed.
struct Request {
    failed: Option<(Part, String)>,
    /// Whether anybody was asked at all.
    was_sent: bool,
}

/// The steps, given the version of skopeo and what the request for the manifest has brought.
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
    let version = version.map_or(String::new(), |version| format!("version {version}"));
    let manifest = manifest.as_ref().map_or("it is there".to_owned(), describe);
    vec![
        request.step(Part::Skopeo, &version),
        registries_step(&request, source, entry),
        registry_step(&request, source),
        credentials_step(&request, source),
        request.outcome(Part::Manifest, &manifest, ""),
        policy_step(&request, source),
    ]
}

fn registries_step(
    request: &Request,
    source: &Source,
    entry: Result<Option<Entry>, Unreadable>,
) -> Step {
    match (entry, &source.reference) {
        (Ok(Some(entry)), _) => request.step(Part::Registries, &entry.to_string()),
        (Ok(None), Reference::Registry(registry)) => {
            request.step(Part::Registries, &format!("no entry for {}", registry.host()))
        }
        (Ok(None), Reference::Layout(_)) => request.step(Part::Registries, "not needed"),
        (Err(error), _) => request.step(Part::Registries, &error.to_string()).at_least_a_warning(),
    }
}

fn registry_step(request: &Request, source: &Source) -> Step {
    let registry = match &source.reference {
        Reference::Registry(registry) => registry,
        Reference::Layout(layout) => {
            let text = format!("{} is a directory of this machine", layout.directory().display());
            return request.step(Part::Registry, &text);
        }
    };
    let notes = notes(source, registry.host()).join(", ");
    let answers = match notes.as_str() {
        "" => format!("{} answers", registry.host()),
        notes => format!("{} answers; {notes}", registry.host()),
    };
    request.outcome(Part::Registry, &answers, &notes)
}

/// What bears on how the registry is reached.
fn notes(source: &Source, host: &str) -> Vec<String> {
    let unchecked = source.access.tls_verify == Some(false);
    let unchecked = unchecked.then(|| "TLS is not verified, as asked for".to_owned());
    let given: Vec<_> = source.access.certificates.named().map(|(_, file)| file.clone()).collect();
    let certificates = match given.is_empty() {
        true => certificates::in_effect(host).into_iter().collect(),
        false => given,
    };
    let certificates =
        certificates.into_iter().map(|path| format!("certificates from {}", path.display()));
    let set = |name: &&&str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let proxy = match &source.access.proxy {
        Some(proxy) => Some(format!("through the proxy {}", without_secrets(proxy.reveal()))),
        None => PROXIES.iter().find(set).map(|name| format!("through the proxy in ${name}")),
    };
    unchecked.into_iter().chain(certificates).chain(proxy).collect()
}

fn credentials_step(request: &Request, source: &Source) -> Step {
    if let Reference::Layout(_) = source.reference {
        return request.step(Part::Credentials, "not needed");
    }
    let found = credentials::look(source);
    let step = request.step(Part::Credentials, &found.text);
    if found.is_open { step.at_least_a_warning() } else { step }
}

fn policy_step(request: &Request, source: &Source) -> Step {
    // What is done about a refusal begins with the rule.
    if request.ended_at(Part::Policy) {
        return request.outcome(Part::Policy, "", "");
    }
    match policy::rule(&source.reference) {
        Ok(rule) => request.step(Part::Policy, &rule.to_string()),
        Err(error) => request.step(Part::Policy, &error.to_string()).at_least_a_warning(),
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

    fn ended_at(&self, part: Part) -> bool {
        self.failed.as_ref().is_some_and(|(end, _)| *end == part)
    }

    /// A step about which `known` is known, whatever became of the request.
    fn step(&self, part: Part, known: &str) -> Step {
        self.outcome(part, known, known)
    }

    /// A step about which `good` can be said if the request came that far, and `known` in any case.
    fn outcome(&self, part: Part, good: &str, known: &str) -> Step {
        match &self.failed {
            Some((end, _)) if part > *end => Step::skipped(part, known),
            Some((end, advice)) if part == *end => {
                let separator = if known.is_empty() { "" } else { "; " };
                Step::new(part, Verdict::Failed, format!("{known}{separator}{advice}"))
            }
            _ if !self.was_sent && SENT.contains(&part) => Step::skipped(part, known),
            _ => Step::new(part, Verdict::Ok, good.to_owned()),
        }
    }
}

/// The part at which a request has failed. `unreadable`: registries.conf is, and stops skopeo, too.
fn where_it_ended(error: &registry::Error, unreadable: bool) -> Part {
    match error {
        registry::Error::Process(_) => return Part::Skopeo,
        registry::Error::Blocked(_) => return Part::Registries,
        _ => {}
    }
    match error.kind() {
        Kind::SkopeoMissing | Kind::SkopeoTooOld => Part::Skopeo,
        Kind::Unauthorized => Part::Credentials,
        Kind::NotFound | Kind::BadRepository | Kind::DigestMismatch => Part::Manifest,
        _ if unreadable => Part::Registries,
        Kind::PolicyRejected => Part::Policy,
        _ => Part::Registry,
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
        for (error, unreadable, part) in [
            (refused(Kind::SkopeoTooOld), false, Part::Skopeo),
            (crashed, false, Part::Skopeo),
            (refused(Kind::Unreachable), false, Part::Registry),
            (refused(Kind::Unreachable), true, Part::Registries),
            (registry::Error::Blocked("no".to_owned()), false, Part::Registries),
            (refused(Kind::PolicyRejected), false, Part::Policy),
            (refused(Kind::Unauthorized), false, Part::Credentials),
            (refused(Kind::NotFound), false, Part::Manifest),
        ] {
            assert_eq!(where_it_ended(&error, unreadable), part, "{error:?} {unreadable}");
        }
    }

    #[test]
    fn what_comes_before_a_failure_is_good_and_what_comes_after_is_not_tried() {
        let failed = Some((Part::Credentials, "log in".to_owned()));
        let request = Request { failed, was_sent: true };
        for (part, known, verdict, text) in [
            (Part::Registry, "known", Verdict::Ok, "good"),
            (Part::Credentials, "known", Verdict::Failed, "known; log in"),
            (Part::Credentials, "", Verdict::Failed, "log in"),
            (Part::Manifest, "", Verdict::Skipped, "not tried"),
            (Part::Policy, "known", Verdict::Skipped, "not tried; known"),
        ] {
            assert_eq!(
                request.outcome(part, "good", known),
                Step::new(part, verdict, text.to_owned())
            );
        }
    }

    #[test]
    fn nothing_is_said_of_a_registry_that_was_not_asked() {
        let failed = Some((Part::Policy, "damaged".to_owned()));
        let request = Request { failed, was_sent: false };
        for (part, verdict) in [
            (Part::Registries, Verdict::Ok),
            (Part::Registry, Verdict::Skipped),
            (Part::Manifest, Verdict::Skipped),
            (Part::Policy, Verdict::Failed),
        ] {
            assert_eq!(request.outcome(part, "good", "").verdict, verdict, "{part:?}");
        }
    }
}
