//! The Unix socket that dnf5 connects to, and its connections.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::process::geteuid;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::route::RouteTable;
use super::socks::{self, Target};
use super::{http, tunnel};
use crate::error_kind::{Failure, Kind};
use crate::staging;

/// The beginning of the names of the sockets' directories.
const DIRECTORY: &str = "dnf5-oci-";

/// The name of the socket in its directory.
const SOCKET: &str = "gateway";

/// Size of a connection's send buffer, in bytes. The kernel limits it to wmem_max (socket(7)), and then
/// grants twice as much.
const SEND_BUFFER: usize = 1 << 20;

/// How long the SOCKS handshake may take, and the headers of each HTTP request.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// A socket that accepts connections until this is dropped.
pub(super) struct Listener {
    directory: TempDir,
    _accepting: AbortOnDropHandle<()>,
}

/// Why no socket can be made.
#[derive(Debug, thiserror::Error)]
#[error("making a socket in {path} failed: {error}", path = .parent.display())]
pub struct Error {
    parent: PathBuf,
    /// Part of the text, and therefore not the source.
    error: io::Error,
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        staging::kind(&self.error)
    }
}

impl Listener {
    /// Listens in a fresh directory that only the user can enter.
    ///
    /// # Errors
    /// If no socket can be made, not even below the directory for temporary files.
    pub(super) fn start(table: Arc<RouteTable>) -> Result<Self, Error> {
        let temporary = std::env::temp_dir();
        let bound = runtime_directory().and_then(|parent| bind_below(&parent).ok());
        let bound = bound.map_or_else(|| bind_below(&temporary), Ok);
        let (directory, socket) = bound.map_err(|error| Error { parent: temporary, error })?;
        let _accepting = AbortOnDropHandle::new(tokio::spawn(accept(socket, table)));
        Ok(Self { directory, _accepting })
    }

    /// The path of the socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join(SOCKET)
    }
}

fn runtime_directory() -> Option<PathBuf> {
    if geteuid().is_root() {
        return Some(PathBuf::from("/run/dnf5-oci"));
    }
    // After su it may be another user's, in which nothing can be made.
    std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute())
}

fn bind_below(parent: &Path) -> io::Result<(TempDir, UnixListener)> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    remove_stale(parent);
    let private = fs::Permissions::from_mode(0o700);
    let directory =
        tempfile::Builder::new().prefix(DIRECTORY).permissions(private).tempdir_in(parent)?;
    // Renamed once it accepts connections: a socket of that name that refuses them is a stale one.
    let unnamed = directory.path().join("new");
    let listener = UnixListener::bind(&unnamed)?;
    fs::set_permissions(&unnamed, fs::Permissions::from_mode(0o600))?;
    fs::rename(&unnamed, directory.path().join(SOCKET))?;
    Ok((directory, listener))
}

/// Removes the directories of gateways that were killed: nothing listens on their sockets any more.
fn remove_stale(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(DIRECTORY))
    {
        // The parent may be /tmp, where other users can make such directories.
        let own =
            entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw());
        let connected = || std::os::unix::net::UnixStream::connect(entry.path().join(SOCKET));
        if own
            && connected().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::debug!(%error, "removing the directory of a killed gateway failed");
        }
    }
}

async fn accept(listener: UnixListener, table: Arc<RouteTable>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let table = Arc::clone(&table);
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, &table).await {
                        tracing::debug!(error, "a connection failed");
                    }
                });
            }
            Err(error) => {
                // Most likely no file descriptor is left; some will be closed.
                tracing::warn!(%error, "accepting a connection failed");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(
    stream: UnixStream,
    table: &RouteTable,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let peer = stream.peer_cred()?.uid();
    if peer != geteuid().as_raw() {
        return Err(format!("permission denied for user {peer}").into());
    }
    set_socket_send_buffer_size(&stream, SEND_BUFFER)?;
    let handshake = socks::handshake(stream, |username| table.get(username));
    let (stream, routes) = match timeout(CLIENT_TIMEOUT, handshake).await?? {
        Some(Target::Local(stream, routes)) => (stream, routes),
        Some(Target::Remote(request)) => return tunnel::serve(request).await,
        None => return Ok(()),
    };
    let service = service_fn(|request| http::respond(routes.clone(), request));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CLIENT_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::route::Route;
    use super::super::url::HOST;
    use super::*;

    #[test]
    fn the_directory_of_a_killed_gateway_is_removed_and_others_are_not() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let directory = |name: &str| {
            let path = parent.path().join(name);
            fs::create_dir(&path).expect("made");
            path
        };
        let bind = |path: &Path| std::os::unix::net::UnixListener::bind(path.join(SOCKET));
        let (killed, other) = (directory("dnf5-oci-killed"), directory("other"));
        for path in [&killed, &other] {
            drop(bind(path).expect("bound"));
        }
        let (alive, starting) = (directory("dnf5-oci-alive"), directory("dnf5-oci-starting"));
        let _listener = bind(&alive).expect("bound");
        remove_stale(parent.path());
        assert!(!killed.exists());
        assert!([alive, starting, other].iter().all(|path| path.exists()));
    }
    /// A connection that is being served, with one route for the user name "1.0".
    fn connection() -> UnixStream {
        let table = RouteTable::default();
        table.add("1.0", Route::for_all(Err("invalid".to_owned())));
        let (client, server) = UnixStream::pair().expect("a pair of sockets");
        tokio::spawn(async move { serve(server, &table).await });
        client
    }

    /// The handshake of a client that wants to speak HTTP (RFC 1928, RFC 1929).
    async fn shake_hands(client: &mut UnixStream) {
        let host = HOST.as_bytes();
        let length = u8::try_from(host.len()).expect("short");
        let connect = [&[5, 1, 0, 3, length], host, &[0, 80]].concat();
        for (request, reply) in [
            (&[5, 1, 2][..], &[5, 2][..]),
            (b"\x01\x031.0\x01-", &[1, 0]),
            (&connect, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
        ] {
            client.write_all(request).await.expect("sent");
            let mut received = vec![0; reply.len()];
            client.read_exact(&mut received).await.expect("received");
            assert_eq!(received, reply);
        }
    }

    /// What a connection still gets, if the other end closes it.
    async fn rest(client: &mut UnixStream) -> String {
        let mut text = String::new();
        let hour = Duration::from_secs(3600);
        timeout(hour, client.read_to_string(&mut text)).await.expect("closed").expect("text");
        text
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_must_be_complete_in_time() {
        let mut client = connection();
        client.write_all(&[5, 1]).await.expect("sent");
        assert_eq!(rest(&mut client).await, "");
    }

    #[tokio::test(start_paused = true)]
    async fn the_headers_of_a_request_must_be_complete_in_time() {
        let mut client = connection();
        shake_hands(&mut client).await;
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n")
            .await
            .expect("sent");
        let text = rest(&mut client).await;
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
        assert!(text.ends_with("\r\n\r\ninvalid\n"), "{text}");
    }
}
