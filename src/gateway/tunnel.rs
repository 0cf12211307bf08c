//! Connections to other hosts.
//!
//! A repository can list packages on another host (xml:base in primary.xml), and can have plain HTTP
//! baseurls beside ours. dnf5 has one proxy for the whole repository, which is the gateway, so the gateway
//! passes these connections through, unread.
//!
//! This gives no new rights: only the user can connect to the socket, and any repository's metadata can
//! send dnf5 to any host. A repository with a proxy gets no connections, because they would bypass it.

use std::error::Error;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;

use super::socks::Request;

/// How long connecting to one address of a host may take; a host without IPv6 connectivity to us often has
/// an IPv6 address listed first.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the other host may send nothing. The client does not notice: it waits for a registry, which can
/// take much longer.
const SERVER_TIMEOUT: Duration = Duration::from_secs(60);

/// Connects a client to the host that it requests, and copies in both directions until both ends close.
pub(super) async fn serve(
    request: Request<UnixStream>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let Request { host, port, routes, .. } = &request;
    let connected = match routes.has_proxy() {
        true => Err(io::Error::other("the repository's proxy is for its registry only")),
        false => connect(host, *port).await,
    };
    match connected {
        Ok(server) => {
            let mut client = request.grant().await?;
            let mut server = Box::pin(limited(server));
            copy_bidirectional(&mut client, &mut server).await?;
        }
        Err(error) => {
            routes.report(&format!("connecting to {host} port {port} failed: {error}"));
            request.refuse().await?;
        }
    }
    Ok(())
}

fn limited<T: AsyncRead + AsyncWrite>(server: T) -> TimeoutStream<T> {
    let mut server = TimeoutStream::new(server);
    server.set_read_timeout(Some(SERVER_TIMEOUT));
    server
}

/// Connects to the first address of a host that answers.
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_host_that_sends_nothing_is_given_up() {
        let (server, _silent) = tokio::io::duplex(1);
        let mut server = Box::pin(limited(server));
        let error = server.read_u8().await.expect_err("nothing comes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
