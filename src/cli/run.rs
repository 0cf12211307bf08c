//! `dnf5-oci run`.

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal;
use tokio::signal::unix::SignalKind;

use super::runtime;
use crate::settings::Settings;

/// Exit codes for a command that is not run: as of env(1).
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Added to the number of the signal that has ended the command, as in a shell.
const BY_SIGNAL: i32 = 128;

/// Run a command that gets packages from registries, such as microdnf, dnf or zypper
///
/// The command and all that it starts reach repositories in registries by URL, as in the examples. A baseurl in a
/// .repo file is such a URL without the path of a file. This needs neither D-Bus nor systemd, so it is for
/// containers, chroots and CI; on other machines dnf5-oci.socket serves all commands.
///
/// The command is told to use a proxy, in the variable http_proxy: every program that uses libcurl does. The proxy
/// is a port on 127.0.0.1, and its URL in the variable has a secret as user name. It passes connections to other
/// hosts on, unread, through the proxy that http_proxy named before. https_proxy and no_proxy stay as they are.
///
/// Credentials, mirrors, certificates and the signature policy are those of podman, for the user who runs this. The
/// exit status is that of the command, 128 and the number of the signal that has ended it, or 127 or 126 if it
/// cannot be run. If it fails, failures at registries are printed at the end.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    command: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  dnf5-oci run -- microdnf install -y tool
  dnf5-oci run -- curl -O http://dnf5-oci.alt/quay.io/acme/rpms:stable/repodata/repomd.xml";

pub(super) fn run(arguments: &Arguments, settings: &Settings) -> Result<ExitCode, Box<dyn Error>> {
    let runtime = runtime::new()?;
    let code = runtime.block_on(serve(arguments, settings));
    runtime.shutdown_timeout(runtime::CLEAN_UP);
    code
}

async fn serve(arguments: &Arguments, settings: &Settings) -> Result<ExitCode, Box<dyn Error>> {
    let gateway = super::instance(settings).gateway.serve_command()?;
    let signals = Signals::handle()?;
    let [program, rest @ ..] = arguments.command.as_slice() else {
        return Ok(ExitCode::SUCCESS);
    };
    let child = Command::new(program).args(rest).env("http_proxy", gateway.proxy()).spawn();
    let child = match child {
        Ok(child) => child,
        Err(error) => {
            print(&format!("running {} failed: {error}", program.display()));
            let is_missing = error.kind() == io::ErrorKind::NotFound;
            return Ok(ExitCode::from(if is_missing { NOT_FOUND } else { CANNOT_RUN }));
        }
    };
    let status = signals.pass_to(child).await?;
    if !status.success() {
        gateway.take_failures().iter().for_each(|line| print(line));
    }
    Ok(code(status))
}

/// The signals that are sent to this process alone, and meant for the command.
struct Signals {
    terminate: signal::unix::Signal,
    hang_up: signal::unix::Signal,
}

impl Signals {
    /// Handles them from now on. Those of the terminal, which reach the command by themselves, do not end this process
    /// any more.
    fn handle() -> io::Result<Self> {
        let handle = signal::unix::signal;
        drop(handle(SignalKind::interrupt())?);
        drop(handle(SignalKind::quit())?);
        Ok(Self {
            terminate: handle(SignalKind::terminate())?,
            hang_up: handle(SignalKind::hangup())?,
        })
    }

    /// Waits for the command to end, and passes them on.
    async fn pass_to(mut self, mut child: Child) -> io::Result<ExitStatus> {
        loop {
            let signal = tokio::select! {
                status = child.wait() => return status,
                _ = self.terminate.recv() => Signal::TERM,
                _ = self.hang_up.recv() => Signal::HUP,
            };
            let pid = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
            // Fails if it has just ended.
            let _ = pid.map(|pid| kill_process(pid, signal));
        }
    }
}

fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(BY_SIGNAL + status.signal()?)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn print(line: &str) {
    let _ = writeln!(io::stderr(), "error: {line}");
}
