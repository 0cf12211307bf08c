//! skopeo as a program that does one thing and ends.

use std::mem;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::process::{Child as Process, ChildStdout};
use tokio_util::task::AbortOnDropHandle;

use super::child::Child;
use super::command::{self, Reach};
use super::log::Log;
use super::messages;
use super::worker::not_run;
use super::{Error, RateLimit, Settings};
use crate::blocking;
use crate::confinement::Confinement;
use crate::redact::Secrets;
use crate::source::Access;
use crate::temporary::TemporaryDir;

/// How often a running program is looked at.
const TICK: Duration = Duration::from_millis(250);

/// A command that is ready to be started, and what it refers to.
pub(super) struct Program {
    pub(super) settings: Settings,
    pub(super) command: Command,
    pub(super) reaches: Vec<Reach>,
    /// How it reaches its sources: what it may repeat of that is removed from its messages.
    pub(super) accesses: Vec<Access>,
    /// What it may do.
    pub(super) rules: Option<Confinement>,
    /// The limit on its requests.
    pub(super) limit: Option<RateLimit>,
}

/// A program that runs. Killed when dropped.
pub(super) struct Running {
    process: Process,
    stdout: Option<ChildStdout>,
    child: Child,
    pub(super) log: Arc<Log>,
    _reading_the_log: AbortOnDropHandle<()>,
    _certificates: Vec<TemporaryDir>,
    settings: Settings,
    accesses: Vec<Access>,
    has_limit: bool,
}

/// Why a program has ended with an error, before anything is removed from that.
pub(super) struct Failure {
    pub(super) status: String,
    /// The message of its fatal error.
    pub(super) message: Option<String>,
    /// What it wrote in the end, whatever that is.
    pub(super) words: Option<String>,
    pub(super) secrets: Secrets,
    /// Whether it has waited because the registry limits requests.
    pub(super) has_waited: bool,
}

impl Program {
    /// Starts it.
    pub(super) async fn start(self) -> Result<Running, Error> {
        // A task runs on a worker thread, whatever thread this is: see `Child`.
        let task = tokio::spawn(async move { self.start_here() });
        blocking::join(AbortOnDropHandle::new(task)).await
    }

    fn start_here(self) -> Result<Running, Error> {
        let Self { settings, mut command, reaches, accesses, rules, limit } = self;
        let has_limit = limit.is_some();
        let (mut inherited, mut certificates) = (Vec::new(), Vec::new());
        for reach in reaches {
            inherited.extend(reach.auth_file);
            certificates.extend(reach.certificates);
        }
        // Kills the process when it is dropped because something here fails.
        let child = Child::of(&mut command, inherited, rules)?;
        let (log, stderr) = std::io::pipe()?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let (log, reading_the_log) = Log::read(log, limit)?;
        let mut process = {
            // Dropped here, since it holds the write end of the log's pipe.
            let mut command = tokio::process::Command::from(command);
            let started = command.kill_on_drop(true).spawn();
            started.map_err(|error| not_run(&settings.skopeo, &error))?
        };
        tracing::debug!(pid = child.pid()?, "skopeo started");
        Ok(Running {
            stdout: process.stdout.take(),
            process,
            child,
            log,
            _reading_the_log: reading_the_log,
            _certificates: certificates,
            settings,
            accesses,
            has_limit,
        })
    }
}

impl Running {
    /// Waits for the end, while `read` reads the output. Fails with `Error` if nothing goes on for as long as
    /// `silence`, or `read` fails.
    pub(super) async fn finish<T>(
        &mut self,
        silence: Duration,
        read: impl AsyncFnOnce(ChildStdout) -> Result<T, Error>,
    ) -> Result<Result<T, Failure>, Error> {
        let stdout = self.stdout.take().ok_or_else(|| Error::Process("it has ended".into()))?;
        let ended = async {
            let output = read(stdout).await?;
            let status = self.process.wait().await?;
            if self.has_limit {
                self.log.settle().await;
            }
            Ok::<_, Error>((output, status))
        };
        let (output, status) = tokio::select! {
            biased;
            ended = ended => ended?,
            error = watch(&self.child, &self.log, silence) => return Err(error),
        };
        if status.success() {
            return Ok(Ok(output));
        }
        let words = self.log.last_words().await;
        let (settings, accesses) = (self.settings.clone(), mem::take(&mut self.accesses));
        let secrets = blocking::run(move || Ok::<_, Error>(command::secrets(&settings, &accesses)));
        Ok(Err(Failure {
            status: status.to_string(),
            message: self.log.failure(),
            words,
            secrets: secrets.await?,
            has_waited: !self.log.paused().0.is_zero(),
        }))
    }
}

impl Failure {
    /// What it means, where the message is the registry's own.
    pub(super) fn into_error(self) -> Error {
        let error = match self.message {
            Some(message) => messages::refused(&message, true, &self.secrets),
            None => messages::ended(&self.status, &self.words.unwrap_or_default(), &self.secrets),
        };
        match error {
            Error::Limited { message, .. } => Error::Limited { message, waited: self.has_waited },
            error => error,
        }
    }
}

/// Returns when nothing has gone on for too long: the process has neither read nor written anything, and waits
/// for no limit on requests.
async fn watch(child: &Child, log: &Log, silence: Duration) -> Error {
    let (mut before, mut silent) = (child.transferred(), Duration::ZERO);
    loop {
        let tick = TICK.min(silence);
        tokio::time::sleep(tick).await;
        let now = child.transferred();
        let (_, is_paused) = log.paused();
        if mem::replace(&mut before, now) != now || is_paused || log.is_throttled() {
            silent = Duration::ZERO;
            continue;
        }
        silent += tick;
        if silent >= silence {
            return Error::Stalled(silence);
        }
    }
}
