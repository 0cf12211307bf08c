//! What a test runs the program with: a directory with a skopeo that never answers.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use tempfile::TempDir;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_dnf5-oci");

/// How long any step of a test may take.
pub const TIMEOUT: Duration = Duration::from_secs(20);

pub struct Environment(TempDir);

impl Environment {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // Other users connect to the bus in it.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("opened");
        let skopeo = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/service/skopeo");
        symlink(skopeo, directory.path().join("skopeo")).expect("linked");
        Self(directory)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A command that finds this skopeo.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        let path = std::env::var("PATH").expect("a PATH");
        command.env("PATH", format!("{}:{path}", self.path().display()));
        command.env_remove("JOURNAL_STREAM").env_remove("DNF5_OCI_LOG");
        command
    }

    /// The directory in /proc of the skopeo that a call waits for.
    pub async fn skopeo(&self) -> PathBuf {
        let mut found = None;
        wait_until("skopeo is started", async || {
            found = self.find_skopeo();
            found.is_some()
        })
        .await;
        found.expect("it is started")
    }

    /// Its last program is a sleep, with a PATH that no other has.
    fn find_skopeo(&self) -> Option<PathBuf> {
        let processes = fs::read_dir("/proc").expect("read").flatten().map(|entry| entry.path());
        let is_ours = |process: &PathBuf| {
            let has = |name: &str, text: &str| {
                let content = fs::read(process.join(name)).unwrap_or_default();
                String::from_utf8_lossy(&content).contains(text)
            };
            has("cmdline", "sleep\x00600") && has("environ", &self.path().display().to_string())
        };
        { processes }.find(is_ours)
    }
}

/// Whether a process, given by its directory in /proc, has exited or is a zombie.
pub fn has_exited(process: &Path) -> bool {
    let Ok(status) = fs::read_to_string(process.join("status")) else {
        return true;
    };
    status.lines().any(|line| line.starts_with("State:") && line.contains('Z'))
}

/// Waits for a condition to become true.
pub async fn wait_until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < TIMEOUT, "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for a process to exit.
pub async fn exit_status(child: &mut Child) -> ExitStatus {
    let mut status = None;
    wait_until("the process exits", async || {
        status = child.try_wait().expect("waited");
        status.is_some()
    })
    .await;
    status.expect("it has exited")
}

/// Sends a signal.
pub fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).expect("sent");
}
