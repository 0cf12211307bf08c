//! The repositories of one run of dnf5.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{Shelves, socks};
use crate::backend::{Backend, View};
use crate::failure::one_line;
use crate::reference::{Reference, SCHEME};
use crate::registry::{Access, Source};
use crate::store::Store;

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
pub struct Run {
    number: u64,
    backend: Backend,
    store: Arc<Store>,
    socket: PathBuf,
    shelves: Arc<Shelves>,
    usernames: Mutex<Vec<String>>,
    failures: Arc<Mutex<Vec<String>>>,
}

/// One repository of one run.
pub(super) struct Shelf {
    /// What the path of a request begins with.
    prefix: String,
    /// What is on it; or the line that says why nothing can be, for when something is asked for.
    pub(super) view: Result<Arc<View>, String>,
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

impl Run {
    pub(super) fn new(
        number: u64,
        backend: Backend,
        store: Arc<Store>,
        socket: PathBuf,
        shelves: Arc<Shelves>,
    ) -> Self {
        let (usernames, failures) = Default::default();
        Self { number, backend, store, socket, shelves, usernames, failures }
    }

    /// Serves a repository. Nothing is asked for before dnf5 asks, and nothing fails before: a
    /// command that does not need the repository does not mind what is wrong with it.
    pub fn open(&self, id: &str, reference: &str, access: Access) -> Address {
        let parsed = reference.parse::<Reference>();
        let name = parsed.as_ref().map_or_else(|_| reference.to_owned(), Reference::to_string);
        let view = parsed.map(|reference| {
            let source = Source { reference, access };
            Arc::new(self.backend.view(id.to_owned(), &source, Arc::clone(&self.store)))
        });
        let shelf = Shelf {
            // All that is asked for meets what is wrong with the reference.
            prefix: if view.is_ok() { prefix(&name) } else { "/".to_owned() },
            view: view.map_err(|error| format!("repository {id}: {}", one_line(&error))),
            failures: Arc::clone(&self.failures),
            failed: Mutex::default(),
        };
        let mut usernames = lock(&self.usernames);
        let address = Address {
            baseurl: url(&name),
            proxy: format!("socks5h://localhost{}", self.socket.display()),
            proxy_username: format!("{}.{}", self.number, usernames.len()),
        };
        lock(&self.shelves).insert(address.proxy_username.clone(), Arc::new(shelf));
        usernames.push(address.proxy_username.clone());
        address
    }

    /// The clear lines of what failed since this was asked last.
    pub fn take_failures(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.failures))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let mut shelves = lock(&self.shelves);
        for username in lock(&self.usernames).drain(..) {
            shelves.remove(&username);
        }
    }
}

impl Shelf {
    /// What a request asks for, relative to the repository.
    pub(super) fn location(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix(&self.prefix)?;
        percent_decode_str(rest).decode_utf8().ok().map(|location| location.into_owned())
    }

    pub(super) fn failed(&self, location: &str) -> Option<Failed> {
        let mut failed = lock(&self.failed);
        failed.retain(|_, failed| failed.when.elapsed() < FAILURE_HOLDS);
        failed.get(location).cloned()
    }

    /// Notes a failure for the user, once for each text.
    pub(super) fn note(&self, location: &str, status: StatusCode, line: String) -> Failed {
        let mut failures = lock(&self.failures);
        if !failures.contains(&line) {
            failures.push(line.clone());
        }
        let failed = Failed { when: Instant::now(), status, line };
        lock(&self.failed).insert(location.to_owned(), failed.clone());
        failed
    }
}

/// The baseurl that dnf5 has instead of a reference. DNF's cache directory is named after it.
pub fn baseurl(reference: &Reference) -> String {
    url(&reference.to_string())
}

fn url(reference: &str) -> String {
    format!("http://{}{}", socks::HOST, prefix(reference).trim_end_matches('/'))
}

/// The path of a repository's URL: the reference, encoded, with slashes around it.
fn prefix(reference: &str) -> String {
    let name = reference.strip_prefix(SCHEME).unwrap_or(reference).trim_end_matches('/');
    format!("/{}/", utf8_percent_encode(name, PATH))
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
            assert_eq!(prefix(&reference.to_string()), expected);
        }
    }
}
