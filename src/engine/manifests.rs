//! Manifests that were read a moment ago.
//!
//! dnf5 asks for metadata first and for packages later; both must come from one manifest, and the
//! registry need not be asked for it twice.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::Engine;
use super::error::Cause;
use crate::artifact::Artifact;
use crate::containers_config::Fingerprint;
use crate::source::Source;

/// How many are kept. One with 17,000 layers, the most that fits in a manifest of 4 MiB, takes some
/// 5 MB of memory.
const KEPT: usize = 4;

/// A repository at one manifest.
pub(crate) struct Snapshot {
    pub(crate) manifest_digest: String,
    pub(crate) artifact: Artifact,
}

/// What is remembered of one source, and the configuration it was read under: a manifest that a
/// changed policy could refuse is asked for again.
struct Kept {
    source: Source,
    configuration: Fingerprint,
    snapshot: Arc<Snapshot>,
}

#[derive(Clone, Default)]
pub(crate) struct Manifests(Arc<Mutex<VecDeque<Kept>>>);

impl Manifests {
    /// The snapshot of `source` with that digest, if it is remembered.
    fn recall(&self, source: &Source, digest: &str) -> Option<Arc<Snapshot>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter()
            .find(|kept| kept.source == *source && kept.snapshot.manifest_digest == digest)
            .filter(|kept| kept.configuration == Fingerprint::now(&source.access))
            .map(|kept| Arc::clone(&kept.snapshot))
    }

    fn remember(&self, kept: Kept) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.source != kept.source);
        all.truncate(KEPT - 1);
        all.push_front(kept);
    }
}

impl Engine {
    /// Asks the registry what the reference leads to now.
    pub(crate) async fn look_up(&self, source: &Source) -> Result<Arc<Snapshot>, Cause> {
        let configuration = Fingerprint::now(&source.access);
        let manifest = self.registry.manifest(source).await?;
        let snapshot = Arc::new(Snapshot {
            manifest_digest: manifest.digest.to_string(),
            artifact: Artifact::new(&manifest.image)?,
        });
        let (source, kept) = (source.clone(), Arc::clone(&snapshot));
        self.manifests.remember(Kept { source, configuration, snapshot: kept });
        Ok(snapshot)
    }

    /// The snapshot that the metadata with `digest` came from, as far as it can still be had; what
    /// the reference leads to now otherwise. Packages are checked against the metadata anyway.
    pub(crate) async fn look_up_at(
        &self,
        source: &Source,
        digest: Option<&str>,
    ) -> Result<Arc<Snapshot>, Cause> {
        let Some(digest) = digest else {
            return self.look_up(source).await;
        };
        if let Some(snapshot) = self.manifests.recall(source, digest) {
            return Ok(snapshot);
        }
        // By the reference first: the signature policy may know the index or the tag alone.
        let current = self.look_up(source).await?;
        if current.manifest_digest == digest {
            return Ok(current);
        }
        let pinned = Source { reference: source.reference.at_digest(digest), ..source.clone() };
        match self.look_up(&pinned).await {
            Ok(snapshot) => Ok(snapshot),
            Err(error) => {
                tracing::debug!(%error, digest, "the manifest of the metadata is gone");
                Ok(current)
            }
        }
    }
}
