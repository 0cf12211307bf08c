//! Manifests that were read a moment ago.
//!
//! Metadata come first and packages later; both must be of one manifest, which the registry need not be
//! asked for twice.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::Engine;
use super::error::Cause;
use super::reading::run;
use crate::artifact::Artifact;
use crate::containers_config::Fingerprint;
use crate::source::Source;

/// How many are cached. One with 17,000 layers, the most that fits in a manifest of 4 MiB, takes some
/// 5 MB of memory.
const CACHED: usize = 4;

/// A repository at one manifest.
pub(crate) struct Snapshot {
    pub(crate) manifest_digest: String,
    pub(crate) artifact: Artifact,
}

/// What one source led to, and the state of podman's files at that time: a manifest that a changed policy
/// could refuse is requested again.
struct Cached {
    source: Source,
    fingerprint: Fingerprint,
    snapshot: Arc<Snapshot>,
}

#[derive(Clone, Default)]
pub(crate) struct Manifests(Arc<Mutex<VecDeque<Cached>>>);

impl Manifests {
    /// The cached snapshot of `source` with that digest, if podman's files are as they were.
    fn get(
        &self,
        source: &Source,
        digest: &str,
        fingerprint: Fingerprint,
    ) -> Option<Arc<Snapshot>> {
        let cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cached
            .iter()
            .find(|cached| cached.source == *source && cached.snapshot.manifest_digest == digest)
            .filter(|cached| cached.fingerprint == fingerprint)
            .map(|cached| Arc::clone(&cached.snapshot))
    }

    fn insert(&self, cached: Cached) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.source != cached.source);
        all.truncate(CACHED - 1);
        all.push_front(cached);
    }
}

impl Engine {
    /// Asks the registry which manifest the reference leads to now.
    pub(crate) async fn look_up(&self, source: &Source) -> Result<Arc<Snapshot>, Cause> {
        let fingerprint = fingerprint(source).await?;
        let manifest = self.registry.manifest(source).await?;
        let snapshot = Arc::new(Snapshot {
            manifest_digest: manifest.digest.to_string(),
            artifact: Artifact::new(&manifest.image)?,
        });
        let (source, cached) = (source.clone(), Arc::clone(&snapshot));
        self.manifests.insert(Cached { source, fingerprint, snapshot: cached });
        Ok(snapshot)
    }

    /// The snapshot with that digest, if the registry has sent it a moment ago.
    pub(crate) async fn recent(
        &self,
        source: &Source,
        digest: &str,
    ) -> Result<Option<Arc<Snapshot>>, Cause> {
        Ok(self.manifests.get(source, digest, fingerprint(source).await?))
    }

    /// The snapshot with that digest, which cached metadata came from, or what the reference leads to now
    /// if it is gone. Packages are checked against the metadata in any case.
    pub(crate) async fn look_up_at(
        &self,
        source: &Source,
        digest: Option<&str>,
    ) -> Result<Arc<Snapshot>, Cause> {
        let Some(digest) = digest else {
            return self.look_up(source).await;
        };
        if let Some(snapshot) = self.recent(source, digest).await? {
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

async fn fingerprint(source: &Source) -> Result<Fingerprint, Cause> {
    let access = source.access.clone();
    run(move || Ok(Fingerprint::now(&access))).await
}
