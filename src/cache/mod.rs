//! DNF's cache directory of one repository.
//!
//! ```text
//! <cachedir>/<repo id>-<hash of the baseurl>/      DNF's own, at most 0755
//! ├── repodata/                                    what dnf5 reads; replaced as a whole
//! │   ├── repomd.xml, …-primary.xml.zst, …
//! │   └── .dnf5-oci.json                           the marker: which artifact this came from
//! ├── packages/<basename of the location>          what dnf5 installs from
//! ├── attrs/expired                                dnf5 wants the metadata checked
//! ├── solv/                                        dnf5's; keyed by repomd.xml's checksum
//! ├── .dnf5-oci-repodata-XXXXXX/                   being staged
//! └── .dnf5-oci-package-XXXXXX                     being staged
//! ```
//!
//! **Never half of anything.** What is fetched is written beside its place, checked, made durable
//! and then renamed; a directory is exchanged in one system call. A kill at any instant leaves the
//! old state or the new one. The marker is part of the directory that is exchanged, so it always
//! speaks of the metadata beside it; where dnf5 itself has put metadata there, there is none.
//!
//! **Several at once.** Every run stages under names of its own and the last one to commit wins,
//! with content that is as right as the other's. What is staged is locked (flock(2)) for as long
//! as somebody works on it; [`CacheDir::sweep`] removes what nobody has locked: the leftovers of
//! a killed run.
//!
//! **Nothing leaves the directory.** Every name is resolved below the directory's descriptor.

mod error;
mod freshness;
mod leftovers;
mod marker;
mod package;
mod repodata;

use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt};

pub use error::Error;
pub use freshness::{Freshness, MaxAge};
pub use marker::Marker;
pub use package::{Proof, StagedPackage};
pub use repodata::{StagedFile, StagedRepodata};

const REPODATA: &str = "repodata";
const PACKAGES: &str = "packages";
const EXPIRED: &str = "attrs/expired";

/// What the names of staged things begin with.
const STAGED: &str = ".dnf5-oci-";

/// DNF's cache directory of one repository.
#[derive(Debug)]
pub struct CacheDir {
    path: PathBuf,
    dir: Dir,
}

impl CacheDir {
    /// Opens the directory, and makes it, as dnf5 would, if it is not there.
    ///
    /// # Errors
    /// If the path is not absolute, has `..` in it, or cannot be made or opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
            return Err(Error::NotAbsolute(path.to_owned()));
        }
        std::fs::create_dir_all(path).map_err(|error| Error::at(path, error))?;
        let dir = Dir::open_ambient_dir(path, ambient_authority())
            .map_err(|error| Error::at(path, error))?;
        Ok(Self { path: path.to_owned(), dir })
    }

    /// What the last fetch noted; nothing if dnf5 itself has put the metadata there.
    pub fn marker(&self) -> Option<Marker> {
        let repodata = self.dir.open_dir(REPODATA).ok()?;
        Marker::read(&repodata)
    }

    /// Puts up an error with the path it is about.
    fn error(&self, name: impl AsRef<Path>, error: std::io::Error) -> Error {
        Error::at(&self.path.join(name), error)
    }

    /// Makes a directory in this one, if it is not there, and opens it.
    fn subdirectory(&self, name: &str) -> Result<Dir, Error> {
        let made = self.dir.create_dir_with(name, DirBuilder::new().mode(0o755));
        match made {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(self.error(name, error))
            }
            _ => self.dir.open_dir(name).map_err(|error| self.error(name, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_directory_is_made_and_a_relative_one_refused() {
        let top = tempfile::tempdir().expect("a temporary directory");
        CacheDir::open(&top.path().join("a/b")).expect("made");
        assert!(top.path().join("a/b").is_dir());
        for path in ["relative", "/a/../b"] {
            let error = CacheDir::open(Path::new(path)).expect_err("refused").to_string();
            assert!(error.contains(path), "{error}");
        }
    }
}
