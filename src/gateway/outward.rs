//! The way to other hosts.

use std::env;
use std::io;
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tower_service::Service as _;

/// How long connecting to one address of a host may take; a host without IPv6 connectivity to us often has
/// an IPv6 address listed first.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a proxy may take to connect to a host.
const PROXY_TIMEOUT: Duration = Duration::from_secs(30);

/// The proxies for plain HTTP, and the exceptions from them.
pub(super) struct Proxies(Matcher);

/// The first of these variables that is set.
fn variable(names: &[&str]) -> String {
    let mut values = names.iter().filter_map(|name| env::var(name).ok());
    values.find(|value| !value.is_empty()).unwrap_or_default()
}

fn exceptions() -> String {
    variable(&["no_proxy", "NO_PROXY"])
}

impl Proxies {
    /// Those that libcurl would use in this environment: libcurl-env(3).
    pub(super) fn from_environment() -> Self {
        let proxies = Matcher::builder()
            .http(variable(&["http_proxy"]))
            .all(variable(&["all_proxy", "ALL_PROXY"]))
            .no(exceptions());
        Self(proxies.build())
    }

    /// Whether this host is never reached through a proxy in this environment.
    pub(super) fn are_disabled_for(host: &str) -> bool {
        let any = Matcher::builder().all("http://localhost").no(exceptions());
        Self(any.build()).get(host, 80).is_none()
    }

    fn get(&self, host: &str, port: u16) -> Option<Intercept> {
        let uri = format!("http://{host}:{port}/").parse().ok()?;
        self.0.intercept(&uri)
    }

    /// Connects to a host.
    pub(super) async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        match self.get(host, port) {
            None => connect(host, port).await,
            Some(proxy) => {
                let connected = timeout(PROXY_TIMEOUT, connect_through(&proxy, host, port)).await;
                let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                // Without its user and password.
                let address = proxy.uri().host().unwrap_or_default();
                connected.map_err(|error| {
                    io::Error::other(format!("through the proxy {address}: {error}"))
                })
            }
        }
    }
}

/// Connects to the first address of a host that answers.
pub(super) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for address in lookup_host((host, port)).await? {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failed)
}

async fn connect_through(proxy: &Intercept, host: &str, port: u16) -> io::Result<TcpStream> {
    let mut to_proxy = HttpConnector::new();
    to_proxy.enforce_http(false);
    to_proxy.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let target: Uri = format!("http://{host}:{port}/").parse().map_err(io::Error::other)?;
    let address = proxy.uri().clone();
    let connected = match address.scheme_str() {
        Some("http") => {
            let mut tunnel = Tunnel::new(address, to_proxy);
            if let Some(login) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(login.clone());
            }
            tunnel.call(target).await.map_err(io::Error::other)
        }
        Some("socks5" | "socks5h") => {
            let mut tunnel = SocksV5::new(address, to_proxy);
            if let Some((user, password)) = proxy.raw_auth() {
                tunnel = tunnel.with_auth(user.to_owned(), password.to_owned());
            }
            tunnel.call(target).await.map_err(io::Error::other)
        }
        scheme => {
            let scheme = scheme.unwrap_or_default();
            let reason = format!("its scheme {scheme:?} is not supported; use http or socks5h");
            Err(io::Error::other(reason))
        }
    };
    Ok(connected?.into_inner())
}
