//! The places that a repository can be had from: its mirrors, then the registry itself.
//!
//! skopeo takes the first place that has the manifest, when it opens the image, and does not say
//! which one that was. When a blob is not there, the image is opened again with the first place
//! passed over, then with the first two, and so on. Blobs are known by their digests: it does not
//! matter what the other places have as the manifest.

use std::io::Write;

use tempfile::NamedTempFile;

use super::Error;
use crate::containers_config::registries::Registries;
use crate::reference::Reference;
use crate::source::Source;

/// A source, with some of its places passed over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PullSource {
    pub(super) source: Source,
    /// How many places are passed over; none usually, and then no file is looked at.
    pub(super) skip: usize,
}

impl PullSource {
    /// All that skopeo would ask by itself.
    pub(super) fn any(source: &Source) -> Self {
        Self { source: source.clone(), skip: 0 }
    }

    /// The names of all places of the source, in order.
    pub(super) fn names(&self) -> Vec<String> {
        let Reference::Registry(reference) = &self.source.reference else {
            return Vec::new();
        };
        Registries::read().map(|all| all.pull_sources(reference)).unwrap_or_default()
    }

    /// A registries.conf for skopeo, if it needs another one than the usual.
    pub(super) fn registries_conf(&self) -> Result<Option<NamedTempFile>, Error> {
        if self.skip == 0 {
            return Ok(None);
        }
        let Reference::Registry(reference) = &self.source.reference else {
            return Err(Error::NoOtherPullSource);
        };
        let text = Registries::read()
            .ok()
            .and_then(|all| all.skipping(reference, self.skip))
            .ok_or(Error::NoOtherPullSource)?;
        let mut file = NamedTempFile::with_prefix("dnf5-oci-registries-")?;
        file.write_all(text.as_bytes())?;
        Ok(Some(file))
    }
}
