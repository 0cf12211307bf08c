//! Limits and timeouts of the pools.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use backon::ExponentialBuilder;

/// Limits and timeouts of the pools.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program: a path, or a name to look up in `$PATH`.
    pub skopeo: PathBuf,
    /// Variables to add to skopeo's environment, which is otherwise that of this process.
    pub environment: BTreeMap<String, String>,
    /// Directories that it may write to, besides those that podman's configuration makes it write to.
    pub writable: Vec<PathBuf>,
    /// The maximum number of workers for one pull source.
    pub max_processes: usize,
    /// The maximum number of workers for all pull sources.
    pub max_total_processes: usize,
    /// How long the registry may send nothing, or too little, unless the source says otherwise.
    pub stall: Duration,
    /// Timeout for opening an image, over all mirrors.
    pub open: Duration,
    /// How long a request may wait in total because the registry limits requests.
    pub limited: Duration,
    /// The maximum number of attempts at a request; dnf5 makes four at a web server.
    pub attempts: usize,
    /// The pause before the second attempt; it doubles for each further one.
    pub backoff: Duration,
    /// How long an idle worker is kept.
    pub idle: Duration,
    /// How long it is kept while packages are announced, and their user may be reading.
    pub ready: Duration,
}

impl Settings {
    /// The pauses between attempts.
    pub(super) fn pauses(&self) -> ExponentialBuilder {
        ExponentialBuilder::default()
            .with_min_delay(self.backoff)
            .with_max_times(self.attempts.saturating_sub(1))
            .with_jitter()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            skopeo: PathBuf::from("skopeo"),
            environment: BTreeMap::new(),
            writable: Vec::new(),
            max_processes: 20,
            max_total_processes: 24,
            stall: Duration::from_secs(30),
            open: Duration::from_secs(120),
            limited: Duration::from_secs(100),
            attempts: 4,
            backoff: Duration::from_millis(250),
            idle: Duration::from_secs(30),
            ready: Duration::from_secs(300),
        }
    }
}
