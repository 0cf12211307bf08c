//! The packages that dnf5 is going to download if its user agrees, and the preparations for them.
//!
//! Before dnf5 requests the first one, nothing is downloaded: connections are opened, which costs the registry a
//! manifest each, and no more of them than the packages will keep busy.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use futures_util::{StreamExt, stream};
use tokio::sync::Notify;

use super::View;
use super::error::Cause;
use super::listing::{Listing, as_asked_for};
use super::manifests::Snapshot;
use crate::artifact::{Artifact, PackageLocation, Titled};
use crate::repomd::{Builder, Known, Package, PackageIndex};

/// How many packages of a repository are looked up as they were announced. They take 49 bytes each.
const MAX_ANNOUNCED: usize = 20_000;

/// How many directory layers are unpacked side by side before their packages are asked for.
const DIRECTORIES: usize = 4;

/// The announced packages of a repository.
#[derive(Default)]
pub(super) struct Announced {
    index: Option<PackageIndex>,
    /// Notified when one of them is requested.
    requested: Notify,
}

impl View {
    /// Tells which packages are about to be requested, in place of those before. Beyond 20,000, they are found as if
    /// they had not been announced.
    pub fn announce(&self, packages: &[Package]) {
        let mut builder = Builder::new(tempfile::tempfile);
        for package in packages.iter().take(MAX_ANNOUNCED) {
            builder.add(&as_asked_for(&package.location), package);
        }
        let index = builder.finish().inspect_err(|error| tracing::info!(%error, "not announced"));
        let announced = Announced { index: index.ok(), requested: Notify::new() };
        *self.announced.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(announced);
    }

    /// Gets ready for announced packages: opens connections now, and unpacks their directories side by side once the
    /// first of them is requested. Does not end before it is dropped; the connections are kept until then, within
    /// limits. A failure is only logged: who requests a package gets it, too.
    pub async fn prepare(&self, packages: Vec<Package>) {
        if let Err(error) = self.try_prepare(packages).await {
            tracing::info!("repository {}: getting ready failed: {error}", self.id);
        }
    }

    async fn try_prepare(&self, packages: Vec<Package>) -> Result<(), Cause> {
        let announced = self.announced_packages();
        let (registry, source) = (&self.engine.registry, self.source().await?);
        let listing = self.listing().await?;
        let preferred = listing.manifest_digest.as_deref();
        let snapshot = match registry.is_open(source).await? {
            true => self.snapshot_at_hand(preferred).await?,
            false => Some(self.snapshot_near(preferred).await?),
        };
        let needed = Needed::new(snapshot.as_deref(), &packages);
        drop(packages);
        let expected = registry.expect(source, needed.layers()).await?;
        if let Err(error) = expected.start_workers().await {
            // Fewer will do.
            tracing::info!("repository {}: opening a connection ahead failed: {error}", self.id);
        }
        announced.requested.notified().await;
        if let Some(snapshot) = &snapshot {
            let root = snapshot.artifact.root();
            let unpacking = stream::iter(&needed.directories);
            let unpack = async |titled| {
                if let Err(error) = self.unpack_ahead(titled, root, &listing).await {
                    tracing::info!("repository {}: unpacking ahead failed: {error}", self.id);
                }
            };
            unpacking.for_each_concurrent(DIRECTORIES, unpack).await;
        }
        std::future::pending().await
    }

    /// Unpacks a directory, unless it does not fit into the layer store.
    async fn unpack_ahead(
        &self,
        titled: &Titled,
        root: &str,
        listing: &Listing,
    ) -> Result<(), Cause> {
        let packages = self.packages_in(titled, root, listing).await?;
        self.unpacked_directory(titled, &packages).await.map(drop)
    }

    /// The announcement of the package at a location, if there is one.
    pub(super) fn announced(&self, location: &str) -> Result<Option<Known>, Cause> {
        let announced = self.announced_packages();
        let Some(index) = &announced.index else {
            return Ok(None);
        };
        let known = index.get(&as_asked_for(location)).map_err(Cause::Index)?;
        if known.is_some() {
            announced.requested.notify_one();
        }
        Ok(known)
    }

    fn announced_packages(&self) -> Arc<Announced> {
        Arc::clone(&self.announced.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What must be fetched for some packages.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needed {
    /// How many packages are layers of their own.
    packages: usize,
    /// The tar layers with the others. They are not the only ones in which a package may be.
    directories: Vec<Titled>,
}

impl Needed {
    /// By the manifest; without it, a package is taken to be a layer.
    fn new(snapshot: Option<&Snapshot>, packages: &[Package]) -> Self {
        let Some(snapshot) = snapshot else {
            return Self { packages: packages.len(), ..Self::default() };
        };
        let mut needed = Self::default();
        let mut seen = HashSet::new();
        for package in packages {
            match directory(&snapshot.artifact, package) {
                None => needed.packages += 1,
                Some(titled) if seen.insert(titled.layer.digest()) => {
                    needed.directories.push(titled.clone());
                }
                Some(_) => {}
            }
        }
        needed
    }

    /// How many layers will be requested.
    fn layers(&self) -> usize {
        self.packages + self.directories.len()
    }
}

/// The tar layer that most likely has a package.
fn directory<'a>(artifact: &'a Artifact, package: &Package) -> Option<&'a Titled> {
    match artifact.package(&package.location) {
        PackageLocation::InDirectory(directories)
            if artifact.with_digest(&package.checksum.to_string()).is_none() =>
        {
            directories.first().copied()
        }
        _ => None,
    }
}
