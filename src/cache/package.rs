//! Packages on their way into the cache.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use cap_std::fs::{File, OpenOptions};

use super::leftovers::lock;
use super::repodata::staged_name;
use super::{CacheDir, Error, PACKAGES};
use crate::checksum::{Checksum, Hasher};

/// The longest name of a file.
const MAX_NAME: usize = 255;

/// What a package must be.
#[derive(Clone, Copy, Debug)]
pub enum Proof<'a> {
    /// Its bytes are hashed here and must have this checksum.
    Checksum(&'a Checksum),
    /// The stream that it is written from fails at its end unless it had the package's checksum.
    Stream,
}

/// A package that is being written beside its place. Dropping it removes it.
pub struct StagedPackage<'a> {
    cache: &'a CacheDir,
    staged: String,
    location: String,
    name: String,
    file: File,
    size: u64,
    written: u64,
    wanted: Option<(Checksum, Hasher)>,
}

/// The name that dnf5 gives a package in its cache: the last part of its location.
fn name(location: &str) -> Result<&str, Error> {
    let name = location.rsplit('/').next().unwrap_or(location);
    let usable = !name.is_empty()
        && name != "."
        && name != ".."
        && name.len() <= MAX_NAME
        && !name.contains(char::is_control);
    if usable { Ok(name) } else { Err(Error::PackageName(location.to_owned())) }
}

impl CacheDir {
    /// Where the package with this location is, or would be.
    ///
    /// # Errors
    /// If the location ends in no usable name.
    pub fn package_path(&self, location: &str) -> Result<PathBuf, Error> {
        Ok(self.path.join(PACKAGES).join(name(location)?))
    }

    /// Whether a package is there and right: size and checksum.
    ///
    /// # Errors
    /// If the location ends in no usable name, or what is there cannot be read.
    pub fn has_package(
        &self,
        location: &str,
        checksum: &Checksum,
        size: u64,
    ) -> Result<bool, Error> {
        let name = name(location)?;
        let Ok(packages) = self.dir.open_dir(PACKAGES) else {
            return Ok(false);
        };
        let Ok(mut file) = packages.open(name) else {
            return Ok(false);
        };
        let error = |error| self.error(format!("{PACKAGES}/{name}"), error);
        let metadata = file.metadata().map_err(error)?;
        if !metadata.is_file() || metadata.len() != size {
            return Ok(false);
        }
        let mut hasher = checksum.hasher();
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match file.read(&mut buffer).map_err(error)? {
                0 => return Ok(hasher.finish() == *checksum),
                read => hasher.update(&buffer[..read]),
            }
        }
    }

    /// Begins to write a package.
    ///
    /// # Errors
    /// If the location ends in no usable name, or the file cannot be made.
    pub fn stage_package(
        &self,
        location: &str,
        size: u64,
        proof: Proof<'_>,
    ) -> Result<StagedPackage<'_>, Error> {
        let name = name(location)?.to_owned();
        let (staged, file) = self.staged_file()?;
        let wanted = match proof {
            Proof::Checksum(checksum) => Some((checksum.clone(), checksum.hasher())),
            Proof::Stream => None,
        };
        let location = location.to_owned();
        Ok(StagedPackage { cache: self, staged, location, name, file, size, written: 0, wanted })
    }

    fn staged_file(&self) -> Result<(String, File), Error> {
        loop {
            let staged = staged_name("package");
            let made = self.dir.open_with(&staged, OpenOptions::new().write(true).create_new(true));
            let file = match made {
                // Of a process with the same number in another container.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made.map_err(|error| self.error(&staged, error))?,
            };
            // A sweep may have come between; it takes what is not locked.
            if lock(&file).map_err(|error| self.error(&staged, error))? && self.dir.is_file(&staged)
            {
                return Ok((staged, file));
            }
        }
    }
}

impl StagedPackage<'_> {
    /// Checks the package and puts it into its place.
    ///
    /// It is not flushed to the disk: should a power cut damage it, dnf5 sees that by its checksum
    /// and it is fetched again.
    ///
    /// # Errors
    /// If it is not what its metadata say, or cannot be renamed.
    pub fn commit(mut self) -> Result<PathBuf, Error> {
        if self.written != self.size {
            return Err(self.wrong_size(self.written));
        }
        if let Some((wanted, hasher)) = self.wanted.take() {
            let found = hasher.finish();
            if found != wanted {
                return Err(self.wrong(found.to_string(), wanted.to_string()));
            }
        }
        let packages = self.cache.subdirectory(PACKAGES)?;
        self.cache
            .dir
            .rename(&self.staged, &packages, &self.name)
            .map_err(|error| self.cache.error(format!("{PACKAGES}/{}", self.name), error))?;
        Ok(self.cache.path.join(PACKAGES).join(&self.name))
    }

    fn wrong(&self, found: String, wanted: String) -> Error {
        Error::WrongPackage { location: self.location.clone(), found, wanted }
    }

    fn wrong_size(&self, found: u64) -> Error {
        self.wrong(format!("{found} bytes"), format!("{} bytes", self.size))
    }
}

impl Write for StagedPackage<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.size - self.written;
        if bytes.len() as u64 > left {
            return Err(self
                .wrong(format!("more than {} bytes", self.size), format!("{} bytes", self.size))
                .into());
        }
        let written =
            self.file.write(bytes).map_err(|error| self.cache.error(&self.staged, error))?;
        if let Some((_, hasher)) = &mut self.wanted {
            hasher.update(&bytes[..written]);
        }
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for StagedPackage<'_> {
    fn drop(&mut self) {
        // Once it is committed there is nothing by that name.
        let _ = self.cache.dir.remove_file(&self.staged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Failure, Kind};
    use std::fs;

    fn cache() -> (tempfile::TempDir, CacheDir) {
        let top = tempfile::tempdir().expect("a temporary directory");
        let cache = CacheDir::open(top.path()).expect("opened");
        (top, cache)
    }

    fn checksum(content: &[u8]) -> Checksum {
        let mut hasher = Hasher::new(crate::checksum::Algorithm::Sha256);
        hasher.update(content);
        hasher.finish()
    }

    fn put(
        cache: &CacheDir,
        location: &str,
        content: &[u8],
        promised: &[u8],
    ) -> Result<PathBuf, Error> {
        let promise = checksum(promised);
        let proof = Proof::Checksum(&promise);
        let mut staged = cache.stage_package(location, promised.len() as u64, proof)?;
        staged.write_all(content)?;
        staged.commit()
    }

    fn names(top: &tempfile::TempDir) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(top)
            .expect("read")
            .map(|entry| entry.expect("read").file_name().into_string().expect("a name"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_right_package_gets_its_name() {
        let (top, cache) = cache();
        let path = put(&cache, "Packages/c/a+b~1.rpm", b"right", b"right").expect("put");
        assert_eq!(path, top.path().join("packages/a+b~1.rpm"));
        assert_eq!(fs::read(path).expect("read"), b"right");
        assert_eq!(names(&top), ["packages"]);
        assert!(cache.has_package("a+b~1.rpm", &checksum(b"right"), 5).expect("looked"));
        assert!(!cache.has_package("a+b~1.rpm", &checksum(b"other"), 5).expect("looked"));
        assert!(!cache.has_package("a+b~1.rpm", &checksum(b"right"), 6).expect("looked"));
    }

    #[test]
    fn a_wrong_package_leaves_nothing_and_replaces_nothing() {
        let (top, cache) = cache();
        put(&cache, "a.rpm", b"old", b"old").expect("put");
        for content in [&b"wrong"[..], b"shor", b"longer"] {
            let error = put(&cache, "a.rpm", content, b"right").expect_err("refused");
            assert_eq!(error.kind(), Kind::DigestMismatch);
            assert!(error.to_string().contains("\"a.rpm\""), "{error}");
        }
        assert_eq!(names(&top), ["packages"]);
        assert_eq!(fs::read(top.path().join("packages/a.rpm")).expect("read"), b"old");
    }

    #[test]
    fn hostile_locations_are_refused() {
        let (top, cache) = cache();
        let long = "n".repeat(256);
        for location in ["", "a/", "..", "a/..", "a/.", "a\u{1b}b", &long] {
            let error = put(&cache, location, b"x", b"x").expect_err("refused");
            assert_eq!(error.kind(), Kind::BadMetadata, "{location}");
        }
        assert!(names(&top).is_empty());
    }

    #[test]
    fn a_link_does_not_lead_outside() {
        let (top, cache) = cache();
        let outside = tempfile::tempdir().expect("a temporary directory");
        std::os::unix::fs::symlink(outside.path(), top.path().join("packages")).expect("linked");
        let error = put(&cache, "a.rpm", b"x", b"x").expect_err("refused");
        assert_eq!(error.kind(), Kind::CacheDirectory);
        assert!(names(&outside).is_empty());
    }

    #[test]
    fn a_sweep_takes_what_nobody_works_on() {
        let (top, cache) = cache();
        let working = cache.stage_package("a.rpm", 1, Proof::Stream).expect("staged");
        fs::write(top.path().join(".dnf5-oci-package-1-1"), "left").expect("written");
        fs::create_dir_all(top.path().join(".dnf5-oci-repodata-1-1/x")).expect("made");
        cache.sweep().expect("swept");
        assert_eq!(names(&top), std::slice::from_ref(&working.staged));
        drop(working);
        assert!(names(&top).is_empty());
    }
}
