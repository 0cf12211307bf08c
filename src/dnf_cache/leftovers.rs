//! Staged things: their names, their locks, and what killed runs leave of them.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::path::Path;

use cap_std::fs::{Dir, File, MetadataExt};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{CacheDir, Error, STAGED_PACKAGE, STAGED_REPODATA};

impl CacheDir {
    /// Removes what killed runs have staged. What somebody works on is locked and stays.
    ///
    /// # Errors
    /// If the directory cannot be read; what cannot be removed is left for the next time.
    pub fn sweep(&self) -> Result<(), Error> {
        for entry in self.dir.entries().map_err(|error| self.error("", error))? {
            let entry = entry.map_err(|error| self.error("", error))?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let staged = name.starts_with(STAGED_REPODATA) || name.starts_with(STAGED_PACKAGE);
            if staged && let Err(error) = self.remove_if_left(&name) {
                tracing::debug!(name, %error, "a leftover stays");
            }
        }
        Ok(())
    }

    fn remove_if_left(&self, name: &str) -> Result<(), Error> {
        let error = |error| self.error(name, error);
        let staged = self.dir.open(name).map_err(error)?;
        if lock(&self.dir, name, &staged).map_err(error)? { self.remove(name) } else { Ok(()) }
    }
}

/// A name for something to be staged that nobody else has, not even in another container.
pub(super) fn staged_name(prefix: &str) -> String {
    format!("{prefix}{:016x}", RandomState::new().hash_one(prefix))
}

/// Locks what is staged, for as long as the file is open. `false` if another run has it, or has had
/// it and taken it away since it was opened.
pub(super) fn lock(dir: &Dir, name: &str, staged: &File) -> io::Result<bool> {
    match flock(staged, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => is_at(dir, name.as_ref(), staged),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn is_at(dir: &Dir, name: &Path, file: &File) -> io::Result<bool> {
    let opened = file.metadata()?;
    match dir.symlink_metadata(name) {
        Ok(found) => Ok((found.dev(), found.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dnf_cache::Verification;
    use crate::dnf_cache::testing::{Cache, sample};
    use std::fs;

    #[test]
    fn a_sweep_takes_what_nobody_works_on() {
        let cache = Cache::new();
        cache.commit("one");
        let package = cache.dir.stage_package("a.rpm", 1, Verification::Stream).expect("staged");
        let repodata = cache.stage(&sample("two"));
        let worked_on = cache.names();
        fs::write(cache.path(".dnf5-oci-package-1"), "left").expect("written");
        fs::create_dir_all(cache.path(".dnf5-oci-repodata-1/x")).expect("made");
        cache.dir.sweep().expect("swept");
        assert_eq!(cache.names(), worked_on);
        assert_eq!(worked_on.len(), 3);
        drop((package, repodata));
        cache.holds_only("one");
    }

    #[test]
    fn a_sweep_follows_no_link() {
        let (cache, outside) = (Cache::new(), Cache::new());
        outside.commit("outside");
        for (target, name) in [("", "-repodata-1"), ("repodata/repomd.xml", "-package-1")] {
            let link = cache.path(&format!(".dnf5-oci{name}"));
            std::os::unix::fs::symlink(outside.path(target), link).expect("linked");
        }
        cache.dir.sweep().expect("swept");
        outside.holds_only("outside");
    }

    #[test]
    fn a_lock_is_worth_nothing_once_the_name_leads_elsewhere() {
        let cache = Cache::new();
        let name = ".dnf5-oci-package-1";
        fs::write(cache.path(name), "").expect("written");
        let opened = cache.dir.dir.open(name).expect("opened");
        fs::remove_file(cache.path(name)).expect("removed");
        assert!(!lock(&cache.dir.dir, name, &opened).expect("tried"), "it is gone");
        fs::write(cache.path(name), "").expect("written");
        assert!(!lock(&cache.dir.dir, name, &opened).expect("tried"), "it is another");
        let other = cache.dir.dir.open(name).expect("opened");
        assert!(lock(&cache.dir.dir, name, &other).expect("tried"));
        let third = cache.dir.dir.open(name).expect("opened");
        assert!(!lock(&cache.dir.dir, name, &third).expect("tried"), "it is locked");
    }
}
