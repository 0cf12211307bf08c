//! The repositories of one run of dnf5.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{RouteTable, socks};
use crate::engine::{Engine, View};
use crate::error_kind::one_line;
use crate::reference::{Reference, SCHEME};
use crate::source::{Access, Source};

/// What stays as it is in the path of a URL.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b':').remove(b'@').remove(b'.').remove(b'-').remove(b'_');

/// How long a failure holds: librepo asks four times in a row for what it does not get, and the
/// registry was asked often enough already.
const FAILURE_HOLDS: Duration = Duration::from_secs(10);

/// How dnf5 reaches a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its baseurl; the same in every run.
    pub baseurl: String,
    /// The proxy to be set for it.
    pub proxy: String,
    /// The user name for the proxy, which stands for this run and this repository.
    pub proxy_username: String,
}

/// One run of dnf5; what it has opened is served until this is dropped.
pub struct Session {
    number: u64,
    engine: Engine,
    socket: PathBuf,
    table: Arc<RouteTable>,
    /// The user names for the proxy, by the ids of the repositories.
    usernames: Mutex<HashMap<String, String>>,
    failures: Arc<Mutex<Vec<String>>>,
}

/// One reference of one repository of one run.
pub(super) struct Route {
    /// What it is called in lines for the user.
    name: String,
    /// What the path of a request begins with.
    prefix: String,
    /// Whether it is reached through a proxy of its own.
    pub(super) has_proxy: bool,
    /// What is on it; or the line that says why nothing can be, for when something is asked for.
    pub(super) view: Result<Arc<View>, String>,
    /// A line for the user, if something is asked for.
    warning: Mutex<Option<String>>,
    /// Lines for the user that nobody has fetched yet.
    failures: Arc<Mutex<Vec<String>>>,
    /// What failed a moment ago.
    failed: Mutex<HashMap<String, Failed>>,
}

#[derive(Clone)]
pub(super) struct Failed {
    when: Instant,
    pub(super) status: StatusCode,
    pub(super) line: String,
}

impl Session {
    pub(super) fn new(
        number: u64,
        engine: Engine,
        socket: PathBuf,
        table: Arc<RouteTable>,
    ) -> Self {
        let (usernames, failures) = Default::default();
        Self { number, engine, socket, table, usernames, failures }
    }

    /// Serves a repository. Nothing is asked for before dnf5 asks, and nothing fails before: a
    /// command that does not need the repository does not mind what is wrong with it.
    ///
    /// One with several references is opened with each of them, and has one user name: dnf5 knows
    /// one proxy for a repository. A reference that is opened again begins anew.
    ///
    /// `ignored` are options of its configuration that have no effect; the user is told when
    /// something is asked for.
    pub fn open(&self, id: &str, reference: &str, access: Access, ignored: &[String]) -> Address {
        let parsed = reference.parse::<Reference>();
        let reference = parsed.as_ref().map_or_else(|_| reference.to_owned(), Reference::to_string);
        let name = format!("repository {id} {reference}");
        let baseurl = url(&reference, access.arch.as_deref());
        let has_proxy = access.proxy.is_some();
        let prefix = match &parsed {
            Ok(_) => prefix(&reference, access.arch.as_deref()),
            // All that is asked for meets what is wrong with the reference.
            Err(_) => "/".to_owned(),
        };
        let view = parsed.map(|reference| {
            let source = Source { reference, access };
            Arc::new(self.engine.view(id, &source))
        });
        let route = Route {
            warning: Mutex::new((!ignored.is_empty()).then(|| without_effect(&name, ignored))),
            name,
            prefix,
            has_proxy,
            view: view.map_err(|error| format!("repository {id}: {}", one_line(&error))),
            failures: Arc::clone(&self.failures),
            failed: Mutex::default(),
        };
        let proxy_username = self.username(id);
        let mut table = lock(&self.table);
        let routes = table.entry(proxy_username.clone()).or_default();
        routes.retain(|other| other.prefix != route.prefix);
        routes.push(Arc::new(route));
        // What is wrong with one reference is not what another one's requests meet.
        routes.sort_by_key(|route| route.view.is_err());
        Address { baseurl, proxy: proxy(&self.socket), proxy_username }
    }

    fn username(&self, id: &str) -> String {
        let mut usernames = lock(&self.usernames);
        let next = usernames.len();
        let new = || format!("{}.{next}", self.number);
        usernames.entry(id.to_owned()).or_insert_with(new).clone()
    }

    /// The clear lines of what failed since this was asked last.
    pub fn take_failures(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.failures))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut table = lock(&self.table);
        for username in lock(&self.usernames).values() {
            table.remove(username);
        }
    }
}

impl Route {
    /// What a request asks for, relative to the repository.
    pub(super) fn location(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix(&self.prefix)?;
        if let Some(warning) = lock(&self.warning).take() {
            self.tell(warning);
        }
        percent_decode_str(rest).decode_utf8().ok().map(|location| location.into_owned())
    }

    /// Notes that dnf5 was led to where nothing can be had.
    pub(super) fn note_astray(&self, fact: &str) {
        self.tell(format!("{}: {fact}", self.name));
    }

    pub(super) fn failed(&self, location: &str) -> Option<Failed> {
        let mut failed = lock(&self.failed);
        failed.retain(|_, failed| failed.when.elapsed() < FAILURE_HOLDS);
        failed.get(location).cloned()
    }

    /// Notes a failure for the user, once for each text.
    pub(super) fn note(&self, location: &str, status: StatusCode, line: String) -> Failed {
        self.tell(line.clone());
        let failed = Failed { when: Instant::now(), status, line };
        lock(&self.failed).insert(location.to_owned(), failed.clone());
        failed
    }

    fn tell(&self, line: String) {
        let mut failures = lock(&self.failures);
        if !failures.contains(&line) {
            tracing::warn!("{line}");
            failures.push(line);
        }
    }
}

fn without_effect(name: &str, ignored: &[String]) -> String {
    let ignored = ignored.join(", ");
    format!("{name}: {ignored} in its configuration has no effect: skopeo has no such setting")
}

/// The baseurl that dnf5 has instead of a reference. DNF's cache directory is named after it.
pub fn baseurl(source: &Source) -> String {
    url(&source.reference.to_string(), source.access.arch.as_deref())
}

fn url(reference: &str, arch: Option<&str>) -> String {
    format!("http://{}{}", socks::HOST, prefix(reference, arch).trim_end_matches('/'))
}

/// The proxy that stands for a socket: libcurl takes the path of this host for the socket's.
fn proxy(socket: &Path) -> String {
    format!("socks5h://localhost{}", utf8_percent_encode(&socket.to_string_lossy(), PATH))
}

/// The path of a repository's URL: the reference, encoded, with slashes around it. An image index may
/// lead to other metadata for another architecture: a foreign one is range of the path, so that caches
/// do not mix. No reference goes on with a slash after its tag.
fn prefix(reference: &str, arch: Option<&str>) -> String {
    let name = reference.strip_prefix(SCHEME).unwrap_or(reference).trim_end_matches('/');
    let name = utf8_percent_encode(name, PATH);
    match arch {
        Some(arch) => format!("/{name}/{}/", utf8_percent_encode(arch, PATH)),
        None => format!("/{name}/"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_stable_and_plain() {
        for (reference, expected) in [
            ("oci://quay.io/acme/rpms:stable", "/quay.io/acme/rpms:stable/"),
            ("oci://localhost:5000/a-b/c_d", "/localhost:5000/a-b/c_d:latest/"),
            ("oci://[::1]:5000/a:1", "/%5B::1%5D:5000/a:1/"),
            ("oci:///srv/my mirror:1", "//srv/my%20mirror:1/"),
        ] {
            let reference: Reference = reference.parse().expect(reference);
            let reference = reference.to_string();
            assert_eq!(prefix(&reference, None), expected);
            assert_eq!(prefix(&reference, Some("arm64")), format!("{expected}arm64/"));
        }
        assert_eq!(proxy(Path::new("/run/a b/x")), "socks5h://localhost/run/a%20b/x");
    }
}
