//! Pull-through caches that have a blob only once its manifest was requested, as Quay's do: dnf5-oci-layout(7),
//! "Segments".

use std::collections::HashSet;

use tokio::sync::Mutex;

use super::View;
use super::content::Unlisted;
use super::error::Cause;
use super::listing::as_asked_for;
use crate::source::Source;

/// The variants of the segments whose manifests this view has requested.
#[derive(Default)]
pub(super) struct Requested(Mutex<HashSet<String>>);

impl View {
    /// Requests the manifest of the segment that has a package, once. Returns whether that has been done, so
    /// that the registry may have the package now.
    pub(super) async fn request_segment_of(&self, package: &Unlisted) -> Result<bool, Cause> {
        let Some(variant) = self.variant_of(package).await? else {
            return Ok(false);
        };
        // Others that want the same segment wait here.
        let mut requested = self.requested.0.lock().await;
        if requested.contains(&variant) {
            return Ok(true);
        }
        let source = self.source().await?;
        tracing::info!(
            segment = variant,
            location = package.location,
            "the registry does not have the package yet; requesting the manifest of its segment"
        );
        let mut access = source.access.clone();
        access.segment = Some(variant.clone());
        let segment = Source { reference: source.reference.clone(), access };
        let manifest = self.engine.registry.manifest(&segment).await;
        requested.insert(variant.clone());
        if let Err(error) = &manifest {
            tracing::info!(segment = variant, %error, "the manifest of the segment is not available");
        }
        Ok(manifest.is_ok())
    }

    /// The variant of the segment that has the package, if the locations say so.
    async fn variant_of(&self, package: &Unlisted) -> Result<Option<String>, Cause> {
        let Some(locations) = self.locations().await? else {
            return Ok(None);
        };
        let located = locations.get(&as_asked_for(&package.location))?;
        let digest = package.blob.digest().to_string();
        match located.filter(|located| located.sha256.to_string() == digest) {
            Some(located) => locations.variant(located.segment),
            None => Ok(None),
        }
    }
}
