//! Metadata on their way into the cache.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use cap_std::fs::{Dir, File};

use super::leftovers::{lock, staged_name};
use super::{CacheDir, Error, Marker, OURS, STAGED_REPODATA, create, create_directory};
use super::{is_plain, marker};
use crate::repomd::{MAX_REPOMD, Record, Repomd};

/// Metadata that are being put together beside their place. Dropping it removes them.
pub struct StagedRepodata {
    cache: Arc<CacheDir>,
    pub(super) name: String,
    dir: Dir,
    /// The directory itself, open for as long as it is locked.
    locked: File,
}

/// A file of staged metadata.
pub struct StagedFile {
    path: PathBuf,
    file: File,
}

impl CacheDir {
    /// Begins to put metadata together.
    ///
    /// # Errors
    /// If the directory for them cannot be made.
    pub fn stage_repodata(self: &Arc<Self>) -> Result<StagedRepodata, Error> {
        loop {
            let name = staged_name(STAGED_REPODATA);
            let error = |error| self.error(&name, error);
            create_directory(&self.dir, &name).map_err(error)?;
            // A sweep may come between; it takes what is not locked.
            let locked = match self.dir.open(&name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(error)?,
            };
            if lock(&self.dir, &name, &locked).map_err(error)? {
                let dir = self.dir.open_dir(&name).map_err(error)?;
                return Ok(StagedRepodata { cache: Arc::clone(self), name, dir, locked });
            }
        }
    }
}

impl StagedRepodata {
    /// Makes a file.
    ///
    /// # Errors
    /// If the name is not a plain one, is taken, or the file cannot be made.
    pub fn file(&self, name: &str) -> Result<StagedFile, Error> {
        if !is_plain(name) || name.starts_with(OURS) {
            return Err(Error::FileName(name.to_owned()));
        }
        let path = self.path(name);
        let file = create(&self.dir, name).map_err(|error| Error::at(&path, error))?;
        Ok(StagedFile { path, file })
    }

    /// Checks that there are metadata which dnf5 can load: repomd.xml lists the primary ones, and
    /// every file that it lists is there and right.
    ///
    /// # Errors
    /// If repomd.xml or a file that it lists is missing or not as it should be.
    pub fn verify(&self) -> Result<(), Error> {
        let records = self.repomd()?.records;
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

    /// Puts the metadata into their place, and clears the mark that they are expired.
    ///
    /// # Errors
    /// If they cannot be made durable or renamed. The metadata in the cache are then the old ones or
    /// these, and whole.
    pub fn commit(self, marker: &Marker) -> Result<(), Error> {
        self.seal(marker)?;
        self.cache.swap(&self.name)?;
        self.cache.clear_expired()
        // Dropping removes what is now under the staged name: the old metadata.
    }

    /// Adds the marker and makes all durable.
    ///
    /// dnf5 does not check metadata in its cache, so they must not be lost to a power cut after the
    /// rename that makes them count.
    pub(super) fn seal(&self, marker: &Marker) -> Result<(), Error> {
        let error = |error| Error::at(&self.path(marker::NAME), error);
        let mut file = create(&self.dir, marker::NAME).map_err(error)?;
        file.write_all(marker.to_json().as_bytes()).map_err(error)?;
        self.make_durable().map_err(|error| Error::at(&self.path(""), error))
    }

    fn repomd(&self) -> Result<Repomd, Error> {
        let error = |error| Error::at(&self.path("repomd.xml"), error);
        let file = match self.dir.open("repomd.xml") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::NoRepomd),
            opened => opened.map_err(error)?,
        };
        let mut xml = Vec::new();
        file.take(MAX_REPOMD).read_to_end(&mut xml).map_err(error)?;
        Ok(Repomd::parse(&xml)?)
    }

    fn check(&self, record: &Record) -> Result<(), Error> {
        let wrong = |found: String, wanted: String| Error::WrongFile {
            name: record.name.clone(),
            found,
            wanted,
        };
        let error = |error| Error::at(&self.path(&record.name), error);
        let mut file = match self.dir.open(&record.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::MissingFile(record.name.clone()));
            }
            opened => opened.map_err(error)?,
        };
        let mut hasher = record.checksum.hasher();
        let size = io::copy(&mut file, &mut hasher).map_err(error)?;
        if let Some(wanted) = record.size.filter(|wanted| *wanted != size) {
            return Err(wrong(format!("{size} bytes"), format!("{wanted} bytes")));
        }
        let found = hasher.finish();
        if found != record.checksum {
            return Err(wrong(found.to_string(), record.checksum.to_string()));
        }
        Ok(())
    }

    fn make_durable(&self) -> io::Result<()> {
        for entry in self.dir.entries()? {
            entry?.open()?.sync_all()?;
        }
        self.locked.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.cache.path.join(&self.name).join(name)
    }
}

impl Drop for StagedRepodata {
    fn drop(&mut self) {
        if let Err(error) = self.cache.remove(&self.name) {
            tracing::debug!(%error, "left for the next sweep");
        }
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
    fn files_that_repomd_does_not_list_are_kept() {
        let cache = Cache::new();
        let mut files = sample("one");
        files.push(("repomd.xml.asc".to_owned(), "signature".to_owned()));
        let staged = cache.stage(&files);
        staged.verify().expect("verified");
        staged.commit(&Cache::marker("1")).expect("committed");
        let kept = fs::read_to_string(cache.path("repodata/repomd.xml.asc")).expect("read");
        assert_eq!(kept, "signature");
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
        assert!(
            wrong(&|files| files[1].1 = "tow".into()).contains("repodata/primary.xml is sha256:")
        );
        assert!(
            wrong(&|files| files[1].1 = "three".into())
                .contains("is 5 bytes where repomd.xml says 3")
        );
        assert!(wrong(&|files| drop(files.remove(1))).contains("lists \"primary.xml\""));
        assert!(wrong(&|files| drop(files.remove(0))).contains("no repodata/repomd.xml"));
        assert!(wrong(&|files| files[0].1 = "<repomd>".into()).contains("cannot be read"));
        let other = |files: &mut Files| files[0].1 = files[0].1.replace("\"primary\"", "\"other\"");
        assert!(wrong(&other).contains("lists no primary metadata"));
        cache.holds_only("one");
    }

    #[test]
    fn names_are_plain_and_not_ours() {
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
