//! The repositories of one caller.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio_util::task::AbortOnDropHandle;

use super::failures::Failures;
use super::route::{Route, RouteTable};
use super::{lock, secret, url};
use crate::dnf_cache;
use crate::engine::{Engine, Package};
use crate::error_kind::one_line;
use crate::reference::{FileReference, InvalidReference, Reference};
use crate::source::{Access, Source};

/// How dnf5 reaches a repository or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its URL, the same in every session.
    pub url: String,
    /// The URL of the proxy to use for it.
    pub proxy: String,
    /// The user name for the proxy, which selects this session and this repository.
    pub proxy_username: String,
}

/// The repositories that one caller has opened. They are served until this is dropped.
pub struct Session {
    /// What its user names begin with; `None` if they are secrets.
    pub(super) number: Option<u64>,
    pub(super) engine: Engine,
    /// The URL of the proxy.
    pub(super) proxy: String,
    pub(super) table: Arc<RouteTable>,
    /// The user names for the proxy, by repository id.
    pub(super) usernames: Mutex<HashMap<String, String>>,
    pub(super) failures: Arc<Failures>,
    /// The preparations for announced packages, by repository id.
    pub(super) preparing: Mutex<HashMap<String, AbortOnDropHandle<()>>>,
}

impl Session {
    /// Serves a repository. The registry is not asked, and an invalid reference is no error, before dnf5
    /// requests something: commands that do not need the repository must not fail because of it.
    ///
    /// A repository with several references is opened once for each of them; all share a user name, because
    /// dnf5 has one proxy for each repository. Opening a reference again resolves it again. `ignored` are
    /// options in its configuration without effect; the first request reports them as a failure. In
    /// `cachedir` dnf5 has the metadata of a repository whose first baseurl this is.
    pub fn open(
        &self,
        id: &str,
        reference: &str,
        access: Access,
        ignored: &[String],
        cachedir: Option<PathBuf>,
    ) -> Address {
        let parsed = reference.parse::<Reference>();
        let reference = match &parsed {
            Ok(reference) => reference.to_string(),
            Err(error) => error.reference().to_owned(),
        };
        let name = format!("repository {id} {reference}");
        let path = url::path(&reference, access.arch.as_deref());
        let address = Address {
            url: url::of_path(&path),
            proxy: self.proxy.clone(),
            proxy_username: self.username(id),
        };
        let directory = dnf_cache::directory_name(id, &address.url);
        let has_proxy = access.proxy.is_some();
        let warning = (!ignored.is_empty()).then(|| {
            let ignored = ignored.join(", ");
            format!(
                "{name}: {ignored} in its configuration has no effect: skopeo has no such setting"
            )
        });
        // Every request for the repository fails with what is wrong with the reference.
        let prefix = if parsed.is_ok() { path } else { "/".to_owned() };
        let view = match parsed {
            Ok(reference) => {
                let source = Source { reference, access };
                let view = self.engine.view(id, &source);
                Ok(Arc::new(match cachedir {
                    Some(cachedir) => view.with_cache_dir(cachedir.join(directory)),
                    None => view,
                }))
            }
            Err(error) => Err(format!("repository {id}: {}", one_line(&error))),
        };
        let route = Route::new(name, prefix, view, Arc::clone(&self.failures));
        let route = Route { has_proxy, warning: Mutex::new(warning), ..route };
        self.table.add(&address.proxy_username, route);
        address
    }

    /// Serves a file, given as a [`FileReference`] or by the URL that dnf5 shows for it. The repository may have
    /// been opened or not. [`Address::url`] is the URL of the file.
    ///
    /// # Errors
    /// If `url` is not valid.
    pub fn open_file(
        &self,
        id: &str,
        url: &str,
        access: Access,
    ) -> Result<Address, InvalidReference> {
        let FileReference { reference, path } = url::as_reference(url).parse()?;
        let reference = reference.to_string();
        let prefix = url::path(&reference, access.arch.as_deref());
        let proxy_username = self.username(id);
        // Opening it again would resolve it again.
        if !self.table.has(&proxy_username, &prefix) {
            self.open(id, &reference, access, &[], None);
        }
        let url = url::of_file(&url::of_path(&prefix), &path);
        Ok(Address { url, proxy: self.proxy.clone(), proxy_username })
    }

    /// Tells which packages of a repository dnf5 is about to download if its user agrees, and gets ready for them.
    /// Returns at once. Whether the repository is open.
    pub fn announce(&self, id: &str, packages: Vec<Package>) -> bool {
        let username = lock(&self.usernames).get(id).cloned();
        let views = username.map(|username| self.table.views(&username)).unwrap_or_default();
        views.iter().for_each(|view| view.announce(&packages));
        let is_open = !views.is_empty();
        tracing::debug!("repository {id}: {} packages are announced", packages.len());
        // dnf5 turns to another baseurl only if the first one fails.
        if let Some(view) = views.into_iter().next() {
            let task = tokio::spawn(async move { view.prepare(packages).await });
            lock(&self.preparing).insert(id.to_owned(), AbortOnDropHandle::new(task));
        }
        is_open
    }

    fn username(&self, id: &str) -> String {
        let mut usernames = lock(&self.usernames);
        let number = usernames.len();
        let new = || match self.number {
            Some(session) => format!("{session}.{number}"),
            None => secret(),
        };
        usernames.entry(id.to_owned()).or_insert_with(new).clone()
    }

    /// One line for the user about each failure since the last call.
    pub fn take_failures(&self) -> Vec<String> {
        self.failures.take()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for username in lock(&self.usernames).values() {
            self.table.remove(username);
        }
    }
}
