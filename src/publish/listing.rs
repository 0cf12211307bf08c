//! What a reference leads to, for people: its packages, by the metadata, and its segments.

use std::collections::HashSet;
use std::path::Path;

use serde::Serialize;

use super::Publisher;
use super::contents::{REPOMD, named_packages, parse_repomd};
use super::document::Digest;
use super::error::Error;
use super::prepare::MetadataDir;
use super::state::{Instance, REPODATA, Removed, Segment, State, at, rfc3339};
use crate::blocking;
use crate::checksum::Checksum;
use crate::repomd::{self, Nevra};
use crate::source::Source;

/// What a reference leads to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Listing {
    /// The reference.
    pub reference: String,
    /// The digest of the manifest or index.
    pub digest: String,
    /// The digest of what it led to before, if that is recorded.
    pub previous: Option<String>,
    /// The metadata: one for all architectures together, or one for each.
    pub architectures: Vec<Architecture>,
    /// In the order of the index.
    pub segments: Vec<ListedSegment>,
}

/// The metadata of the repository, or of one architecture.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Architecture {
    /// In Go's names; `None` is the one for all.
    pub arch: Option<String>,
    /// When the metadata was made.
    pub created: String,
    /// Sorted by name.
    pub packages: Vec<ListedPackage>,
    /// Packages that have left the metadata, and stay for a while.
    pub removed: Vec<RemovedPackage>,
}

/// A package of the metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ListedPackage {
    /// `NAME-[EPOCH:]VERSION-RELEASE.ARCH`.
    pub nevra: String,
    /// Its path, relative to the repository.
    pub location: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its checksum, as the metadata has it.
    pub checksum: String,
    /// The name of the segment that it is in, if it is in one.
    pub segment: Option<String>,
}

/// A package that has left the metadata.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RemovedPackage {
    /// Where it was.
    pub location: String,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of its blob.
    pub digest: String,
    /// When it left.
    pub since: String,
}

/// A segment.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ListedSegment {
    /// Its name.
    pub name: String,
    /// The digest of its manifest.
    pub digest: String,
    /// Number of packages.
    pub packages: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// How many of them the metadata lists, of any architecture.
    pub listed: usize,
}

/// A package as the metadata describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub nevra: Nevra,
    /// Its path, relative to the repository.
    pub location: String,
    /// What its bytes hash to.
    pub checksum: Checksum,
    /// Its size in bytes.
    pub size: u64,
}

/// What the metadata of one architecture says.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Sorted by name, then by location.
    pub packages: Vec<Package>,
}

impl Publisher {
    /// Lists what a reference leads to; with `arch`, the metadata for that architecture alone.
    ///
    /// # Errors
    /// If it leads to no repository, or that cannot be read.
    pub async fn list(&self, source: &Source, arch: Option<&str>) -> Result<Listing, Error> {
        let (digest, mut state) = self.existing(source).await?;
        let pinned = at(source, &digest);
        self.read_segments(&pinned, &mut state.segments).await?;
        let placed = state.placed();
        let name =
            |digest: &Digest| placed.get(digest).map(|number| state.segments[*number].name());
        let mut architectures = Vec::new();
        for instance in selected(source, &state, arch)? {
            let Metadata { created, packages } = self.metadata(source, &digest, instance).await?;
            let segment = |package: &Package| name(&package.digest(instance)?);
            architectures.push(Architecture {
                arch: instance.arch.clone(),
                created: rfc3339(created),
                packages: packages
                    .iter()
                    .map(|all| ListedPackage::new(all, segment(all)))
                    .collect(),
                removed: instance.removed.iter().map(RemovedPackage::new).collect(),
            });
        }
        Ok(Listing {
            reference: source.reference.to_string(),
            previous: state.previous.clone(),
            segments: segments(&state),
            digest,
            architectures,
        })
    }

    /// What the reference leads to, and its digest.
    pub(super) async fn existing(&self, source: &Source) -> Result<(String, State), Error> {
        let state = self.state(source).await?;
        match state.digest.clone() {
            Some(digest) => Ok((digest, state)),
            None => Err(Error::conflict(source, "there is no such repository")),
        }
    }

    /// Reads the metadata of an instance.
    pub(super) async fn metadata(
        &self,
        source: &Source,
        digest: &str,
        instance: &Instance,
    ) -> Result<Metadata, Error> {
        let workspace = MetadataDir::new()?;
        self.fetch_metadata(source, digest, instance, &workspace.path).await?;
        blocking::run(move || Metadata::read(&workspace.path)).await
    }
}

/// The instances for an architecture: its own, or the one for all.
pub fn selected<'a>(
    source: &Source,
    state: &'a State,
    arch: Option<&str>,
) -> Result<Vec<&'a Instance>, Error> {
    let Some(arch) = arch else {
        return Ok(state.instances.iter().collect());
    };
    let instance = state.instance(Some(arch)).or_else(|| state.instance(None));
    instance.map(|instance| vec![instance]).ok_or_else(|| {
        let known: Vec<_> =
            state.instances.iter().filter_map(|instance| instance.arch.as_deref()).collect();
        let known = known.join(", ");
        Error::conflict(source, format!("it has no metadata for {arch:?}; choose one of {known}"))
    })
}

fn segments(state: &State) -> Vec<ListedSegment> {
    let packages = state.instances.iter().flat_map(|instance| instance.packages.values());
    let listed: HashSet<_> = packages.map(|package| &package.digest).collect();
    let segment = |segment: &Segment| ListedSegment {
        name: segment.name(),
        digest: segment.entry.digest.to_string(),
        packages: segment.packages.len(),
        bytes: segment.size(),
        listed: segment.packages.keys().filter(|digest| listed.contains(digest)).count(),
    };
    state.segments.iter().map(segment).collect()
}

impl Metadata {
    /// Reads the metadata in `directory`, which has a `repodata` in it.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let repodata = directory.join(REPODATA);
        let repomd = parse_repomd(&repodata.join(REPOMD))?;
        let created = repomd.created();
        let Some(primary) = repomd.primary() else {
            return Ok(Self { created, packages: Vec::new() });
        };
        let named = named_packages(&repodata.join(&primary.name))?.into_iter();
        let mut packages: Vec<_> = named
            .map(|(repomd::Package { location, checksum, size }, nevra)| Package {
                nevra,
                location,
                checksum,
                size,
            })
            .collect();
        packages.sort_by(|one, other| one.key().cmp(&other.key()));
        Ok(Self { created, packages })
    }
}

impl Package {
    /// Its name as people write it.
    pub fn name(&self) -> String {
        self.nevra.spellings().swap_remove(0)
    }

    /// What packages are sorted by.
    pub fn key(&self) -> (&str, &str, String, &str) {
        (&self.nevra.name, &self.nevra.arch, self.name(), &self.location)
    }

    /// The digest of its blob: the metadata has it, unless its checksums are others.
    pub fn digest(&self, instance: &Instance) -> Option<Digest> {
        let held = || instance.packages.get(&self.location).map(|held| held.digest.clone());
        Digest::try_from(&self.checksum).ok().or_else(held)
    }
}

impl ListedPackage {
    pub(super) fn new(package: &Package, segment: Option<String>) -> Self {
        Self {
            nevra: package.name(),
            location: package.location.clone(),
            size: package.size,
            checksum: package.checksum.to_string(),
            segment,
        }
    }
}

impl RemovedPackage {
    fn new(removed: &Removed) -> Self {
        Self {
            location: removed.location.clone(),
            size: removed.package.size,
            digest: removed.package.digest.to_string(),
            since: rfc3339(removed.time),
        }
    }
}
