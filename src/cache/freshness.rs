//! Whether cached metadata are good enough, decided as dnf5 decides it.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW, utimensat};

use super::{CacheDir, EXPIRED, Error, REPODATA};
use crate::repodata::{MAX_REPOMD, Repomd};

/// How old cached metadata may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxAge {
    /// Younger than so many seconds.
    Seconds(u64),
    /// However old (`metadata_expire=never`).
    Forever,
}

impl Default for MaxAge {
    fn default() -> Self {
        Self::Seconds(0)
    }
}

/// What cached metadata are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Good enough as they are.
    Fresh,
    /// To be checked against the registry.
    Expired,
    /// There are none.
    Missing,
}

impl CacheDir {
    /// Whether the cached metadata are good enough.
    ///
    /// dnf5's rules (`Repo::recompute_expired`): the mark `attrs/expired` counts first; with
    /// [`MaxAge::Forever`] nothing else does; a `.repo` file that is newer than the primary
    /// metadata, or their age, expires them.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn freshness(&self, max_age: MaxAge, repo_file: Option<&Path>) -> Result<Freshness, Error> {
        let Some(modified) = self.primary_modified()? else {
            return Ok(Freshness::Missing);
        };
        let expired = self.dir.exists(EXPIRED)
            || match max_age {
                MaxAge::Forever => false,
                MaxAge::Seconds(seconds) => {
                    let age = SystemTime::now().duration_since(modified).unwrap_or_default();
                    age >= Duration::from_secs(seconds)
                        || repo_file.is_some_and(|file| is_newer(file, modified))
                }
            };
        Ok(if expired { Freshness::Expired } else { Freshness::Fresh })
    }

    /// The cached metadata are still what the registry has: their age starts anew.
    ///
    /// # Errors
    /// If that cannot be written down.
    pub fn confirm(&self) -> Result<(), Error> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        let repodata = self.dir.open_dir(REPODATA).map_err(|error| self.error(REPODATA, error))?;
        for entry in repodata.entries().map_err(|error| self.error(REPODATA, error))? {
            let name = entry.map_err(|error| self.error(REPODATA, error))?.file_name();
            utimensat(&repodata, &name, &times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| self.error(Path::new(REPODATA).join(&name), errno.into()))?;
        }
        self.clear_expired()
    }

    /// Removes the mark with which dnf5 asks for a check.
    pub(super) fn clear_expired(&self) -> Result<(), Error> {
        match self.dir.remove_file(EXPIRED) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.error(EXPIRED, error)),
            _ => Ok(()),
        }
    }

    /// When the primary metadata were put there; nothing if there are none that can be used.
    fn primary_modified(&self) -> Result<Option<SystemTime>, Error> {
        let Ok(repodata) = self.dir.open_dir(REPODATA) else {
            return Ok(None);
        };
        let mut repomd = Vec::new();
        let Ok(file) = repodata.open("repomd.xml") else {
            return Ok(None);
        };
        file.take(MAX_REPOMD)
            .read_to_end(&mut repomd)
            .map_err(|error| self.error("repodata/repomd.xml", error))?;
        let Ok(repomd) = Repomd::parse(&repomd) else {
            return Ok(None);
        };
        let primary = repomd.records.iter().find(|record| record.kind == "primary");
        let modified = primary
            .and_then(|record| repodata.metadata(&record.name).ok())
            .and_then(|metadata| metadata.modified().ok());
        Ok(modified.map(cap_std::time::SystemTime::into_std))
    }
}

/// Whole seconds count, as for dnf5.
fn is_newer(file: &Path, than: SystemTime) -> bool {
    let seconds = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    };
    fs::metadata(file)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|modified| seconds(modified) > seconds(than))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::repodata::tests::{commit, sample};
    use std::fs::{File, FileTimes};
    use std::sync::Arc;

    struct Cache {
        top: tempfile::TempDir,
        dir: Arc<CacheDir>,
    }

    impl Cache {
        fn new() -> Self {
            let top = tempfile::tempdir().expect("a temporary directory");
            let dir = Arc::new(CacheDir::open(&top.path().join("cache")).expect("opened"));
            Self { top, dir }
        }

        fn with_metadata(age: u64) -> Self {
            let cache = Self::new();
            commit(&cache.dir, &sample("one"), "one");
            for name in ["repomd.xml", "primary.xml"] {
                set_age(&cache.dir.path.join("repodata").join(name), age);
            }
            cache
        }

        fn is(&self, max_age: MaxAge) -> Freshness {
            self.dir.freshness(max_age, Some(&self.top.path().join("x.repo"))).expect("decided")
        }
    }

    fn set_age(path: &Path, seconds: u64) {
        let time = SystemTime::now() - Duration::from_secs(seconds);
        let file = File::options().write(true).open(path).expect("opened");
        file.set_times(FileTimes::new().set_modified(time)).expect("set");
    }

    #[test]
    fn age_decides() {
        let cache = Cache::with_metadata(100);
        assert_eq!(cache.is(MaxAge::Seconds(200)), Freshness::Fresh);
        assert_eq!(cache.is(MaxAge::Seconds(100)), Freshness::Expired);
        assert_eq!(cache.is(MaxAge::Seconds(0)), Freshness::Expired);
        assert_eq!(cache.is(MaxAge::Forever), Freshness::Fresh);
    }

    #[test]
    fn a_newer_repo_file_expires_unless_nothing_does() {
        let cache = Cache::with_metadata(100);
        let file = cache.top.path().join("x.repo");
        fs::write(&file, "").expect("written");
        assert_eq!(cache.is(MaxAge::Seconds(200)), Freshness::Expired);
        assert_eq!(cache.is(MaxAge::Forever), Freshness::Fresh);
        set_age(&file, 150);
        assert_eq!(cache.is(MaxAge::Seconds(200)), Freshness::Fresh);
    }

    #[test]
    fn the_mark_counts_first_and_a_check_clears_it() {
        let cache = Cache::with_metadata(100);
        fs::create_dir(cache.dir.path.join("attrs")).expect("made");
        fs::write(cache.dir.path.join(EXPIRED), "").expect("written");
        assert_eq!(cache.is(MaxAge::Forever), Freshness::Expired);
        cache.dir.confirm().expect("confirmed");
        assert!(!cache.dir.path.join(EXPIRED).exists());
        assert_eq!(cache.is(MaxAge::Seconds(50)), Freshness::Fresh);
    }

    #[test]
    fn without_usable_metadata_they_are_missing() {
        let cache = Cache::new();
        assert_eq!(cache.is(MaxAge::Forever), Freshness::Missing);
        let cache = Cache::with_metadata(0);
        fs::remove_file(cache.dir.path.join("repodata/primary.xml")).expect("removed");
        assert_eq!(cache.is(MaxAge::Forever), Freshness::Missing);
        let cache = Cache::with_metadata(0);
        fs::write(cache.dir.path.join("repodata/repomd.xml"), "<").expect("written");
        assert_eq!(cache.is(MaxAge::Forever), Freshness::Missing);
    }
}
