//! The HTTP front end, which dnf5 and other programs download from.
//!
//! dnf5 connects through SOCKS5 on a Unix socket, which libcurl supports and only the same user can open;
//! inside is plain HTTP/1.1. The user name in the SOCKS handshake selects the session and the repository.
//! So the URLs, which DNF's cache directory and keyring are named after, are the same in every session.
//!
//! Other programs have no session. The gateway looks for the repository that their URL names, with podman's
//! configuration alone.
//!
//! | module | job |
//! |---|---|
//! | `listener` | the sockets and their connections |
//! | `session` | the repositories of one caller |
//! | `by_url` | the repositories that URLs name |
//! | `command` | a socket for one command and the programs that it runs |
//! | `route` | which repository a request is for, and what has just failed there |
//! | `failures` | the failures that a session reports to its user |
//! | `socks` | the handshake |
//! | `http` | requests and responses |
//! | `tunnel` | connections to other hosts |
//! | `outward` | the way there: directly or through a proxy |
//! | `url` | the URLs that dnf5 gets in place of a reference |
//! | `fuzzing` | what the fuzz targets need, for them alone |

mod by_url;
mod command;
mod failures;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod listener;
mod outward;
mod route;
mod session;
mod socks;
mod tunnel;
mod url;

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::engine::Engine;
use crate::jobs::Jobs;
use by_url::ByUrl;
pub use command::{Command, CommandError};
pub use listener::Error;
use listener::{Listener, OwnSocket};
use route::RouteTable;
pub use session::{Address, Session};
use socks::Clients;
pub use url::baseurl;

/// How the client of a session connects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Through a Unix socket that only the user can open.
    #[default]
    UnixSocket,
    /// Through a TCP port on the loopback interface, for libcurl older than 7.84: other users can connect to it as
    /// well, so the user names for the proxy are secrets.
    TcpPort,
}

/// A TCP port for sessions, with routes of its own: it must not lead to those that have user names that can be
/// guessed.
struct Port {
    address: SocketAddr,
    table: Arc<RouteTable>,
    _listener: Listener,
}

impl Port {
    fn open() -> Result<Self, Error> {
        let (listener, address) = listener::bind_port()?;
        let table = Arc::<RouteTable>::default();
        let clients = Clients::Sessions(Arc::clone(&table));
        Ok(Self { address, table, _listener: listener::listen(listener, clients, None) })
    }
}

/// Serves repositories over HTTP.
pub struct Gateway {
    engine: Engine,
    next_session: AtomicU64,
    table: Arc<RouteTable>,
    /// The socket for sessions, made when the first one is opened.
    socket: Mutex<Option<OwnSocket>>,
    /// The port for sessions, likewise.
    port: Mutex<Option<Port>>,
    /// The sockets that systemd has passed.
    passed: Mutex<Vec<Listener>>,
}

impl Gateway {
    /// A gateway that does not listen yet.
    pub fn new(engine: Engine) -> Self {
        let (table, socket, port, passed) = Default::default();
        Self { engine, next_session: AtomicU64::new(1), table, socket, port, passed }
    }

    /// Opens a session.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn open_session(&self, transport: Transport) -> Result<Session, Error> {
        let (proxy, table, number) = match transport {
            Transport::UnixSocket => {
                let number = self.next_session.fetch_add(1, Ordering::Relaxed);
                (self.socket()?, Arc::clone(&self.table), Some(number))
            }
            Transport::TcpPort => {
                let (proxy, table) = self.port()?;
                (proxy, table, None)
            }
        };
        Ok(Session {
            number,
            engine: self.engine.clone(),
            proxy,
            table,
            usernames: Mutex::default(),
            failures: Arc::default(),
            preparing: Mutex::default(),
        })
    }

    /// The URL of the socket for sessions.
    fn socket(&self) -> Result<String, Error> {
        let mut socket = lock(&self.socket);
        let socket = match &mut *socket {
            Some(socket) => socket,
            none => none.insert(OwnSocket::start(Clients::Sessions(Arc::clone(&self.table)))?),
        };
        Ok(url::proxy(&socket.path()))
    }

    /// The URL of the port for sessions, and their routes.
    fn port(&self) -> Result<(String, Arc<RouteTable>), Error> {
        let mut port = lock(&self.port);
        let port = match &mut *port {
            Some(port) => port,
            none => none.insert(Port::open()?),
        };
        Ok((url::proxy_at(port.address), Arc::clone(&port.table)))
    }

    /// Serves the user's programs on sockets that systemd has passed: repositories by their URL. Each connection is
    /// a job. With a `refusal`, every request fails with that line.
    ///
    /// # Errors
    /// If a socket cannot be used.
    pub fn serve_programs(
        &self,
        sockets: Vec<UnixListener>,
        jobs: &Jobs,
        refusal: Option<&str>,
    ) -> io::Result<()> {
        let by_url = Arc::new(ByUrl::new(self.engine.clone(), refusal.map(str::to_owned), None));
        for socket in sockets {
            socket.set_nonblocking(true)?;
            let socket = tokio::net::UnixListener::from_std(socket)?;
            let clients = Clients::Programs(Arc::clone(&by_url));
            lock(&self.passed).push(listener::listen(socket, clients, Some(jobs.clone())));
        }
        Ok(())
    }

    /// Accepts no more connections on the sockets that systemd has passed. They wait for the next service.
    pub fn leave_programs(&self) {
        lock(&self.passed).clear();
    }

    /// Serves a command and the programs that it runs: repositories by their URL.
    ///
    /// # Errors
    /// If there is no socket, or the environment disables the proxy.
    pub fn serve_command(&self) -> Result<Command, CommandError> {
        Command::start(self.engine.clone())
    }

    /// Removes the socket and the port for sessions. Those that are still open get no new connections.
    pub fn close(&self) {
        lock(&self.port).take();
        lock(&self.socket).take();
    }
}

/// A user name that nobody can guess: 122 random bits.
fn secret() -> String {
    Uuid::new_v4().simple().to_string()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
