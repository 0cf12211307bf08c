//! Which repository a request is for, and what has just failed there.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::by_url::ByUrl;
use super::failures::Failures;
use super::{lock, outward};
use crate::engine::{Error, REFUSALS, View};

/// How long a failed request is answered without asking the registry again: librepo makes it four times in
/// a row.
const FAILURE_LASTS: Duration = Duration::from_secs(10);

/// Where the requests of a connection lead.
#[derive(Clone)]
pub(super) enum Router {
    /// To one repository of a session.
    Session(Routes),
    /// To the repository that the URL names.
    Url(Arc<ByUrl>),
}

/// The response to a request that leads nowhere.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The line for the user.
    pub(super) line: String,
}

/// All repositories that are served, by the user name for the proxy.
#[derive(Default)]
pub(super) struct RouteTable(Mutex<HashMap<String, Routes>>);

/// The routes of one repository, one for each of its references. There is at least one.
#[derive(Clone, Default)]
pub(super) struct Routes(Vec<Arc<Route>>);

/// One reference: of one repository of a session, or from a URL.
pub(super) struct Route {
    /// The repository and the reference, for messages.
    pub(super) name: String,
    /// The beginning of the path of every request for it.
    pub(super) prefix: String,
    /// Whether its configuration names a proxy.
    pub(super) has_proxy: bool,
    /// What it has; or the line for the user if the reference is invalid.
    pub(super) view: Result<Arc<View>, String>,
    /// A line for the user that waits for the first request.
    pub(super) warning: Mutex<Option<String>>,
    pub(super) failures: Arc<Failures>,
    /// What has failed within [`FAILURE_LASTS`], by location.
    pub(super) recent: Mutex<HashMap<String, Failed>>,
    /// When it was first found in the registry.
    pub(super) found: OnceLock<Instant>,
}

/// The response to a request that failed.
#[derive(Clone)]
pub(super) struct Failed {
    at: Instant,
    /// How often the registry was asked; [`REFUSALS`] if that was often enough.
    times: u32,
    pub(super) status: StatusCode,
    pub(super) line: String,
}

/// What becomes of the same request if it is made again at once.
pub(super) enum Next {
    /// It fails as well: the registry has been asked several times, or was not to blame.
    Fails,
    /// The registry has refused it, which it may do once and not again.
    MayFail,
    /// It gets other bytes than the wrong ones that came.
    IsServed,
}

impl Next {
    pub(super) fn after(error: &Error) -> Self {
        match error {
            error if error.is_mirror_fault() => Self::IsServed,
            error if error.is_refusal() => Self::MayFail,
            _ => Self::Fails,
        }
    }
}

impl RouteTable {
    pub(super) fn get(&self, username: &str) -> Option<Routes> {
        lock(&self.0).get(username).cloned()
    }

    /// Whether there is a route with this prefix.
    pub(super) fn has(&self, username: &str, prefix: &str) -> bool {
        let has = |Routes(routes): &Routes| routes.iter().any(|route| route.prefix == prefix);
        lock(&self.0).get(username).is_some_and(has)
    }

    /// The views of a repository that were opened, in that order.
    pub(super) fn views(&self, username: &str) -> Vec<Arc<View>> {
        let Routes(routes) = self.get(username).unwrap_or_default();
        routes.iter().filter_map(|route| route.view.as_ref().ok().cloned()).collect()
    }

    /// Adds a route; it replaces an earlier one to the same reference.
    pub(super) fn add(&self, username: &str, route: Route) {
        let mut table = lock(&self.0);
        let Routes(routes) = table.entry(username.to_owned()).or_default();
        routes.retain(|other| other.prefix != route.prefix);
        routes.push(Arc::new(route));
        // An invalid reference takes every request, so it comes last.
        routes.sort_by_key(|route| route.view.is_err());
    }

    pub(super) fn remove(&self, username: &str) {
        lock(&self.0).remove(username);
    }
}

impl Router {
    /// The route that a path leads to, and the path relative to the repository.
    pub(super) fn find(&self, path: &str) -> Result<(Arc<Route>, String), Refusal> {
        match self {
            Self::Session(routes) => routes.find(path).ok_or_else(|| {
                let line = routes.report(&format!(
                    "{path:?} is outside the repository; have its owner correct the locations in its \
                     metadata"
                ));
                Refusal { status: StatusCode::NOT_FOUND, line }
            }),
            Self::Url(by_url) => by_url.find(path),
        }
    }

    /// Connects to another host.
    pub(super) async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        match self {
            Self::Session(routes) if routes.has_proxy() => {
                Err(io::Error::other("the repository's proxy is for its registry only"))
            }
            Self::Session(_) => outward::connect(host, port).await,
            Self::Url(by_url) => by_url.proxies.connect(host, port).await,
        }
    }

    /// Reports a failure that concerns no repository alone.
    pub(super) fn report(&self, failure: &str) {
        match self {
            Self::Session(routes) => drop(routes.report(failure)),
            Self::Url(by_url) => by_url.report(failure),
        }
    }
}

impl Routes {
    /// The route that a path leads to, and the path relative to the repository.
    fn find(&self, path: &str) -> Option<(Arc<Route>, String)> {
        self.0.iter().find_map(|route| Some((Arc::clone(route), route.location(path)?)))
    }

    fn has_proxy(&self) -> bool {
        self.0.iter().any(|route| route.has_proxy)
    }

    /// Reports a failure that concerns no single reference. Returns the line for the user.
    fn report(&self, failure: &str) -> String {
        let Some(Route { name, failures, .. }) = self.0.first().map(Arc::as_ref) else {
            return failure.to_owned();
        };
        let line = format!("{name}: {failure}");
        failures.report(line.clone(), None);
        line
    }
}

impl Route {
    pub(super) fn new(
        name: String,
        prefix: String,
        view: Result<Arc<View>, String>,
        failures: Arc<Failures>,
    ) -> Self {
        Self {
            name,
            prefix,
            has_proxy: false,
            view,
            warning: Mutex::default(),
            failures,
            recent: Mutex::default(),
            found: OnceLock::new(),
        }
    }

    /// Records that the registry has the repository.
    pub(super) fn found(&self) {
        self.found.get_or_init(Instant::now);
    }

    /// Whether that was recorded at least this long ago.
    pub(super) fn was_found_before(&self, age: Duration) -> bool {
        self.found.get().is_some_and(|found| found.elapsed() >= age)
    }

    fn location(&self, path: &str) -> Option<String> {
        let encoded = path.strip_prefix(&self.prefix)?;
        if let Some(warning) = lock(&self.warning).take() {
            self.failures.report(warning, None);
        }
        percent_decode_str(encoded).decode_utf8().ok().map(|location| location.into_owned())
    }

    /// How requests for this location fail, if that is known from just now.
    pub(super) fn recent_failure(&self, location: &str) -> Option<Failed> {
        let mut recent = lock(&self.recent);
        recent.retain(|_, failed| failed.at.elapsed() < FAILURE_LASTS);
        recent.get(location).filter(|failed| failed.times >= REFUSALS).cloned()
    }

    /// Records a failed request, and reports it to the user unless a later one succeeds.
    pub(super) fn record(
        &self,
        location: &str,
        status: StatusCode,
        line: String,
        next: Next,
    ) -> Failed {
        self.failures.report(line.clone(), Some(&self.request(location)));
        let mut recent = lock(&self.recent);
        let before = recent.get(location).map_or(0, |failed| failed.times);
        let times = match next {
            Next::Fails => REFUSALS,
            Next::MayFail => before + 1,
            Next::IsServed => 0,
        };
        let failed = Failed { at: Instant::now(), times, status, line };
        recent.insert(location.to_owned(), failed.clone());
        failed
    }

    /// Records that a request has been served.
    pub(super) fn recovered(&self, location: &str) {
        self.failures.recovered(&self.request(location));
    }

    /// What is requested. Two repositories may have the same reference.
    fn request(&self, location: &str) -> String {
        format!("{} {location}", self.name)
    }
}

#[cfg(any(test, fuzzing))]
impl Route {
    /// A route that takes every request.
    pub(super) fn for_all(view: Result<Arc<View>, String>) -> Self {
        Self::new("repository tools".to_owned(), "/".to_owned(), view, Arc::default())
    }
}
