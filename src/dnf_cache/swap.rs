//! How staged metadata replaces the old metadata.

use cap_std::fs::File;
use rustix::fs::{FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::{Errno, retry_on_intr};

use super::{CacheDir, Error, NEXT, REPODATA, REPOMD};
use crate::staging;

impl CacheDir {
    /// Replaces the metadata with a staged directory. The old metadata then has the staged name, or is
    /// removed.
    pub(super) fn swap(&self, staged: &str) -> Result<(), Error> {
        let locked = self.lock()?;
        self.finish_swap()?;
        match renameat_with(&self.dir, staged, &self.dir, REPODATA, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            Err(Errno::NOENT) => self.rename(staged, REPODATA)?,
            Err(Errno::INVAL | Errno::NOSYS | Errno::XDEV) => {
                self.swap_in_steps(staged, &locked)?
            }
            Err(errno) => return Err(self.error(REPODATA, errno.into())),
        }
        self.sync(&locked)
    }

    /// The same where the file system cannot exchange directories: some network file systems, and
    /// overlayfs, which cannot even rename those of a lower layer.
    ///
    /// After the first rename the new metadata counts: the next process to open the cache directory
    /// completes the swap if this one does not.
    pub(super) fn swap_in_steps(&self, staged: &str, locked: &File) -> Result<(), Error> {
        self.rename(staged, NEXT)?;
        self.sync(locked)?;
        self.finish_swap()
    }

    /// Completes a swap that a killed process has left.
    pub(super) fn resume_swap(&self) -> Result<(), Error> {
        if !self.dir.exists(NEXT) {
            return Ok(());
        }
        let _locked = self.lock()?;
        self.finish_swap()
    }

    fn finish_swap(&self) -> Result<(), Error> {
        if !self.dir.exists(NEXT) {
            return Ok(());
        }
        if self.dir.symlink_metadata(REPODATA).is_ok_and(|found| found.is_dir()) {
            // Without repomd.xml dnf5 ignores the rest; it must not load half of the metadata.
            self.remove(REPOMD)?;
        }
        self.remove(REPODATA)?;
        self.rename(NEXT, REPODATA)
    }

    /// Waits for the lock on the metadata, which is held as long as the file is open.
    pub(super) fn lock(&self) -> Result<File, Error> {
        let error = |error| self.error("", error);
        let top = self.dir.open(".").map_err(error)?;
        retry_on_intr(|| flock(&top, FlockOperation::LockExclusive))
            .map_err(|errno| error(errno.into()))?;
        Ok(top)
    }

    fn sync(&self, top: &File) -> Result<(), Error> {
        top.sync_all().map_err(|error| self.error("", error))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        self.dir.rename(from, &self.dir, to).map_err(|error| self.error(to, error))
    }

    /// Removes a file, a link or a directory with its content, if it exists.
    pub(super) fn remove(&self, name: &str) -> Result<(), Error> {
        staging::remove(&self.dir, name).map_err(|error| self.error(name, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dnf_cache::testing::{Cache, sample};
    use std::fs;

    /// A cache with the metadata `one` and a swap to `two` that was killed after its first step.
    fn in_the_middle() -> Cache {
        let cache = Cache::new();
        cache.commit("one");
        let staged = cache.stage(&sample("two"));
        staged.seal(&Cache::marker("two")).expect("sealed");
        fs::rename(cache.path(staged.staged.name()), cache.path(NEXT)).expect("renamed");
        cache
    }

    #[test]
    fn without_exchange_it_is_the_same() {
        let cache = Cache::new();
        for content in ["one", "two"] {
            cache.commit_in_steps(content);
            cache.holds_only(content);
        }
    }

    #[test]
    fn a_swap_that_was_killed_at_any_step_is_completed() {
        type Step = fn(&Cache);
        let steps: [Step; 5] = [
            |_| {},
            |cache| fs::remove_file(cache.path(REPOMD)).expect("removed"),
            |cache| {
                fs::remove_file(cache.path(REPOMD)).expect("removed");
                fs::remove_file(cache.path("repodata/primary.xml")).expect("removed");
            },
            |cache| fs::remove_dir_all(cache.path(REPODATA)).expect("removed"),
            |cache| {
                fs::remove_dir_all(cache.path(REPODATA)).expect("removed");
                fs::rename(cache.path(NEXT), cache.path(REPODATA)).expect("renamed");
            },
        ];
        for step in steps {
            let cache = in_the_middle();
            step(&cache);
            cache.reopen();
            cache.holds_only("two");
        }
    }

    #[test]
    fn a_swap_in_the_middle_is_not_a_leftover() {
        let cache = in_the_middle();
        cache.dir.sweep().expect("swept");
        cache.reopen();
        cache.holds_only("two");
    }

    #[test]
    fn what_is_committed_later_wins_over_a_swap_in_the_middle() {
        let cache = in_the_middle();
        cache.commit("three");
        cache.holds_only("three");
    }

    #[test]
    fn metadata_that_is_a_link_is_replaced_and_its_target_is_not_touched() {
        let swaps: [fn(&Cache, &str); 2] = [Cache::commit, Cache::commit_in_steps];
        for swap in swaps {
            let (cache, outside) = (Cache::new(), Cache::new());
            outside.commit("outside");
            std::os::unix::fs::symlink(outside.path(REPODATA), cache.path(REPODATA))
                .expect("linked");
            swap(&cache, "one");
            cache.holds_only("one");
            outside.holds_only("outside");
        }
    }

    #[test]
    fn many_at_once_leave_one_whole() {
        let swaps: [fn(&Cache, &str); 2] = [Cache::commit, Cache::commit_in_steps];
        for swap in swaps {
            let cache = Cache::new();
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let cache = &cache;
                    scope.spawn(move || {
                        for round in 0..10 {
                            cache.reopen();
                            cache.dir.sweep().expect("swept");
                            swap(cache, &format!("{thread}-{round}"));
                            cache.dir.confirm().expect("confirmed");
                        }
                    });
                }
            });
            cache.holds_only(&cache.primary());
        }
    }
}
