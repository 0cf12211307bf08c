//! A child process that can be killed at any time, and never outlives this process.

use std::io::{PipeReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::Error;

/// The child of a command that somebody else starts. Killed when dropped.
pub(super) struct Child {
    /// Where it reports its process id; at its end if it was not started at all.
    report: PipeReader,
    process: OnceLock<Option<(Pid, OwnedFd)>>,
    killed: AtomicBool,
}

impl Child {
    /// Prepares the command: its process will report its id, and end with the thread that starts
    /// it, which should be one of the runtime's own workers therefore.
    pub(super) fn of(command: &mut Command) -> Result<Self, Error> {
        let (report, mut reporter) = std::io::pipe()?;
        #[expect(unsafe_code, reason = "the standard library has no safe way to do this")]
        // SAFETY: between fork and exec only what is async-signal-safe may be called. These are two
        // system calls, getpid and prctl, and a write to a pipe; nothing allocates or locks.
        unsafe {
            command.pre_exec(move || {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                reporter.write_all(&std::process::id().to_ne_bytes())
            });
        }
        Ok(Self { report, process: OnceLock::new(), killed: AtomicBool::new(false) })
    }

    /// Its process id, once the command has been started.
    ///
    /// # Errors
    /// If it cannot be had: a process that could not be killed must not be used.
    pub(super) fn pid(&self) -> Result<i32, Error> {
        let (pid, _) =
            self.process().ok_or_else(|| Error::Process("its process is not known".to_owned()))?;
        Ok(pid.as_raw_nonzero().get())
    }

    /// Whether it runs.
    pub(super) fn is_alive(&self) -> bool {
        let Some((_, pidfd)) = self.process() else {
            return false;
        };
        // A process id's descriptor becomes readable when the process ends.
        let mut ended = [PollFd::new(pidfd, PollFlags::IN)];
        !self.killed.load(Ordering::Relaxed)
            && rustix::event::poll(&mut ended, Some(&Timespec::default())) == Ok(0)
    }

    /// Ends it at once; `reason` is for the log.
    pub(super) fn kill(&self, reason: &str) {
        if self.killed.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some((pid, pidfd)) = self.process() {
            tracing::debug!(pid = pid.as_raw_nonzero(), reason, "killing skopeo");
            // It may have ended by itself, which is as good.
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
        }
    }

    /// Does not block: when a command has been started, its process has written the id.
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
        self.kill("it is not needed any more");
    }
}
