//! A local OCI image layout that is pushed from: image-spec, image-layout.md. Its blobs are symbolic links to
//! the files, so nothing is copied.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::contents::{Blob, Content};
use super::document::{CONFIG, Descriptor, Digest, INDEX, MANIFEST};
use super::error::Error;
use super::layout_files::{self, BLOBS, blob_path, named, replace, write_index, write_version};
use super::temporary_directory;
use crate::source::Source;
use crate::temporary::TemporaryDir;

/// A layout in a temporary directory, which is removed with it.
pub struct Workspace {
    directory: TemporaryDir,
    entries: Vec<Descriptor>,
}

impl Workspace {
    /// An empty one.
    ///
    /// # Errors
    /// If there is no room for it.
    pub fn new() -> Result<Self, Error> {
        let directory = temporary_directory()?;
        let path = directory.path();
        fs::create_dir_all(path.join(BLOBS).join("sha256"))
            .and_then(|()| write_version(path))
            .map_err(|error| Error::file(path, error))?;
        Ok(Self { directory, entries: Vec::new() })
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Adds a manifest or index. Its name is the digits of its digest.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add_document(
        &mut self,
        digest: &Digest,
        bytes: &[u8],
        is_index: bool,
    ) -> Result<(), Error> {
        self.add_documents([(digest, bytes, is_index)])
    }

    /// Adds several: digests, bytes, and whether they are indexes.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn add_documents<'a>(
        &mut self,
        documents: impl IntoIterator<Item = (&'a Digest, &'a [u8], bool)>,
    ) -> Result<(), Error> {
        for (digest, bytes, is_index) in documents {
            self.write(digest, bytes)?;
            let media_type = if is_index { INDEX } else { MANIFEST };
            let entry = Descriptor::new(media_type, digest.clone(), bytes.len() as u64);
            self.entries.push(named(&entry, digest.hex()));
        }
        write_index(self.path(), self.entries.clone())
    }

    /// Adds a blob, if its bytes are here.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add_blob(&self, blob: &Blob) -> Result<(), Error> {
        match &blob.content {
            Content::File(path) => self.link(&blob.descriptor.digest, path),
            Content::Bytes(bytes) => self.write(&blob.descriptor.digest, bytes),
            Content::Remote => Ok(()),
        }
    }

    /// Adds the config of all manifests.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add_config(&self) -> Result<(), Error> {
        self.write(&Digest::of(CONFIG), CONFIG)
    }

    /// Adds a file as a blob.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn link(&self, digest: &Digest, file: &Path) -> Result<(), Error> {
        let link = blob_path(self.path(), digest);
        if link.is_symlink() {
            return Ok(());
        }
        let file = fs::canonicalize(file).map_err(|error| Error::file(file, error))?;
        symlink(&file, &link).map_err(|error| Error::file(&link, error))
    }

    /// A manifest or index of it, to copy from.
    ///
    /// # Errors
    /// If skopeo has no name for the directory.
    pub fn source(&self, digest: &Digest) -> Result<Source, Error> {
        layout_files::source(self.path(), digest)
    }

    fn write(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
        let path = blob_path(self.path(), digest);
        replace(&path, bytes).map_err(|error| Error::file(&path, error))
    }
}
