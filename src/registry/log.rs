//! What skopeo logs while it works on a request.
//!
//! skopeo reports nothing before a request has succeeded or failed. Its debug log shows when it sends a
//! request, and when it waits because a registry limits requests. Lines can have parts of the registry's
//! answers, so none is kept unless it is about the end of the process, and none is shown without redaction.

use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::pipe::fcntl_setpipe_size;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::{Error, RateLimit};

/// Longer lines are read in pieces.
const MAX_LINE: u64 = 8 << 10;

/// The most that is kept of the reason of the end, in bytes.
const MAX_LAST_WORDS: usize = 4 << 10;

/// How long the end of the log may take to come after that of the process.
const END: Duration = Duration::from_millis(200);

/// Size of the buffer between the pipe and the lines, and where each line counts: the process must not be ahead
/// by all that the buffer holds.
const BUFFER: usize = 8 << 10;
const SMALL_BUFFER: usize = 256;

/// What marks the message of a fatal error, and precedes its text.
const FATAL: &str = " level=fatal ";
const MESSAGE_KEY: &str = " msg=";

/// The message about a response with status 429, up to the pause.
const LIMITED: &str = "Too many requests to ";
const PAUSE: &str = ": sleeping for ";

/// The message about each request: the method follows, then the URL.
const MESSAGE: &str = " msg=\"";
const METHODS: [&str; 6] = ["GET ", "HEAD ", "POST ", "PATCH ", "PUT ", "DELETE "];

/// The message about a blob that the registry has got.
const UPLOADED: &str = "msg=\"Upload of layer ";

/// The message about an index that the registry does not accept, up to the reason. `skopeo copy` ends with
/// another message then: that it cannot convert the index.
const INDEX_REJECTED: &str = "msg=\"Upload of manifest list type ";
const REJECTION: &str = " failed: ";

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
    /// How many blobs the registry has got.
    uploaded: usize,
    /// Whether the next line is not read because there may be no further request yet.
    is_throttled: bool,
    /// Why the registry does not accept an index.
    rejection: Option<String>,
    /// Lines that tell why the process ends: of a panic, or from the loader.
    last_words: String,
    has_ended: bool,
}

impl Log {
    /// Reads the log until it ends.
    ///
    /// With a limit on requests, what follows a line about a request is read no earlier than the limit allows:
    /// the pipe fills, and skopeo waits. It can be ahead by what the pipe holds, about ten requests.
    pub(super) fn read(
        pipe: PipeReader,
        limit: Option<RateLimit>,
    ) -> Result<(Arc<Self>, AbortOnDropHandle<()>), Error> {
        let mut buffer = BUFFER;
        if limit.is_some() {
            // The kernel rounds it up to a page.
            fcntl_setpipe_size(&pipe, 1).map_err(io::Error::from)?;
            buffer = SMALL_BUFFER;
        }
        let pipe = pipe::Receiver::from_owned_fd(OwnedFd::from(pipe))?;
        let pipe = BufReader::with_capacity(buffer, pipe);
        let log = Arc::new(Self::default());
        let task = tokio::spawn(read(Arc::clone(&log), pipe, limit));
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

    /// How many blobs the registry has got.
    pub(super) fn uploaded(&self) -> usize {
        self.with(|state| state.uploaded)
    }

    /// Whether the process may be waiting because there may be no further request yet.
    pub(super) fn is_throttled(&self) -> bool {
        self.with(|state| state.is_throttled)
    }

    /// Why the process has failed, if it wrote that. Complete after [`Self::last_words`].
    pub(super) fn failure(&self) -> Option<String> {
        self.with(|state| {
            state.rejection.clone().or_else(|| {
                let fatal = state.last_words.lines().find(|line| line.contains(FATAL))?;
                Some(text(fatal.split_once(MESSAGE_KEY)?.1))
            })
        })
    }

    /// Waits until the limit on requests allows all those that the process has sent.
    pub(super) async fn settle(&self) {
        loop {
            let ended = self.ended.notified();
            if self.with(|state| state.has_ended) {
                return;
            }
            let is_end = tokio::time::timeout(END, ended).await.is_ok();
            // Another process may hold the pipe open.
            if is_end || !self.is_throttled() {
                return;
            }
        }
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
            } else if line.contains(UPLOADED) {
                state.uploaded += 1;
            } else if let Some(rejection) = rejection(line) {
                state.rejection = Some(rejection);
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn read(log: Arc<Log>, mut pipe: impl AsyncBufRead + Unpin, limit: Option<RateLimit>) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut pipe).take(MAX_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return log.end(),
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&line);
        log.line(&line);
        if let Some(limit) = &limit
            && is_request(&line)
        {
            log.with(|state| state.is_throttled = true);
            limit.take().await;
            log.with(|state| state.is_throttled = false);
        }
    }
}

/// Whether a line is no message of the log, or one about a fatal error.
fn is_about_the_end(line: &str) -> bool {
    let is_message = line.starts_with("time=\"");
    !line.trim().is_empty() && (!is_message || line.contains(FATAL))
}

/// Whether a line is about a request that skopeo sends now.
fn is_request(line: &str) -> bool {
    let message = line.split_once(MESSAGE).map(|(_, message)| message);
    message.is_some_and(|message| {
        let url = METHODS.iter().find_map(|method| message.strip_prefix(method));
        url.is_some_and(|url| url.starts_with("http"))
    })
}

/// Why an index was not accepted, if the line is about that.
fn rejection(line: &str) -> Option<String> {
    let (media_type, reason) = line.split_once(INDEX_REJECTED)?.1.split_once(REJECTION)?;
    (!media_type.contains(' ')).then(|| text(&format!("\"{reason}")))
}

/// The text of a message as logrus writes it: plain, or quoted as `%q` of Go does it.
fn text(message: &str) -> String {
    let Some(quoted) = message.strip_prefix('"') else {
        return message.trim_end().to_owned();
    };
    let mut text = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => match characters.next() {
                Some('n' | 'r' | 't') => text.push(' '),
                Some(escaped @ ('"' | '\\')) => text.push(escaped),
                // Of a character that is not printable.
                Some(other) => text.extend(['\\', other]),
                None => {}
            },
            other => text.push(other),
        }
    }
    text
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
            let (_, ()) =
                tokio::join!(log.last_words(), read(Arc::clone(&log), text.as_bytes(), None));
            let words = log.last_words().await.expect("there is a reason");
            assert_eq!(words, format!("{first}goroutine 1 [running]:\n"));
        }
        let silent = Log::default();
        assert_eq!(silent.last_words().await, None);
    }

    #[test]
    fn the_reason_of_a_failure_is_unquoted() {
        for (line, expected) in [
            (
                r#"time="x" level=fatal msg="reading manifest \"1\" in h/a: manifest unknown""#,
                "reading manifest \"1\" in h/a: manifest unknown",
            ),
            (r#"time="x" level=fatal msg="a\n\\b\u202e""#, r"a \b\u202e"),
            ("time=\"x\" level=fatal msg=short\n", "short"),
            (r#"time="x" level=fatal msg="cut off"#, "cut off"),
        ] {
            let log = Log::default();
            log.line(line);
            assert_eq!(log.failure().as_deref(), Some(expected), "{line}");
        }
        assert_eq!(Log::default().failure(), None);
    }

    #[test]
    fn the_reason_why_an_index_is_rejected_comes_before_the_last_words() {
        let log = Log::default();
        log.line(
            "time=\"x\" level=debug msg=\"Upload of manifest list type application/vnd.oci.image.index.v1+json \
             failed: uploading manifest x to h/a: StatusCode: 413, \\\"too large\\\"\"",
        );
        log.line("time=\"x\" level=fatal msg=\"Manifest list must be converted to type\"");
        let reason = "uploading manifest x to h/a: StatusCode: 413, \"too large\"";
        assert_eq!(log.failure().as_deref(), Some(reason));
    }

    #[test]
    fn requests_are_told_from_other_lines() {
        for (message, expected) in [
            ("GET https://h/v2/", true),
            ("PATCH http://h/v2/a/blobs/uploads/1?x=y", true),
            ("Ping https://h/v2/ status 200", false),
            ("GET is not allowed", false),
            ("Too many requests to https://h/v2/", false),
        ] {
            let line = format!("time=\"x\" level=debug msg=\"{message}\"");
            assert_eq!(is_request(&line), expected, "{message}");
        }
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
        read(Arc::clone(&log), &long[..], None).await;
        assert_eq!(log.paused().0, Duration::from_secs(45));
    }
}
