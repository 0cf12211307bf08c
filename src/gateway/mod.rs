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
//! | `failures` | the failures that a session reports to its user |
//! | `socks` | the handshake |
//! | `http` | requests and responses |
//! | `tunnel` | connections to other hosts |
//! | `url` | the URLs that dnf5 gets in place of a reference |
//! | `fuzzing` | what the fuzz targets need, for them alone |

mod failures;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod listener;
mod route;
mod session;
mod socks;
mod tunnel;
mod url;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::Engine;
pub use listener::Error;
use listener::Listener;
use route::RouteTable;
pub use session::{Address, Session};
pub use url::baseurl;

/// Serves repositories over HTTP. It starts listening when the first session is opened.
pub struct Gateway {
    engine: Engine,
    next_session: AtomicU64,
    table: Arc<RouteTable>,
    listener: Mutex<Option<Listener>>,
}

impl Gateway {
    /// A gateway without sessions, which does not listen yet.
    pub fn new(engine: Engine) -> Self {
        let (table, listener) = Default::default();
        Self { engine, next_session: AtomicU64::new(1), table, listener }
    }

    /// Opens a session.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn open_session(&self) -> Result<Session, Error> {
        let mut listener = lock(&self.listener);
        let listener = match &mut *listener {
            Some(listener) => listener,
            none => none.insert(Listener::start(Arc::clone(&self.table))?),
        };
        Ok(Session {
            number: self.next_session.fetch_add(1, Ordering::Relaxed),
            engine: self.engine.clone(),
            socket: listener.socket(),
            table: Arc::clone(&self.table),
            usernames: Mutex::default(),
            failures: Arc::default(),
            preparing: Mutex::default(),
        })
    }

    /// Removes the socket. Sessions that are still open get no new connections.
    pub fn close(&self) {
        lock(&self.listener).take();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
