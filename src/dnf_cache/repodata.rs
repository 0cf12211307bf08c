//! Metadata that is being written into the cache.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use cap_std::fs::{Dir, File};

use super::{CacheDir, DIRECTORY_MODE, Error, Marker, Mismatch, OURS, STAGED_REPODATA};
use super::{create, is_plain, marker, read_repomd};
use crate::repomd::{Record, Repomd};
use crate::staging::Staged;

/// Metadata that is being written beside its place. Dropping it removes it.
pub struct StagedRepodata {
    cache: Arc<CacheDir>,
    pub(super) staged: Staged,
    dir: Dir,
}

/// A file of staged metadata.
pub struct StagedFile {
    path: PathBuf,
    file: File,
}

impl CacheDir {
    /// Begins to write metadata.
    ///
    /// # Errors
    /// If its directory cannot be created.
    pub fn stage_repodata(self: &Arc<Self>) -> Result<StagedRepodata, Error> {
        let error = |error| self.error(STAGED_REPODATA, error);
        let staged = Staged::new_dir(&self.dir, STAGED_REPODATA, DIRECTORY_MODE).map_err(error)?;
        let dir = staged.dir().map_err(error)?;
        Ok(StagedRepodata { cache: Arc::clone(self), staged, dir })
    }
}

impl StagedRepodata {
    /// Creates a file.
    ///
    /// # Errors
    /// If the name is not a plain one, is reserved, or the file exists or cannot be created.
    pub fn file(&self, name: &str) -> Result<StagedFile, Error> {
        if !is_plain(name) || name.starts_with(OURS) {
            return Err(Error::FileName(name.to_owned()));
        }
        let path = self.path(name);
        let file = create(&self.dir, name).map_err(|error| Error::at(&path, error))?;
        Ok(StagedFile { path, file })
    }

    /// Verifies that dnf5 can load the metadata: repomd.xml lists a primary file, and every file that it
    /// lists has the right size and checksum.
    ///
    /// # Errors
    /// If repomd.xml or a file that it lists is missing or wrong.
    pub fn verify(&self) -> Result<(), Error> {
        let xml = read_repomd(&self.dir).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NoRepomd,
            _ => Error::at(&self.path("repomd.xml"), error),
        })?;
        let records = Repomd::parse(&xml)?.records;
        if !records.iter().any(|record| record.kind == "primary") {
            return Err(Error::NoPrimary);
        }
        let mut checked = HashSet::new();
        for record in &records {
            if checked.insert(&record.name) {
                self.check(record)?;
            }
        }
        Ok(())
    }

    /// Moves the metadata to its place, and clears the mark that it is expired.
    ///
    /// # Errors
    /// If it cannot be synced or renamed. The cache then has the old metadata or this, and all of it.
    pub fn commit(self, marker: &Marker) -> Result<(), Error> {
        self.seal(marker)?;
        self.cache.swap(self.staged.name())?;
        self.cache.clear_expired()
        // Dropping removes what has the staged name now: the old metadata.
    }

    /// Adds the marker and syncs everything to the disk.
    ///
    /// dnf5 does not verify metadata in its cache, so a power failure after the rename must not damage it.
    pub(super) fn seal(&self, marker: &Marker) -> Result<(), Error> {
        let error = |error| Error::at(&self.path(marker::NAME), error);
        let mut file = create(&self.dir, marker::NAME).map_err(error)?;
        file.write_all(marker.to_json().as_bytes()).map_err(error)?;
        self.sync().map_err(|error| Error::at(&self.path(""), error))
    }

    fn check(&self, record: &Record) -> Result<(), Error> {
        let error = |error| Error::at(&self.path(&record.name), error);
        let mut file = match self.dir.open(&record.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::MissingFile(record.name.clone()));
            }
            opened => opened.map_err(error)?,
        };
        let mut hasher = record.checksum.hasher();
        let size = io::copy(&mut file, &mut hasher).map_err(error)?;
        let wrong = |property, expected: String, found: String| {
            let file = format!("repodata/{}", record.name);
            Err(Error::WrongFile(Mismatch::new(property, &file, expected, found)))
        };
        if let Some(expected) = record.size.filter(|expected| *expected != size) {
            return wrong("size", format!("{expected} bytes"), format!("{size} bytes"));
        }
        let found = hasher.finish();
        if found != record.checksum {
            return wrong("checksum", record.checksum.to_string(), found.to_string());
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        for entry in self.dir.entries()? {
            entry?.open()?.sync_all()?;
        }
        self.staged.file().sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.cache.path.join(self.staged.name()).join(name)
    }
}

impl Write for StagedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(|error| Error::at(&self.path, error).into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::dnf_cache::testing::{Cache, Files, names, sample};
    use crate::error_kind::{Failure, Kind};
    use std::fs;

    #[test]
    fn a_commit_replaces_all_and_leaves_nothing_else() {
        let cache = Cache::new();
        cache.commit("one");
        fs::write(cache.path("repodata/stray"), "").expect("written");
        fs::create_dir(cache.path("attrs")).expect("made");
        fs::write(cache.path("attrs/expired"), "").expect("written");
        cache.commit("two");
        assert_eq!(names(&cache.path("attrs")), Vec::<String>::new());
        fs::remove_dir(cache.path("attrs")).expect("removed");
        cache.holds_only("two");
    }

    #[test]
    fn files_that_repomd_does_not_list_stay() {
        let cache = Cache::new();
        let mut files = sample("one");
        files.push(("repomd.xml.asc".to_owned(), "signature".to_owned()));
        let staged = cache.stage(&files);
        staged.verify().expect("verified");
        staged.commit(&Cache::marker("1")).expect("committed");
        let signature = fs::read_to_string(cache.path("repodata/repomd.xml.asc")).expect("read");
        assert_eq!(signature, "signature");
    }

    #[test]
    fn a_failure_leaves_the_old_and_nothing_else() {
        let cache = Cache::new();
        cache.commit("one");
        drop(cache.stage(&sample("two")));
        cache.holds_only("one");
    }

    #[test]
    fn what_repomd_lists_is_checked() {
        let cache = Cache::new();
        cache.commit("one");
        let wrong = |change: &dyn Fn(&mut Files)| {
            let mut files = sample("two");
            change(&mut files);
            let error = cache.stage(&files).verify().expect_err("refused");
            assert_eq!(error.kind(), Kind::BadMetadata);
            error.to_string()
        };
        let tow = wrong(&|files| files[1].1 = "tow".into());
        let expected = "checksum mismatch for \"repodata/primary.xml\": expected sha256:3fc4cc";
        assert!(tow.starts_with(expected) && tow.contains(", got sha256:"), "{tow}");
        assert_eq!(
            wrong(&|files| files[1].1 = "three".into()),
            "size mismatch for \"repodata/primary.xml\": expected 3 bytes, got 5 bytes"
        );
        assert!(wrong(&|files| drop(files.remove(1))).contains("lists \"primary.xml\""));
        assert!(wrong(&|files| drop(files.remove(0))).contains("no repodata/repomd.xml"));
        assert!(
            wrong(&|files| files[0].1 = "<repomd>".into()).contains("cannot parse repomd.xml: ")
        );
        let other = |files: &mut Files| files[0].1 = files[0].1.replace("\"primary\"", "\"other\"");
        assert!(wrong(&other).contains("lists no primary metadata"));
        cache.holds_only("one");
    }

    #[test]
    fn names_are_plain_and_not_reserved() {
        let cache = Cache::new();
        let staged = cache.dir.stage_repodata().expect("staged");
        let long = "n".repeat(256);
        for name in ["", ".", "..", "a/b", "/a", "a\nb", ".dnf5-oci.json", ".dnf5-oci-x", &long] {
            let error = staged.file(name).map(drop).expect_err(name);
            assert_eq!(error.kind(), Kind::BadMetadata, "{name}");
        }
        staged.file("a").map(drop).expect("made");
        assert!(staged.file("a").is_err(), "taken");
    }
}
