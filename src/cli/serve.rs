//! `dnf5-oci serve`.

use std::error::Error;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::setsid;
use rustix::stdio::{dup2_stdin, dup2_stdout};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

use super::runtime;
use crate::config_file;
use crate::dbus::{self, Instance};
use crate::error_kind::one_line;
use crate::settings::Loaded;

/// Buffers of this many bytes and more go back to the system when they are freed.
#[cfg(target_env = "gnu")]
const LARGE_BUFFER: libc::c_int = 1 << 20;

/// The file descriptor of standard input.
const STDIN: RawFd = 0;

/// The first file descriptor after those of standard input, output and error.
const FIRST_FREE: RawFd = 3;

/// Serve the libdnf5 plugin, on the system bus or on a socket
///
/// D-Bus starts the service as dnf5-oci.service when dnf5 needs it, and it exits when it has had no call for a
/// while. For ordinary users, and where no bus is, the plugin starts it itself, with --fd, for one dnf5. With
/// dnf5-oci.socket it also serves other programs over HTTP. There is no need to run this command by hand.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Serve only the socket with this file descriptor, and exit when it is closed
    #[arg(long, value_name = "N", value_parser = inherited_socket)]
    fd: Option<RawFd>,

    /// Exit after this many seconds without a call or connection, instead of the setting
    #[arg(long, value_name = "SECONDS", conflicts_with = "fd")]
    idle: Option<u64>,

    /// Serve only the sockets that systemd passes, as dnf5-oci.socket
    #[arg(long, conflicts_with = "fd")]
    no_bus: bool,
}

impl Arguments {
    /// A private instance shares dnf5's terminal, and dnf5 itself reports failed calls.
    pub(super) fn log_level(&self) -> LevelFilter {
        match self.fd {
            Some(_) => LevelFilter::ERROR,
            None => LevelFilter::INFO,
        }
    }
}

/// glibc would keep freed buffers of up to 32 MiB for each thread (mallopt(3), M_MMAP_THRESHOLD). Decoders
/// have large ones.
fn return_large_buffers() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "there is no safe interface")]
    // SAFETY: it changes a parameter of the allocator, before there are other threads.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BUFFER);
    }
}

pub(super) fn run(
    arguments: Arguments,
    loaded: Result<Loaded, config_file::Error>,
) -> Result<(), Box<dyn Error>> {
    return_large_buffers();
    let clients = Clients::of(&arguments)?;
    // Callers get the error as a reply; it would be lost if the service did not start.
    let refusal = loaded.as_ref().err().map(|error| one_line(error));
    let settings = loaded.unwrap_or_default().settings;
    let idle = arguments.idle.map_or_else(|| settings.idle(), Duration::from_secs);
    let runtime = runtime::new()?;
    let result = runtime.block_on(async {
        let instance = Instance { refusal, ..super::instance(&settings) };
        serve(clients, idle, instance).await
    });
    // Dropping unfinished work removes its temporary files.
    runtime.shutdown_timeout(runtime::CLEAN_UP);
    result
}

/// Whom to serve.
enum Clients {
    /// The process that has started this one.
    Socket(UnixStream),
    /// Those on the system bus, and on these sockets.
    Bus(Vec<UnixListener>),
    /// Those on these sockets.
    Sockets(Vec<UnixListener>),
}

impl Clients {
    fn of(arguments: &Arguments) -> Result<Self, Box<dyn Error>> {
        if let Some(fd) = arguments.fd {
            let socket = take(fd)?;
            // Ctrl-C is for the caller, which may handle it and go on. The leader of a process group needs no session.
            let _ = setsid();
            return Ok(Self::Socket(socket));
        }
        let sockets = passed_sockets()?;
        match (arguments.no_bus, sockets.is_empty()) {
            (true, true) => Err("systemd has passed no socket; start dnf5-oci.socket".into()),
            (true, false) => Ok(Self::Sockets(sockets)),
            (false, _) => Ok(Self::Bus(sockets)),
        }
    }
}

async fn serve(clients: Clients, idle: Duration, instance: Instance) -> Result<(), Box<dyn Error>> {
    let stop = stop_at_signals()?;
    let gateway = Arc::clone(&instance.gateway);
    let (jobs, refusal) = (instance.jobs.clone(), instance.refusal.clone());
    let serve_programs = |sockets| gateway.serve_programs(sockets, &jobs, refusal.as_deref());
    match clients {
        Clients::Socket(socket) => dbus::serve_socket(instance, socket, stop).await?,
        Clients::Bus(sockets) => {
            serve_programs(sockets)?;
            dbus::serve_bus(instance, idle, stop).await?;
        }
        Clients::Sockets(sockets) => {
            serve_programs(sockets)?;
            stop.run_until_cancelled(jobs.idle_for(idle)).await;
            gateway.leave_programs();
            // A connection may have come in the meantime.
            stop.run_until_cancelled(jobs.idle_for(Duration::ZERO)).await;
        }
    }
    gateway.close();
    Ok(())
}

/// Returns a token that SIGTERM and SIGINT cancel.
fn stop_at_signals() -> io::Result<CancellationToken> {
    let terminated = runtime::terminated()?;
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    tokio::spawn(async move {
        terminated.await;
        cancelled.cancel();
    });
    Ok(stop)
}

/// Checks that this process has inherited a socket with that number.
fn inherited_socket(number: &str) -> Result<RawFd, String> {
    let fd: RawFd = number.parse().map_err(|_| "not a number".to_owned())?;
    check_socket(fd).map(|()| fd)
}

/// Checks that a number is that of a Unix stream socket.
fn check_socket(fd: RawFd) -> Result<(), String> {
    if fd < 0 {
        return Err("must not be negative".to_owned());
    }
    #[expect(unsafe_code, reason = "a command line can pass only a number")]
    // SAFETY: only passed to the system calls below, which fail if it is not open.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    let kind = sockopt::socket_type(socket).map_err(|error| error.to_string())?;
    let domain = sockopt::socket_domain(socket).map_err(|error| error.to_string())?;
    if (domain, kind) != (AddressFamily::UNIX, SocketType::STREAM) {
        return Err("not a Unix stream socket".to_owned());
    }
    Ok(())
}

/// The sockets that systemd has passed: sd_listen_fds(3).
fn passed_sockets() -> Result<Vec<UnixListener>, Box<dyn Error>> {
    let take = |fd| {
        check_socket(fd)
            .map_err(|reason| format!("file descriptor {fd} from systemd: {reason}"))?;
        #[expect(unsafe_code, reason = "systemd can pass only numbers")]
        // SAFETY: it was open when this process started, and nothing else here uses it.
        Ok(unsafe { UnixListener::from_raw_fd(fd) })
    };
    sd_notify::listen_fds()?.map(take).collect()
}

/// Takes ownership of the socket that [`inherited_socket`] has checked.
fn take(fd: RawFd) -> io::Result<UnixStream> {
    if fd == STDIN {
        return take_standard_streams();
    }
    #[expect(unsafe_code, reason = "a command line can pass only a number")]
    // SAFETY: it was open when this process started, and nothing else here uses it.
    let socket = unsafe { UnixStream::from_raw_fd(fd) };
    // skopeo must not inherit it, or it would stay open.
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    Ok(socket)
}

/// Takes the socket that is both standard input and output: libdbus starts programs so (`unixexec:` in the D-Bus
/// specification, "Executed Subprocesses on Unix").
fn take_standard_streams() -> io::Result<UnixStream> {
    let socket = fcntl_dupfd_cloexec(io::stdin(), FIRST_FREE)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    Ok(socket.into())
}
