//! The sockets that dnf5 and other programs connect to, and their connections.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::process::geteuid;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_util::net;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::route::Router;
use super::socks::{self, Clients, Target};
use super::{http, tunnel};
use crate::error_kind::{Failure, Kind};
use crate::jobs::{Job, Jobs};
use crate::staging;
use crate::temporary::TemporaryDir;

/// The name of the socket in its directory.
const SOCKET: &str = "gateway";

/// The address of a port.
const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Size of a connection's send buffer, in bytes. The kernel limits it to wmem_max (socket(7)), and then
/// grants twice as much.
const SEND_BUFFER: usize = 1 << 20;

/// How long the SOCKS handshake may take, and the headers of each HTTP request.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// The maximum number of connections that have not completed the handshake. If there are more, the oldest
/// is closed: a client that completes it at once is never locked out.
const MAX_HANDSHAKES: usize = 64;

/// The maximum number of connections that have. dnf5 opens 10 for a repository by default.
const MAX_CONNECTIONS: usize = 512;

/// Why a connection has ended, for the log.
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Accepts connections until it is dropped.
pub(super) type Listener = AbortOnDropHandle<()>;

/// A socket in its own directory, which is removed when this is dropped.
pub(super) struct OwnSocket {
    directory: TemporaryDir,
    _listener: Listener,
}

/// A connection to one of the sockets.
pub(super) trait Stream: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static {
    /// The user at the other end, if that is known.
    fn peer(&self) -> io::Result<Option<u32>>;
}

impl Stream for UnixStream {
    fn peer(&self) -> io::Result<Option<u32>> {
        Ok(Some(self.peer_cred()?.uid()))
    }
}

impl Stream for TcpStream {
    fn peer(&self) -> io::Result<Option<u32>> {
        Ok(None)
    }
}

/// Why no socket can be made. The error is part of the text, and therefore not the source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither in the directory that is meant for it, nor in the one for temporary files, which this is.
    #[error("making a socket in {path} failed: {error}", path = .parent.display())]
    Unix {
        /// The directory.
        parent: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// There is no port.
    #[error("listening on {LOOPBACK} failed: {0}")]
    Tcp(io::Error),
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Unix { error, .. } | Self::Tcp(error) => staging::kind(error),
        }
    }
}

/// Listens on a free TCP port that only this machine can connect to.
///
/// # Errors
/// If there is none.
pub(super) fn bind_port() -> Result<(TcpListener, SocketAddr), Error> {
    let bind = || {
        let listener = std::net::TcpListener::bind((LOOPBACK, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((TcpListener::from_std(listener)?, address))
    };
    bind().map_err(Error::Tcp)
}

impl OwnSocket {
    /// Listens in a fresh directory that only the user can enter.
    ///
    /// # Errors
    /// If no socket can be made, not even below the directory for temporary files.
    pub(super) fn start(clients: Clients) -> Result<Self, Error> {
        let temporary = std::env::temp_dir();
        let bound = runtime_directory().and_then(|parent| bind_below(&parent).ok());
        let bound = bound.map_or_else(|| bind_below(&temporary), Ok);
        let (directory, socket) =
            bound.map_err(|error| Error::Unix { parent: temporary, error })?;
        Ok(Self { directory, _listener: listen(socket, clients, None) })
    }

    /// The path of the socket.
    pub(super) fn path(&self) -> PathBuf {
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

fn bind_below(parent: &Path) -> io::Result<(TemporaryDir, UnixListener)> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    let directory = TemporaryDir::new_in(parent)?;
    let socket = directory.path().join(SOCKET);
    let listener = UnixListener::bind(&socket)?;
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o600))?;
    Ok((directory, listener))
}

/// Serves the connections to a socket. Each of them is a job, if there are jobs, and ends with the sessions.
pub(super) fn listen<L>(listener: L, clients: Clients, jobs: Option<Jobs>) -> Listener
where
    L: net::Listener<Io: Stream, Addr: Send> + Send + 'static,
{
    AbortOnDropHandle::new(tokio::spawn(accept(listener, clients, jobs, MAX_CONNECTIONS)))
}

async fn accept<L>(mut listener: L, clients: Clients, jobs: Option<Jobs>, limit: usize)
where
    L: net::Listener<Io: Stream, Addr: Send>,
{
    let connections = Arc::new(Semaphore::new(limit));
    let mut handshakes = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                make_room(&mut handshakes);
                let (clients, connections) = (clients.clone(), Arc::clone(&connections));
                let job = jobs.as_ref().map(|jobs| (jobs.start(), jobs.sessions_ended.clone()));
                let handshake = async move {
                    match shake_hands(stream, &clients).await {
                        Ok(Some(target)) => drop(tokio::spawn(serve(target, connections, job))),
                        Ok(None) => {}
                        Err(error) => tracing::debug!(error, "a handshake failed"),
                    }
                };
                handshakes.push_back(tokio::spawn(handshake).abort_handle());
            }
            Err(error) => {
                // Most likely no file descriptor is left; some will be closed.
                tracing::warn!(%error, "accepting a connection failed");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Makes room for one more handshake.
fn make_room(handshakes: &mut VecDeque<AbortHandle>) {
    handshakes.retain(|handshake| !handshake.is_finished());
    if handshakes.len() >= MAX_HANDSHAKES
        && let Some(oldest) = handshakes.pop_front()
    {
        oldest.abort();
    }
}

async fn shake_hands<S: Stream>(stream: S, clients: &Clients) -> Result<Option<Target<S>>, Failed> {
    if let Some(peer) = stream.peer()?
        && peer != geteuid().as_raw()
    {
        return Err(format!("permission denied for user {peer}").into());
    }
    set_socket_send_buffer_size(&stream, SEND_BUFFER)?;
    let handshake = socks::handshake(stream, clients);
    Ok(timeout(CLIENT_TIMEOUT, handshake).await??)
}

/// Serves the only connection.
#[cfg(fuzzing)]
pub(super) async fn serve_one(stream: UnixStream, clients: &Clients) -> Result<(), Failed> {
    if let Some(target) = shake_hands(stream, clients).await? {
        serve(target, Arc::new(Semaphore::new(1)), None).await;
    }
    Ok(())
}

/// Serves a connection unless there are too many.
async fn serve<S: Stream>(
    target: Target<S>,
    connections: Arc<Semaphore>,
    job: Option<(Job, CancellationToken)>,
) {
    let Ok(_permit) = connections.try_acquire() else {
        tracing::warn!("a connection was refused: there are too many");
        return;
    };
    let serving = async {
        let served = match target {
            Target::Local(stream, router) => serve_http(stream, router).await,
            Target::Remote(request) => tunnel::serve(request).await,
        };
        if let Err(error) = served {
            tracing::debug!(error, "a connection failed");
        }
    };
    match job {
        Some((_job, ended)) => drop(ended.run_until_cancelled(serving).await),
        None => serving.await,
    }
}

async fn serve_http(stream: impl Stream, router: Router) -> Result<(), Failed> {
    let service = service_fn(|request| http::respond(router.clone(), request));
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

    use super::super::route::{Route, RouteTable};
    use super::super::url::HOST;
    use super::*;

    /// Connections to a gateway that serves at most `limit` of them, with one route for the user name "1.0".
    fn connections(limit: usize) -> impl Fn() -> UnixStream {
        let table = RouteTable::default();
        table.add("1.0", Route::for_all(Err("invalid".to_owned())));
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = directory.path().join(SOCKET);
        let listener = UnixListener::bind(&socket).expect("bound");
        tokio::spawn(accept(listener, Clients::Sessions(Arc::new(table)), None, limit));
        move || {
            let _keep = &directory;
            let stream = std::os::unix::net::UnixStream::connect(&socket).expect("connected");
            stream.set_nonblocking(true).expect("set");
            UnixStream::from_std(stream).expect("a stream")
        }
    }

    /// A connection that is being served.
    fn connection() -> UnixStream {
        connections(1)()
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

    #[tokio::test]
    async fn clients_that_do_not_complete_the_handshake_lock_out_nobody() {
        let connect = connections(1);
        let mut idle: Vec<_> = (0..MAX_HANDSHAKES + 10).map(|_| connect()).collect();
        let mut client = connect();
        shake_hands(&mut client).await;
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.expect("sent");
        assert!(rest(&mut client).await.ends_with("invalid\n"));
        for oldest in &mut idle[..10] {
            assert_eq!(rest(oldest).await, "");
        }
        shake_hands(&mut idle[20]).await;
    }

    #[tokio::test]
    async fn connections_above_the_limit_are_refused_until_another_ends() {
        let connect = connections(1);
        let mut first = connect();
        shake_hands(&mut first).await;
        first.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
        first.read_u8().await.expect("an answer");
        let mut second = connect();
        shake_hands(&mut second).await;
        assert_eq!(rest(&mut second).await, "");
        drop(first);
        // The gateway notices in its own time.
        while !is_served(&mut connect()).await {}
    }

    async fn is_served(client: &mut UnixStream) -> bool {
        shake_hands(client).await;
        let sent = client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        sent.is_ok() && client.read_u8().await.is_ok()
    }
}
