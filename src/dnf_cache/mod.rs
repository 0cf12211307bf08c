//! DNF's cache directory of one repository.
//!
//! ```text
//! <cachedir>/<repo id>-<hash of the baseurl>/      DNF's own
//! ├── repodata/                                    what dnf5 reads; replaced as a whole
//! │   ├── repomd.xml, …-primary.xml.zst, …
//! │   └── .dnf5-oci.json                           the marker: which artifact this came from
//! ├── packages/<basename of the location>          what dnf5 installs from
//! ├── attrs/expired                                dnf5 wants the metadata checked
//! ├── solv/                                        dnf5's; keyed by repomd.xml's checksum
//! ├── .dnf5-oci-repodata-<random>/                 being staged
//! ├── .dnf5-oci-package-<random>                   being staged
//! └── .dnf5-oci-next/                              in the middle of a swap in steps
//! ```
//!
//! **Never half of anything.** What is fetched is written beside its place, checked and then
//! renamed; metadata are made durable before, and exchanged with the old ones in one system call. A
//! kill at any instant leaves the old state or the new one. The marker is part of the directory that
//! is exchanged, so it always speaks of the metadata beside it; where dnf5 itself has put metadata
//! there, there is none.
//!
//! Where the file system cannot exchange directories, the swap has steps: the new metadata become
//! `.dnf5-oci-next`, the old ones are removed, repomd.xml first, and the new ones get their name.
//! From the first step on the new metadata count: [`CacheDir::open`] takes the steps that a killed
//! run has left. Until then dnf5 finds no metadata, and never half of them.
//!
//! **Several at once.** Every run stages under names of its own and the last one to commit wins,
//! with content that is as right as the other's. There are two locks, both flock(2), which the
//! kernel takes from a killed run: what is staged is locked for as long as somebody works on it, so
//! that [`CacheDir::sweep`] can tell a killed run's leftovers; and the directory itself is while
//! its metadata are swapped or confirmed.
//!
//! **Nothing leaves the directory.** Every name is resolved below the directory's descriptor.
//!
//! **Modes** are dnf5's, 0755 and 0644 less the umask, but never wider.

mod error;
mod freshness;
mod leftovers;
mod location;
mod marker;
mod package;
mod repodata;
mod swap;

#[cfg(test)]
mod process_tests;
#[cfg(test)]
mod testing;

use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt as _, File, OpenOptions, OpenOptionsExt as _};

pub use error::Error;
pub use freshness::{Freshness, MaxAge};
pub use location::{directory_name, usual_cachedir};
pub use marker::Marker;
pub use package::{StagedPackage, Verification};
pub use repodata::{StagedFile, StagedRepodata};

const REPODATA: &str = "repodata";
const REPOMD: &str = "repodata/repomd.xml";
const PACKAGES: &str = "packages";
const EXPIRED: &str = "attrs/expired";

/// What all names begin with that are ours.
const OURS: &str = ".dnf5-oci";
const STAGED_REPODATA: &str = ".dnf5-oci-repodata-";
const STAGED_PACKAGE: &str = ".dnf5-oci-package-";
const NEXT: &str = ".dnf5-oci-next";

const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// The longest name of a file.
const MAX_NAME: usize = 255;

/// DNF's cache directory of one repository.
#[derive(Debug)]
pub struct CacheDir {
    path: PathBuf,
    dir: Dir,
}

impl CacheDir {
    /// Opens the directory, and makes it, as dnf5 would, if it is not there. A swap of metadata that
    /// a killed run has begun is finished.
    ///
    /// # Errors
    /// If the path is not absolute, has `..` in it, or cannot be made or opened.
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

    /// What the last fetch noted; nothing if dnf5 itself has put the metadata there.
    pub fn marker(&self) -> Option<Marker> {
        let repodata = self.dir.open_dir(REPODATA).ok()?;
        Marker::read(&repodata)
    }

    /// When the metadata that a fetch has put there were last found to be right.
    pub fn confirmed(&self) -> Option<SystemTime> {
        let repodata = self.dir.open_dir(REPODATA).ok()?;
        let marker = repodata.symlink_metadata(marker::NAME).ok()?;
        marker.modified().ok().map(cap_std::time::SystemTime::into_std)
    }

    /// Puts up an error with the path it is about.
    fn error(&self, name: impl AsRef<Path>, error: io::Error) -> Error {
        Error::at(&self.path.join(name), error)
    }

    /// Makes a directory in this one, if it is not there, and opens it.
    fn subdirectory(&self, name: &str) -> Result<Dir, Error> {
        match create_directory(&self.dir, name) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(self.error(name, error)),
            _ => self.dir.open_dir(name).map_err(|error| self.error(name, error)),
        }
    }
}

fn create_directory(dir: &Dir, name: &str) -> io::Result<()> {
    dir.create_dir_with(name, DirBuilder::new().mode(DIRECTORY_MODE))
}

/// Makes a file that is not there yet.
fn create(dir: &Dir, name: &str) -> io::Result<File> {
    dir.open_with(name, OpenOptions::new().write(true).create_new(true).mode(FILE_MODE))
}

/// Whether a name is that of one file, and fit to be shown.
fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= MAX_NAME
        && !name.contains(|character: char| character == '/' || character.is_control())
}

#[cfg(test)]
mod tests {
    use super::testing::Cache;
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
        assert_eq!(
            cache.dir.freshness(MaxAge::Forever, None).expect("decided"),
            Freshness::Missing
        );
        assert!(cache.dir.confirm().is_err());
        assert!(outside.path("attrs/expired").exists());
    }
}
