//! A local OCI image layout that is pushed from: image-spec, image-layout.md. Its blobs are symbolic links to
//! the files, so nothing is copied.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use super::contents::{Blob, Content};
use super::document::{CONFIG, Descriptor, Digest, INDEX, Index, MANIFEST, to_bytes};
use super::error::Error;
use crate::source::{Access, Source};
use crate::temporary::TemporaryDir;

/// The annotation with the name of a manifest in a layout: image-spec, annotations.md.
pub const NAME: &str = "org.opencontainers.image.ref.name";

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
        let directory =
            TemporaryDir::new().map_err(|error| Error::file(&std::env::temp_dir(), error))?;
        let workspace = Self { directory, entries: Vec::new() };
        let blobs = workspace.path().join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(|error| Error::file(&blobs, error))?;
        workspace.write("oci-layout", &to_bytes(&json!({"imageLayoutVersion": "1.0.0"})))?;
        Ok(workspace)
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
        self.write(&blob_path(digest), bytes)?;
        let media_type = if is_index { INDEX } else { MANIFEST };
        let mut entry = Descriptor::new(media_type, digest.clone(), bytes.len() as u64);
        entry.annotations.insert(NAME.to_owned(), digest.hex().to_owned());
        self.entries.retain(|other| other.digest != *digest);
        self.entries.push(entry);
        let mut index = Index::new("", self.entries.clone());
        index.artifact_type = None;
        self.write("index.json", &to_bytes(&index))
    }

    /// Adds a blob, if its bytes are here.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add_blob(&self, blob: &Blob) -> Result<(), Error> {
        match &blob.content {
            Content::File(path) => self.link(&blob.descriptor.digest, path),
            Content::Bytes(bytes) => self.write(&blob_path(&blob.descriptor.digest), bytes),
            Content::Remote => Ok(()),
        }
    }

    /// Adds the config of all manifests.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add_config(&self) -> Result<(), Error> {
        self.write(&blob_path(&Digest::of(CONFIG)), CONFIG)
    }

    /// Adds a file as a blob.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn link(&self, digest: &Digest, file: &Path) -> Result<(), Error> {
        let link = self.path().join(blob_path(digest));
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
        let text = format!("oci://{}:{}", self.path().display(), digest.hex());
        let reference = text.parse().map_err(|error| Error::file(self.path(), error))?;
        Ok(Source { reference, access: Access::default() })
    }

    /// A file is replaced in one step: skopeo may be reading it.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let (path, new) = (self.path().join(name), self.path().join("new"));
        let written = fs::write(&new, bytes).and_then(|()| fs::rename(&new, &path));
        written.map_err(|error| Error::file(&path, error))
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
