//! Whether the machine's processors have time for more.

use std::fs;
use std::time::{Duration, Instant};

/// What counts the time of all processors: proc_stat(5).
const FILE: &str = "/proc/stat";

/// How long a verdict holds: the counters have a resolution of 10 ms.
const HOLDS: Duration = Duration::from_millis(100);

/// The processors are busy if less than one in so many parts of their time is left.
const PARTS: u64 = 10;

/// Whether the processors were busy a moment ago.
#[derive(Default)]
pub(super) struct Processors {
    verdict: bool,
    looked: Option<(Instant, Times)>,
}

/// Time of all processors since the machine has started, in units of 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    all: u64,
    idle: u64,
}

impl Processors {
    /// Whether they have been busy since a moment ago. Where nobody has looked before, they are not.
    pub(super) fn are_busy(&mut self) -> bool {
        if self.looked.is_some_and(|(at, _)| at.elapsed() < HOLDS) {
            return self.verdict;
        }
        let now = fs::read_to_string(FILE).ok().and_then(|text| Times::parse(&text));
        let before = self.looked.map(|(_, times)| times);
        self.verdict = now.zip(before).is_some_and(|(now, before)| now.are_busy_since(before));
        self.looked = now.map(|times| (Instant::now(), times));
        self.verdict
    }
}

impl Times {
    /// Reads the first line: `cpu` user nice system idle iowait …
    fn parse(text: &str) -> Option<Self> {
        let times = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        let times: Vec<u64> = times.map_while(|time| time.parse().ok()).collect();
        // Time of virtual machines is part of the user's.
        let all = times.iter().take(8).sum();
        Some(Self { all, idle: times.get(3)? + times.get(4)? })
    }

    fn are_busy_since(self, before: Self) -> bool {
        let all = self.all.saturating_sub(before.all);
        let idle = self.idle.saturating_sub(before.idle);
        all > 0 && idle * PARTS < all
    }
}

#[cfg(test)]
impl Processors {
    /// Processors that are found idle.
    pub(super) fn idle() -> Self {
        Self::known(false)
    }

    /// Processors that are found busy.
    pub(super) fn busy() -> Self {
        Self::known(true)
    }

    fn known(verdict: bool) -> Self {
        let later = Instant::now() + Duration::from_secs(3600);
        Self { verdict, looked: Some((later, Times { all: 0, idle: 0 })) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_idle_time_is_busy() {
        let times = |line: &str| Times::parse(line).expect("times");
        let before = times("cpu  100 0 50 1000 10 0 5 5 7 7\ncpu0 1 2 3");
        assert_eq!(before, Times { all: 1170, idle: 1010 });
        let later = times("cpu  185 0 55 1005 15 0 5 5 7 7\n");
        assert!(!later.are_busy_since(before), "a tenth is left");
        let later = times("cpu  186 0 55 1004 15 0 5 5 7 7\n");
        assert!(later.are_busy_since(before));
        assert!(!before.are_busy_since(before));
    }

    #[test]
    fn what_cannot_be_read_is_not_busy() {
        assert_eq!(Times::parse(""), None);
        assert_eq!(Times::parse("cpu 1 2 3"), None);
        assert!(!Processors::default().are_busy());
    }

    #[test]
    fn this_machine_tells() {
        let mut processors = Processors::default();
        processors.are_busy();
        assert!(processors.looked.is_some());
    }
}
