//! `dnf5-oci serve`.

use std::error::Error;
use std::os::fd::{BorrowedFd, FromRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

use crate::dbus::{self, Instance};
use crate::error_kind::one_line;
use crate::settings::{self, Loaded};

/// Registries and disks are waited for, not computed upon: two threads keep two cores busy.
const THREADS: usize = 2;

/// How long work that is given up may take to remove what it has staged.
const CLEAN_UP: Duration = Duration::from_secs(2);

/// Arguments of `dnf5-oci serve`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Serve the socket with this file descriptor alone, and end when it is closed
    #[arg(long, value_name = "N", value_parser = left_open)]
    fd: Option<RawFd>,

    /// End after so many seconds without a call, whatever the settings say
    #[arg(long, value_name = "SECONDS", conflicts_with = "fd")]
    idle: Option<u64>,
}

impl Arguments {
    /// A private instance shares dnf5's terminal; a call that fails, dnf5 itself reports.
    pub(super) fn log_level(&self) -> LevelFilter {
        match self.fd {
            Some(_) => LevelFilter::ERROR,
            None => LevelFilter::INFO,
        }
    }
}

pub(super) fn run(
    arguments: Arguments,
    loaded: Result<Loaded, settings::Error>,
) -> Result<(), Box<dyn Error>> {
    let socket = arguments.fd.map(take).transpose()?;
    // The callers are told what is wrong; it would be lost if the service did not start.
    let refusal = loaded.as_ref().err().map(|error| one_line(error));
    let settings = loaded.unwrap_or_default().settings;
    let idle = arguments.idle.map_or_else(|| settings.idle(), Duration::from_secs);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let result = runtime.block_on(async {
        let instance = Instance { refusal, ..super::instance(&settings) };
        serve(socket, idle, instance).await
    });
    // Work that nobody waits for any more is dropped, and cleans up behind it.
    runtime.shutdown_timeout(CLEAN_UP);
    result
}

async fn serve(
    socket: Option<UnixStream>,
    idle: Duration,
    instance: Instance,
) -> Result<(), Box<dyn Error>> {
    let stop = stop_at_signals()?;
    let gateway = Arc::clone(&instance.gateway);
    let result = match socket {
        Some(socket) => dbus::serve_socket(instance, socket, stop).await,
        None => dbus::serve_bus(instance, idle, stop).await,
    };
    gateway.close();
    Ok(result?)
}

/// A token that SIGTERM and SIGINT cancel.
fn stop_at_signals() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
        cancelled.cancel();
    });
    Ok(stop)
}

/// Checks that who started us has left a socket open under that number.
fn left_open(number: &str) -> Result<RawFd, String> {
    let fd: RawFd = number.parse().map_err(|_| "it is no number".to_owned())?;
    if fd < 0 {
        return Err("it is negative".to_owned());
    }
    #[expect(unsafe_code, reason = "a number is all that can be passed on a command line")]
    // SAFETY: the system calls below, which say so if it is not open, are all that it is used for.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    let kind = sockopt::socket_type(socket).map_err(|error| error.to_string())?;
    let domain = sockopt::socket_domain(socket).map_err(|error| error.to_string())?;
    if (domain, kind) != (AddressFamily::UNIX, SocketType::STREAM) {
        return Err("it is no Unix stream socket".to_owned());
    }
    Ok(fd)
}

/// Takes over the socket that [`left_open`] has found.
fn take(fd: RawFd) -> std::io::Result<UnixStream> {
    #[expect(unsafe_code, reason = "a number is all that can be passed on a command line")]
    // SAFETY: it was open when this process began, and nobody else here knows of it.
    let socket = unsafe { UnixStream::from_raw_fd(fd) };
    // A skopeo that inherited it would keep it open.
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    Ok(socket)
}
