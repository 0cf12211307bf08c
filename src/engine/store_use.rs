//! Whether the layer store is large enough for a repository.

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};

use super::error::Cause;
use super::unpack::{Packages, Part};
use super::view::View;
use crate::artifact::Titled;

/// The layers of a repository that a view knows to be in the store, or not to fit into it.
#[derive(Default)]
pub(super) struct StoreUse {
    /// By their keys in the store. `None` until its directories have been looked for.
    stored: Option<HashSet<String>>,
    /// By their digests.
    oversize: HashSet<String>,
}

impl View {
    /// Records which directories of the repository an earlier run has left in the store.
    pub(super) async fn record_stored(&self, packages: &Packages) -> Result<(), Cause> {
        if self.store_use().stored.is_some() {
            return Ok(());
        }
        let (store, snapshot) = (self.engine.store().await?, self.snapshot().await?);
        let part = Part::Packages(packages.clone());
        let keys = snapshot.artifact.directories().map(|layer| part.key(layer.digest().as_ref()));
        self.store_use().stored = Some(keys.filter(|key| store.has(key)).collect());
        Ok(())
    }

    /// Records that a layer is in the store, and warns if another one of the repository had to make room.
    pub(super) async fn record_use(&self, key: String) -> Result<(), Cause> {
        let store = self.engine.store().await?;
        let is_removed = {
            let mut used = self.store_use();
            let Some(stored) = &mut used.stored else {
                return Ok(());
            };
            stored.insert(key) && stored.iter().any(|key| !store.has(key))
        };
        if is_removed {
            self.warn_of_store_size("its unpacked layers remove each other and are fetched again");
        }
        Ok(())
    }

    /// Whether a layer is known not to fit into the store.
    pub(super) async fn is_oversize(&self, titled: &Titled) -> Result<bool, Cause> {
        if self.store_use().oversize.contains(titled.layer.digest().as_ref()) {
            return Ok(true);
        }
        // Packages are compressed: unpacked, the layer takes as much.
        if titled.layer.size() <= self.engine.store().await?.limit() {
            return Ok(false);
        }
        self.record_oversize(titled);
        Ok(true)
    }

    pub(super) fn record_oversize(&self, titled: &Titled) {
        self.store_use().oversize.insert(titled.layer.digest().to_string());
        self.warn_of_store_size(&format!(
            "its layer {:?} of {} MiB does not fit and is fetched for each package",
            titled.title,
            titled.layer.size() >> 20
        ));
    }

    /// Warns, once for each repository.
    fn warn_of_store_size(&self, problem: &str) {
        let reference = self.source.reference.to_string();
        let mut warned = self.engine.too_large.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.insert(reference.clone()) {
            tracing::warn!(
                "repository {} {reference}: {problem}: limits.store-size is {} MiB; raise it, or have the \
                 owner push each package as a layer",
                self.id,
                self.engine.settings.layer_store_size >> 20,
            );
        }
    }

    fn store_use(&self) -> MutexGuard<'_, StoreUse> {
        self.store_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
