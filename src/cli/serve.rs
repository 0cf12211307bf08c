//! `dnf5-oci serve`.

use std::error::Error;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;

use super::logging;
use crate::backend::{self, Backend};
use crate::registry::{self, Registry};
use crate::service;

/// Registries and disks are waited for, not computed upon: two threads keep two cores busy.
const THREADS: usize = 2;

/// How long work that is given up may take to remove what it has staged.
const CLEAN_UP: Duration = Duration::from_secs(2);

/// Arguments of `dnf5-oci serve`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Serve the socket with this file descriptor alone, and end when it is closed
    #[arg(long, value_name = "N")]
    fd: Option<RawFd>,

    /// End after so many seconds without a call
    #[arg(long, value_name = "SECONDS", default_value_t = 60, conflicts_with = "fd")]
    idle: u64,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    // A private instance shares dnf5's terminal; a call that fails, dnf5 itself reports.
    logging::start(match arguments.fd {
        Some(_) => LevelFilter::ERROR,
        None => LevelFilter::INFO,
    });
    let socket = arguments.fd.map(socket).transpose()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let result = runtime.block_on(serve(socket, Duration::from_secs(arguments.idle)));
    // Work that nobody waits for any more is dropped, and cleans up behind it.
    runtime.shutdown_timeout(CLEAN_UP);
    result
}

async fn serve(socket: Option<UnixStream>, idle: Duration) -> Result<(), Box<dyn Error>> {
    let registry = Registry::new(registry::Settings::default());
    let backend = Backend::new(registry, backend::Settings::default());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let served = async {
        match socket {
            Some(socket) => service::serve_socket(backend, socket).await,
            None => service::serve_bus(backend, idle).await,
        }
    };
    tokio::select! {
        result = served => Ok(result?),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

/// The socket that who started us has left open.
fn socket(fd: RawFd) -> Result<UnixStream, Box<dyn Error>> {
    let link = std::fs::read_link(format!("/proc/self/fd/{fd}"));
    if !link.is_ok_and(|target| target.to_string_lossy().starts_with("socket:")) {
        return Err(format!("the file descriptor {fd} is no socket").into());
    }
    #[expect(unsafe_code, reason = "a number is all that can be passed on a command line")]
    // SAFETY: it is open, and this process, which has just begun, has not given it to anybody.
    Ok(unsafe { UnixStream::from_raw_fd(fd) })
}
