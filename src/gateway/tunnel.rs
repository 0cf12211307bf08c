//! Connections to other hosts.
//!
//! A repository may list packages that lie elsewhere (xml:base in its primary metadata), and may have
//! addresses that are plain HTTP beside those that are ours. dnf5 knows one proxy for all of a
//! repository, which is us, so we pass these connections through, unread.
//!
//! That opens no door. The socket is its user's own, who can connect to wherever it likes without us;
//! and where dnf5 lets itself be led by a repository's metadata is the same as with any other
//! repository. One that is to be reached through a proxy gets no connection past it.

use std::io;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

use super::socks::Request;

/// How long one of a host's addresses may take to answer, if it has others: those of a network that
/// leads nowhere come first, often enough.
const ANSWER: Duration = Duration::from_secs(5);

/// Connects a client to the host that it wants, and passes on what both say until they are done.
pub(super) async fn serve(request: Request<UnixStream>) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let proxied = request.routes.iter().any(|route| route.has_proxy);
    let there = match proxied {
        true => Err(io::Error::other("the repository's proxy holds for its registry alone")),
        false => connect(&request.host, request.port).await,
    };
    match there {
        Ok(mut there) => {
            let mut client = request.grant().await.map_err(|error| text(&error))?;
            copy_bidirectional(&mut client, &mut there).await.map_err(|error| text(&error))?;
            Ok(())
        }
        Err(error) => {
            let (host, port) = (&request.host, request.port);
            let fact =
                format!("{host} port {port}, where dnf5 was led to, cannot be reached: {error}");
            if let Some(route) = request.routes.first() {
                route.note_astray(&fact);
            }
            request.refuse().await.map_err(|error| text(&error))
        }
    }
}

/// Tries the addresses of a host one after the other.
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for address in lookup_host((host, port)).await? {
        match timeout(ANSWER, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failed)
}
