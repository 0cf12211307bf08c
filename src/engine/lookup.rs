//! Where a package is: by its digest first, which tells it from any other, then by its title.

use std::sync::Arc;

use containers_image_proxy::oci_spec::image::{Descriptor, Digest, MediaType};

use super::View;
use super::content::{Content, Entry, Origin, Unlisted};
use super::error::Cause;
use super::listing::{Listing, as_asked_for};
use super::manifests::Snapshot;
use super::unpack::{Packages, Part};
use super::view::Inside;
use crate::artifact::{self, Artifact, PackageLocation, Repodata, Titled};
use crate::checksum::Algorithm;
use crate::error_kind::{Failure, Kind};
use crate::layer_store::Layer;
use crate::registry::Check;
use crate::repomd::{Known, Package};

impl View {
    /// Finds a package that is requested by its location alone.
    pub(super) async fn package(&self, location: &str) -> Result<Entry, Cause> {
        let announced = self.announced(location)?;
        let sha256 = announced.as_ref().and_then(|known| known.sha256.clone());
        let entry = self.find_package(location, announced).await?;
        let is_checked_by_reader = sha256.is_some_and(|sha256| entry.is_checked_against(&sha256));
        Ok(Entry { is_checked_by_reader, ..entry })
    }

    /// Finds a package whose checksum is known.
    pub(super) async fn look_for_package(&self, package: &Package) -> Result<Entry, Cause> {
        let Package { location, checksum, size } = package;
        let algorithm = checksum.algorithm();
        let sha256 = (algorithm == Algorithm::Sha256).then(|| checksum.clone());
        self.find_package(location, Some(Known { size: *size, algorithm, sha256 })).await
    }

    /// Finds a package. `announced` is what dnf5 has said of it.
    async fn find_package(&self, location: &str, announced: Option<Known>) -> Result<Entry, Cause> {
        let listing = self.listing().await?;
        let preferred = listing.manifest_digest.as_deref();
        let at_hand = self.snapshot_at_hand(preferred).await?;
        if at_hand.is_none()
            && let Some(known) = &announced
            && let Some(blob) = blob(known)
            && self.engine.registry.is_open(self.source().await?).await?
        {
            // Asking what the tag leads to would take several round trips, and the blob takes one.
            return Ok(unlisted(location, blob, None));
        }
        let snapshot = match at_hand {
            Some(snapshot) => snapshot,
            None => self.snapshot_near(preferred).await?,
        };
        self.package_of(&snapshot, &listing, location, announced).await
    }

    /// Finds a package in a repository with this manifest.
    async fn package_of(
        &self,
        snapshot: &Snapshot,
        listing: &Listing,
        location: &str,
        announced: Option<Known>,
    ) -> Result<Entry, Cause> {
        let artifact = &snapshot.artifact;
        let known = match announced {
            Some(known) => Some(known),
            None => listing.known(self, location).await?,
        };
        if let Some(entry) = known.as_ref().and_then(|known| with_digest(artifact, known)) {
            return Ok(entry);
        }
        let layers = match artifact.package(location) {
            PackageLocation::Layer(layer)
                if known.is_none() && listing.is_of(&snapshot.manifest_digest) =>
            {
                return Ok(Entry::layer(layer, artifact));
            }
            PackageLocation::Layer(layer) => vec![layer],
            PackageLocation::OneOf(layers) => layers,
            PackageLocation::InDirectory(directories) => {
                for titled in directories {
                    let found = self.in_directory(titled, artifact.root(), listing, location);
                    if let Some(entry) = found.await? {
                        return Ok(entry);
                    }
                }
                Vec::new()
            }
            PackageLocation::ByDigest => Vec::new(),
        };
        let not_listed = || Cause::PackageNotInRepository(location.to_owned());
        let known = match known {
            Some(known) => known,
            None => listing.get(self, location).await?.ok_or_else(not_listed)?,
        };
        if !layers.is_empty() {
            return select(artifact, location, &layers, &known);
        }
        let known = self.with_sha256(location, known).await?;
        if let Some(entry) = with_digest(artifact, &known) {
            return Ok(entry);
        }
        if let Repodata::Inside(candidates) = artifact.repodata() {
            let Inside { titled, root } = self.inside(artifact, candidates).await?;
            if let Some(entry) = self.in_directory(titled, root, listing, location).await? {
                return Ok(entry);
            }
        }
        by_digest(location, &known, not_listed())
    }

    /// The same with the package's sha256, if the metadata has another checksum and the locations have it.
    async fn with_sha256(&self, location: &str, known: Known) -> Result<Known, Cause> {
        if known.sha256.is_some() {
            return Ok(known);
        }
        let located = self.located(&as_asked_for(location)).await?;
        let located = located.filter(|located| located.size == known.size);
        Ok(located.map_or(known, Known::from))
    }

    /// What a tar layer has at a package's location.
    async fn in_directory(
        &self,
        titled: &Titled,
        root: &str,
        listing: &Listing,
        location: &str,
    ) -> Result<Option<Entry>, Cause> {
        let location = location.trim_start_matches("./");
        let packages = self.packages_in(titled, root, listing).await?;
        if let Some(unpacked) = self.unpacked_directory(titled, &packages).await? {
            let file = unpacked.file(location);
            return Ok(file.map(|file| Entry::file(file, Some(unpacked))));
        }
        let part = Part::Packages(Packages { only: Some(location.to_owned()), ..packages });
        self.one_file(&titled.layer, part, location).await
    }

    /// A tar layer with packages, unpacked. `None` if it does not fit into the layer store.
    pub(super) async fn unpacked_directory(
        &self,
        titled: &Titled,
        packages: &Packages,
    ) -> Result<Option<Layer>, Cause> {
        if self.is_oversize(titled).await? {
            return Ok(None);
        }
        self.record_stored(packages).await?;
        match self.unpack(&titled.layer, Part::Packages(packages.clone())).await {
            Err(cause) if cause.is_over_limit() => {
                self.record_oversize(titled);
                Ok(None)
            }
            unpacked => unpacked.map(Some),
        }
    }

    /// The packages of a tar layer.
    pub(super) async fn packages_in(
        &self,
        titled: &Titled,
        root: &str,
        listing: &Listing,
    ) -> Result<Packages, Cause> {
        let listed = listing.packages(self).await?;
        Ok(Packages {
            index: Arc::clone(&listed.index),
            listing: listed.id.clone(),
            root: root.to_owned(),
            title: titled.title.clone(),
            only: None,
        })
    }

    /// A package that is found by its digest alone, from `offset` on.
    pub(super) async fn unlisted(
        &self,
        package: Unlisted,
        offset: u64,
        check: Check<'_>,
    ) -> Result<Content, Cause> {
        let is_absent = |cause: &Cause| cause.kind() == Kind::NotFound;
        let mut content = self.blob(&package.blob, offset, check).await;
        if !content.as_ref().is_err_and(is_absent) {
            return content;
        }
        if package.absent.is_none() {
            let entry = Box::pin(self.find_by_manifest(&package)).await?;
            return Box::pin(self.open(entry, offset)).await;
        }
        if self.request_segment_of(&package).await? {
            content = self.blob(&package.blob, offset, check).await;
        }
        content.map_err(|cause| match package.absent {
            Some(absent) if is_absent(&cause) => absent,
            _ => cause,
        })
    }

    /// Finds a package that is no blob of its own.
    async fn find_by_manifest(&self, package: &Unlisted) -> Result<Entry, Cause> {
        let Unlisted { location, blob, .. } = package;
        let listing = self.listing().await?;
        let snapshot = self.snapshot_near(listing.manifest_digest.as_deref()).await?;
        let entry = self.package_of(&snapshot, &listing, location, known(blob)).await?;
        if entry.size == blob.size() {
            return Ok(entry);
        }
        Err(Cause::other_size(location, blob.size(), entry.size))
    }
}

/// The one of the layers with a package's title that is the package by its checksum. None has its sha256.
fn select(
    artifact: &Artifact,
    location: &str,
    layers: &[&Descriptor],
    known: &Known,
) -> Result<Entry, Cause> {
    match (&known.sha256, layers) {
        // The tag has moved to another package: the registry may still have this one.
        (Some(expected), [layer, ..]) => {
            let (expected, found) = (expected.to_string(), layer.digest().to_string());
            let changed = Cause::PackageChanged { location: location.into(), expected, found };
            by_digest(location, known, changed)
        }
        (None, [layer]) => Ok(Entry::layer(layer, artifact)),
        _ => {
            let mut fitting = layers.iter().filter(|layer| layer.size() == known.size);
            match (fitting.next(), fitting.next()) {
                (Some(layer), None) => Ok(Entry::layer(layer, artifact)),
                _ => Err(artifact::Error::Ambiguous(location.to_owned()).into()),
            }
        }
    }
}

/// The layer that is a package by its checksum.
fn with_digest(artifact: &Artifact, known: &Known) -> Option<Entry> {
    let layer = artifact.with_digest(&known.sha256.as_ref()?.to_string())?;
    Some(Entry::layer(layer, artifact))
}

/// A package as a blob that no layer leads to. `absent` is the failure if the registry does not have it.
fn by_digest(location: &str, known: &Known, absent: Cause) -> Result<Entry, Cause> {
    match blob(known) {
        Some(blob) => Ok(unlisted(location, blob, Some(absent))),
        None => Err(Cause::NotSha256 { location: location.to_owned(), algorithm: known.algorithm }),
    }
}

fn unlisted(location: &str, blob: Descriptor, absent: Option<Cause>) -> Entry {
    let size = blob.size();
    let package = Unlisted { location: location.to_owned(), blob, absent };
    Entry::new(size, None, Origin::Unlisted(Box::new(package)))
}

/// The blob with a package's sha256, if that is known.
fn blob(known: &Known) -> Option<Descriptor> {
    let digest: Digest = known.sha256.as_ref()?.to_string().parse().ok()?;
    Some(Descriptor::new(MediaType::ImageLayer, known.size, digest))
}

/// What a blob says of the package that it is.
fn known(blob: &Descriptor) -> Option<Known> {
    let sha256 = blob.digest().to_string().parse().ok()?;
    Some(Known { size: blob.size(), algorithm: Algorithm::Sha256, sha256: Some(sha256) })
}
