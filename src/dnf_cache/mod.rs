//! DNF's cache directory of one repository.
//!
//! ```text
//! <cachedir>/<repo id>-<hash of the baseurl>/      DNF's own
//! ├── repodata/                                    the metadata; replaced as a whole
//! │   ├── repomd.xml, …-primary.xml.zst, …
//! │   └── .dnf5-oci.json                           the marker: which artifact this came from
//! ├── packages/<basename of the location>          what dnf5 installs from
//! ├── attrs/expired                                dnf5 requests a check of the metadata
//! ├── files/<host>/<path>:<tag>/<name>             files that the metadata does not list, such as keys
//! ├── solv/                                        dnf5's; keyed by repomd.xml's checksum
//! ├── .dnf5-oci-repodata-<random>/                 staged metadata
//! ├── .dnf5-oci-package-<random>                   a staged package
//! └── .dnf5-oci-next/                              the new metadata during a swap in steps
//! ```
//!
//! **Atomic.** New content is written beside its place, checked and then renamed. Metadata is also synced
//! to the disk, and exchanged with the old metadata in one system call. A kill at any instant leaves the
//! old state or the new one. The marker is part of the exchanged directory, so it always describes the
//! metadata beside it; metadata that dnf5 itself has downloaded has no marker.
//!
//! Where the file system cannot exchange directories, the swap has steps: the new metadata is renamed to
//! `.dnf5-oci-next`, the old metadata is removed, repomd.xml first, and the new metadata is renamed to
//! `repodata`. After the first step the new metadata counts: [`CacheDir::open`] completes a swap that a
//! killed process has left. Until then dnf5 finds no metadata, and never half of it.
//!
//! **Concurrent.** Every process stages under random names. The last one to commit wins; its content is
//! as valid as the others'. There are two kinds of flock(2): one on each staged file or directory, by
//! which [`CacheDir::sweep`] recognizes what killed processes have left; and one on the cache directory
//! while metadata is swapped or confirmed.
//!
//! **Confined.** Every name is resolved below the directory's descriptor.
//!
//! **Modes** are dnf5's, 0755 and 0644 less the umask, but never wider.

mod cached;
mod error;
mod file;
mod freshness;
mod location;
mod marker;
mod package;
mod repodata;
mod swap;

#[cfg(test)]
mod process_tests;
#[cfg(test)]
mod testing;

use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt as _, File, OpenOptions, OpenOptionsExt as _};

use crate::repomd::MAX_REPOMD;
use crate::staging;
pub use cached::CachedMetadata;
pub use error::{Error, Mismatch};
pub use freshness::{Freshness, MaxAge};
pub use location::{default_cachedir, directory_name};
pub use marker::Marker;
pub use package::{StagedPackage, Verification};
pub use repodata::{StagedFile, StagedRepodata};

const REPODATA: &str = "repodata";
const REPOMD: &str = "repodata/repomd.xml";
const PACKAGES: &str = "packages";
const EXPIRED: &str = "attrs/expired";

/// The prefix of all our names.
const OURS: &str = ".dnf5-oci";
const STAGED_REPODATA: &str = ".dnf5-oci-repodata-";
const STAGED_PACKAGE: &str = ".dnf5-oci-package-";
const NEXT: &str = ".dnf5-oci-next";

const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// The longest file name, in bytes: NAME_MAX of Linux.
const MAX_NAME: usize = 255;

/// DNF's cache directory of one repository.
#[derive(Debug)]
pub struct CacheDir {
    path: PathBuf,
    dir: Dir,
}

impl CacheDir {
    /// Opens the directory, and creates it, as dnf5 would, if it does not exist. Completes a swap of
    /// metadata that a killed process has left.
    ///
    /// # Errors
    /// If the path is not absolute, has `..` in it, or cannot be created or opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
            return Err(Error::NotAbsolute(path.to_owned()));
        }
        let error = |error| Error::at(path, error);
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(DIRECTORY_MODE).create(path).map_err(error)?;
        let dir = Dir::open_ambient_dir(path, ambient_authority()).map_err(error)?;
        let cache = Self { path: path.to_owned(), dir };
        cache.resume_swap()?;
        Ok(cache)
    }

    /// The marker of the cached metadata; `None` if dnf5 itself has downloaded the metadata.
    pub fn marker(&self) -> Option<Marker> {
        let repodata = self.dir.open_dir(REPODATA).ok()?;
        Marker::read(&repodata)
    }

    /// When the cached metadata, if it has a marker, was last found to be what the registry has.
    pub fn confirmed(&self) -> Option<SystemTime> {
        let repodata = self.dir.open_dir(REPODATA).ok()?;
        let marker = repodata.symlink_metadata(marker::NAME).ok()?;
        marker.modified().ok().map(cap_std::time::SystemTime::into_std)
    }

    /// Removes what killed processes have left. What is in use stays.
    ///
    /// # Errors
    /// If the directory cannot be read; what cannot be removed stays until the next sweep.
    pub fn sweep(&self) -> Result<(), Error> {
        let is_staged =
            |name: &str| name.starts_with(STAGED_REPODATA) || name.starts_with(STAGED_PACKAGE);
        staging::sweep(&self.dir, is_staged).map_err(|error| self.error("", error))
    }

    /// Adds the path to an error.
    fn error(&self, name: impl AsRef<Path>, error: io::Error) -> Error {
        Error::at(&self.path.join(name), error)
    }

    /// Opens a directory in this one, and creates it if it does not exist.
    fn subdirectory(&self, name: &str) -> Result<Dir, Error> {
        match self.dir.create_dir_with(name, DirBuilder::new().mode(DIRECTORY_MODE)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(self.error(name, error)),
            _ => self.dir.open_dir(name).map_err(|error| self.error(name, error)),
        }
    }
}

/// The content of repomd.xml in a metadata directory, or the beginning of one that is too large.
fn read_repomd(repodata: &Dir) -> io::Result<Vec<u8>> {
    let mut xml = Vec::new();
    repodata.open("repomd.xml")?.take(MAX_REPOMD + 1).read_to_end(&mut xml)?;
    Ok(xml)
}

/// Creates a file that does not exist.
fn create(dir: &Dir, name: &str) -> io::Result<File> {
    dir.open_with(name, OpenOptions::new().write(true).create_new(true).mode(FILE_MODE))
}

/// Whether a name is a plain file name that can be shown.
fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= MAX_NAME
        && !name.contains(|character: char| character == '/' || character.is_control())
}

#[cfg(test)]
mod tests {
    use super::testing::{Cache, sample};
    use super::*;
    use crate::error_kind::{Failure, Kind};
    use std::fs;

    #[test]
    fn a_missing_directory_is_made_and_a_relative_one_refused() {
        let top = tempfile::tempdir().expect("a temporary directory");
        CacheDir::open(&top.path().join("a/b")).expect("made");
        assert!(top.path().join("a/b").is_dir());
        for path in ["relative", "/a/../b"] {
            let error = CacheDir::open(Path::new(path)).expect_err("refused");
            assert!(error.to_string().contains(path), "{error}");
            assert_eq!(error.kind(), Kind::CacheDirectory);
        }
    }

    #[test]
    fn a_link_out_of_the_directory_is_not_followed() {
        let (cache, outside) = (Cache::new(), Cache::new());
        outside.commit("outside");
        fs::create_dir(outside.path("attrs")).expect("made");
        fs::write(outside.path("attrs/expired"), "").expect("written");
        for name in [REPODATA, "attrs"] {
            std::os::unix::fs::symlink(outside.path(name), cache.path(name)).expect("linked");
        }
        assert_eq!(cache.dir.marker(), None);
        assert_eq!(cache.dir.freshness(MaxAge::Forever, None), Freshness::Missing);
        assert!(cache.dir.confirm().is_err());
        assert!(outside.path("attrs/expired").exists());
    }

    #[test]
    fn a_sweep_takes_what_killed_processes_left() {
        let cache = Cache::new();
        cache.commit("one");
        let package = cache.dir.stage_package("a.rpm", 1, Verification::Stream).expect("staged");
        let repodata = cache.stage(&sample("two"));
        let in_use = cache.names();
        fs::write(cache.path(".dnf5-oci-package-1"), "left").expect("written");
        fs::create_dir_all(cache.path(".dnf5-oci-repodata-1/x")).expect("made");
        cache.dir.sweep().expect("swept");
        assert_eq!(cache.names(), in_use);
        assert_eq!(in_use.len(), 3);
        drop((package, repodata));
        cache.holds_only("one");
    }
}
