//! The SOCKS5 handshake.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use fast_socks5::server::{Socks5ServerProtocol, SocksServerError};
use fast_socks5::util::target_addr::TargetAddr;
use fast_socks5::{ReplyError, Socks5Command};
use tokio::io::{AsyncRead, AsyncWrite};

use super::run::Shelf;

/// The one host that is reached through us. The name is looked up by nobody.
pub(super) const HOST: &str = "oci.localhost";

/// The address that SOCKS wants in its answer; there is none behind us.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Lets a client in by its user name; from there on the stream is HTTP. Nothing comes back for a
/// client that wants something else and has been told so.
pub(super) async fn handshake<T>(
    stream: T,
    shelf: impl Fn(&str) -> Option<Arc<Shelf>>,
) -> Result<Option<(T, Arc<Shelf>)>, SocksServerError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (protocol, shelf) =
        Socks5ServerProtocol::accept_password_auth(stream, |name, _| shelf(&name)).await?;
    let (protocol, command, target) = protocol.read_command().await?;
    let ours = matches!(&target, TargetAddr::Domain(host, _) if host == HOST);
    match shelf {
        Some(shelf) if ours && command == Socks5Command::TCPConnect => {
            Ok(Some((protocol.reply_success(NOWHERE).await?, shelf)))
        }
        _ => {
            protocol.reply_error(&ReplyError::ConnectionNotAllowed).await?;
            Ok(None)
        }
    }
}
