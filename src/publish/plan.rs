//! The next state of a repository: what its manifests, segments and index are. Nothing is requested or
//! written here.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

use super::Limits;
use super::contents::{Blob, Content, Contents, REPOMD, title};
use super::document::{CONFIG, Descriptor, Digest, Index, MANIFEST, Manifest, Platform, to_bytes};
use super::segments::{Arrangement, Placement, arrange, layer_of, outgrown};
use super::state::{Held, Instance, Removed, State, rfc3339};
use crate::artifact::locations::{Located, Table};
use crate::artifact::media_types::{
    CREATED, EMPTY, LOCATIONS, PACKAGE, PACKAGES, PREVIOUS, REMOVED, REPOSITORY, SEGMENTS, ZSTD,
};

/// What is to be pushed, and what the tag will lead to.
#[derive(Debug)]
pub struct Plan {
    /// What the tag will lead to.
    pub top: Document,
    /// Manifests with metadata that are new, if there is an index.
    pub manifests: Vec<Document>,
    /// All segments.
    pub segments: Vec<Placement>,
}

/// A manifest or index.
#[derive(Debug)]
pub struct Document {
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether it is an index.
    pub is_index: bool,
    /// Its layers and its config.
    pub blobs: Vec<Blob>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A package is nowhere.
    #[error(
        "package {0:?} of the metadata is neither in the directory nor in the registry; run createrepo_c, or use --createrepo"
    )]
    Absent(String),
    /// The index has become too large.
    #[error(
        "the index would have {entries} entries and {bytes} bytes, more than registries take; run \"dnf5-oci prune\""
    )]
    TooLarge {
        /// Number of manifests.
        entries: usize,
        /// Size in bytes.
        bytes: usize,
    },
    /// A manifest has become too large.
    #[error(
        "the manifest with the metadata would have {0} bytes, more than registries take; publish fewer keys and metadata files"
    )]
    LargeManifest(usize),
    /// A location cannot be written to the table.
    #[error("{0}")]
    Table(#[from] std::io::Error),
    /// Metadata is in a tar layer, which cannot be pushed again without a look at it.
    #[error(
        "its metadata files are not layers of their own; publish the whole directory once with \"dnf5-oci publish\""
    )]
    Packed,
    /// There is metadata for each architecture, and it was not said which is meant.
    #[error("it has metadata for each architecture ({0}); use --arch")]
    ArchMissing(String),
    /// There is metadata for all architectures.
    #[error(
        "it has metadata for all architectures together; publish without --arch, or with another tag"
    )]
    ArchGiven,
}

/// The metadata of one architecture in the next state.
#[derive(Clone, Debug)]
pub struct Next {
    /// In Go's names; `None` is the one for all.
    pub arch: Option<String>,
    /// Metadata and other files.
    pub files: Vec<Blob>,
    /// By location.
    pub packages: BTreeMap<String, Held>,
    /// Packages that have left the metadata.
    pub removed: Vec<Removed>,
    /// When the metadata was made.
    pub created: Option<String>,
    /// Whether its packages are in segments.
    pub is_segmented: bool,
    /// Its entry in the index, as long as nothing in it changes.
    pub entry: Option<Descriptor>,
}

impl From<&Instance> for Next {
    fn from(instance: &Instance) -> Self {
        let remote =
            |file: &Descriptor| Blob { descriptor: file.clone(), content: Content::Remote };
        Self {
            arch: instance.arch.clone(),
            files: instance.files.iter().map(remote).collect(),
            packages: instance.packages.clone(),
            removed: instance.removed.clone(),
            created: instance.annotations.get(CREATED).cloned(),
            is_segmented: instance.is_segmented,
            entry: Some(instance.descriptor.clone()),
        }
    }
}

impl Next {
    /// The metadata of an architecture that has this content from now on. Packages that leave it are
    /// recorded as removed at the time `now`, in seconds since 1970.
    pub fn with(old: Option<&Instance>, arch: Option<&str>, contents: Contents, now: u64) -> Self {
        let kept: HashSet<_> = contents.packages.values().map(|held| &held.digest).collect();
        let mut removed = old.map(|old| old.removed.clone()).unwrap_or_default();
        let left = old.into_iter().flat_map(|old| &old.packages);
        removed.extend(left.map(|(location, package)| Removed {
            location: location.clone(),
            package: package.clone(),
            time: now,
        }));
        removed.retain(|removed| !kept.contains(&removed.package.digest));
        Self {
            arch: arch.map(str::to_owned),
            removed,
            created: Some(rfc3339(contents.created)),
            is_segmented: old.is_some_and(|old| old.is_segmented),
            entry: None,
            files: contents.files,
            packages: contents.packages,
        }
    }
}

impl Plan {
    /// The next state after one in which the metadata of one architecture changes to `next`.
    ///
    /// # Errors
    /// If it cannot be.
    pub fn new(
        state: &State,
        next: Next,
        paths: &HashMap<Digest, PathBuf>,
        limits: &Limits,
    ) -> Result<Self, Problem> {
        check_arch(state, next.arch.as_deref())?;
        check_packages(state, &next, paths)?;
        let mut all: Vec<_> = state.instances.iter().map(Next::from).collect();
        all.retain(|other| other.arch != next.arch);
        all.push(next);
        all.sort_by(|one, other| one.arch.cmp(&other.arch));
        // Small segments are merged when there is something to push anyway.
        let kept = vec![false; state.segments.len()];
        let replaced = outgrown(&state.segments, limits);
        Self::unless_current(state, all, paths, limits, &kept, &replaced)
    }

    /// Whether the tag leads to this already.
    pub fn is_current(&self, state: &State) -> bool {
        state.digest.as_deref() == Some(self.top.digest.as_str())
    }

    /// The next state with these instances, without the segments that are `replaced`.
    ///
    /// # Errors
    /// If it cannot be.
    pub fn of(
        state: &State,
        all: Vec<Next>,
        paths: &HashMap<Digest, PathBuf>,
        limits: &Limits,
        replaced: &[bool],
    ) -> Result<Self, Problem> {
        Self::unless_current(state, all, paths, limits, replaced, replaced)
    }

    /// The present state if these instances are what it has, without the segments in `dropped`; the next one
    /// without those that are `replaced` if not.
    fn unless_current(
        state: &State,
        all: Vec<Next>,
        paths: &HashMap<Digest, PathBuf>,
        limits: &Limits,
        dropped: &[bool],
        replaced: &[bool],
    ) -> Result<Self, Problem> {
        if state.digest.is_some() {
            // The same state has the same digest only if it names the same one before it.
            let before = state.previous.clone();
            let plan = Self::after(state, before, all.clone(), paths, limits, dropped)?;
            if plan.is_current(state) {
                return Ok(plan);
            }
        }
        Self::after(state, state.digest.clone(), all, paths, limits, replaced)
    }

    fn after(
        state: &State,
        before: Option<String>,
        mut all: Vec<Next>,
        paths: &HashMap<Digest, PathBuf>,
        limits: &Limits,
        replaced: &[bool],
    ) -> Result<Self, Problem> {
        for next in all.iter_mut().filter(|next| next.entry.is_none() && !next.is_segmented) {
            let bytes = render(next, None, None, paths)?.bytes.len();
            next.is_segmented = next.layers() > limits.layers || bytes > limits.manifest_bytes;
        }
        let needed = needed(&all);
        let arrangement = arrange(&state.segments, replaced, &needed, limits);
        let is_rearranged = replaced.contains(&true);
        let is_index = state.is_index
            || all.len() > 1
            || all.iter().any(|next| next.is_segmented || next.arch.is_some());
        let mut manifests = Vec::new();
        let mut entries = Vec::new();
        for next in &all {
            match &next.entry {
                Some(entry) if !(next.is_segmented && is_rearranged) => entries.push(entry.clone()),
                _ => {
                    let before = before.as_deref().filter(|_| !is_index);
                    let document = render(next, Some(&arrangement), before, paths)?;
                    entries.push(document.entry(next.arch.as_deref()));
                    manifests.push(document);
                }
            }
        }
        for document in &manifests {
            if document.bytes.len() > limits.manifest_bytes {
                return Err(Problem::LargeManifest(document.bytes.len()));
            }
        }
        let segments = arrangement.segments;
        let top = match (is_index, manifests.pop()) {
            (false, Some(document)) => document,
            (_, last) => {
                manifests.extend(last);
                entries.extend(segments.iter().map(|segment| segment.entry.clone()));
                index(entries, &all, before, limits)?
            }
        };
        Ok(Self { top, manifests, segments })
    }

    /// The segments that are new.
    pub fn new_segments(&self) -> impl Iterator<Item = &Placement> {
        self.segments.iter().filter(|segment| segment.new.is_some())
    }
}

impl Next {
    /// Its packages, and those that have left it.
    pub fn held(&self) -> impl Iterator<Item = &Held> {
        self.packages.values().chain(self.removed.iter().map(|removed| &removed.package))
    }

    /// How many layers its manifest has with its packages in it.
    fn layers(&self) -> usize {
        let removed = usize::from(!self.removed.is_empty()) + self.removed.len();
        self.files.len() + self.packages.len() + removed
    }
}

impl Document {
    fn new(bytes: Vec<u8>, is_index: bool, blobs: Vec<Blob>) -> Self {
        Self { digest: Digest::of(&bytes), bytes, is_index, blobs }
    }

    fn entry(&self, arch: Option<&str>) -> Descriptor {
        Descriptor {
            annotations: [(ZSTD.to_owned(), "true".to_owned())].into(),
            artifact_type: Some(REPOSITORY.to_owned()),
            platform: arch.map(Platform::linux),
            ..Descriptor::new(MANIFEST, self.digest.clone(), self.bytes.len() as u64)
        }
    }
}

fn check_arch(state: &State, arch: Option<&str>) -> Result<(), Problem> {
    let known: Vec<_> =
        state.instances.iter().filter_map(|instance| instance.arch.as_deref()).collect();
    match arch {
        None if !known.is_empty() => Err(Problem::ArchMissing(known.join(", "))),
        Some(_) if known.is_empty() && state.digest.is_some() => Err(Problem::ArchGiven),
        _ => Ok(()),
    }
}

/// Every package must be somewhere.
fn check_packages(
    state: &State,
    next: &Next,
    paths: &HashMap<Digest, PathBuf>,
) -> Result<(), Problem> {
    let held = held(state);
    let is_there = |held_package: &Held| {
        paths.contains_key(&held_package.digest) || held.contains(&held_package.digest)
    };
    match next.packages.iter().find(|(_, package)| !is_there(package)) {
        Some((location, _)) => Err(Problem::Absent(location.clone())),
        None => Ok(()),
    }
}

/// All blobs that the registry has for the repository.
pub fn held(state: &State) -> HashSet<&Digest> {
    let of_instances = state.instances.iter().flat_map(|instance| {
        let packages = instance.packages.values().map(|package| &package.digest);
        let removed = instance.removed.iter().map(|removed| &removed.package.digest);
        packages.chain(removed).chain(instance.files.iter().map(|file| &file.digest))
    });
    let of_segments = state.segments.iter().flat_map(|segment| segment.packages.keys());
    of_instances.chain(of_segments).collect()
}

/// The packages that must be in segments, with their locations and sizes.
pub fn needed(all: &[Next]) -> BTreeMap<Digest, (String, u64)> {
    let mut needed = BTreeMap::new();
    for next in all.iter().filter(|next| next.is_segmented) {
        let removed = next.removed.iter().map(|removed| (&removed.location, &removed.package));
        for (location, Held { digest, size }) in removed.chain(&next.packages) {
            needed.insert(digest.clone(), (location.clone(), *size));
        }
    }
    needed
}

/// The manifest with the metadata: dnf5-oci-layout(7).
fn render(
    next: &Next,
    arrangement: Option<&Arrangement>,
    before: Option<&str>,
    paths: &HashMap<Digest, PathBuf>,
) -> Result<Document, Problem> {
    let repomd = title(REPOMD);
    if next.files.iter().all(|file| file.descriptor.title() != Some(&repomd)) {
        return Err(Problem::Packed);
    }
    let mut blobs = next.files.clone();
    let mut untitled = Vec::new();
    let content = |digest: &Digest| {
        paths.get(digest).map_or(Content::Remote, |path| Content::File(path.clone()))
    };
    if !next.is_segmented {
        blobs.extend(next.packages.iter().map(|(location, package)| Blob {
            descriptor: layer_of(location, package),
            content: content(&package.digest),
        }));
        let removed: BTreeMap<_, _> = next
            .removed
            .iter()
            .map(|removed| (&removed.package.digest, removed.package.size))
            .collect();
        untitled.extend(removed.into_iter().map(|(digest, size)| Blob {
            descriptor: Descriptor::new(PACKAGE, digest.clone(), size),
            content: Content::Remote,
        }));
    }
    if let Some(arrangement) = arrangement.filter(|_| next.is_segmented) {
        untitled.push(locations(next, arrangement)?);
    }
    if !next.removed.is_empty() {
        untitled.push(removed(next, arrangement.filter(|_| next.is_segmented))?);
    }
    blobs.sort_by(|one, other| {
        let key = |blob: &Blob| {
            (blob.descriptor.title().map(str::to_owned), blob.descriptor.digest.clone())
        };
        key(one).cmp(&key(other))
    });
    blobs.extend(untitled);
    let layers = blobs.iter().map(|blob| blob.descriptor.clone()).collect();
    let mut manifest = Manifest::new(REPOSITORY, layers);
    manifest.annotations.extend(next.created.clone().map(|time| (CREATED.to_owned(), time)));
    manifest.annotations.extend(before.map(|before| (PREVIOUS.to_owned(), before.to_owned())));
    blobs.push(bytes_blob(EMPTY, CONFIG.to_vec()));
    Ok(Document::new(to_bytes(&manifest), false, blobs))
}

fn bytes_blob(media_type: &str, bytes: Vec<u8>) -> Blob {
    let descriptor = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
    Blob { descriptor, content: Content::Bytes(bytes) }
}

fn locations(next: &Next, arrangement: &Arrangement) -> Result<Blob, Problem> {
    let all = next.packages.iter().map(|(location, package)| (location, package, None));
    let (variants, located) = tabulate(all, Some(arrangement));
    let mut blob = bytes_blob(LOCATIONS, Table::Locations.write(&variants, &located)?);
    let annotations = &mut blob.descriptor.annotations;
    annotations.insert(PACKAGES.to_owned(), located.len().to_string());
    annotations.insert(SEGMENTS.to_owned(), variants.len().to_string());
    Ok(blob)
}

fn removed(next: &Next, arrangement: Option<&Arrangement>) -> Result<Blob, Problem> {
    let all = next
        .removed
        .iter()
        .map(|removed| (&removed.location, &removed.package, Some(removed.time)));
    let (variants, located) = tabulate(all, arrangement);
    Ok(bytes_blob(REMOVED, Table::Removed.write(&variants, &located)?))
}

/// The rows of a table, and the variants of the segments that they are in.
fn tabulate<'a>(
    packages: impl Iterator<Item = (&'a String, &'a Held, Option<u64>)>,
    arrangement: Option<&Arrangement>,
) -> (Vec<String>, Vec<Located>) {
    let packages: Vec<_> = packages.collect();
    let number = |package: &Held| {
        let numbers = arrangement.map(|arrangement| &arrangement.numbers);
        numbers.and_then(|numbers| numbers.get(&package.digest)).copied().unwrap_or_default()
    };
    let used: BTreeSet<_> = packages.iter().map(|(_, package, _)| number(package)).collect();
    let renumbered: HashMap<_, _> = used.iter().enumerate().map(|(to, from)| (*from, to)).collect();
    let variants = arrangement.map_or_else(Vec::new, |arrangement| {
        used.iter().map(|number| arrangement.segments[*number].variant.clone()).collect()
    });
    let located = packages.into_iter().filter_map(|(location, package, removed)| {
        Some(Located {
            location: location.clone(),
            sha256: package.digest.to_checksum()?,
            size: package.size,
            segment: renumbered[&number(package)],
            removed,
        })
    });
    (variants, located.collect())
}

fn index(
    entries: Vec<Descriptor>,
    all: &[Next],
    before: Option<String>,
    limits: &Limits,
) -> Result<Document, Problem> {
    let mut index = Index::new(REPOSITORY, entries);
    let created = all.iter().filter_map(|next| next.created.clone()).max();
    index.annotations.extend(created.map(|time| (CREATED.to_owned(), time)));
    index.annotations.extend(before.map(|before| (PREVIOUS.to_owned(), before)));
    let bytes = to_bytes(&index);
    if index.manifests.len() > limits.entries || bytes.len() > limits.manifest_bytes {
        return Err(Problem::TooLarge { entries: index.manifests.len(), bytes: bytes.len() });
    }
    Ok(Document::new(bytes, true, Vec::new()))
}
