//! The SOCKS5 handshake.

use std::net::{Ipv4Addr, SocketAddr};

use fast_socks5::server::states::CommandRead;
use fast_socks5::server::{Socks5ServerProtocol, SocksServerError};
use fast_socks5::util::target_addr::TargetAddr;
use fast_socks5::{ReplyError, Socks5Command};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Routes;

/// The one host that is us. The name is looked up by nobody, and would not be found: RFC 9476 keeps
/// all below alt out of the DNS. It is none below localhost, which many have in `$no_proxy`.
pub(super) const HOST: &str = "dnf5-oci.alt";

/// The address that SOCKS wants in its answer; nobody looks at it.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A client that was let in by its user name.
pub(super) enum Target<T> {
    /// It wants us; from here on the stream is HTTP.
    Local(T, Routes),
    /// It wants another host, and has to be told whether it gets there.
    Remote(Request<T>),
}

/// A request for a connection to another host.
pub(super) struct Request<T> {
    protocol: Socks5ServerProtocol<T, CommandRead>,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) routes: Routes,
}

/// Lets a client in by its user name. Nothing comes back for one that wants something else than a
/// connection, and has been told so.
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
            return Ok(Some(Target::Local(protocol.reply_success(NOWHERE).await?, routes)));
        }
        TargetAddr::Domain(host, port) => (host, port),
        TargetAddr::Ip(address) => (address.ip().to_string(), address.port()),
    };
    Ok(Some(Target::Remote(Request { protocol, host, port, routes })))
}

impl<T: AsyncRead + AsyncWrite + Unpin> Request<T> {
    /// The client is connected from here on.
    pub(super) async fn grant(self) -> Result<T, SocksServerError> {
        self.protocol.reply_success(NOWHERE).await
    }

    pub(super) async fn refuse(self) -> Result<(), SocksServerError> {
        self.protocol.reply_error(&ReplyError::HostUnreachable).await
    }
}
