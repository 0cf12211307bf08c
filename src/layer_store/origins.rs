//! Which manifest a repomd.xml came from. DNF's cache does not say that of metadata that dnf5 has fetched.
//!
//! This outlives a boot and is a hint only: what is found by it is checked like anything else.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::time::SystemTime;

use cap_std::fs::{Dir, MetadataExt as _};

use super::{MANIFESTS, MODE, Store};
use crate::staging::{self, Staged};

/// How many are recorded. Those that were not used for longest are forgotten.
const RECORDED: usize = 200;

/// The prefix of a record that is being written.
const STAGED: &str = ".staged-";

/// The longest record that is read, in bytes.
const MAX_RECORD: u64 = 200;

impl Store {
    /// Records the digest of the manifest that metadata with this key came from.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn record_origin(&self, key: &str, manifest_digest: &str) -> io::Result<()> {
        let dir = self.manifests()?;
        if read(&dir, key).as_deref() == Some(manifest_digest) {
            return touch(&dir, key);
        }
        let staged = Staged::new_file(&dir, STAGED, MODE & 0o600)?;
        staged.file().write_all(manifest_digest.as_bytes())?;
        staged.rename(&dir, key)?;
        forget_oldest(&dir)
    }

    /// The digest of the manifest that metadata with this key came from, if that is recorded.
    pub fn origin(&self, key: &str) -> Option<String> {
        read(&self.manifests().ok()?, key)
    }

    fn manifests(&self) -> io::Result<Dir> {
        self.boots.create_dir_all(MANIFESTS)?;
        self.boots.open_dir(MANIFESTS)
    }
}

fn read(dir: &Dir, key: &str) -> Option<String> {
    let mut digest = String::new();
    dir.open(key).ok()?.take(MAX_RECORD).read_to_string(&mut digest).ok()?;
    Some(digest)
}

fn touch(dir: &Dir, key: &str) -> io::Result<()> {
    dir.open(key)?.into_std().set_modified(SystemTime::now())
}

fn forget_oldest(dir: &Dir) -> io::Result<()> {
    let names = staging::names(dir)?;
    let Some(surplus) = names.len().checked_sub(RECORDED).filter(|surplus| *surplus > 0) else {
        return Ok(());
    };
    let age = |name: String| {
        let metadata = dir.metadata(&name).ok()?;
        Some(((metadata.mtime(), metadata.mtime_nsec()), name))
    };
    let mut names: Vec<_> = names.into_iter().filter_map(age).collect();
    names.sort();
    for (_, name) in names.into_iter().take(surplus) {
        match dir.remove_file(name) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_outlive_a_boot_and_the_oldest_are_forgotten() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let open = || Store::open(directory.path(), 100).expect("opened");
        let store = open();
        assert_eq!(store.origin("0"), None);
        for number in 0..RECORDED {
            store.record_origin(&number.to_string(), "sha256:a").expect("recorded");
        }
        store.record_origin("0", "sha256:a").expect("used again");
        store.record_origin("new", "sha256:b").expect("recorded");
        let store = open();
        store.sweep();
        assert_eq!(store.origin("0").as_deref(), Some("sha256:a"));
        assert_eq!(store.origin("1"), None);
        assert_eq!(store.origin("new").as_deref(), Some("sha256:b"));
        store.record_origin("new", "sha256:c").expect("replaced");
        assert_eq!(store.origin("new").as_deref(), Some("sha256:c"));
    }
}
