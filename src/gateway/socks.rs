//! The SOCKS5 handshake.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use fast_socks5::server::states::CommandRead;
use fast_socks5::server::{
    AuthMethodSuccessState as _, NoAuthentication, Socks5ServerProtocol, SocksServerError,
};
use fast_socks5::util::target_addr::TargetAddr;
use fast_socks5::{ReplyError, Socks5Command};
use tokio::io::{AsyncRead, AsyncWrite};

use super::by_url::ByUrl;
use super::route::{RouteTable, Router};
use super::url::HOST;

/// The address in a reply (RFC 1928, section 6), which libcurl ignores.
const UNSPECIFIED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Whom a socket serves, and with what.
#[derive(Clone)]
pub(super) enum Clients {
    /// dnf5, with the repository of a session that the user name selects.
    Sessions(Arc<RouteTable>),
    /// All programs of the user who may connect to the socket, with what their URLs name.
    Programs(Arc<ByUrl>),
    /// The programs that know this user name, likewise.
    Command(Arc<ByUrl>, String),
}

/// Where an accepted client wants to connect to.
pub(super) enum Target<T> {
    /// The gateway: what follows on the stream is HTTP.
    Local(T, Router),
    /// Another host. The client waits for a reply.
    Remote(Request<T>),
}

/// A request for a connection to another host.
pub(super) struct Request<T> {
    protocol: Socks5ServerProtocol<T, CommandRead>,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) router: Router,
}

/// Accepts a client, and reads its request. `None` if that was refused because it is not for a connection.
pub(super) async fn handshake<T>(
    stream: T,
    clients: &Clients,
) -> Result<Option<Target<T>>, SocksServerError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (protocol, router) = match clients {
        Clients::Programs(by_url) => {
            let protocol = Socks5ServerProtocol::start(stream);
            let accepted = protocol.negotiate_auth(&[NoAuthentication]).await?.finish_auth();
            (accepted, Some(Router::Url(Arc::clone(by_url))))
        }
        Clients::Sessions(table) => {
            let routes = |name: &str| table.get(name).map(Router::Session);
            Socks5ServerProtocol::accept_password_auth(stream, |name, _| routes(&name)).await?
        }
        Clients::Command(by_url, secret) => {
            let router = |name| (name == *secret).then(|| Router::Url(Arc::clone(by_url)));
            Socks5ServerProtocol::accept_password_auth(stream, |name, _| router(name)).await?
        }
    };
    let (protocol, command, target) = protocol.read_command().await?;
    let Some(router) = router.filter(|_| command == Socks5Command::TCPConnect) else {
        protocol.reply_error(&ReplyError::ConnectionNotAllowed).await?;
        return Ok(None);
    };
    let (host, port) = match target {
        TargetAddr::Domain(host, _) if host == HOST => {
            return Ok(Some(Target::Local(protocol.reply_success(UNSPECIFIED).await?, router)));
        }
        TargetAddr::Domain(host, port) => (host, port),
        TargetAddr::Ip(address) => (address.ip().to_string(), address.port()),
    };
    Ok(Some(Target::Remote(Request { protocol, host, port, router })))
}

impl<T: AsyncRead + AsyncWrite + Unpin> Request<T> {
    /// Tells the client that it is connected.
    pub(super) async fn grant(self) -> Result<T, SocksServerError> {
        self.protocol.reply_success(UNSPECIFIED).await
    }

    pub(super) async fn refuse(self) -> Result<(), SocksServerError> {
        self.protocol.reply_error(&ReplyError::HostUnreachable).await
    }
}
