//! Connections to other hosts.
//!
//! A repository can list packages on another host (xml:base in primary.xml), and can have plain HTTP
//! baseurls beside ours. dnf5 has one proxy for the whole repository, which is the gateway, so the gateway
//! passes these connections through, unread.
//!
//! This gives no new rights: only the user can connect to the socket, and any repository's metadata can
//! send dnf5 to any host; other programs connect to any host by themselves. A repository with a proxy gets no
//! connections, because they would bypass it.

use std::error::Error;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio_io_timeout::TimeoutStream;

use super::socks::Request;

/// How long the other host may send nothing. The client does not notice: it waits for a registry, which can
/// take much longer.
const SERVER_TIMEOUT: Duration = Duration::from_secs(60);

/// Connects a client to the host that it requests, and copies in both directions until both ends close.
pub(super) async fn serve(
    request: Request<impl AsyncRead + AsyncWrite + Unpin>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let Request { host, port, router, .. } = &request;
    match router.connect(host, *port).await {
        Ok(server) => {
            let mut client = request.grant().await?;
            let mut server = Box::pin(limited(server));
            copy_bidirectional(&mut client, &mut server).await?;
        }
        Err(error) => {
            router.report(&format!("connecting to {host} port {port} failed: {error}"));
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

#[cfg(test)]
mod tests {
    use std::io;

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
