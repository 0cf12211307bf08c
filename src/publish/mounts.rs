//! Mounts: a repository takes blobs from another one of the same registry, and none is sent.
//!
//! skopeo has the registry mount a blob only if it has seen it in another repository there, which it keeps in its
//! cache of blob locations. The source of a copy does not count, and on a fresh machine the cache is empty. skopeo
//! looks for all blobs of a manifest in the target before it sends any. So a manifest with the same blobs, and one
//! that is nowhere, is pushed to the source: each blob is found there, and the push fails before anything is
//! written.

use super::document::{Descriptor, Digest, Manifest, to_bytes};
use super::error::Error;
use super::state::at;
use super::workspace::Workspace;
use super::{Options, Publisher};
use crate::artifact::media_types::FILE;
use crate::error_kind::{Failure, Kind};
use crate::reference::Reference;
use crate::registry::Instances;
use crate::source::Source;

/// Whether blobs of one can be mounted into the other.
pub fn are_possible(from: &Source, to: &Source) -> bool {
    match (&from.reference, &to.reference) {
        (Reference::Registry(from), Reference::Registry(to)) => {
            from.host() == to.host() && from.name() != to.name()
        }
        _ => false,
    }
}

impl Publisher {
    /// Shows skopeo the blobs of a manifest, given by its digest. Whether it may look at them as somebody who
    /// pushes; some registries do not allow that.
    ///
    /// # Errors
    /// If the manifest cannot be read.
    pub(super) async fn show_blobs(
        &self,
        source: &Source,
        options: &Options,
    ) -> Result<bool, Error> {
        let raw = self.raw_manifest(source).await?;
        let manifest = serde_json::from_slice::<Manifest>(&raw.bytes);
        let mut manifest = manifest.map_err(|error| Error::not_a_repository(source, error))?;
        let nowhere = Digest::of(&[&raw.bytes[..], b"nowhere"].concat());
        manifest.layers.push(Descriptor::new(FILE, nowhere, 1));
        let bytes = to_bytes(&manifest);
        let digest = Digest::of(&bytes);
        let mut workspace = Workspace::new()?;
        workspace.add_config()?;
        workspace.add_document(&digest, &bytes, false)?;
        let (from, to) = (workspace.source(&digest)?, at(source, digest.as_str()));
        match self.transfer(&from, &to, Instances::Manifest, None, options).await {
            Err(error) if error.kind() == Kind::DigestMismatch => Ok(true),
            other => {
                tracing::debug!(?other, "blobs will be sent, not mounted");
                Ok(false)
            }
        }
    }
}
