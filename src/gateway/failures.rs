//! The failures that a session reports to its user.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::lock;

/// Limits of what is kept for a caller that does not fetch it: this many lines, of this many bytes in total.
const MAX_LINES: usize = 100;
const MAX_BYTES: usize = 64 * 1024;

/// Lines for the user that the caller has not fetched yet, each once.
#[derive(Default)]
pub(super) struct Failures {
    lines: Mutex<Vec<Line>>,
    /// How many lines exceeded the limits.
    omitted: AtomicU64,
}

struct Line {
    text: String,
    /// The requests that failed with it; empty if it is about something else.
    requests: HashSet<String>,
}

impl Failures {
    /// Adds a line, about a request if there is one.
    pub(super) fn report(&self, text: String, request: Option<&str>) {
        let mut lines = lock(&self.lines);
        if let Some(line) = lines.iter_mut().find(|line| line.text == text) {
            line.requests.extend(request.map(str::to_owned));
            return;
        }
        tracing::warn!("{text}");
        let bytes = lines.iter().map(|line| line.text.len()).sum::<usize>() + text.len();
        if lines.len() < MAX_LINES && bytes <= MAX_BYTES {
            lines.push(Line { text, requests: request.map(str::to_owned).into_iter().collect() });
        } else {
            self.omitted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Drops lines that were only about this request, which has succeeded.
    pub(super) fn recovered(&self, request: &str) {
        let is_left = |line: &mut Line| !line.requests.remove(request) || !line.requests.is_empty();
        lock(&self.lines).retain_mut(is_left);
    }

    pub(super) fn take(&self) -> Vec<String> {
        let lines = std::mem::take(&mut *lock(&self.lines));
        let mut lines: Vec<_> = lines.into_iter().map(|line| line.text).collect();
        let omitted = self.omitted.swap(0, Ordering::Relaxed);
        if omitted > 0 {
            lines.push(format!("too many failures to list: {omitted} more left out"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_once() {
        let failures = Failures::default();
        for line in ["a", "b", "a"] {
            failures.report(line.to_owned(), None);
        }
        assert_eq!(failures.take(), ["a", "b"]);
        assert!(failures.take().is_empty());
    }

    #[test]
    fn a_failure_that_has_passed_is_not_shown() {
        let failures = Failures::default();
        for (line, path) in [("a", Some("/1")), ("a", Some("/2")), ("b", Some("/1")), ("c", None)] {
            failures.report(line.to_owned(), path);
        }
        failures.recovered("/1");
        failures.recovered("/3");
        assert_eq!(failures.take(), ["a", "c"]);
    }

    #[test]
    fn lines_above_the_limits_are_counted() {
        let failures = Failures::default();
        for number in 0..MAX_LINES + 7 {
            failures.report(number.to_string(), None);
        }
        let lines = failures.take();
        assert_eq!(lines.len(), MAX_LINES + 1);
        assert_eq!(lines[MAX_LINES], "too many failures to list: 7 more left out");

        for letter in ["a", "b", "c"] {
            failures.report(letter.repeat(MAX_BYTES / 2), None);
        }
        let lines = failures.take();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[2], "too many failures to list: 1 more left out");
    }
}
