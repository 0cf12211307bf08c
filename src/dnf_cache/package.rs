//! Packages that are being written into the cache.

use std::io::{self, Write};
use std::path::PathBuf;

use super::{CacheDir, Error, FILE_MODE, Mismatch, PACKAGES, STAGED_PACKAGE, is_plain};
use crate::checksum::{Checksum, Hasher};
use crate::staging::Staged;

/// How a package is verified.
#[derive(Clone, Copy, Debug)]
pub enum Verification<'a> {
    /// By this checksum of its bytes.
    Checksum(&'a Checksum),
    /// By the stream that it is read from, which fails at its end if the checksum is wrong.
    Stream,
}

/// A package that is being written beside its place. Dropping it removes it.
pub struct StagedPackage<'a> {
    cache: &'a CacheDir,
    staged: Staged,
    location: String,
    name: String,
    size: u64,
    written: u64,
    expected: Option<(Checksum, Hasher)>,
}

/// The file name of a package in DNF's cache: the last part of its location.
fn name(location: &str) -> Result<&str, Error> {
    let name = location.rsplit('/').next().unwrap_or(location);
    if is_plain(name) { Ok(name) } else { Err(Error::PackageName(location.to_owned())) }
}

impl CacheDir {
    /// The path of the package with this location, which may not exist.
    ///
    /// # Errors
    /// If the location does not end in a file name.
    pub fn package_path(&self, location: &str) -> Result<PathBuf, Error> {
        Ok(self.path.join(PACKAGES).join(name(location)?))
    }

    /// Whether the cache has a package with this size, in bytes, and checksum.
    ///
    /// # Errors
    /// If the location does not end in a file name, or the file cannot be read.
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

    /// Begins to write a package of this size, in bytes.
    ///
    /// # Errors
    /// If the location does not end in a file name, or the file cannot be created.
    pub fn stage_package(
        &self,
        location: &str,
        size: u64,
        verification: Verification<'_>,
    ) -> Result<StagedPackage<'_>, Error> {
        let name = name(location)?.to_owned();
        let staged = Staged::new_file(&self.dir, STAGED_PACKAGE, FILE_MODE)
            .map_err(|error| self.error(STAGED_PACKAGE, error))?;
        let expected = match verification {
            Verification::Checksum(checksum) => Some((checksum.clone(), checksum.hasher())),
            Verification::Stream => None,
        };
        let location = location.to_owned();
        Ok(StagedPackage { cache: self, staged, location, name, size, written: 0, expected })
    }
}

impl StagedPackage<'_> {
    /// Verifies the package and moves it to its place.
    ///
    /// It is not synced to the disk: should a power failure damage it, dnf5 finds a wrong checksum and it
    /// is fetched again.
    ///
    /// # Errors
    /// If its size or checksum is wrong, or it cannot be renamed.
    pub fn commit(mut self) -> Result<PathBuf, Error> {
        self.verify().map_err(Error::WrongPackage)?;
        let packages = self.cache.subdirectory(PACKAGES)?;
        self.staged
            .rename(&packages, &self.name)
            .map_err(|error| self.cache.error(format!("{PACKAGES}/{}", self.name), error))?;
        Ok(self.cache.path.join(PACKAGES).join(&self.name))
    }

    fn verify(&mut self) -> Result<(), Mismatch> {
        if self.written != self.size {
            return Err(self.wrong_size(format!("{} bytes", self.written)));
        }
        let Some((expected, hasher)) = self.expected.take() else {
            return Ok(());
        };
        let found = hasher.finish();
        if found == expected {
            return Ok(());
        }
        Err(Mismatch::new("checksum", &self.location, expected, found))
    }

    fn wrong_size(&self, found: String) -> Mismatch {
        Mismatch::new("size", &self.location, format!("{} bytes", self.size), found)
    }
}

impl Write for StagedPackage<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.size - self.written {
            return Err(Error::WrongPackage(self.wrong_size("more".to_owned())).into());
        }
        let written = self
            .staged
            .file()
            .write(bytes)
            .map_err(|error| self.cache.error(self.staged.name(), error))?;
        if let Some((_, hasher)) = &mut self.expected {
            hasher.update(&bytes[..written]);
        }
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
        expected: &[u8],
    ) -> Result<PathBuf, Error> {
        let checksum = sha256(expected);
        let verification = Verification::Checksum(&checksum);
        let mut staged = cache.dir.stage_package(location, expected.len() as u64, verification)?;
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
        let checksums = format!("{}, got {}", sha256(b"right"), sha256(b"wrong"));
        for (content, mismatch) in [
            (&b"wrong"[..], format!("checksum mismatch for \"a.rpm\": expected {checksums}")),
            (b"shor", "size mismatch for \"a.rpm\": expected 5 bytes, got 4 bytes".to_owned()),
            (b"longer", "size mismatch for \"a.rpm\": expected 5 bytes, got more".to_owned()),
        ] {
            let error = put(&cache, "a.rpm", content, b"right").expect_err("refused");
            assert_eq!(error.kind(), Kind::DigestMismatch);
            assert_eq!(error.to_string(), mismatch);
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
