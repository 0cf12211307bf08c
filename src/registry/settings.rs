//! What the pool keeps to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What the pool keeps to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program: a path, or a name to look for in `$PATH`.
    pub skopeo: PathBuf,
    /// What it finds in its environment besides what is in this process's.
    pub environment: BTreeMap<String, String>,
    /// The most processes for one source.
    pub max_processes: usize,
    /// How long a blob may send nothing.
    pub stall: Duration,
    /// How long skopeo may take to open an image. It tries the mirrors one after the other and
    /// gives each 30 s to answer.
    pub open: Duration,
    /// An image that took longer to open has a dead mirror before it: one process must do then, for
    /// every further one would take as long.
    pub slow_open: Duration,
    /// How often a request is tried, in all.
    pub attempts: usize,
    /// The pause before the second try; it doubles for each further one.
    pub backoff: Duration,
    /// How long a process without work is kept.
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
