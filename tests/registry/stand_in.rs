//! A directory with a program that stands in for skopeo and fails on demand.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use dnf5_oci::registry::{Registry, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Timeout of registries that are to see a stall: long enough for the stand-in to start and answer on a busy
/// machine.
const STALL: Duration = Duration::from_secs(1);

pub struct StandIn {
    directory: TempDir,
}

impl StandIn {
    /// A stand-in with that script; see stand-in.py.
    pub fn new(script: Value) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let stand_in = Self { directory };
        fs::write(stand_in.path("script.json"), script.to_string()).expect("written");
        fs::write(stand_in.program(), include_str!("stand-in.py")).expect("written");
        fs::set_permissions(stand_in.program(), fs::Permissions::from_mode(0o755))
            .expect("executable");
        stand_in
    }

    /// A stand-in with these bodies, one for each attempt.
    pub fn sending(bodies: Value) -> Self {
        Self::new(json!({ "bodies": bodies }))
    }

    /// Settings without a timeout.
    pub fn settings(&self) -> Settings {
        Settings {
            skopeo: self.program(),
            writable: vec![self.directory.path().to_owned()],
            stall: Duration::from_secs(3600),
            backoff: Duration::from_millis(1),
            ..Settings::default()
        }
    }

    pub fn registry(&self) -> Registry {
        Registry::new(self.settings())
    }

    /// A registry that sees stalls.
    pub fn impatient(&self) -> Registry {
        Registry::new(Settings { stall: STALL, ..self.settings() })
    }

    /// The log of all processes.
    pub fn log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// Number of lines of the log that start with `word`.
    pub fn count(&self, word: &str) -> usize {
        self.log().iter().filter(|line| line.split(' ').next() == Some(word)).count()
    }

    /// The processes that are running.
    pub fn alive(&self) -> Vec<u32> {
        self.log()
            .iter()
            .filter_map(|line| line.strip_prefix("start ")?.split(' ').next()?.parse().ok())
            .filter(|pid| is_running(*pid))
            .collect()
    }

    /// Waits until that many processes are running.
    pub async fn wait_until_alive(&self, expected: usize) {
        let reached = async {
            while self.alive().len() != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reached)
            .await
            .unwrap_or_else(|_| panic!("{:?} are running, expected {expected}", self.alive()));
    }

    /// Waits until that many lines of the log start with `word`.
    pub async fn wait_until_logged(&self, word: &str, times: usize) {
        let logged = async {
            while self.count(word) < times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), logged)
            .await
            .unwrap_or_else(|_| panic!("{word} is not in the log {times} times: {:?}", self.log()));
    }

    fn program(&self) -> PathBuf {
        self.path("skopeo")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Whether a process exists and is not a zombie.
fn is_running(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let is_zombie = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']));
    // The first thread of a killed process can be a zombie before the others have ended.
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    !is_zombie || threads > 1
}
