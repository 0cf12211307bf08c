//! What the user of a session has to be told.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::lock;

/// Limits of what is kept for a caller that does not fetch it: this many lines, of this many bytes in total.
const MAX_LINES: usize = 100;
const MAX_BYTES: usize = 64 * 1024;

/// Lines for the user that the caller has not fetched yet, each once.
#[derive(Default)]
pub(super) struct Failures {
    lines: Mutex<Vec<String>>,
    /// How many lines exceeded the limits.
    omitted: AtomicU64,
}

impl Failures {
    pub(super) fn report(&self, line: String) {
        let mut lines = lock(&self.lines);
        if lines.contains(&line) {
            return;
        }
        tracing::warn!("{line}");
        let bytes = lines.iter().map(String::len).sum::<usize>() + line.len();
        if lines.len() < MAX_LINES && bytes <= MAX_BYTES {
            lines.push(line);
        } else {
            self.omitted.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn take(&self) -> Vec<String> {
        let mut lines = std::mem::take(&mut *lock(&self.lines));
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
            failures.report(line.to_owned());
        }
        assert_eq!(failures.take(), ["a", "b"]);
        assert!(failures.take().is_empty());
    }

    #[test]
    fn lines_above_the_limits_are_counted() {
        let failures = Failures::default();
        for number in 0..MAX_LINES + 7 {
            failures.report(number.to_string());
        }
        let lines = failures.take();
        assert_eq!(lines.len(), MAX_LINES + 1);
        assert_eq!(lines[MAX_LINES], "too many failures to list: 7 more left out");

        for letter in ["a", "b", "c"] {
            failures.report(letter.repeat(MAX_BYTES / 2));
        }
        let lines = failures.take();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[2], "too many failures to list: 1 more left out");
    }
}
