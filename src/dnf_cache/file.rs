//! Files that the metadata does not list, such as keys.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use cap_std::fs::MetadataExt as _;

use super::{CacheDir, Error, FILE_MODE, MaxAge, STAGED_PACKAGE, is_plain};
use crate::staging::Staged;

/// The directory of these files.
const FILES: &str = "files";

impl CacheDir {
    /// The path of a cached file that is young enough, by the rules for metadata.
    pub fn fresh_file(
        &self,
        path: &str,
        max_age: MaxAge,
        repo_file: Option<&Path>,
    ) -> Option<PathBuf> {
        let path = Path::new(FILES).join(path);
        let modified = self.dir.metadata(&path).ok().filter(|found| found.is_file())?.mtime();
        (!max_age.is_exceeded(modified, repo_file)).then(|| self.path.join(path))
    }

    /// Writes a file, and replaces the previous one as a whole.
    ///
    /// # Errors
    /// If the path has parts that are no plain names, or the file cannot be written.
    pub fn write_file(&self, path: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
        if !path.split('/').all(is_plain) {
            return Err(Error::FileName(path.to_owned()));
        }
        let full = format!("{FILES}/{path}");
        let (parent, name) = full.rsplit_once('/').unwrap_or((FILES, path));
        let write = || {
            let staged = Staged::new_file(&self.dir, STAGED_PACKAGE, FILE_MODE)?;
            staged.file().write_all(bytes)?;
            self.dir.create_dir_all(parent)?;
            staged.rename(&self.dir.open_dir(parent)?, name)
        };
        write().map_err(|error| self.error(&full, error))?;
        Ok(self.path.join(full))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dnf_cache::testing::Cache;
    use std::fs::{self, File};
    use std::time::{Duration, SystemTime};

    const PATH: &str = "quay.io/acme/rpms:1/KEY.asc";

    #[test]
    fn a_file_is_replaced_as_a_whole_and_grows_old() {
        let cache = Cache::new();
        let fresh = |max_age| cache.dir.fresh_file(PATH, max_age, Some(&cache.path("x.repo")));
        assert_eq!(fresh(MaxAge::Forever), None);
        for content in ["a first key", "another"] {
            let path = cache.dir.write_file(PATH, content.as_bytes()).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("read"), content);
            assert_eq!(fresh(MaxAge::Seconds(100)), Some(path));
        }
        assert_eq!(cache.names(), [FILES]);
        let file = File::open(cache.path(FILES).join(PATH)).expect("opened");
        file.set_modified(SystemTime::now() - Duration::from_secs(100)).expect("set");
        assert_eq!(fresh(MaxAge::Seconds(100)), None);
        assert!(fresh(MaxAge::Seconds(200)).is_some());
        fs::write(cache.path("x.repo"), "").expect("written");
        assert_eq!(fresh(MaxAge::Seconds(200)), None);
        assert!(fresh(MaxAge::Forever).is_some());
    }

    #[test]
    fn paths_lead_nowhere_else() {
        let cache = Cache::new();
        for path in ["", "a//b", "../a", "a/../../b", "a/\u{1b}", "/a"] {
            let error = cache.dir.write_file(path, b"x").expect_err("refused");
            assert!(matches!(error, Error::FileName(_)), "{path}");
        }
        std::os::unix::fs::symlink("/tmp", cache.path(FILES)).expect("linked");
        assert!(cache.dir.write_file("a", b"x").is_err());
    }
}
