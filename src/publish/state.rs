//! What a tag leads to, as a publisher needs to know it: the manifests with metadata, the segments, and which
//! package is in which of them.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use containers_image_proxy::oci_spec::image::{
    Descriptor as Layer, Digest as BlobDigest, MediaType,
};
use futures_util::{TryStreamExt, stream};
use tokio::io::AsyncReadExt;

use super::Publisher;
use super::document::{Descriptor, Digest, Index, Manifest};
use super::error::Error;
use crate::artifact::locations::{Located, Table};
use crate::artifact::media_types::{CREATED, LOCATIONS, PREVIOUS, REMOVED};
use crate::artifact::{Artifact, Repodata};
use crate::blocking;
use crate::error_kind::{Failure, Kind};
use crate::reference::Reference;
use crate::registry::{Blob, Check, RawManifest};
use crate::source::Source;

/// The largest table or metadata file that is held in memory, in bytes.
const MAX_BLOB: u64 = 256 << 20;

/// How many manifests are read side by side.
pub const PARALLEL: usize = 8;

/// How titles of packages end.
const PACKAGE: &str = ".rpm";

/// The directory of the metadata, as titles have it.
pub const REPODATA: &str = "repodata/";

/// What a tag leads to.
#[derive(Debug, Default)]
pub struct State {
    /// The digest of the manifest or index under the tag; `None` if there is no such tag yet.
    pub digest: Option<String>,
    /// What the tag led to before, if that is recorded.
    pub previous: Option<String>,
    /// Whether it is an index.
    pub is_index: bool,
    /// The manifests with metadata: one without an architecture, or one for each.
    pub instances: Vec<Instance>,
    /// In the order of the index.
    pub segments: Vec<Segment>,
}

/// The metadata of the repository, or of one architecture.
#[derive(Clone, Debug)]
pub struct Instance {
    /// In Go's names; `None` is the one for all.
    pub arch: Option<String>,
    /// Its manifest.
    pub descriptor: Descriptor,
    /// The annotations of its manifest.
    pub annotations: BTreeMap<String, String>,
    /// The layers that are neither packages nor tables: metadata and other files.
    pub files: Vec<Descriptor>,
    /// Whether all its packages are layers of their own, so that they can stay while others come.
    pub is_extensible: bool,
    /// Whether its packages are in segments.
    pub is_segmented: bool,
    /// By location.
    pub packages: BTreeMap<String, Held>,
    /// Packages that have left the metadata.
    pub removed: Vec<Removed>,
}

/// A package that the registry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The digest of its blob.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// A package that has left the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Where it was.
    pub location: String,
    /// The package.
    pub package: Held,
    /// When it left, in seconds since 1970.
    pub time: u64,
}

/// What a tag leads to, and what it led to before, if that is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedTag {
    /// The digest of the manifest or index.
    pub digest: String,
    /// The digest of the one before.
    pub previous: Option<String>,
}

/// A manifest or an index.
#[derive(Default, serde::Deserialize)]
struct Annotated {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// A manifest of packages.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its entry in the index.
    pub entry: Descriptor,
    /// Its name; empty if it is not one of this layout, which is then replaced.
    pub variant: String,
    /// Its packages, as far as the tables tell, by digest; with their locations.
    pub packages: BTreeMap<Digest, (String, u64)>,
}

impl State {
    /// The instance for an architecture, or the one for all.
    pub fn instance(&self, arch: Option<&str>) -> Option<&Instance> {
        self.instances.iter().find(|instance| instance.arch.as_deref() == arch)
    }

    /// All packages that its manifests name, with their sizes.
    pub fn packages(&self) -> HashMap<&Digest, u64> {
        let of_instances = self.instances.iter().flat_map(Instance::held);
        let of_segments = self.segments.iter().flat_map(|segment| &segment.packages);
        of_instances
            .map(|package| (&package.digest, package.size))
            .chain(of_segments.map(|(digest, (_, size))| (digest, *size)))
            .collect()
    }

    /// The first segment that each package is in.
    pub fn placed(&self) -> HashMap<&Digest, usize> {
        let mut placed = HashMap::new();
        for (number, segment) in self.segments.iter().enumerate() {
            for digest in segment.packages.keys() {
                placed.entry(digest).or_insert(number);
            }
        }
        placed
    }
}

impl Publisher {
    /// Reads what the reference leads to.
    ///
    /// # Errors
    /// If it is not a repository, or cannot be read.
    pub async fn state(&self, source: &Source) -> Result<State, Error> {
        let Some(top) = self.raw_if_any(source).await? else {
            return Ok(State::default());
        };
        let pinned = at(source, &top.digest);
        match serde_json::from_slice::<Index>(&top.bytes) {
            Ok(index) => self.read_index(&pinned, top.digest, index).await,
            Err(_) => self.read_single(&pinned, top).await,
        }
    }

    /// What a tag leads to, without a look at what it has.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn tag(&self, source: &Source) -> Result<Option<PublishedTag>, Error> {
        let Some(top) = self.raw_if_any(source).await? else {
            return Ok(None);
        };
        let annotated = serde_json::from_slice::<Annotated>(&top.bytes).unwrap_or_default();
        let previous = annotated.annotations.get(PREVIOUS).cloned();
        Ok(Some(PublishedTag { digest: top.digest, previous }))
    }

    /// The segments of an unfinished push that are not among those of the state.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn unfinished(&self, source: &Source, state: &State) -> Result<Vec<Segment>, Error> {
        let Some(top) = self.raw_if_any(source).await? else {
            return Ok(Vec::new());
        };
        let known: Vec<_> = state.segments.iter().map(|segment| &segment.entry.digest).collect();
        let index = parse::<Index>(source, &top.bytes)?;
        let mut segments: Vec<_> = index
            .manifests
            .into_iter()
            .filter(|entry| !known.contains(&&entry.digest))
            .filter_map(Segment::new)
            .collect();
        self.read_segments(source, &mut segments).await?;
        Ok(segments)
    }

    pub(super) async fn raw_if_any(&self, source: &Source) -> Result<Option<RawManifest>, Error> {
        match self.registry.raw_manifest(source).await {
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            top => top.map(Some).map_err(|error| Error::registry(source, error)),
        }
    }

    async fn read_single(&self, source: &Source, top: RawManifest) -> Result<State, Error> {
        let descriptor = describe(source, &top)?;
        let mut read = self.read_instance(source, None, descriptor, &top.bytes).await?;
        if read.is_promise {
            // A container image may have a layer with the title of a tar file, and must not be overwritten.
            read.instance.packages = self.listed(source, &top.digest, &read.instance).await?;
        }
        Ok(State {
            digest: Some(top.digest),
            previous: read.instance.annotations.get(PREVIOUS).cloned(),
            is_index: false,
            instances: vec![read.instance],
            segments: Vec::new(),
        })
    }

    async fn read_index(
        &self,
        source: &Source,
        digest: String,
        index: Index,
    ) -> Result<State, Error> {
        let (mut instances, mut segments) = (Vec::new(), Vec::new());
        let mut tables = Vec::new();
        for entry in index.manifests {
            if entry.is_segment() {
                segments.extend(Segment::new(entry));
                continue;
            }
            let arch = entry.platform.as_ref().map(|platform| platform.architecture.clone());
            let raw = self.raw(source, &entry.digest).await?;
            let of_arch = for_arch(source, arch.clone());
            let read = self.read_instance(&of_arch, arch, entry, &raw.bytes).await?;
            tables.push(read.segments);
            instances.push(read.instance);
        }
        if instances.is_empty() {
            return Err(Error::not_a_repository(source, "no manifest in it has metadata"));
        }
        for instance in instances.iter_mut().filter(|instance| !instance.is_segmented) {
            if !segments.is_empty() && instance.packages.is_empty() {
                // It was not published by us: the metadata alone tells what its packages are.
                instance.packages = self.listed(source, &digest, instance).await?;
                instance.is_segmented = true;
            }
        }
        self.fill_segments(source, &mut segments, &instances, &tables).await?;
        let previous = index.annotations.get(PREVIOUS).cloned();
        Ok(State { digest: Some(digest), previous, is_index: true, instances, segments })
    }

    /// Finds out what is in each segment: from the tables if they are complete, else from the segments.
    async fn fill_segments(
        &self,
        source: &Source,
        segments: &mut [Segment],
        instances: &[Instance],
        tables: &[Vec<Placed>],
    ) -> Result<(), Error> {
        let is_told = instances.iter().zip(tables).all(|(instance, placed)| {
            !instance.is_segmented
                || placed.len() == instance.packages.len() + instance.removed.len()
                    && !placed.is_empty()
        });
        let by_variant: HashMap<_, _> =
            segments.iter().enumerate().map(|(number, s)| (s.variant.clone(), number)).collect();
        let known = |placed: &Placed| by_variant.get(&placed.variant).copied();
        let is_own = segments.iter().all(|segment| !segment.variant.is_empty());
        if is_told && is_own && tables.iter().flatten().all(|placed| known(placed).is_some()) {
            for placed in tables.iter().flatten() {
                let number = known(placed).unwrap_or_default();
                let package = (placed.location.clone(), placed.size);
                segments[number].packages.insert(placed.digest.clone(), package);
            }
            return Ok(());
        }
        self.read_segments(source, segments).await
    }

    /// Reads what is in the segments, also what the tables do not name any more.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) async fn read_segments(
        &self,
        source: &Source,
        segments: &mut [Segment],
    ) -> Result<(), Error> {
        stream::iter(segments.iter_mut().map(Ok))
            .try_for_each_concurrent(PARALLEL, async |segment| {
                let raw = self.raw(source, &segment.entry.digest).await?;
                let layers = parse::<Manifest>(source, &raw.bytes)?.layers.into_iter();
                segment.packages = layers
                    .map(|layer| {
                        let title = layer.title().unwrap_or_default().to_owned();
                        (layer.digest, (title, layer.size))
                    })
                    .collect();
                Ok(())
            })
            .await
    }

    /// Reads a manifest that an index names.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) async fn raw(&self, source: &Source, digest: &Digest) -> Result<RawManifest, Error> {
        if let Reference::Layout(layout) = &source.reference {
            let path = layout.directory().join("blobs/sha256").join(digest.hex());
            return blocking::run(move || read_file(&path)).await;
        }
        self.raw_manifest(&at(source, digest.as_str())).await
    }

    /// Reads what a reference leads to, byte for byte.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) async fn raw_manifest(&self, source: &Source) -> Result<RawManifest, Error> {
        let raw = self.registry.raw_manifest(source).await;
        raw.map_err(|error| Error::registry(source, error))
    }

    async fn read_instance(
        &self,
        source: &Source,
        arch: Option<String>,
        descriptor: Descriptor,
        bytes: &[u8],
    ) -> Result<ReadInstance, Error> {
        let manifest = parse::<Manifest>(source, bytes)?;
        let artifact = Artifact::new(&parse(source, bytes)?)
            .map_err(|error| Error::not_a_repository(source, error))?;
        let mut instance = Instance {
            arch,
            descriptor,
            annotations: manifest.annotations,
            files: Vec::new(),
            is_extensible: is_extensible(&artifact),
            is_segmented: false,
            packages: BTreeMap::new(),
            removed: Vec::new(),
        };
        let is_archive = |digest: &Digest| match artifact.repodata() {
            Repodata::Archive(archive) => archive.digest().as_ref() == digest.as_str(),
            _ => false,
        };
        let mut segments = Vec::new();
        for layer in manifest.layers {
            match (layer.media_type.as_str(), layer.title()) {
                (LOCATIONS, _) => {
                    instance.is_segmented = true;
                    for (located, variant) in self.table(source, Table::Locations, &layer).await? {
                        let held = held(&located);
                        segments.push(Placed::new(&located, variant));
                        instance.packages.insert(located.location, held);
                    }
                }
                (REMOVED, _) => {
                    for (located, variant) in self.table(source, Table::Removed, &layer).await? {
                        let package = held(&located);
                        segments.push(Placed::new(&located, variant));
                        let time = located.removed.unwrap_or_default();
                        instance.removed.push(Removed {
                            location: located.location,
                            package,
                            time,
                        });
                    }
                }
                (_, Some(title)) if title.ends_with(PACKAGE) => {
                    let held = Held { digest: layer.digest.clone(), size: layer.size };
                    instance.packages.insert(title.to_owned(), held);
                }
                (_, Some(_)) if is_archive(&layer.digest) => {}
                (_, Some(_)) => instance.files.push(layer),
                // A removed package, which its table names.
                (_, None) => {}
            }
        }
        let is_promise = matches!(artifact.repodata(), Repodata::Inside(_));
        Ok(ReadInstance { instance, segments, is_promise })
    }

    /// Reads a table: each package with the variant of its segment.
    ///
    /// # Errors
    /// If it is malformed, or cannot be read.
    pub(super) async fn table(
        &self,
        source: &Source,
        table: Table,
        layer: &Descriptor,
    ) -> Result<Vec<(Located, String)>, Error> {
        let bytes = self.blob(source, layer).await?;
        let mut all = Vec::new();
        let variants = table
            .read(&bytes[..], layer.size, |located| all.push(located))
            .map_err(|error| Error::not_a_repository(source, error))?;
        let with_variant = |located: Located| {
            let variant = variants.get(located.segment).cloned().unwrap_or_default();
            (located, variant)
        };
        Ok(all.into_iter().map(with_variant).collect())
    }

    /// Reads a blob into memory.
    pub(super) async fn blob(&self, source: &Source, layer: &Descriptor) -> Result<Vec<u8>, Error> {
        if layer.size > MAX_BLOB {
            return Err(Error::not_a_repository(source, "a table in it is too large"));
        }
        let mut blob = self.open_blob(source, layer).await?;
        let mut bytes = Vec::new();
        blob.read_to_end(&mut bytes).await.map_err(|error| Error::reading(source, error))?;
        Ok(bytes)
    }

    /// Begins to read a blob.
    ///
    /// # Errors
    /// If the registry does not have it.
    pub(super) async fn open_blob(
        &self,
        source: &Source,
        layer: &Descriptor,
    ) -> Result<Blob, Error> {
        let digest = layer.digest.as_str().parse::<BlobDigest>();
        let digest = digest.map_err(|error| Error::not_a_repository(source, error))?;
        let descriptor = Layer::new(MediaType::Other(layer.media_type.clone()), layer.size, digest);
        let blob = self.registry.blob(source, &descriptor, Check::Here).await;
        blob.map_err(|error| Error::registry(source, error))
    }
}

struct ReadInstance {
    instance: Instance,
    segments: Vec<Placed>,
    /// Whether the metadata is inside a layer, if there is some.
    is_promise: bool,
}

/// Where a table has a package.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The digest of its blob.
    pub digest: Digest,
    /// Its path, relative to the repository.
    pub location: String,
    /// Its size in bytes.
    pub size: u64,
    /// The name of its segment; empty without segments.
    pub variant: String,
}

impl Placed {
    /// A row of a table, with the name of its segment.
    pub fn new(located: &Located, variant: String) -> Self {
        let Held { digest, size } = held(located);
        Self { digest, location: located.location.clone(), size, variant }
    }
}

fn held(located: &Located) -> Held {
    let digest = Digest::try_from(&located.sha256).expect("a table has nothing but SHA-256");
    Held { digest, size: located.size }
}

fn is_extensible(artifact: &Artifact) -> bool {
    let is_complete = match artifact.repodata() {
        Repodata::Archive(archive) => artifact.directories().all(|layer| layer == &**archive),
        Repodata::Files(_) => artifact.directories().next().is_none() && has_repodata(artifact),
        Repodata::Inside(_) => false,
    };
    artifact.root().is_empty() && is_complete
}

fn has_repodata(artifact: &Artifact) -> bool {
    artifact.layers().iter().any(|titled| titled.title == format!("{REPODATA}repomd.xml"))
}

impl Instance {
    /// Its packages, and those that have left it.
    pub fn held(&self) -> impl Iterator<Item = &Held> {
        self.packages.values().chain(self.removed.iter().map(|removed| &removed.package))
    }

    /// When its metadata was made, in seconds since 1970; 0 if it does not tell.
    pub fn created(&self) -> u64 {
        let time =
            self.annotations.get(CREATED).and_then(|time| humantime::parse_rfc3339(time).ok());
        let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since.map_or(0, |since| since.as_secs())
    }
}

impl Segment {
    /// The segment with this entry, if it is one. What is in it is not known yet.
    fn new(entry: Descriptor) -> Option<Self> {
        let variant = entry.platform.as_ref().filter(|_| entry.is_segment())?.variant.clone();
        let own = variant_of(&entry.digest);
        let variant = variant.filter(|variant| *variant == own).unwrap_or_default();
        Some(Self { entry, variant, packages: BTreeMap::new() })
    }

    /// What people know it by: the name that the index has for it.
    pub fn name(&self) -> String {
        let platform = self.entry.platform.as_ref();
        let name = platform.and_then(|platform| platform.variant.clone());
        name.unwrap_or_else(|| self.entry.digest.to_string())
    }

    /// The size of its packages in bytes.
    pub fn size(&self) -> u64 {
        self.packages.values().map(|(_, size)| size).sum()
    }
}

/// A time in seconds since 1970, as annotations have it.
pub fn rfc3339(time: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(time)).to_string()
}

/// The name of the segment with this digest: dnf5-oci-layout(7), "Segments".
pub fn variant_of(digest: &Digest) -> String {
    format!("s{}", &digest.hex()[..16])
}

/// The same repository at a digest.
pub fn at(source: &Source, digest: &str) -> Source {
    Source { reference: source.reference.at_digest(digest), access: source.access.clone() }
}

/// The same repository for an architecture.
pub fn for_arch(source: &Source, arch: Option<String>) -> Source {
    let mut source = source.clone();
    source.access.arch = arch;
    source
}

/// The digest of a manifest.
///
/// # Errors
/// If the registry uses another algorithm.
pub fn raw_digest(source: &Source, raw: &RawManifest) -> Result<Digest, Error> {
    let digest = Digest::try_from(raw.digest.clone());
    digest.map_err(|error| Error::not_a_repository(source, error))
}

fn describe(source: &Source, raw: &RawManifest) -> Result<Descriptor, Error> {
    let digest = raw_digest(source, raw)?;
    Ok(Descriptor::new(super::document::MANIFEST, digest, raw.bytes.len() as u64))
}

/// A manifest of a local layout.
fn read_file(path: &Path) -> Result<RawManifest, Error> {
    let bytes = fs::read(path).map_err(|error| Error::file(path, error))?;
    Ok(RawManifest { digest: Digest::of(&bytes).to_string(), bytes })
}

/// Parses a manifest or an index.
///
/// # Errors
/// If it is none.
pub fn parse<T: serde::de::DeserializeOwned>(source: &Source, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::not_a_repository(source, error))
}
