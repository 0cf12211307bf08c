//! Repositories that requests name by their URL, without a session: for other programs than dnf5.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use tokio::time::Instant;

use super::failures::Failures;
use super::outward::Proxies;
use super::route::{Refusal, Route};
use super::{lock, url};
use crate::engine::{Engine, REPOMD};
use crate::error_kind::{MAX_LINE, one_line, printable, shortened};
use crate::reference::{FileReference, Reference, SCHEME};
use crate::source::{Access, Source};

/// Programs begin with repomd.xml. If it is requested this long after the repository was found, another run of
/// the program has begun, and the tag is looked up again.
const SAME_RUN: Duration = Duration::from_secs(10);

/// A repository without a request for this long is looked up again. In the meantime a program may wait for its
/// user.
const KEPT: Duration = Duration::from_secs(300);

/// The maximum number of repositories that are kept. If there are more, the one that was not used for the longest
/// time is looked up again.
const MAX_KEPT: usize = 64;

/// The repositories that were requested by their URL, as this user and with podman's configuration alone.
pub(super) struct ByUrl {
    engine: Engine,
    /// The line that every request is refused with, if the settings are invalid.
    refusal: Option<String>,
    /// For connections to other hosts.
    pub(super) proxies: Proxies,
    kept: Mutex<HashMap<Reference, Kept>>,
    /// Failures that concern no repository, if somebody takes them. Otherwise they are logged each time.
    failures: Option<Failures>,
}

struct Kept {
    route: Arc<Route>,
    used: Instant,
}

impl ByUrl {
    pub(super) fn new(engine: Engine, refusal: Option<String>, failures: Option<Failures>) -> Self {
        let (proxies, kept) = (Proxies::from_environment(), Mutex::default());
        Self { engine, refusal, proxies, kept, failures }
    }

    /// The route to the repository that the path of a URL names, and the path relative to it.
    pub(super) fn find(&self, path: &str) -> Result<(Arc<Route>, String), Refusal> {
        if let Some(line) = &self.refusal {
            return Err(Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, line: line.clone() });
        }
        let file = parse(path).map_err(|line| {
            self.report(&line);
            Refusal { status: StatusCode::NOT_FOUND, line }
        })?;
        Ok((self.route(file.reference, file.path == REPOMD), file.path))
    }

    /// Reports a failure that concerns no repository.
    pub(super) fn report(&self, failure: &str) {
        match &self.failures {
            Some(failures) => failures.report(failure.to_owned(), None),
            None => tracing::warn!("{failure}"),
        }
    }

    /// One line for the user about each failure since the repository was looked up.
    pub(super) fn take_failures(&self) -> Vec<String> {
        let mut lines = self.failures.as_ref().map(Failures::take).unwrap_or_default();
        lines.extend(lock(&self.kept).values().flat_map(|kept| kept.route.failures.take()));
        lines
    }

    fn route(&self, reference: Reference, is_first: bool) -> Arc<Route> {
        let now = Instant::now();
        let mut kept = lock(&self.kept);
        kept.retain(|_, kept| now - kept.used < KEPT);
        if let Some(kept) = kept.get_mut(&reference)
            && !(is_first && kept.route.was_found_before(SAME_RUN))
        {
            kept.used = now;
            return Arc::clone(&kept.route);
        }
        if kept.len() >= MAX_KEPT
            && let Some(oldest) = kept.iter().min_by_key(|(_, kept)| kept.used)
        {
            let oldest = oldest.0.clone();
            kept.remove(&oldest);
        }
        let name = reference.to_string();
        let source = Source { reference: reference.clone(), access: Access::default() };
        let view = self.engine.view("", &source);
        let route = Arc::new(Route::new(name, String::new(), Ok(Arc::new(view)), Arc::default()));
        kept.insert(reference, Kept { route: Arc::clone(&route), used: now });
        route
    }
}

/// The file that the path of a URL names. The error is a line for the user.
pub(super) fn parse(path: &str) -> Result<FileReference, String> {
    let decoded = percent_decode_str(path).decode_utf8();
    let decoded = decoded.map_err(|_| invalid(path, "it is not valid UTF-8; correct it"))?;
    let rest = decoded.strip_prefix('/').unwrap_or(&decoded);
    // In a repository without a tag, it would be unknown where the path of the file begins.
    if !rest.split_once('/').is_some_and(|(_, name)| name.contains([':', '@'])) {
        let example = url::of_path("/quay.io/acme/rpms:stable");
        return Err(invalid(
            &decoded,
            &format!("it has no tag or digest; add it, as in {example}"),
        ));
    }
    format!("{SCHEME}{rest}").parse().map_err(|error| shortened(&one_line(&error), MAX_LINE))
}

fn invalid(path: &str, reason: &str) -> String {
    let url = printable(&url::of_path(path));
    format!("invalid URL \"{}\": {reason}", shortened(&url, MAX_LINE / 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    const SECOND: Duration = Duration::from_secs(1);

    fn by_url() -> ByUrl {
        let engine = Engine::new(Registry::new(Default::default()), Default::default());
        ByUrl::new(engine, None, None)
    }

    fn find(by_url: &ByUrl, path: &str) -> Arc<Route> {
        by_url.find(path).map_err(|refusal| refusal.line).expect(path).0
    }

    #[test]
    fn what_the_path_of_a_url_names() {
        for (path, reference, file) in [
            (
                "/quay.io/acme/rpms:stable/repodata/repomd.xml",
                "oci://quay.io/acme/rpms:stable",
                REPOMD,
            ),
            ("/localhost:5000/rpms:1/p/a%3Ab.rpm", "oci://localhost:5000/rpms:1", "p/a:b.rpm"),
            ("/%5B::1%5D:5000/a:1/b%20c", "oci://[::1]:5000/a:1", "b c"),
            ("//srv/my%20mirror:1/a.rpm", "oci:///srv/my mirror:1", "a.rpm"),
        ] {
            let parsed = parse(path).expect(path);
            assert_eq!(
                (parsed.reference.to_string().as_str(), parsed.path.as_str()),
                (reference, file)
            );
        }
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let parsed = parse(&format!("/quay.io/acme/rpms@{digest}/a.rpm")).expect("a digest");
        assert_eq!((parsed.reference.digest(), parsed.path.as_str()), (Some(digest), "a.rpm"));
    }

    #[test]
    fn other_paths_are_refused_with_the_reason() {
        for (path, reason) in [
            (
                "/",
                "it has no tag or digest; add it, as in http://dnf5-oci.alt/quay.io/acme/rpms:stable",
            ),
            ("/quay.io/acme/rpms/repodata/repomd.xml", "no tag or digest"),
            ("/localhost:5000/rpms/repodata/repomd.xml", "no tag or digest"),
            ("/quay.io/acme/rpms:stable", "no path of a file follows"),
            ("/quay.io/acme/rpms:stable/", "no path of a file follows"),
            ("/quay.io/Acme/rpms:stable/a.rpm", "must be lower case"),
            ("/acme/rpms:stable/a.rpm", "not a registry host"),
            ("/quay.io/acme/%FF:1/a.rpm", "not valid UTF-8"),
            ("/user:secret@quay.io/acme/rpms:1/a.rpm", "credentials"),
        ] {
            let line = parse(path).expect_err(path);
            assert!(line.contains(reason), "{path}: {line}");
            assert!(!line.contains("secret"), "{line}");
        }
        let long = parse(&format!("/{}", "x".repeat(9000))).expect_err("no tag");
        assert!(long.chars().count() <= MAX_LINE, "{long}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_run_of_a_program_sees_one_manifest() {
        let by_url = by_url();
        let first = find(&by_url, "/quay.io/a:1/repodata/repomd.xml");
        let is_first = |path| Arc::ptr_eq(&first, &find(&by_url, path));
        // The registry may take its time.
        tokio::time::advance(60 * SECOND).await;
        assert!(is_first("/quay.io/a:1/repodata/repomd.xml"));
        first.found();
        tokio::time::advance(9 * SECOND).await;
        assert!(is_first("/quay.io/a:1/repodata/repomd.xml"));
        assert!(!is_first("/quay.io/a:2/repodata/repomd.xml"));
        // The user thinks.
        tokio::time::advance(290 * SECOND).await;
        assert!(is_first("/quay.io/a:1/p/a.rpm"));
        assert!(!is_first("/quay.io/a:1/repodata/repomd.xml"));
        assert!(!is_first("/quay.io/a:1/p/a.rpm"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_limited() {
        let by_url = by_url();
        let first = find(&by_url, "/quay.io/a:0/a.rpm");
        for tag in 1..=MAX_KEPT {
            tokio::time::advance(SECOND).await;
            find(&by_url, &format!("/quay.io/a:{tag}/a.rpm"));
        }
        assert_eq!(lock(&by_url.kept).len(), MAX_KEPT);
        assert!(!Arc::ptr_eq(&first, &find(&by_url, "/quay.io/a:0/a.rpm")));
        tokio::time::advance(KEPT).await;
        find(&by_url, "/quay.io/a:0/a.rpm");
        assert_eq!(lock(&by_url.kept).len(), 1);
    }

    #[test]
    fn with_invalid_settings_every_request_is_refused() {
        let by_url = ByUrl { refusal: Some("unknown key".to_owned()), ..by_url() };
        let refused = by_url.find("/quay.io/a:1/a.rpm").err().expect("refused");
        assert_eq!((refused.status.as_u16(), refused.line.as_str()), (500, "unknown key"));
    }
}
