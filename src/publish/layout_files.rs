//! The files of an OCI image layout: image-spec, image-layout.md.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::document::{Descriptor, Digest, Index, to_bytes};
use super::error::Error;
use crate::source::{Access, Source};

/// The annotation with the name of a manifest in a layout: image-spec, annotations.md.
const NAME: &str = "org.opencontainers.image.ref.name";

/// The file with the manifests that have names.
pub const INDEX: &str = "index.json";

/// The directory of the blobs, in which there is one for each algorithm.
pub const BLOBS: &str = "blobs";

/// The path of a blob in a layout.
pub fn blob_path(layout: &Path, digest: &Digest) -> PathBuf {
    layout.join(BLOBS).join("sha256").join(digest.hex())
}

/// An entry of the index, under a name.
pub fn named(entry: &Descriptor, name: &str) -> Descriptor {
    let mut entry = Descriptor { platform: None, ..entry.clone() };
    entry.annotations.insert(NAME.to_owned(), name.to_owned());
    entry
}

/// Whether an entry of the index has this name.
pub fn has_name(entry: &Descriptor, name: &str) -> bool {
    entry.annotations.get(NAME).is_some_and(|other| other == name)
}

/// Writes the file that says that a directory is a layout.
///
/// # Errors
/// If it cannot be written.
pub fn write_version(layout: &Path) -> io::Result<()> {
    let version = to_bytes(&json!({"imageLayoutVersion": "1.0.0"}));
    replace(&layout.join("oci-layout"), &version)
}

/// Writes the index of a layout.
///
/// # Errors
/// If it cannot be written.
pub fn write_index(layout: &Path, entries: Vec<Descriptor>) -> Result<(), Error> {
    let mut index = Index::new("", entries);
    index.artifact_type = None;
    let path = layout.join(INDEX);
    replace(&path, &to_bytes(&index)).map_err(|error| Error::file(&path, error))
}

/// Writes a file in one step: skopeo may be reading it.
///
/// # Errors
/// If it cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    fs::rename(&new, path)
}

/// The manifest or index whose name in a layout is the digits of its digest.
///
/// # Errors
/// If skopeo has no name for the directory.
pub fn source(layout: &Path, digest: &Digest) -> Result<Source, Error> {
    let text = format!("oci://{}:{}", layout.display(), digest.hex());
    let reference = text.parse().map_err(|error| Error::file(layout, error))?;
    Ok(Source { reference, access: Access::default() })
}
