//! Temporary directories. What killed processes have left of them, later ones remove.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt as _};
use rustix::process::geteuid;

use crate::staging::{self, Staged};

/// The beginning of their names.
const PREFIX: &str = "dnf5-oci-";

/// A directory that only this user can enter, locked with flock(2) for as long as this exists. Dropping it
/// removes it with its content.
#[derive(Debug)]
pub struct TemporaryDir {
    path: PathBuf,
    _staged: Staged,
}

impl TemporaryDir {
    /// Makes one where temporary files belong: `$TMPDIR`, or /tmp.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new() -> io::Result<Self> {
        Self::new_in(&env::temp_dir())
    }

    /// Makes one in `parent`.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new_in(parent: &Path) -> io::Result<Self> {
        let dir = Dir::open_ambient_dir(parent, ambient_authority())?;
        staging::sweep(&dir, |name| is_own(&dir, name))?;
        let staged = Staged::new_dir(&dir, PREFIX, 0o700)?;
        Ok(Self { path: parent.join(staged.name()), _staged: staged })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether this user has made it. In /tmp everyone can make something of that name, such as a FIFO, which a
/// sweep must not even open.
fn is_own(dir: &Dir, name: &str) -> bool {
    name.starts_with(PREFIX)
        && dir
            .symlink_metadata(name)
            .is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    #[test]
    fn it_is_private_and_removed_with_its_content() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let directory = TemporaryDir::new_in(parent.path()).expect("made");
        let path = directory.path().to_owned();
        fs::write(path.join("file"), "x").expect("written");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o700);
        drop(directory);
        assert!(!path.exists());
        let missing = TemporaryDir::new_in(&path).expect_err("there is no parent");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_next_one_removes_those_of_killed_processes_and_no_others() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let alive = TemporaryDir::new_in(parent.path()).expect("made");
        let path = |name: &str| parent.path().join(name);
        for name in ["dnf5-oci-killed/layers/x", "other", "target"] {
            fs::create_dir_all(path(name)).expect("made");
        }
        symlink("target", path("dnf5-oci-link")).expect("linked");
        fs::write(path("dnf5-oci-file"), "").expect("written");
        if geteuid().is_root() {
            fs::create_dir(path("dnf5-oci-foreign")).expect("made");
            chown(path("dnf5-oci-foreign"), Some(65534), None).expect("changed");
        }
        let next = TemporaryDir::new_in(parent.path()).expect("made");
        assert!(!path("dnf5-oci-killed").exists());
        assert!(alive.path().exists() && next.path().exists());
        for name in ["other", "target", "dnf5-oci-link", "dnf5-oci-file"] {
            assert!(path(name).exists(), "{name}");
        }
        assert_eq!(path("dnf5-oci-foreign").exists(), geteuid().is_root());
    }
}
