//! What a repository has at a path, and its bytes.

use std::fs::{self, Metadata};
use std::io::{self, Cursor};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use containers_image_proxy::oci_spec::image::Descriptor;
use tokio::fs::File;
use tokio::io::{AsyncRead, ReadBuf};

use super::error::Cause;
use crate::artifact::{Artifact, embedded};
use crate::checksum::Checksum;
use crate::layer_store::Layer;
use crate::registry::Blob;
use crate::repomd::MAX_REPOMD;

/// Something that a repository has.
pub struct Entry {
    /// Its size in bytes.
    pub size: u64,
    /// When it was last modified, if that is known.
    pub modified: Option<SystemTime>,
    pub(super) origin: Origin,
    /// Whether its reader checks its digest, and requests it again if it is wrong.
    pub(super) is_checked_by_reader: bool,
}

/// Where its bytes come from.
pub(super) enum Origin {
    Blob(Box<Descriptor>),
    /// A blob whose content the manifest has, and which was checked.
    Embedded(Box<Descriptor>, Vec<u8>),
    Unlisted(Box<Unlisted>),
    /// A file of an unpacked layer, which is kept for as long as it is read unless the file outlives it.
    File(std::fs::File, Option<Layer>),
}

/// A package that is found by its digest alone.
pub(super) struct Unlisted {
    pub(super) location: String,
    pub(super) blob: Descriptor,
    /// The failure if the registry does not have it. `None` if the manifest has not been asked for, which may
    /// lead to the package then.
    pub(super) absent: Option<Cause>,
}

/// The bytes of an entry. Whoever has read all of them has the right ones: a blob is checked before its
/// last bytes are handed out, and a layer when it is unpacked. Only a package that dnf5 has announced with the
/// digest of the blob is left to dnf5, which checks it in any case.
pub enum Content {
    /// From the registry.
    Blob(Box<Blob>),
    /// From the manifest.
    Embedded(Cursor<Vec<u8>>),
    /// From an unpacked layer, which stays for as long as it is read.
    File(File, Option<Layer>),
}

impl Entry {
    pub(super) fn new(size: u64, modified: Option<SystemTime>, origin: Origin) -> Self {
        Self { size, modified, origin, is_checked_by_reader: false }
    }

    /// A layer of the artifact.
    pub(super) fn layer(layer: &Descriptor, artifact: &Artifact) -> Self {
        let (size, modified) = (layer.size(), artifact.created(layer));
        Self::new(size, modified, Origin::Blob(Box::new(layer.clone())))
    }

    /// A layer with a file of the metadata, which the manifest itself may have.
    pub(super) fn metadata(layer: &Descriptor, artifact: &Artifact) -> Self {
        let entry = Self::layer(layer, artifact);
        match embedded(layer, MAX_REPOMD) {
            Some(content) => {
                Self { origin: Origin::Embedded(Box::new(layer.clone()), content), ..entry }
            }
            None => entry,
        }
    }

    /// A file of an unpacked layer.
    pub(super) fn file((file, metadata): (fs::File, Metadata), layer: Option<Layer>) -> Self {
        let (size, modified) = (metadata.len(), metadata.modified().ok());
        Self::new(size, modified, Origin::File(file, layer))
    }

    /// Whether its bytes are checked against this checksum when they are read.
    pub(super) fn is_checked_against(&self, checksum: &Checksum) -> bool {
        self.digest().is_some_and(|digest| digest == checksum.to_string())
    }

    /// The digest that its bytes are checked against when they are read, if it is a blob.
    pub(super) fn digest(&self) -> Option<String> {
        match &self.origin {
            Origin::Blob(blob) | Origin::Embedded(blob, _) => Some(blob.digest().to_string()),
            Origin::Unlisted(unlisted) => Some(unlisted.blob.digest().to_string()),
            Origin::File(..) => None,
        }
    }
}

impl AsyncRead for Content {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Blob(blob) => Pin::new(blob).poll_read(context, buffer),
            Self::Embedded(content) => Pin::new(content).poll_read(context, buffer),
            Self::File(file, _) => Pin::new(file).poll_read(context, buffer),
        }
    }
}
