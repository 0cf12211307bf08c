//! Metadata on their way into the cache.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::fs::{Dir, File, OpenOptions};
use rustix::fs::{RenameFlags, renameat_with};
use rustix::io::Errno;

use super::leftovers::lock;
use super::{CacheDir, Error, Marker, REPODATA, STAGED, marker};
use crate::repodata::{MAX_REPOMD, Record, Repomd};

/// What the metadata that a swap without exchange has put aside are called.
const ASIDE: &str = ".dnf5-oci-aside";

/// Metadata that are being put together beside their place. Dropping it removes them.
pub struct StagedRepodata {
    cache: Arc<CacheDir>,
    name: String,
    dir: Dir,
    /// The directory itself, open for as long as it is locked.
    locked: File,
}

/// A file of staged metadata.
pub struct StagedFile {
    path: PathBuf,
    file: File,
}

/// A name for something to be staged that nobody else in this process has.
pub(super) fn staged_name(kind: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{STAGED}{kind}-{}-{number}", std::process::id())
}

impl CacheDir {
    /// Begins to put metadata together.
    ///
    /// # Errors
    /// If the directory for them cannot be made.
    pub fn stage_repodata(self: &Arc<Self>) -> Result<StagedRepodata, Error> {
        loop {
            let name = staged_name("repodata");
            match self.dir.create_dir(&name) {
                // Of a process with the same number in another container.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                result => result.map_err(|error| self.error(&name, error))?,
            }
            // A sweep may have come between; it takes what is not locked.
            let Ok(locked) = self.dir.open(&name) else {
                continue;
            };
            if lock(&locked).map_err(|error| self.error(&name, error))? && self.dir.is_dir(&name) {
                let dir = self.dir.open_dir(&name).map_err(|error| self.error(&name, error))?;
                return Ok(StagedRepodata { cache: Arc::clone(self), name, dir, locked });
            }
        }
    }

    /// Puts metadata back that a kill has left aside.
    pub(super) fn recover_aside(&self) {
        if !self.dir.exists(REPODATA) && self.dir.rename(ASIDE, &self.dir, REPODATA).is_ok() {
            tracing::info!(path = %self.path.display(), "metadata of a killed run put back");
        }
    }

    /// Puts a staged directory in the place of the metadata; what was there goes to its name.
    fn swap(&self, staged: &str) -> Result<(), Error> {
        for flags in [RenameFlags::EXCHANGE, RenameFlags::NOREPLACE] {
            match renameat_with(&self.dir, staged, &self.dir, REPODATA, flags) {
                Ok(()) => return Ok(()),
                Err(Errno::NOENT | Errno::EXIST) => {}
                Err(Errno::INVAL | Errno::XDEV | Errno::NOSYS) => return self.swap_aside(staged),
                Err(errno) => return Err(self.error(REPODATA, errno.into())),
            }
        }
        self.swap_aside(staged)
    }

    /// The same in two steps, where the file system has no exchange (some network file systems;
    /// overlayfs with directories of a lower layer). A kill between the steps is mended by the
    /// next run.
    fn swap_aside(&self, staged: &str) -> Result<(), Error> {
        let error = |error| self.error(REPODATA, error);
        if self.dir.exists(ASIDE) {
            self.dir.remove_dir_all(ASIDE).map_err(error)?;
        }
        match self.dir.rename(REPODATA, &self.dir, ASIDE) {
            Err(failed) if failed.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => {
                // A directory of overlayfs's lower layer cannot be renamed at all.
                self.dir.remove_dir_all(REPODATA).map_err(error)?;
            }
            Err(failed) if failed.kind() != io::ErrorKind::NotFound => return Err(error(failed)),
            _ => {}
        }
        self.dir.rename(staged, &self.dir, REPODATA).map_err(error)?;
        if self.dir.exists(ASIDE) {
            self.dir.remove_dir_all(ASIDE).map_err(error)?;
        }
        Ok(())
    }
}

impl StagedRepodata {
    /// Makes a file.
    ///
    /// # Errors
    /// If the name is not a plain one, is taken, or the file cannot be made.
    pub fn file(&self, name: &str) -> Result<StagedFile, Error> {
        let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
        if !plain || name.starts_with(STAGED) || name == marker::NAME {
            return Err(Error::FileName(name.to_owned()));
        }
        let path = self.path(name);
        let file = self
            .dir
            .open_with(name, OpenOptions::new().write(true).create_new(true))
            .map_err(|error| Error::at(&path, error))?;
        Ok(StagedFile { path, file })
    }

    /// Checks every file that repomd.xml lists.
    ///
    /// # Errors
    /// If repomd.xml or a file that it lists is missing or not as it should be.
    pub fn verify(&self) -> Result<(), Error> {
        let repomd = self.open("repomd.xml")?;
        let mut xml = Vec::new();
        repomd
            .take(MAX_REPOMD)
            .read_to_end(&mut xml)
            .map_err(|error| Error::at(&self.path("repomd.xml"), error))?;
        let mut checked = HashSet::new();
        for record in Repomd::parse(&xml)?.records {
            if checked.insert(record.name.clone()) {
                self.check(&record)?;
            }
        }
        Ok(())
    }

    /// Puts the metadata into their place, and clears the mark that they are expired.
    ///
    /// # Errors
    /// If they cannot be made durable or renamed; the old ones are then still there.
    pub fn commit(self, marker: &Marker) -> Result<(), Error> {
        self.dir
            .write(marker::NAME, marker.to_json())
            .map_err(|error| Error::at(&self.path(marker::NAME), error))?;
        self.make_durable().map_err(|error| Error::at(&self.path(""), error))?;
        self.cache.swap(&self.name)?;
        let parent = self.cache.dir.open(".").and_then(|parent| parent.sync_all());
        parent.map_err(|error| self.cache.error("", error))?;
        self.cache.clear_expired()
        // Dropping removes what is now under the staged name: the old metadata.
    }

    fn check(&self, record: &Record) -> Result<(), Error> {
        let mut file = self.open(&record.name)?;
        let wrong = |found: String, wanted: String| Error::WrongFile {
            name: record.name.clone(),
            found,
            wanted,
        };
        let mut hasher = HashingSink { hasher: record.checksum.hasher() };
        let size = io::copy(&mut file, &mut hasher)
            .map_err(|error| Error::at(&self.path(&record.name), error))?;
        if let Some(wanted) = record.size.filter(|wanted| *wanted != size) {
            return Err(wrong(format!("{size} bytes"), format!("{wanted} bytes")));
        }
        let found = hasher.hasher.finish();
        if found != record.checksum {
            return Err(wrong(found.to_string(), record.checksum.to_string()));
        }
        Ok(())
    }

    fn open(&self, name: &str) -> Result<File, Error> {
        self.dir.open(name).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::MissingFile(name.to_owned()),
            _ => Error::at(&self.path(name), error),
        })
    }

    /// dnf5 does not check metadata in its cache, so they must not be lost to a power cut after
    /// the rename that makes them count.
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
        if let Err(error) = self.cache.dir.remove_dir_all(&self.name)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(path = %self.path("").display(), %error, "left for the next sweep");
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

struct HashingSink {
    hasher: crate::checksum::Hasher,
}

impl Write for HashingSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::failure::{Failure, Kind};
    use std::fs;

    /// Names and contents.
    pub(crate) type Files = Vec<(String, String)>;

    /// Metadata with the primary file `content`.
    pub(crate) fn sample(content: &str) -> Files {
        let mut hasher = crate::checksum::Hasher::new(crate::checksum::Algorithm::Sha256);
        hasher.update(content.as_bytes());
        let checksum = hasher.finish();
        let repomd = format!(
            "<repomd><data type=\"primary\"><checksum type=\"sha256\">{}</checksum>\
             <location href=\"repodata/primary.xml\"/><size>{}</size></data></repomd>",
            checksum.hex(),
            content.len()
        );
        vec![("repomd.xml".to_owned(), repomd), ("primary.xml".to_owned(), content.to_owned())]
    }

    fn marker(digest: &str) -> Marker {
        Marker {
            reference: "oci://quay.io/acme/rpms:1".to_owned(),
            manifest_digest: digest.to_owned(),
            repodata_layers: vec![digest.to_owned()],
        }
    }

    fn stage(cache: &Arc<CacheDir>, files: &Files) -> StagedRepodata {
        let staged = cache.stage_repodata().expect("staged");
        for (name, content) in files {
            staged.file(name).expect("made").write_all(content.as_bytes()).expect("written");
        }
        staged
    }

    pub(crate) fn commit(cache: &Arc<CacheDir>, files: &Files, digest: &str) {
        let staged = stage(cache, files);
        staged.verify().expect("verified");
        staged.commit(&marker(digest)).expect("committed");
    }

    fn cache() -> (tempfile::TempDir, Arc<CacheDir>) {
        let top = tempfile::tempdir().expect("a temporary directory");
        let cache = Arc::new(CacheDir::open(top.path()).expect("opened"));
        (top, cache)
    }

    fn names(top: &tempfile::TempDir) -> Vec<String> {
        let entries = fs::read_dir(top).expect("read");
        entries.map(|entry| entry.expect("read").file_name().into_string().expect("name")).collect()
    }

    fn primary(top: &tempfile::TempDir) -> String {
        fs::read_to_string(top.path().join("repodata/primary.xml")).expect("read")
    }

    #[test]
    fn a_commit_replaces_all_and_leaves_nothing_else() {
        let (top, cache) = cache();
        commit(&cache, &sample("one"), "1");
        fs::write(top.path().join("repodata/stray"), "").expect("written");
        fs::create_dir(top.path().join("attrs")).expect("made");
        fs::write(top.path().join("attrs/expired"), "").expect("written");
        commit(&cache, &sample("two"), "2");
        assert_eq!(primary(&top), "two");
        assert!(!top.path().join("repodata/stray").exists());
        assert!(!top.path().join("attrs/expired").exists());
        assert_eq!(cache.marker(), Some(marker("2")));
        assert!(!names(&top).iter().any(|name| name.starts_with(STAGED)), "{:?}", names(&top));
    }

    #[test]
    fn without_exchange_it_is_the_same() {
        let (top, cache) = cache();
        commit(&cache, &sample("one"), "1");
        let staged = stage(&cache, &sample("two"));
        cache.swap_aside(&staged.name).expect("swapped");
        drop(staged);
        assert_eq!(primary(&top), "two");
        assert_eq!(names(&top), ["repodata"]);
    }

    #[test]
    fn a_kill_between_the_two_steps_is_mended() {
        let (top, cache) = cache();
        commit(&cache, &sample("one"), "1");
        cache.dir.rename(REPODATA, &cache.dir, ASIDE).expect("renamed");
        cache.sweep().expect("swept");
        assert_eq!(primary(&top), "one");
        assert_eq!(names(&top), ["repodata"]);
    }

    #[test]
    fn a_kill_before_the_commit_leaves_the_old() {
        let (top, cache) = cache();
        commit(&cache, &sample("one"), "1");
        let staged = stage(&cache, &sample("two"));
        cache.sweep().expect("swept");
        assert!(top.path().join(&staged.name).exists(), "somebody works on it");
        let name = staged.name.clone();
        // As a kill would: the lock is gone, the destructor does not run.
        rustix::fs::flock(&staged.locked, rustix::fs::FlockOperation::Unlock).expect("unlocked");
        std::mem::forget(staged);
        cache.sweep().expect("swept");
        assert!(!top.path().join(name).exists());
        assert_eq!(primary(&top), "one");
    }

    #[test]
    fn what_repomd_lists_is_checked() {
        let (top, cache) = cache();
        commit(&cache, &sample("one"), "1");
        let wrong = |change: &dyn Fn(&mut Files)| {
            let mut files = sample("two");
            change(&mut files);
            let error = stage(&cache, &files).verify().expect_err("refused");
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
        assert!(wrong(&|files| drop(files.remove(0))).contains("lists \"repomd.xml\""));
        assert!(wrong(&|files| files[0].1 = "<repomd>".into()).contains("cannot be read"));
        assert_eq!(primary(&top), "one");
        assert_eq!(names(&top), ["repodata"]);
    }

    #[test]
    fn names_are_plain_and_not_ours() {
        let (_top, cache) = cache();
        let staged = cache.stage_repodata().expect("staged");
        for name in ["", ".", "..", "a/b", "/a", ".dnf5-oci.json", ".dnf5-oci-x"] {
            assert!(staged.file(name).is_err(), "{name}");
        }
        staged.file("a").expect("made");
        assert!(staged.file("a").is_err(), "taken");
    }

    #[test]
    fn many_at_once_leave_one_whole() {
        let (top, cache) = cache();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let cache = &cache;
                scope.spawn(move || {
                    for round in 0..10 {
                        cache.sweep().expect("swept");
                        let content = format!("{thread}-{round}");
                        commit(cache, &sample(&content), &content);
                    }
                });
            }
        });
        assert_eq!(names(&top), ["repodata"]);
        assert_eq!(cache.marker().map(|marker| marker.manifest_digest), Some(primary(&top)));
    }
}
