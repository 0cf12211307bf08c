//! The HTTP front end: what dnf5 asks for by itself, when it asks for it.
//!
//! dnf5 reaches it through SOCKS5 on a Unix socket, which libcurl can do and nobody else on the
//! machine can reach; below that it is plain HTTP/1.1. The user name of the SOCKS handshake says
//! which repository of which run is meant, so that URLs, which DNF's cache and keyring are filed
//! under, stay the same over runs.
//!
//! | module | job |
//! |---|---|
//! | `socks` | the handshake |
//! | `http` | requests and responses |
//! | `run` | the repositories of one run of dnf5, and what went wrong with them |

mod http;
mod run;
mod socks;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io};

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::backend::Backend;
use crate::cache;
use crate::store::Store;
use run::Shelf;
pub use run::{Address, Run, baseurl};

/// How much the unpacked layers may take, in bytes.
const STORE_LIMIT: u64 = 4 << 30;

/// What the name of a socket's directory begins with.
const DIRECTORY: &str = "dnf5-oci-";

/// The socket's name in its directory.
const SOCKET: &str = "gateway";

/// Where a gateway keeps what it needs.
#[derive(Clone, Debug)]
pub struct Places {
    /// The directory in which the directory of the socket is made.
    pub runtime: PathBuf,
    /// The directory of unpacked layers.
    pub store: PathBuf,
}

/// Serves runs of dnf5; begins to listen with the first.
pub struct Gateway {
    backend: Backend,
    places: Places,
    next: AtomicU64,
    shelves: Arc<Shelves>,
    listening: Mutex<Option<Listening>>,
}

/// All repositories that are served, by the names they are asked for by.
type Shelves = Mutex<HashMap<String, Arc<Shelf>>>;

/// What there is from the first run on.
struct Listening {
    directory: TempDir,
    store: Arc<Store>,
    _until_dropped: DropGuard,
}

impl Places {
    /// Those of a system's service for root, those of a user otherwise.
    pub fn usual() -> Self {
        let set =
            |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        if rustix::process::geteuid().is_root() {
            return Self {
                runtime: PathBuf::from("/run/dnf5-oci"),
                store: PathBuf::from("/var/cache/dnf5-oci"),
            };
        }
        let caches = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        let runtime = set("XDG_RUNTIME_DIR").unwrap_or_else(std::env::temp_dir);
        let store = caches.unwrap_or_else(std::env::temp_dir).join("dnf5-oci");
        Self { runtime, store }
    }
}

impl Gateway {
    /// A gateway that nobody uses yet.
    pub fn new(backend: Backend, places: Places) -> Self {
        Self {
            backend,
            places,
            next: AtomicU64::new(1),
            shelves: Arc::default(),
            listening: Mutex::default(),
        }
    }

    /// Begins to serve a run of dnf5.
    ///
    /// # Errors
    /// If the socket or the directory of unpacked layers cannot be made.
    pub fn begin(&self) -> Result<Run, cache::Error> {
        let (store, socket) = self.listen()?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Ok(Run::new(number, self.backend.clone(), store, socket, Arc::clone(&self.shelves)))
    }

    /// Forgets the socket; runs that are left get no answer any more.
    pub fn close(&self) {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn listen(&self) -> Result<(Arc<Store>, PathBuf), cache::Error> {
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listening) = &*listening {
            return Ok((Arc::clone(&listening.store), listening.directory.path().join(SOCKET)));
        }
        let store = Arc::new(Store::open(&self.places.store, STORE_LIMIT)?);
        let failed = |error| cache::Error::at(&self.places.runtime, error);
        let directory = private_directory(&self.places.runtime).map_err(failed)?;
        let socket = directory.path().join(SOCKET);
        let listener = listen_at(&socket).map_err(failed)?;
        let closed = CancellationToken::new();
        let (shelves, until) = (Arc::clone(&self.shelves), closed.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = accept(listener, shelves) => {}
                () = until.cancelled() => {}
            }
        });
        let _until_dropped = closed.drop_guard();
        *listening = Some(Listening { directory, store: Arc::clone(&store), _until_dropped });
        Ok((store, socket))
    }
}

/// A fresh directory that nobody else may enter, so that nobody else reaches the socket in it.
fn private_directory(parent: &Path) -> io::Result<TempDir> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    sweep(parent);
    let private = fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix(DIRECTORY).permissions(private).tempdir_in(parent)
}

/// A socket that gets its name when somebody listens and only the user may connect: one by that name
/// that takes no connection was left behind.
fn listen_at(socket: &Path) -> io::Result<UnixListener> {
    let unnamed = socket.with_extension("new");
    let listener = UnixListener::bind(&unnamed)?;
    fs::set_permissions(&unnamed, fs::Permissions::from_mode(0o600))?;
    fs::rename(&unnamed, socket)?;
    Ok(listener)
}

/// Removes the directories of gateways that were killed: nobody listens there any more.
fn sweep(parent: &Path) {
    let user = rustix::process::geteuid().as_raw();
    let names = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in names.filter(|entry| entry.file_name().to_string_lossy().starts_with(DIRECTORY)) {
        // The parent may be /tmp, where others can make what looks like one.
        let own = entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == user);
        let socket = entry.path().join(SOCKET);
        let left = || std::os::unix::net::UnixStream::connect(socket);
        if own
            && left().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::debug!(%error, "the directory of a killed gateway stays");
        }
    }
}

async fn accept(listener: UnixListener, shelves: Arc<Shelves>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let shelves = Arc::clone(&shelves);
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, &shelves).await {
                        tracing::debug!(error, "a connection ended");
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: some will be given back.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: UnixStream, shelves: &Shelves) -> Result<(), String> {
    let peer = stream.peer_cred().map_err(|error| error.to_string())?;
    if peer.uid() != rustix::process::geteuid().as_raw() {
        return Err(format!("user {} has no business here", peer.uid()));
    }
    let admitted = socks::handshake(stream, |name| {
        shelves.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    })
    .await
    .map_err(|error| error.to_string())?;
    let Some((stream, shelf)) = admitted else {
        return Ok(());
    };
    let service = service_fn(|request| http::answer(Arc::clone(&shelf), request));
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_a_killed_gateway_is_removed_and_others_are_not() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let directory = |name: &str| {
            let path = parent.path().join(name);
            fs::create_dir(&path).expect("made");
            path
        };
        let bind = |path: &Path| std::os::unix::net::UnixListener::bind(path.join(SOCKET));
        let (killed, other) = (directory("dnf5-oci-killed"), directory("other"));
        for path in [&killed, &other] {
            drop(bind(path).expect("bound"));
        }
        let (alive, starting) = (directory("dnf5-oci-alive"), directory("dnf5-oci-starting"));
        let _listener = bind(&alive).expect("bound");
        sweep(parent.path());
        assert!(!killed.exists());
        assert!([alive, starting, other].iter().all(|path| path.exists()));
    }
}
