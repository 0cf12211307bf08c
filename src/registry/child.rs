//! A child process that can be killed at any time and does not outlive this process.

use std::fs::{self, File};
use std::io::{PipeReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::Error;
use crate::confinement::Confinement;

/// The child of a command that other code starts. Killed when dropped.
///
/// The kernel also kills it when the *thread* that started it ends: `PR_SET_PDEATHSIG`, prctl(2). It must be
/// started on a worker thread of the runtime, since a thread for blocking work ends when it is idle. For
/// that reason no async code in this process may use `block_in_place`: it turns a worker thread, which may
/// have started children, into one for blocking work.
pub(super) struct Child {
    /// The process writes its id here; end of file if it did not start.
    report: PipeReader,
    process: OnceLock<Option<(Pid, OwnedFd)>>,
    killed: AtomicBool,
}

/// How many bytes a process has read and written since its start: the registry's, and those of its files. 0 if
/// the kernel does not count them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Transferred {
    pub(super) read: u64,
    pub(super) written: u64,
}

impl Child {
    /// Makes the command's process report its id, end with the thread that starts it, and impose the rules on
    /// itself, if there are any. It alone inherits the files, under their numbers here.
    pub(super) fn of(
        command: &mut Command,
        inherited: Vec<File>,
        mut rules: Option<Confinement>,
    ) -> Result<Self, Error> {
        let (report, mut reporter) = std::io::pipe()?;
        #[expect(unsafe_code, reason = "the standard library has no safe way to do this")]
        // SAFETY: between fork and exec only async-signal-safe functions may be called. These are system calls,
        // a write to a pipe among them; nothing allocates or locks.
        unsafe {
            command.pre_exec(move || {
                for file in &inherited {
                    fcntl_setfd(file, FdFlags::empty())?;
                }
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                if let Some(rules) = rules.take() {
                    rules.impose()?;
                }
                reporter.write_all(&std::process::id().to_ne_bytes())
            });
        }
        Ok(Self { report, process: OnceLock::new(), killed: AtomicBool::new(false) })
    }

    /// The process id, once the command has been started.
    ///
    /// # Errors
    /// If it is unknown: such a process must not be used, since it could not be killed.
    pub(super) fn pid(&self) -> Result<i32, Error> {
        let (pid, _) =
            self.process().ok_or_else(|| Error::Process("unknown process id".to_owned()))?;
        Ok(pid.as_raw_nonzero().get())
    }

    /// How many bytes it has read and written: proc_pid_io(5).
    pub(super) fn transferred(&self) -> Transferred {
        let io = self.pid().map(|pid| fs::read_to_string(format!("/proc/{pid}/io")));
        let io = io.ok().and_then(Result::ok).unwrap_or_default();
        let count = |name| io.lines().find_map(|line| line.strip_prefix(name)?.parse().ok());
        let count = |name| count(name).unwrap_or_default();
        Transferred { read: count("rchar: "), written: count("wchar: ") }
    }

    /// Whether it runs.
    pub(super) fn is_alive(&self) -> bool {
        let Some((_, pidfd)) = self.process() else {
            return false;
        };
        // A pidfd becomes readable when the process ends: pidfd_open(2).
        let mut ended = [PollFd::new(pidfd, PollFlags::IN)];
        !self.killed.load(Ordering::Relaxed)
            && rustix::event::poll(&mut ended, Some(&Timespec::default())) == Ok(0)
    }

    /// Kills it; `reason` is for the log.
    pub(super) fn kill(&self, reason: &str) {
        if self.killed.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some((pid, pidfd)) = self.process() {
            tracing::debug!(pid = pid.as_raw_nonzero(), reason, "killing skopeo");
            // Fails if it has ended already.
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
        }
    }

    /// Does not block: once a command has been started, its process has written the id.
    fn process(&self) -> Option<&(Pid, OwnedFd)> {
        let known = self.process.get_or_init(|| {
            let mut id = [0; size_of::<u32>()];
            (&self.report).read_exact(&mut id).ok()?;
            let pid = Pid::from_raw(u32::from_ne_bytes(id).try_into().ok()?)?;
            let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
            Some((pid, pidfd))
        });
        known.as_ref()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill("it is no longer needed");
    }
}
