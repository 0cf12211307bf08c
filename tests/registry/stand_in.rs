//! A directory with a program that stands in for skopeo and fails as it is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use dnf5_oci::registry::{Registry, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long those wait that are to see a stall: long enough for a busy machine to start the
/// stand-in and have it answer.
const STALL: Duration = Duration::from_secs(1);

pub struct StandIn {
    directory: TempDir,
}

impl StandIn {
    /// `script` is that of stand-in.py.
    pub fn new(script: Value) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let stand_in = Self { directory };
        fs::write(stand_in.path("script.json"), script.to_string()).expect("written");
        fs::write(stand_in.program(), include_str!("stand-in.py")).expect("written");
        fs::set_permissions(stand_in.program(), fs::Permissions::from_mode(0o755))
            .expect("executable");
        stand_in
    }

    /// One whose blobs are sent as `bodies` say, each try as the next one.
    pub fn sending(bodies: Value) -> Self {
        Self::new(json!({ "bodies": bodies }))
    }

    /// Settings for all that waits for no stall: none is ever seen.
    pub fn settings(&self) -> Settings {
        Settings {
            skopeo: self.program(),
            stall: Duration::from_secs(3600),
            backoff: Duration::from_millis(1),
            ..Settings::default()
        }
    }

    pub fn registry(&self) -> Registry {
        Registry::new(self.settings())
    }

    /// One that sees stalls.
    pub fn impatient(&self) -> Registry {
        Registry::new(Settings { stall: STALL, ..self.settings() })
    }

    /// What the processes have noted.
    pub fn log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// How often something was noted.
    pub fn count(&self, word: &str) -> usize {
        self.log().iter().filter(|line| line.split(' ').next() == Some(word)).count()
    }

    /// The processes that were started and are still there.
    pub fn alive(&self) -> Vec<u32> {
        self.log()
            .iter()
            .filter_map(|line| line.strip_prefix("start ")?.split(' ').next()?.parse().ok())
            .filter(|pid| is_running(*pid))
            .collect()
    }

    /// Waits until so many processes are there.
    pub async fn until_alive(&self, expected: usize) {
        let reached = async {
            while self.alive().len() != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reached)
            .await
            .unwrap_or_else(|_| panic!("{:?} are alive, not {expected}", self.alive()));
    }

    /// Waits until something has been noted so often.
    pub async fn until_noted(&self, word: &str, times: usize) {
        let noted = async {
            while self.count(word) < times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), noted)
            .await
            .unwrap_or_else(|_| panic!("{word} is not there {times} times: {:?}", self.log()));
    }

    fn program(&self) -> PathBuf {
        self.path("skopeo")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Whether a process is there and no zombie.
fn is_running(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
}
