//! The HTTP front end: what dnf5 asks for by itself, when it asks for it.
//!
//! dnf5 reaches it through SOCKS5 on a Unix socket, which libcurl can do and nobody else on the
//! machine can reach; below that it is plain HTTP/1.1. The user name of the SOCKS handshake says
//! which repository of which run is meant, so that URLs, which DNF's cache and keyring are filed
//! under, stay the same over sessions.
//!
//! | module | job |
//! |---|---|
//! | `socks` | the handshake |
//! | `http` | requests and responses |
//! | `run` | the repositories of one run of dnf5, and what went wrong with them |
//! | `tunnel` | connections to other hosts |

mod http;
mod session;
mod socks;
mod tunnel;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io};

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::net::sockopt::set_socket_send_buffer_size;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::engine::Engine;
use crate::layer_store;
use session::Route;
pub use session::{Address, Session, baseurl};
use socks::Target;

/// What the name of a socket's directory begins with.
const DIRECTORY: &str = "dnf5-oci-";

/// The socket's name in its directory.
const SOCKET: &str = "gateway";

/// How much a client may be behind, in bytes. The kernel gives less if its own bound is lower (socket(7),
/// wmem_max), but still twice its default.
const SEND_BUFFER: usize = 1 << 20;

/// Where a gateway keeps what it needs.
#[derive(Clone, Debug)]
pub struct Directories {
    /// In the first of these that it can be, the directory of the socket is made.
    pub runtime: Vec<PathBuf>,
}

/// Serves runs of dnf5; begins to listen with the first.
pub struct Gateway {
    engine: Engine,
    directories: Directories,
    next: AtomicU64,
    table: Arc<RouteTable>,
    listening: Mutex<Option<Listening>>,
}

/// All repositories that are served, by the names they are asked for by.
type RouteTable = Mutex<HashMap<String, Routes>>;

/// What one repository has, for each of its references. There is at least one.
type Routes = Vec<Arc<Route>>;

/// What there is from the first run on.
struct Listening {
    directory: TempDir,
    _until_dropped: DropGuard,
}

impl Directories {
    /// Those of a system's service for root, those of a user otherwise.
    pub fn usual() -> Self {
        let temporary = std::env::temp_dir();
        if rustix::process::geteuid().is_root() {
            return Self { runtime: vec![PathBuf::from("/run/dnf5-oci"), temporary] };
        }
        let set =
            |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        // After su it may be another user's.
        Self { runtime: set("XDG_RUNTIME_DIR").into_iter().chain([temporary]).collect() }
    }
}

impl Gateway {
    /// A gateway that nobody uses yet.
    pub fn new(engine: Engine, directories: Directories) -> Self {
        Self {
            engine,
            directories,
            next: AtomicU64::new(1),
            table: Arc::default(),
            listening: Mutex::default(),
        }
    }

    /// Begins to serve a run of dnf5.
    ///
    /// # Errors
    /// If the socket or the directory of unpacked layers cannot be made.
    pub fn begin(&self) -> Result<Session, layer_store::Error> {
        let socket = self.listen()?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Ok(Session::new(number, self.engine.clone(), socket, Arc::clone(&self.table)))
    }

    /// Forgets the socket; runs that are left get no answer any more.
    pub fn close(&self) {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn listen(&self) -> Result<PathBuf, layer_store::Error> {
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listening) = &*listening {
            return Ok(listening.directory.path().join(SOCKET));
        }
        let (directory, listener) = bind(&self.directories.runtime)?;
        let socket = directory.path().join(SOCKET);
        let closed = CancellationToken::new();
        let (table, until) = (Arc::clone(&self.table), closed.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = accept(listener, table) => {}
                () = until.cancelled() => {}
            }
        });
        let _until_dropped = closed.drop_guard();
        *listening = Some(Listening { directory, _until_dropped });
        Ok(socket)
    }
}

/// Listens in the first of these directories that lets us; a name of a socket cannot be long.
fn bind(runtime: &[PathBuf]) -> Result<(TempDir, UnixListener), layer_store::Error> {
    let mut failed = layer_store::Error::at(Path::new(SOCKET), io::ErrorKind::NotFound.into());
    for parent in runtime {
        match bind_in(parent) {
            Ok(bound) => return Ok(bound),
            Err(error) => failed = layer_store::Error::at(parent, error),
        }
    }
    Err(failed)
}

fn bind_in(parent: &Path) -> io::Result<(TempDir, UnixListener)> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    sweep(parent);
    let directory = private_directory(parent)?;
    let listener = listen_at(&directory.path().join(SOCKET))?;
    Ok((directory, listener))
}

/// A fresh directory that nobody else may enter, so that nobody else reaches what is in it.
fn private_directory(parent: &Path) -> io::Result<TempDir> {
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

async fn accept(listener: UnixListener, table: Arc<RouteTable>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let table = Arc::clone(&table);
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, &table).await {
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

async fn serve(stream: UnixStream, table: &RouteTable) -> Result<(), String> {
    let peer = stream.peer_cred().map_err(|error| error.to_string())?;
    if peer.uid() != rustix::process::geteuid().as_raw() {
        return Err(format!("user {} has no business here", peer.uid()));
    }
    set_socket_send_buffer_size(&stream, SEND_BUFFER).map_err(|error| error.to_string())?;
    let guest = socks::handshake(stream, |name| {
        table.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    })
    .await
    .map_err(|error| error.to_string())?;
    let (stream, routes) = match guest {
        Some(Target::Local(stream, routes)) => (stream, routes),
        Some(Target::Remote(request)) => return tunnel::serve(request).await,
        None => return Ok(()),
    };
    let service = service_fn(|request| http::answer(routes.clone(), request));
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
