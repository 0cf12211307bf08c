//! Packages on their way into the cache.

use std::io::{self, Write};
use std::path::PathBuf;

use cap_std::fs::File;

use super::leftovers::{lock, staged_name};
use super::{CacheDir, Error, PACKAGES, STAGED_PACKAGE, create, is_plain};
use crate::checksum::{Checksum, Hasher};

/// What a package must be.
#[derive(Clone, Copy, Debug)]
pub enum Verification<'a> {
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
    if is_plain(name) { Ok(name) } else { Err(Error::PackageName(location.to_owned())) }
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
        io::copy(&mut file, &mut hasher).map_err(error)?;
        Ok(hasher.finish() == *checksum)
    }

    /// Begins to write a package.
    ///
    /// # Errors
    /// If the location ends in no usable name, or the file cannot be made.
    pub fn stage_package(
        &self,
        location: &str,
        size: u64,
        verification: Verification<'_>,
    ) -> Result<StagedPackage<'_>, Error> {
        let name = name(location)?.to_owned();
        let (staged, file) = self.staged_file()?;
        let wanted = match verification {
            Verification::Checksum(checksum) => Some((checksum.clone(), checksum.hasher())),
            Verification::Stream => None,
        };
        let location = location.to_owned();
        Ok(StagedPackage { cache: self, staged, location, name, file, size, written: 0, wanted })
    }

    fn staged_file(&self) -> Result<(String, File), Error> {
        loop {
            let staged = staged_name(STAGED_PACKAGE);
            let error = |error| self.error(&staged, error);
            let file = create(&self.dir, &staged).map_err(error)?;
            // A sweep may come between; it takes what is not locked.
            if lock(&self.dir, &staged, &file).map_err(error)? {
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
    use crate::dnf_cache::testing::{Cache, names, sha256};
    use crate::error_kind::{Failure, Kind};
    use std::fs;
    use std::os::unix::fs::symlink;

    fn put(
        cache: &Cache,
        location: &str,
        content: &[u8],
        promised: &[u8],
    ) -> Result<PathBuf, Error> {
        let promise = sha256(promised);
        let verification = Verification::Checksum(&promise);
        let mut staged = cache.dir.stage_package(location, promised.len() as u64, verification)?;
        staged.write_all(content)?;
        staged.commit()
    }

    fn has(cache: &Cache, location: &str, content: &[u8], size: u64) -> bool {
        cache.dir.has_package(location, &sha256(content), size).expect("looked")
    }

    #[test]
    fn a_right_package_gets_its_name() {
        let cache = Cache::new();
        let path = put(&cache, "Packages/c/a+b~1.rpm", b"right", b"right").expect("put");
        assert_eq!(path, cache.path("packages/a+b~1.rpm"));
        assert_eq!(fs::read(path).expect("read"), b"right");
        assert_eq!(cache.names(), [PACKAGES]);
        assert!(has(&cache, "a+b~1.rpm", b"right", 5));
        assert!(!has(&cache, "a+b~1.rpm", b"other", 5));
        assert!(!has(&cache, "a+b~1.rpm", b"right", 6));
    }

    #[test]
    fn a_wrong_package_in_the_cache_is_replaced() {
        let cache = Cache::new();
        put(&cache, "a.rpm", b"wrong", b"wrong").expect("put");
        assert!(!has(&cache, "a.rpm", b"right", 5));
        put(&cache, "a.rpm", b"right", b"right").expect("put");
        assert!(has(&cache, "a.rpm", b"right", 5));
    }

    #[test]
    fn a_wrong_package_leaves_nothing_and_replaces_nothing() {
        let cache = Cache::new();
        put(&cache, "a.rpm", b"old", b"old").expect("put");
        for content in [&b"wrong"[..], b"shor", b"longer"] {
            let error = put(&cache, "a.rpm", content, b"right").expect_err("refused");
            assert_eq!(error.kind(), Kind::DigestMismatch);
            assert!(error.to_string().contains("\"a.rpm\""), "{error}");
        }
        assert_eq!(cache.names(), [PACKAGES]);
        assert_eq!(fs::read(cache.path("packages/a.rpm")).expect("read"), b"old");
    }

    #[test]
    fn a_stream_that_does_not_end_is_refused_at_its_size() {
        let cache = Cache::new();
        let mut staged = cache.dir.stage_package("a.rpm", 5, Verification::Stream).expect("staged");
        staged.write_all(b"right").expect("written");
        let error = Error::from(staged.write_all(b"!").expect_err("refused"));
        assert_eq!(error.kind(), Kind::DigestMismatch);
    }

    #[test]
    fn hostile_locations_are_refused() {
        let cache = Cache::new();
        let long = "n".repeat(256);
        for location in ["", "a/", "..", "a/..", "a/.", "a\u{1b}b", "a\0b", &long] {
            let error = put(&cache, location, b"x", b"x").expect_err("refused");
            assert_eq!(error.kind(), Kind::BadMetadata, "{location}");
        }
        assert!(cache.names().is_empty());
    }

    #[test]
    fn a_link_does_not_lead_outside() {
        let (cache, outside) = (Cache::new(), Cache::new());
        symlink(&outside.dir.path, cache.path(PACKAGES)).expect("linked");
        let error = put(&cache, "a.rpm", b"x", b"x").expect_err("refused");
        assert_eq!(error.kind(), Kind::CacheDirectory);
        assert!(outside.names().is_empty());
    }

    #[test]
    fn a_link_in_the_place_of_a_package_is_replaced() {
        let (cache, outside) = (Cache::new(), Cache::new());
        fs::write(outside.path("a.rpm"), "right").expect("written");
        fs::create_dir(cache.path(PACKAGES)).expect("made");
        symlink(outside.path("a.rpm"), cache.path("packages/a.rpm")).expect("linked");
        assert!(!has(&cache, "a.rpm", b"right", 5));
        put(&cache, "a.rpm", b"other", b"other").expect("put");
        assert!(has(&cache, "a.rpm", b"other", 5));
        assert_eq!(fs::read(outside.path("a.rpm")).expect("read"), b"right");
    }

    #[test]
    fn many_at_once_leave_one_whole() {
        let cache = Cache::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        cache.dir.sweep().expect("swept");
                        put(&cache, "a.rpm", b"right", b"right").expect("put");
                    }
                });
            }
        });
        assert_eq!(cache.names(), [PACKAGES]);
        assert_eq!(names(&cache.path(PACKAGES)), ["a.rpm"]);
        assert!(has(&cache, "a.rpm", b"right", 5));
    }
}
