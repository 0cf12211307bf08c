//! A socket for one command and the programs that it runs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use uuid::Uuid;

use super::by_url::ByUrl;
use super::failures::Failures;
use super::listener::{Listener, listen};
use super::outward::Proxies;
use super::socks::Clients;
use super::url::{self, HOST};
use crate::engine::Engine;

/// Why a command cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The environment disables the proxy.
    #[error(
        "no_proxy covers {HOST}, which is reached through a proxy; unset no_proxy, or remove \"*\" from it"
    )]
    NoProxy,
    /// There is no socket.
    #[error("making a socket failed: {0}")]
    Socket(#[from] io::Error),
}

/// Serves a command until it is dropped.
///
/// The socket is a TCP port on the loopback interface: a Unix socket in the URL of a proxy needs libcurl 7.84, and
/// older ones are in use. Other users can connect to it as well, so a client must know a secret, which the URL has
/// as user name.
pub struct Command {
    by_url: Arc<ByUrl>,
    proxy: String,
    _listener: Listener,
}

impl Command {
    pub(super) async fn start(engine: Engine) -> Result<Self, CommandError> {
        if Proxies::are_disabled_for(HOST) {
            return Err(CommandError::NoProxy);
        }
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let secret = Uuid::new_v4().simple().to_string();
        let proxy = url::proxy_with_user(listener.local_addr()?, &secret);
        let by_url = Arc::new(ByUrl::new(engine, None, Some(Failures::default())));
        let clients = Clients::Command(Arc::clone(&by_url), secret);
        Ok(Self { by_url, proxy, _listener: listen(listener, clients, None) })
    }

    /// The URL of the proxy for the command, with the secret.
    pub fn proxy(&self) -> &str {
        &self.proxy
    }

    /// One line for the user about each failure since the last call.
    pub fn take_failures(&self) -> Vec<String> {
        self.by_url.take_failures()
    }
}
