//! Where a test runs the program: a directory with a skopeo that never answers.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use tempfile::TempDir;

/// The program that is tested.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_dnf5-oci");

/// How long anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // Other users reach the bus in it.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("opened");
        let skopeo = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/service/skopeo");
        symlink(skopeo, directory.path().join("skopeo")).expect("linked");
        Self(directory)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A command that finds this place's skopeo.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        let path = std::env::var("PATH").expect("a PATH");
        command.env("PATH", format!("{}:{path}", self.path().display()));
        command.env_remove("JOURNAL_STREAM").env_remove("DNF5_OCI_LOG");
        command
    }

    /// The directory in /proc of the skopeo that a call waits for.
    pub async fn skopeo(&self) -> PathBuf {
        let note = self.path().join("pid");
        until("skopeo is started", async || note.exists()).await;
        Path::new("/proc").join(fs::read_to_string(note).expect("a number").trim())
    }
}

/// Whether a process, by its directory in /proc, is no more, or waits for nothing but its parent.
pub fn has_ended(process: &Path) -> bool {
    let Ok(status) = fs::read_to_string(process.join("status")) else {
        return true;
    };
    status.lines().any(|line| line.starts_with("State:") && line.contains('Z'))
}

/// Waits for something to become true.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begin = std::time::Instant::now();
    while !is_so().await {
        assert!(begin.elapsed() < PATIENCE, "it never happened that {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for a process to end.
pub async fn end_of(child: &mut Child) -> ExitStatus {
    let mut status = None;
    until("the process ends", async || {
        status = child.try_wait().expect("waited");
        status.is_some()
    })
    .await;
    status.expect("it has ended")
}

/// Sends a signal.
pub fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).expect("sent");
}
