//! What a repository has at a path, and its bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use containers_image_proxy::oci_spec::image::Descriptor;
use tokio::fs::File;
use tokio::io::{AsyncRead, ReadBuf};

use crate::layer_store::Layer;
use crate::registry::Blob;

/// Something that a repository has.
pub struct Entry {
    /// Its size in bytes.
    pub size: u64,
    pub(super) origin: Origin,
}

/// Where its bytes come from.
pub(super) enum Origin {
    Blob(Box<Descriptor>),
    /// A blob that the package at this location may have been pushed as.
    Unlisted(Box<Descriptor>, String),
    File(std::fs::File, Layer),
}

/// The bytes of an entry. Whoever has read all of them has the right ones: a blob is checked before its
/// last bytes are handed out, and a layer when it is unpacked.
pub enum Content {
    /// From the registry.
    Blob(Box<Blob>),
    /// From an unpacked layer, which stays for as long as it is read.
    File(File, Layer),
}

impl Entry {
    /// A layer of the artifact.
    pub(super) fn layer(layer: &Descriptor) -> Self {
        Self { size: layer.size(), origin: Origin::Blob(Box::new(layer.clone())) }
    }

    /// The digest that its bytes are checked against when they are read, if it is a blob.
    pub(super) fn digest(&self) -> Option<String> {
        match &self.origin {
            Origin::Blob(blob) | Origin::Unlisted(blob, _) => Some(blob.digest().to_string()),
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
            Self::File(file, _) => Pin::new(file).poll_read(context, buffer),
        }
    }
}
