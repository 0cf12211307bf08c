//! Layouts with the blobs of another one: image-spec, image-layout.md.
//!
//! skopeo finds a manifest in a layout by its name in index.json, and changes that file when it writes one. So each
//! copy has an index.json of its own, while all share the blobs.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::publish::document::{Descriptor, Digest, Index};
use crate::publish::error::Error;
use crate::publish::layout_files::{
    self, BLOBS, INDEX, blob_path, has_name, named, replace, write_index, write_version,
};
use crate::source::Source;
use crate::temporary::TemporaryDir;

/// A layout in a temporary directory, with the blobs of another one.
pub struct Borrowed {
    directory: TemporaryDir,
    blobs: PathBuf,
}

/// A layout that is written to.
pub struct Layout {
    directory: PathBuf,
}

impl Borrowed {
    /// One without names, to read from.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(owner: &Path) -> Result<Self, Error> {
        Self::make(TemporaryDir::new(), owner)
    }

    fn make(directory: io::Result<TemporaryDir>, owner: &Path) -> Result<Self, Error> {
        let make = || {
            let (directory, blobs) = (directory?, fs::canonicalize(owner)?.join(BLOBS));
            symlink(&blobs, directory.path().join(BLOBS))?;
            write_version(directory.path())?;
            Ok(Self { directory, blobs })
        };
        make().map_err(|error: io::Error| Error::file(owner, error))
    }

    /// Names manifests by the digits of their digests.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn name<'a>(&mut self, all: impl Iterator<Item = &'a Descriptor>) -> Result<(), Error> {
        let named = all.map(|entry| named(entry, entry.digest.hex())).collect();
        write_index(self.directory.path(), named)
    }

    /// One of the manifests.
    ///
    /// # Errors
    /// If skopeo has no name for the directory.
    pub fn source(&self, digest: &Digest) -> Result<Source, Error> {
        layout_files::source(self.directory.path(), digest)
    }

    /// Whether the blob is there.
    pub fn has(&self, digest: &Digest) -> bool {
        self.blobs.join("sha256").join(digest.hex()).exists()
    }
}

impl Layout {
    /// Opens a layout, or makes one.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let open = || {
            fs::create_dir_all(directory.join(BLOBS).join("sha256"))?;
            let directory = fs::canonicalize(directory)?;
            if !directory.join("oci-layout").exists() {
                write_version(&directory)?;
            }
            Ok(Self { directory })
        };
        open().map_err(|error: io::Error| Error::file(directory, error))
    }

    /// A layout for one copy, whose blobs go to this one.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn for_copy(&self) -> Result<Borrowed, Error> {
        // On the same file system: blobs are renamed.
        Borrowed::make(TemporaryDir::new_in(&self.directory), &self.directory)
    }

    /// Adds a manifest or index.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
        let path = blob_path(&self.directory, digest);
        replace(&path, bytes).map_err(|error| Error::file(&path, error))
    }

    /// Has a tag lead to a manifest or index.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn tag(&self, tag: &str, entry: &Descriptor) -> Result<(), Error> {
        let path = self.directory.join(INDEX);
        let mut entries = match fs::read(&path) {
            Ok(bytes) => {
                let index = serde_json::from_slice::<Index>(&bytes);
                index.map_err(|error| Error::file(&path, error))?.manifests
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::file(&path, error)),
        };
        entries.retain(|entry| !has_name(entry, tag));
        entries.push(named(entry, tag));
        write_index(&self.directory, entries)
    }
}
