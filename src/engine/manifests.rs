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
use crate::error_kind::{Failure, Kind};
use crate::source::Source;

/// How many are cached.
const CACHED: usize = 32;

/// How many layers they have together, unless it is a single one. With 17,000, the most that fits in a manifest of
/// 4 MiB, it takes some 5 MB of memory.
const CACHED_LAYERS: usize = 34_000;

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
        let mut layers = 0;
        let fit = all.iter().take_while(|cached| {
            layers += cached.snapshot.artifact.layers().len();
            layers <= CACHED_LAYERS
        });
        let fit = fit.count().max(1);
        all.truncate(fit);
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
        let current = self.look_up(source).await;
        match &current {
            Ok(current) if current.manifest_digest == digest => return Ok(Arc::clone(current)),
            Err(cause) if !leads_elsewhere(cause) => return current,
            _ => {}
        }
        let pinned = Source { reference: source.reference.at_digest(digest), ..source.clone() };
        self.look_up(&pinned).await.or_else(|error| {
            tracing::debug!(%error, digest, "the manifest of the metadata is gone");
            current
        })
    }
}

/// Whether a reference that cannot be looked up has led to a repository before: its tag may have been deleted since,
/// or moved to something else.
fn leads_elsewhere(cause: &Cause) -> bool {
    matches!(cause.kind(), Kind::NotFound | Kind::BadRepository)
}

async fn fingerprint(source: &Source) -> Result<Fingerprint, Cause> {
    let access = source.access.clone();
    run(move || Ok(Fingerprint::now(&access))).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Access;
    use serde_json::json;

    /// How many manifests with so many layers each are cached, of those that were inserted one after the other.
    fn cached(layers: usize, inserted: usize) -> usize {
        let digest = format!("sha256:{:064}", 0);
        let layer = |number| {
            let title = json!({ "org.opencontainers.image.title": format!("repodata/{number}") });
            json!({ "mediaType": "a/b", "digest": digest, "size": 1, "annotations": title })
        };
        let repomd = json!({ "org.opencontainers.image.title": "repodata/repomd.xml" });
        let repomd =
            json!({ "mediaType": "a/b", "digest": digest, "size": 1, "annotations": repomd });
        let image = serde_json::from_value(json!({
            "schemaVersion": 2,
            "config": { "mediaType": "a/b", "digest": digest, "size": 2 },
            "layers": (1..layers).map(layer).chain([repomd]).collect::<Vec<_>>(),
        }));
        let artifact = Artifact::new(&image.expect("a manifest")).expect("an artifact");
        let snapshot = Arc::new(Snapshot { manifest_digest: digest, artifact });
        let manifests = Manifests::default();
        let fingerprint = Fingerprint::now(&Access::default());
        for number in 0..inserted {
            let reference = format!("oci://registry.invalid/acme:{number}").parse().expect("valid");
            let source = Source { reference, access: Access::default() };
            manifests.insert(Cached { source, fingerprint, snapshot: Arc::clone(&snapshot) });
        }
        manifests.0.lock().expect("no panic").len()
    }

    #[test]
    fn the_number_and_the_size_of_cached_manifests_are_limited() {
        assert_eq!(cached(1, CACHED + 10), CACHED);
        assert_eq!(cached(CACHED_LAYERS / 2, 3), 2);
        assert_eq!(cached(CACHED_LAYERS + 1, 2), 1);
    }
}
