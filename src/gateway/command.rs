//! A socket for one command and the programs that it runs.

use std::sync::Arc;

use super::by_url::ByUrl;
use super::failures::Failures;
use super::listener::{self, Listener};
use super::outward::Proxies;
use super::socks::Clients;
use super::url::HOST;
use super::{secret, url};
use crate::engine::Engine;

/// Why a command cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The environment disables the proxy.
    #[error(
        "no_proxy covers {HOST}, which is reached through a proxy; unset no_proxy, or remove \"*\" from it"
    )]
    NoProxy,
    /// There is no port.
    #[error(transparent)]
    Port(#[from] listener::Error),
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
    pub(super) fn start(engine: Engine) -> Result<Self, CommandError> {
        if Proxies::are_disabled_for(HOST) {
            return Err(CommandError::NoProxy);
        }
        let (listener, address) = listener::bind_port()?;
        let secret = secret();
        let proxy = url::proxy_with_user(address, &secret);
        let by_url = Arc::new(ByUrl::new(engine, None, Some(Failures::default())));
        let clients = Clients::Command(Arc::clone(&by_url), secret);
        Ok(Self { by_url, proxy, _listener: listener::listen(listener, clients, None) })
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
