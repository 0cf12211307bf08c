//! The SOCKS5 handshake.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use fast_socks5::server::states::CommandRead;
use fast_socks5::server::{Socks5ServerProtocol, SocksServerError};
use fast_socks5::util::target_addr::TargetAddr;
use fast_socks5::{ReplyError, Socks5Command};
use tokio::io::{AsyncRead, AsyncWrite};

use super::route::Routes;
use super::url::HOST;

/// The address in a reply (RFC 1928, section 6), which libcurl ignores.
const UNSPECIFIED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Where an authenticated client wants to connect to.
pub(super) enum Target<T> {
    /// The gateway: what follows on the stream is HTTP.
    Local(T, Routes),
    /// Another host. The client waits for a reply.
    Remote(Request<T>),
}

/// A request for a connection to another host.
pub(super) struct Request<T> {
    protocol: Socks5ServerProtocol<T, CommandRead>,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) routes: Routes,
}

/// Authenticates a client by its user name, and reads its request. `None` if that was refused because it is
/// not for a connection.
pub(super) async fn handshake<T>(
    stream: T,
    routes: impl Fn(&str) -> Option<Routes>,
) -> Result<Option<Target<T>>, SocksServerError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (protocol, routes) =
        Socks5ServerProtocol::accept_password_auth(stream, |name, _| routes(&name)).await?;
    let (protocol, command, target) = protocol.read_command().await?;
    let Some(routes) = routes.filter(|_| command == Socks5Command::TCPConnect) else {
        protocol.reply_error(&ReplyError::ConnectionNotAllowed).await?;
        return Ok(None);
    };
    let (host, port) = match target {
        TargetAddr::Domain(host, _) if host == HOST => {
            return Ok(Some(Target::Local(protocol.reply_success(UNSPECIFIED).await?, routes)));
        }
        TargetAddr::Domain(host, port) => (host, port),
        TargetAddr::Ip(address) => (address.ip().to_string(), address.port()),
    };
    Ok(Some(Target::Remote(Request { protocol, host, port, routes })))
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
