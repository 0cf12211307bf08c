//! What skopeo logs while it works on a request.
//!
//! skopeo reports nothing before a request has succeeded or failed. Its debug log shows when it sends a
//! request, and when it waits because a registry limits requests. Lines can have parts of the registry's
//! answers, so none is kept unless it is about the end of the process, and none is shown without redaction.

use std::io::PipeReader;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::Error;

/// Longer lines are read in pieces.
const MAX_LINE: u64 = 8 << 10;

/// The most that is kept of the reason of the end, in bytes.
const MAX_LAST_WORDS: usize = 4 << 10;

/// How long the end of the log may take to come after that of the process.
const END: Duration = Duration::from_millis(200);

/// The message about a response with status 429, up to the pause.
const LIMITED: &str = "Too many requests to ";
const PAUSE: &str = ": sleeping for ";

/// What the log has shown.
#[derive(Default)]
pub(super) struct Log {
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Default)]
struct State {
    lines: u64,
    /// When the current pause ends.
    paused_until: Option<Instant>,
    /// The pauses since [`Log::begin`].
    paused: Duration,
    /// Lines that tell why the process ends: of a panic, or from the loader.
    last_words: String,
    has_ended: bool,
}

impl Log {
    /// Reads the log until it ends.
    pub(super) fn read(pipe: PipeReader) -> Result<(Arc<Self>, AbortOnDropHandle<()>), Error> {
        let pipe = BufReader::new(pipe::Receiver::from_owned_fd(OwnedFd::from(pipe))?);
        let log = Arc::new(Self::default());
        let task = tokio::spawn(read(Arc::clone(&log), pipe));
        Ok((log, AbortOnDropHandle::new(task)))
    }

    /// Begins to count pauses.
    pub(super) fn begin(&self) {
        self.with(|state| (state.paused, state.paused_until) = Default::default());
    }

    /// How long skopeo has waited, or is going to wait, since [`Self::begin`] because the registry limits
    /// requests; and whether it waits now.
    pub(super) fn paused(&self) -> (Duration, bool) {
        self.with(|state| {
            (state.paused, state.paused_until.is_some_and(|until| Instant::now() < until))
        })
    }

    /// The number of lines so far.
    pub(super) fn lines(&self) -> u64 {
        self.with(|state| state.lines)
    }

    /// Why the process has ended, if it wrote that. Waits for the end of the log, which follows at once.
    pub(super) async fn last_words(&self) -> Option<String> {
        let ended = self.ended.notified();
        if !self.with(|state| state.has_ended) {
            // It may run on, if it is not the process that has failed.
            let _ = tokio::time::timeout(END, ended).await;
        }
        let words = self.with(|state| state.last_words.clone());
        (!words.is_empty()).then_some(words)
    }

    fn end(&self) {
        self.with(|state| state.has_ended = true);
        self.ended.notify_waiters();
    }

    fn line(&self, line: &str) {
        self.with(|state| {
            state.lines += 1;
            if let Some(pause) = pause(line) {
                state.paused += pause;
                state.paused_until = Some(Instant::now() + pause);
            } else if is_about_the_end(line)
                && state.last_words.len() + line.len() <= MAX_LAST_WORDS
            {
                state.last_words.push_str(line);
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn read(log: Arc<Log>, mut pipe: impl AsyncBufRead + Unpin) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut pipe).take(MAX_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return log.end(),
            Ok(_) => log.line(&String::from_utf8_lossy(&line)),
        }
    }
}

/// Whether a line is no message of the log, or one about a fatal error.
fn is_about_the_end(line: &str) -> bool {
    let is_message = line.starts_with("time=\"");
    !line.trim().is_empty() && (!is_message || line.contains(" level=fatal "))
}

/// The pause that a line announces.
fn pause(line: &str) -> Option<Duration> {
    let (_, rest) = line.split_once(LIMITED)?;
    // The URL before the pause cannot have a space.
    let (_, rest) = rest.split_once(PAUSE)?;
    let seconds = rest.split(' ').next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As skopeo 1.22 writes it.
    const LINE: &str = "time=\"2026-11-27T21:02:38Z\" level=debug msg=\"Too many requests to \
        https://quay.io/v2/a/manifests/1: sleeping for 45.000000 seconds before next attempt\"\n";

    #[test]
    fn pauses_are_counted_for_each_request() {
        let log = Log::default();
        log.line("time=\"2026-11-27T21:02:38Z\" level=debug msg=\"GET https://quay.io/v2/\"\n");
        assert_eq!(log.paused(), (Duration::ZERO, false));
        log.line(LINE);
        log.line(LINE);
        assert_eq!(log.paused(), (Duration::from_secs(90), true));
        log.begin();
        assert_eq!(log.paused(), (Duration::ZERO, false));
        assert_eq!((log.lines(), log.with(|state| state.last_words.clone())), (3, String::new()));
    }

    #[tokio::test]
    async fn only_the_reason_of_the_end_is_kept() {
        let fatal = "time=\"2026-11-27T21:02:38Z\" level=fatal msg=\"unknown flag: --debug\"\n";
        for first in ["panic: out of memory\n", fatal] {
            let text = format!("{LINE}\n{first}goroutine 1 [running]:\n{}{LINE}", "x".repeat(5000));
            let log = Arc::new(Log::default());
            let (_, ()) = tokio::join!(log.last_words(), read(Arc::clone(&log), text.as_bytes()));
            let words = log.last_words().await.expect("there is a reason");
            assert_eq!(words, format!("{first}goroutine 1 [running]:\n"));
        }
        let silent = Log::default();
        assert_eq!(silent.last_words().await, None);
    }

    #[test]
    fn other_numbers_are_not_pauses() {
        for line in
            ["", LIMITED, "Too many requests to x: sleeping for ever", "sleeping for 3 seconds"]
        {
            assert_eq!(pause(line), None, "{line}");
        }
    }

    #[tokio::test]
    async fn long_lines_and_other_bytes_do_no_harm() {
        let log = Arc::new(Log::default());
        let long = [&b"time=\"\xff"[..], &vec![b' '; 100_000], b"\n", LINE.as_bytes()].concat();
        read(Arc::clone(&log), &long[..]).await;
        assert_eq!(log.paused().0, Duration::from_secs(45));
    }
}
