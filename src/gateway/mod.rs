//! The HTTP front end, which dnf5 downloads from.
//!
//! dnf5 connects through SOCKS5 on a Unix socket, which libcurl supports and only the same user can open;
//! inside is plain HTTP/1.1. The user name in the SOCKS handshake selects the session and the repository.
//! So the URLs, which DNF's cache directory and keyring are named after, are the same in every session.
//!
//! | module | job |
//! |---|---|
//! | `listener` | the socket and its connections |
//! | `session` | the repositories of one caller |
//! | `route` | which repository a request is for, and what has just failed there |
//! | `failures` | what the user of a session has to be told |
//! | `socks` | the handshake |
//! | `http` | requests and responses |
//! | `tunnel` | connections to other hosts |
//! | `url` | the URLs that dnf5 gets in place of a reference |

mod failures;
mod http;
mod listener;
mod route;
mod session;
mod socks;
mod tunnel;
mod url;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use crate::dnf_cache;
use crate::engine::Engine;
use crate::layer_store::Store;
use listener::Listener;
use route::RouteTable;
pub use session::{Address, Session};
pub use url::baseurl;

/// Default size limit of the unpacked layers, in bytes.
const STORE_LIMIT: u64 = 4 << 30;

/// Where a gateway keeps its files.
#[derive(Clone, Debug)]
pub struct Directories {
    /// The socket's directory is made below the first of these where that is possible.
    pub runtime: Vec<PathBuf>,
    /// The directory of unpacked layers. If it cannot be used, they are kept in a temporary directory until
    /// the process ends.
    pub store: Option<PathBuf>,
    /// Size limit of the unpacked layers, in bytes.
    pub store_limit: u64,
}

/// Serves repositories over HTTP. It starts listening when the first session is opened.
pub struct Gateway {
    engine: Engine,
    directories: Directories,
    next_session: AtomicU64,
    table: Arc<RouteTable>,
    serving: Mutex<Option<Serving>>,
}

/// What all sessions share.
struct Serving {
    listener: Listener,
    store: Arc<Store>,
    _temporary_store: Option<TempDir>,
}

impl Default for Directories {
    /// For root the directories of a system service, otherwise those of the user.
    fn default() -> Self {
        let set =
            |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let (runtime, caches) = if rustix::process::geteuid().is_root() {
            (Some(PathBuf::from("/run/dnf5-oci")), Some(PathBuf::from("/var/cache")))
        } else {
            let home = || set("HOME").map(|home| home.join(".cache"));
            (set("XDG_RUNTIME_DIR"), set("XDG_CACHE_HOME").or_else(home))
        };
        Self {
            // After su, XDG_RUNTIME_DIR may be another user's.
            runtime: runtime.into_iter().chain([std::env::temp_dir()]).collect(),
            store: caches.map(|caches| caches.join("dnf5-oci")),
            store_limit: STORE_LIMIT,
        }
    }
}

impl Gateway {
    /// A gateway without sessions, which does not listen yet.
    pub fn new(engine: Engine, directories: Directories) -> Self {
        Self {
            engine,
            directories,
            next_session: AtomicU64::new(1),
            table: Arc::default(),
            serving: Mutex::default(),
        }
    }

    /// Opens a session.
    ///
    /// # Errors
    /// If the socket or the directory of unpacked layers cannot be made.
    pub fn open_session(&self) -> Result<Session, dnf_cache::Error> {
        let mut serving = lock(&self.serving);
        let Serving { listener, store, .. } = match &mut *serving {
            Some(serving) => serving,
            none => none.insert(self.start()?),
        };
        Ok(Session {
            number: self.next_session.fetch_add(1, Ordering::Relaxed),
            engine: self.engine.clone(),
            store: Arc::clone(store),
            socket: listener.socket(),
            table: Arc::clone(&self.table),
            usernames: Mutex::default(),
            failures: Arc::default(),
        })
    }

    /// Removes the socket. Sessions that are still open get no new connections.
    pub fn close(&self) {
        lock(&self.serving).take();
    }

    fn start(&self) -> Result<Serving, dnf_cache::Error> {
        let listener = Listener::start(&self.directories.runtime, Arc::clone(&self.table))?;
        let (store, _temporary_store) = open_store(&self.directories)?;
        Ok(Serving { listener, store: Arc::new(store), _temporary_store })
    }
}

/// The store, and its directory if that is a temporary one. Such a directory is always a fresh one: in a
/// directory that everyone can write to, an existing one may be another user's.
fn open_store(
    Directories { store, store_limit, .. }: &Directories,
) -> Result<(Store, Option<TempDir>), dnf_cache::Error> {
    if let Some(path) = store {
        match Store::open(path, *store_limit) {
            Ok(store) => return Ok((store, None)),
            Err(error) => tracing::info!(%error, "layers are kept in a temporary directory"),
        }
    }
    let parent = std::env::temp_dir();
    let directory = listener::private_directory(&parent)
        .map_err(|error| dnf_cache::Error::at(&parent, error))?;
    let store = Store::open(directory.path(), *store_limit)?;
    Ok((store, Some(directory)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
