//! What the metadata lists, for those who look for packages.

use std::sync::Arc;

use tokio::sync::OnceCell;

use super::error::Cause;
use super::manifests::Snapshot;
use super::reading::{read_blocking, retry_next_mirror, run};
use super::view::{REPODATA, REPOMD_NAME, View};
use crate::artifact::locations::Located;
use crate::checksum::{Algorithm, Hasher};
use crate::dnf_cache::CachedMetadata;
use crate::layer_store::Store;
use crate::repomd::{Builder, Known, Package, PackageIndex, Record, Repomd, read_primary};

/// How many hexadecimal digits identify a listing.
const ID: usize = 16;

/// The metadata by which packages are requested: dnf5's own if it is known, and else the repository's.
#[derive(Default)]
pub(super) struct Listing {
    cached: Option<Arc<CachedMetadata>>,
    /// The manifest that the cached metadata came from, if that is known.
    pub(super) manifest_digest: Option<String>,
    of_cache: OnceCell<Listed>,
    of_repository: OnceCell<Listed>,
}

/// The packages.
pub(super) struct Listed {
    pub(super) index: Arc<PackageIndex>,
    /// What identifies the primary metadata.
    pub(super) id: String,
}

impl Listing {
    /// By metadata that dnf5 has cached.
    pub(super) fn new(cached: Arc<CachedMetadata>, manifest_digest: Option<String>) -> Self {
        Self { cached: Some(cached), manifest_digest, ..Self::default() }
    }

    /// Whether what the metadata lists is what the manifest with this digest has.
    pub(super) fn is_of(&self, manifest_digest: &str) -> bool {
        self.cached.is_none() || self.manifest_digest.as_deref() == Some(manifest_digest)
    }

    /// Whether a manifest has the metadata that packages are requested by, even if that came from another one.
    fn has_same_metadata(&self, snapshot: &Snapshot) -> bool {
        let is_cached = |cached: &Arc<CachedMetadata>| {
            let repomd = snapshot.artifact.repodata().file(REPOMD_NAME).ok().flatten();
            repomd.is_some_and(|layer| layer.digest().as_ref() == cached.repomd.to_string())
        };
        self.is_of(&snapshot.manifest_digest) || self.cached.as_ref().is_some_and(is_cached)
    }

    /// The package at this location, as far as that is known without fetching the primary metadata.
    pub(super) async fn known(&self, view: &View, location: &str) -> Result<Option<Known>, Cause> {
        let location = as_asked_for(location);
        if self.has_same_metadata(&*view.snapshot().await?)
            && let Some(located) = view.located(&location).await?
        {
            return Ok(Some(located.into()));
        }
        match self.cached(view).await {
            Some(listed) => listed.index.get(&location).map_err(Cause::Index),
            None => Ok(None),
        }
    }

    /// The package at this location, if the repository's own metadata lists one.
    pub(super) async fn get(&self, view: &View, location: &str) -> Result<Option<Known>, Cause> {
        let index = &self.of_repository(view).await?.index;
        index.get(&as_asked_for(location)).map_err(Cause::Index)
    }

    /// The smallest package, if there is any.
    pub(super) async fn smallest(&self, view: &View) -> Result<Option<Package>, Cause> {
        let snapshot = view.snapshot_near(self.manifest_digest.as_deref()).await?;
        if self.has_same_metadata(&snapshot)
            && let Some(locations) = view.locations().await?
        {
            return Ok(locations.smallest()?.map(|Located { location, sha256, size, .. }| {
                Package { location, checksum: sha256, size }
            }));
        }
        Ok(self.packages(view).await?.index.smallest().cloned())
    }

    /// All packages; the metadata is read when they are first needed.
    pub(super) async fn packages(&self, view: &View) -> Result<&Listed, Cause> {
        match self.cached(view).await {
            Some(listed) => Ok(listed),
            None => self.of_repository(view).await,
        }
    }

    /// The packages of dnf5's cached metadata, if it can be read.
    async fn cached(&self, view: &View) -> Option<&Listed> {
        let cached = self.cached.as_ref()?;
        let read = self.of_cache.get_or_try_init(|| read_cached(view, cached)).await;
        read.inspect_err(|error| tracing::info!(%error, "dnf5's metadata cannot be read")).ok()
    }

    async fn of_repository(&self, view: &View) -> Result<&Listed, Cause> {
        let read = || retry_next_mirror(|| read_repository(view));
        self.of_repository.get_or_try_init(read).await
    }
}

async fn read_cached(view: &View, cached: &Arc<CachedMetadata>) -> Result<Listed, Cause> {
    let (store, cached) = (view.engine.store().await?, Arc::clone(cached));
    run(move || {
        let mut file = cached.open_primary().map_err(Cause::UnpackedLayer)?;
        let size = file.metadata().map_err(Cause::UnpackedLayer)?.len();
        Ok(Listed { index: index(&mut file, size, &store)?, id: id(&cached.primary) })
    })
    .await
}

async fn read_repository(view: &View) -> Result<Listed, Cause> {
    let records = Repomd::parse(&view.repomd().await?)?.records;
    let primary = records.into_iter().find(|record| record.kind == "primary");
    let primary = primary.ok_or_else(|| Cause::NoSuchFile("primary.xml".to_owned()))?;
    let entry = view.metadata(&format!("{REPODATA}{}", primary.name)).await?;
    let size = entry.size;
    let (store, content) = (view.engine.store().await?, view.open(entry, 0).await?);
    read_blocking(content, move |reader| {
        Ok(Listed { index: index(reader, size, &store)?, id: id(&primary) })
    })
    .await
}

fn index(
    primary: &mut dyn std::io::Read,
    size: u64,
    store: &Store,
) -> Result<Arc<PackageIndex>, Cause> {
    let mut builder = Builder::new(|| store.scratch_file());
    read_primary(primary, size, |package| builder.add(&as_asked_for(&package.location), &package))?;
    builder.finish().map(Arc::new).map_err(Cause::Index)
}

/// What identifies primary metadata: names of files cannot be as long as some checksums.
fn id(primary: &Record) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(primary.checksum.to_string().as_bytes());
    hasher.finish().hex()[..ID].to_owned()
}

/// A location as clients request it: without the steps that lead nowhere (RFC 3986, 5.2.4).
pub(super) fn as_asked_for(location: &str) -> String {
    let mut parts = Vec::new();
    for part in location.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_known_as_they_are_asked_for() {
        for (location, expected) in [
            ("a.rpm", "a.rpm"),
            ("././p/a.rpm", "p/a.rpm"),
            ("x/../p/./a.rpm", "p/a.rpm"),
            ("p//a..rpm", "p//a..rpm"),
        ] {
            assert_eq!(as_asked_for(location), expected);
        }
    }
}
