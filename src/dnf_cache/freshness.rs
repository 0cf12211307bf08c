//! Whether cached metadata is good enough, by dnf5's own rules.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

use cap_std::fs::MetadataExt as _;
use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW, utimensat};

use super::{CacheDir, EXPIRED, Error, REPODATA, read_repomd};
use crate::repomd::Repomd;

/// The maximum age of cached metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxAge {
    /// In seconds; metadata of exactly this age is expired.
    Seconds(u64),
    /// Any age (`metadata_expire=never`).
    Forever,
}

impl Default for MaxAge {
    fn default() -> Self {
        Self::Seconds(0)
    }
}

impl MaxAge {
    /// Whether a file with this mtime, in seconds since the epoch, is too old, or older than the `.repo` file.
    pub(super) fn is_exceeded(self, modified: i64, repo_file: Option<&Path>) -> bool {
        match self {
            Self::Forever => false,
            Self::Seconds(seconds) => {
                now().saturating_sub(modified) >= i64::try_from(seconds).unwrap_or(i64::MAX)
                    || repo_file.is_some_and(|file| is_newer(file, modified))
            }
        }
    }
}

/// The state of cached metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Good enough as it is.
    Fresh,
    /// It must be checked against the registry.
    Expired,
    /// There is no metadata that dnf5 could use.
    Missing,
}

impl CacheDir {
    /// Whether the cached metadata is good enough.
    ///
    /// dnf5's rules (`Repo::recompute_expired`): metadata with the mark `attrs/expired` is expired. With
    /// [`MaxAge::Forever`] nothing else matters; otherwise the age of the primary metadata does, and a
    /// `.repo` file that is newer. Times are in whole seconds; metadata from the future is fresh.
    pub fn freshness(&self, max_age: MaxAge, repo_file: Option<&Path>) -> Freshness {
        let Some(modified) = self.primary_modified() else {
            return Freshness::Missing;
        };
        let expired = self.dir.exists(EXPIRED) || max_age.is_exceeded(modified, repo_file);
        if expired { Freshness::Expired } else { Freshness::Fresh }
    }

    /// Records that the registry still has the cached metadata: its age starts again at zero.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub fn confirm(&self) -> Result<(), Error> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        let _locked = self.lock()?;
        let repodata = self.dir.open_dir(REPODATA).map_err(|error| self.error(REPODATA, error))?;
        for entry in repodata.entries().map_err(|error| self.error(REPODATA, error))? {
            let name = entry.map_err(|error| self.error(REPODATA, error))?.file_name();
            utimensat(&repodata, &name, &times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| self.error(Path::new(REPODATA).join(&name), errno.into()))?;
        }
        self.clear_expired()
    }

    /// Removes the mark by which dnf5 requests a check.
    pub(super) fn clear_expired(&self) -> Result<(), Error> {
        self.remove(EXPIRED)
    }

    /// The mtime of the primary metadata, in seconds since the epoch; `None` without usable metadata.
    ///
    /// dnf5 may prefer `primary_zck`, which is always of the same age.
    fn primary_modified(&self) -> Option<i64> {
        let repodata = self.dir.open_dir(REPODATA).ok()?;
        let repomd = Repomd::parse(&read_repomd(&repodata).ok()?).ok()?;
        let primary = repomd.primary()?;
        repodata.metadata(&primary.name).ok().map(|metadata| metadata.mtime())
    }
}

/// Seconds since the epoch.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn is_newer(file: &Path, than: i64) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.mtime() > than)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dnf_cache::REPOMD;
    use crate::dnf_cache::testing::Cache;
    use std::fs::{File, FileTimes};
    use std::time::Duration;

    const REPO_FILE: &str = "x.repo";

    fn with_metadata(age: i64) -> Cache {
        let cache = Cache::new();
        cache.commit("one");
        for name in [REPOMD, "repodata/primary.xml"] {
            set_age(&cache.path(name), age, 0);
        }
        cache
    }

    fn freshness(cache: &Cache, max_age: MaxAge) -> Freshness {
        cache.dir.freshness(max_age, Some(&cache.path(REPO_FILE)))
    }

    /// Sets the mtime, with these nanoseconds. A negative age is in the future.
    fn set_age(path: &Path, age: i64, nanoseconds: u32) {
        let seconds = u64::try_from(now() - age).expect("after the epoch");
        let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
        let file = File::options().write(true).open(path).expect("opened");
        file.set_times(FileTimes::new().set_modified(time)).expect("set");
    }

    #[test]
    fn age_decides() {
        let cache = with_metadata(100);
        assert_eq!(freshness(&cache, MaxAge::Seconds(200)), Freshness::Fresh);
        assert_eq!(freshness(&cache, MaxAge::Seconds(100)), Freshness::Expired);
        assert_eq!(freshness(&cache, MaxAge::Seconds(0)), Freshness::Expired);
        assert_eq!(freshness(&cache, MaxAge::Seconds(u64::MAX)), Freshness::Fresh);
        assert_eq!(freshness(&cache, MaxAge::Forever), Freshness::Fresh);
    }

    #[test]
    fn whole_seconds_count() {
        let cache = with_metadata(100);
        set_age(&cache.path("repodata/primary.xml"), 100, 999_999_999);
        assert_eq!(freshness(&cache, MaxAge::Seconds(100)), Freshness::Expired);
        set_age(&cache.path("repodata/primary.xml"), -100, 0);
        assert_eq!(freshness(&cache, MaxAge::Seconds(0)), Freshness::Fresh, "as dnf5 counts");
    }

    #[test]
    fn a_newer_repo_file_expires_unless_nothing_does() {
        let cache = with_metadata(100);
        let file = cache.path(REPO_FILE);
        fs::write(&file, "").expect("written");
        assert_eq!(freshness(&cache, MaxAge::Seconds(200)), Freshness::Expired);
        assert_eq!(freshness(&cache, MaxAge::Forever), Freshness::Fresh);
        set_age(&file, 150, 0);
        assert_eq!(freshness(&cache, MaxAge::Seconds(200)), Freshness::Fresh);
    }

    #[test]
    fn the_mark_counts_first_and_a_check_clears_it() {
        let cache = with_metadata(100);
        fs::create_dir(cache.path("attrs")).expect("made");
        fs::write(cache.path(EXPIRED), "").expect("written");
        assert_eq!(freshness(&cache, MaxAge::Forever), Freshness::Expired);
        set_age(&cache.path("repodata/.dnf5-oci.json"), 100, 0);
        let before = cache.dir.confirmed().expect("there");
        cache.dir.confirm().expect("confirmed");
        assert!(cache.dir.confirmed().expect("there") > before);
        assert!(!cache.path(EXPIRED).exists());
        assert_eq!(freshness(&cache, MaxAge::Seconds(50)), Freshness::Fresh);
        assert!(now() - fs::metadata(cache.path(REPOMD)).expect("read").mtime() < 50);
    }

    #[test]
    fn unusable_metadata_is_missing() {
        let cache = Cache::new();
        assert_eq!(freshness(&cache, MaxAge::Forever), Freshness::Missing);
        let cache = with_metadata(0);
        fs::remove_file(cache.path("repodata/primary.xml")).expect("removed");
        assert_eq!(freshness(&cache, MaxAge::Forever), Freshness::Missing);
        let cache = with_metadata(0);
        fs::write(cache.path(REPOMD), "<").expect("written");
        assert_eq!(freshness(&cache, MaxAge::Forever), Freshness::Missing);
    }
}
