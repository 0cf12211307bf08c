//! Limits and timeouts of the pools.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Limits and timeouts of the pools.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program: a path, or a name to look up in `$PATH`.
    pub skopeo: PathBuf,
    /// Variables to add to skopeo's environment, which is otherwise that of this process.
    pub environment: BTreeMap<String, String>,
    /// The maximum number of workers for one pull source.
    pub max_processes: usize,
    /// Timeout for the next bytes of a blob.
    pub stall: Duration,
    /// Timeout for opening an image. skopeo tries the mirrors one after the other and gives each 30 s to
    /// answer.
    pub open: Duration,
    /// If opening an image takes longer, a mirror is dead. The pool then gets no second worker, which would
    /// take as long to start.
    pub slow_open: Duration,
    /// The maximum number of attempts at a request.
    pub attempts: usize,
    /// The pause before the second attempt; it doubles for each further one.
    pub backoff: Duration,
    /// How long an idle worker is kept.
    pub idle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            skopeo: PathBuf::from("skopeo"),
            environment: BTreeMap::new(),
            max_processes: 8,
            stall: Duration::from_secs(30),
            open: Duration::from_secs(120),
            slow_open: Duration::from_secs(10),
            attempts: 3,
            backoff: Duration::from_millis(250),
            idle: Duration::from_secs(30),
        }
    }
}
