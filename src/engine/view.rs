//! One repository as one session sees it: what it has at a path.

use std::io::{self, Cursor, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};

use containers_image_proxy::oci_spec::image::{Descriptor, Digest, MediaType};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::{Mutex, OnceCell};
use tokio_util::task::AbortOnDropHandle;

use super::Engine;
use super::content::{Content, Entry, Origin, Unlisted};
use super::error::{Cause, Error};
use super::failures::Failures;
use super::layers::Layers;
use super::listing::{Listing, as_asked_for};
use super::locations::Locations;
use super::manifests::Snapshot;
use super::packages::Package;
use super::prefetch::identity;
use super::reading::run;
use super::segments::Requested;
use super::store_use::StoreUse;
use super::unpack::{OneFile, Packages, Part};
use crate::artifact::{self, Artifact, PackageLocation, Repodata, Titled};
use crate::blocking::join;
use crate::checksum::{Algorithm, Hasher};
use crate::dnf_cache::CachedMetadata;
use crate::error_kind::{Failure, Kind};
use crate::layer_store::Layer;
use crate::registry::Check;
use crate::repomd::{Known, MAX_REPOMD};
use crate::source::Source;

/// The directory of the metadata, relative to the repository.
pub(super) const REPODATA: &str = "repodata/";

/// The index of the metadata.
pub(super) const REPOMD: &str = "repodata/repomd.xml";

/// Its name in the directory of the metadata.
pub(super) const REPOMD_NAME: &str = "repomd.xml";

/// What has failed if the manifest cannot be had.
const MANIFEST: &str = "manifest";

/// One repository as one session sees it. The manifest that the reference leads to when it is first
/// needed stays the same for as long as this lives.
pub struct View {
    pub(super) engine: Engine,
    layers: Layers,
    pub(super) id: String,
    pub(super) source: Source,
    /// The source with the auth file that applies to it; found when it is first needed.
    credentialed: OnceCell<Source>,
    /// DNF's cache directory of the repository, if it is known.
    cache_dir: Option<PathBuf>,
    /// The metadata that dnf5 found there, if it was there when this was made.
    cached: Option<Arc<CachedMetadata>>,
    snapshot: Mutex<Option<Lookup>>,
    failures: Failures,
    /// What packages are requested by; read when the first one is, and again after new metadata.
    listing: Mutex<Option<Arc<Listing>>>,
    /// The manifest's table of locations; opened when it is first needed.
    pub(super) locations: OnceCell<Option<Locations>>,
    pub(super) requested: Requested,
    /// Where the metadata is if it is inside another layer.
    inside: OnceCell<Inside>,
    pub(super) store_use: StdMutex<StoreUse>,
    /// The digest of the repomd.xml that was requested last.
    repomd: StdMutex<Option<String>>,
}

/// The tar layer that has a repository in it.
struct Inside {
    titled: Titled,
    /// The directory of the repository in the layer, with a slash at its end, or empty.
    root: String,
}

/// What the reference leads to. The lookup goes on when the request that began it is cancelled: dnf5
/// asks again after half a minute, and skopeo takes longer than that over a dead mirror.
enum Lookup {
    Running(AbortOnDropHandle<Result<Arc<Snapshot>, Cause>>),
    Done(Arc<Snapshot>),
}

impl Engine {
    /// A view of a repository. Nothing is read and nothing requested yet.
    pub fn view(&self, id: &str, source: &Source) -> View {
        View {
            engine: self.clone(),
            layers: Layers::default(),
            id: id.to_owned(),
            source: source.clone(),
            credentialed: OnceCell::new(),
            cache_dir: None,
            cached: None,
            snapshot: Mutex::default(),
            failures: Failures::default(),
            listing: Mutex::default(),
            locations: OnceCell::new(),
            requested: Requested::default(),
            inside: OnceCell::new(),
            store_use: StdMutex::default(),
            repomd: StdMutex::default(),
        }
    }
}

impl View {
    /// The same, where dnf5 has the repository's metadata in this cache directory. The metadata is read now:
    /// another dnf5 may replace it before this one asks for packages.
    pub fn with_cache_dir(self, cache_dir: PathBuf) -> Self {
        let cached = CachedMetadata::open(&cache_dir).map(Arc::new);
        Self { cache_dir: Some(cache_dir), cached, ..self }
    }

    /// Finds what the repository has at `path`, which is relative to it.
    ///
    /// # Errors
    /// If it has nothing there, or the lookup fails.
    pub async fn find(&self, path: &str) -> Result<Entry, Error> {
        self.look_for(path).await.map_err(|cause| self.error(cause))
    }

    /// Begins to read an entry, `offset` bytes after its beginning.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn read(&self, entry: Entry, offset: u64) -> Result<Content, Error> {
        self.open(entry, offset).await.map_err(|cause| self.error(cause))
    }

    /// The smallest package that the metadata lists, if it lists any.
    ///
    /// # Errors
    /// If the metadata cannot be read.
    pub(crate) async fn smallest_package(&self) -> Result<Option<Package>, Error> {
        let smallest = async { self.listing().await?.smallest(self).await };
        smallest.await.map_err(|cause| self.error(cause))
    }

    /// The line for a failure while [`Content`] was read.
    pub fn read_error(&self, error: io::Error) -> Error {
        self.error(Cause::reading(error))
    }

    /// What `cause` means for this repository.
    pub(super) fn error(&self, cause: Cause) -> Error {
        let id = (!self.id.is_empty()).then_some(self.id.as_str());
        Error::new(id, self.credentialed.get().unwrap_or(&self.source), cause)
    }

    /// The manifest that the reference leads to.
    pub(crate) async fn snapshot(&self) -> Result<Arc<Snapshot>, Cause> {
        self.snapshot_near(None).await
    }

    /// The same; if it has not been looked up yet, the one with this digest is preferred.
    pub(super) async fn snapshot_near(
        &self,
        preferred: Option<&str>,
    ) -> Result<Arc<Snapshot>, Cause> {
        let mut lookup = self.snapshot.lock().await;
        if let Some(cause) = self.failures.recent(MANIFEST) {
            return Err(cause);
        }
        let current = match &mut *lookup {
            Some(current) => current,
            none => none.insert(self.look_up(preferred).await?),
        };
        let answer = match current {
            Lookup::Done(snapshot) => return Ok(Arc::clone(snapshot)),
            Lookup::Running(task) => join(task).await,
        };
        *lookup = answer.as_ref().ok().map(|snapshot| Lookup::Done(Arc::clone(snapshot)));
        answer.map_err(|cause| self.failures.record(MANIFEST, cause))
    }

    async fn look_up(&self, preferred: Option<&str>) -> Result<Lookup, Cause> {
        let (engine, source) = (self.engine.clone(), self.source().await?.clone());
        let preferred = preferred.map(str::to_owned);
        let task =
            tokio::spawn(async move { engine.look_up_at(&source, preferred.as_deref()).await });
        Ok(Lookup::Running(AbortOnDropHandle::new(task)))
    }

    /// The source with the auth file that applies to it.
    pub(crate) async fn source(&self) -> Result<&Source, Cause> {
        self.credentialed.get_or_try_init(|| self.engine.with_credentials(&self.source)).await
    }

    pub(super) async fn look_for(&self, path: &str) -> Result<Entry, Cause> {
        if !path.starts_with(REPODATA) {
            return self.package(path, None).await;
        }
        let entry = self.metadata(path).await?;
        if path == REPOMD {
            let repomd = digest(&entry).await?;
            self.listing.lock().await.take();
            self.record_origin(&repomd).await;
            *self.last_repomd() = Some(repomd);
        }
        Ok(entry)
    }

    /// Finds a package whose checksum is known, so that no metadata need be read.
    pub(super) async fn look_for_package(&self, package: &Package) -> Result<Entry, Cause> {
        let Package { location, checksum, size } = package;
        let algorithm = checksum.algorithm();
        let sha256 = (algorithm == Algorithm::Sha256).then(|| checksum.clone());
        self.package(location, Some(Known { size: *size, algorithm, sha256 })).await
    }

    /// Finds a file that the metadata does not list, of at most that many bytes.
    pub(super) async fn look_for_file(&self, path: &str, max_size: u64) -> Result<Entry, Cause> {
        let snapshot = self.snapshot().await?;
        let artifact = &snapshot.artifact;
        match artifact.package(path) {
            PackageLocation::Layer(layer) => return Ok(Entry::layer(layer, artifact)),
            PackageLocation::InDirectory(directories) => {
                for titled in directories {
                    let (root, title) = (artifact.root().to_owned(), titled.title.clone());
                    let part = Part::File(OneFile { path: path.to_owned(), root, title, max_size });
                    if let Some(entry) = self.one_file(&titled.layer, part, path).await? {
                        return Ok(entry);
                    }
                }
            }
            PackageLocation::OneOf(_) | PackageLocation::ByDigest => {}
        }
        Err(Cause::NoSuchFile(path.to_owned()))
    }

    pub(super) async fn metadata(&self, path: &str) -> Result<Entry, Cause> {
        let snapshot = self.snapshot().await?;
        let artifact = &snapshot.artifact;
        let name = path.strip_prefix(REPODATA).unwrap_or(path);
        let found = match artifact.repodata() {
            Repodata::Files(_) => {
                artifact.repodata().file(name)?.map(|layer| Entry::metadata(layer, artifact))
            }
            Repodata::Archive(layer) => {
                metadata_file(self.unpack(layer, Part::Repodata).await?, name)
            }
            Repodata::Inside(candidates) => {
                let Inside { titled, .. } = self.inside(artifact, candidates).await?;
                metadata_file(self.unpack(&titled.layer, Part::Metadata).await?, name)
            }
        };
        found.ok_or_else(|| Cause::NoSuchFile(path.to_owned()))
    }

    /// The layer that has the metadata in it.
    async fn inside(&self, artifact: &Artifact, candidates: &[Titled]) -> Result<&Inside, Cause> {
        let find = async || {
            for titled in candidates {
                let unpacked = match self.unpack(&titled.layer, Part::Metadata).await {
                    Err(cause) if cause.is_no_archive() => continue,
                    unpacked => unpacked?,
                };
                if let Some(directory) = unpacked.directory_of(REPOMD_NAME) {
                    let root = directory.strip_suffix(REPODATA).unwrap_or(&directory).to_owned();
                    return Ok(Inside { titled: titled.clone(), root });
                }
            }
            Err(artifact.no_repodata().into())
        };
        self.inside.get_or_try_init(find).await
    }

    /// Finds a package. `announced` is what its caller knows of it.
    async fn package(&self, location: &str, announced: Option<Known>) -> Result<Entry, Cause> {
        let listing = self.listing().await?;
        let snapshot = self.snapshot_near(listing.manifest_digest.as_deref()).await?;
        let artifact = &snapshot.artifact;
        let known = async || match &announced {
            Some(known) => Ok(known.clone()),
            None => {
                let known = listing.get(self, location).await?;
                known.ok_or_else(|| Cause::PackageNotInRepository(location.to_owned()))
            }
        };
        match artifact.package(location) {
            PackageLocation::Layer(layer)
                if announced.is_none() && listing.is_of(&snapshot.manifest_digest) =>
            {
                return Ok(Entry::layer(layer, artifact));
            }
            PackageLocation::Layer(layer) => {
                return select(artifact, location, &[layer], &known().await?);
            }
            PackageLocation::OneOf(layers) => {
                return select(artifact, location, &layers, &known().await?);
            }
            PackageLocation::InDirectory(directories) => {
                for titled in directories {
                    let found = self.in_directory(titled, artifact.root(), &listing, location);
                    if let Some(entry) = found.await? {
                        return Ok(entry);
                    }
                }
            }
            PackageLocation::ByDigest => {}
        }
        let known = self.with_sha256(location, known().await?).await?;
        if let Some(entry) = with_digest(artifact, &known) {
            return Ok(entry);
        }
        if let Repodata::Inside(candidates) = artifact.repodata() {
            let Inside { titled, root } = self.inside(artifact, candidates).await?;
            if let Some(entry) = self.in_directory(titled, root, &listing, location).await? {
                return Ok(entry);
            }
        }
        unlisted(location, &known, None)
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
        let listed = listing.packages(self).await?;
        let packages = Packages {
            index: Arc::clone(&listed.index),
            listing: listed.id.clone(),
            root: root.to_owned(),
            title: titled.title.clone(),
            only: None,
        };
        if !self.is_oversize(titled).await? {
            self.record_stored(&packages).await?;
            match self.unpack(&titled.layer, Part::Packages(packages.clone())).await {
                Ok(unpacked) => {
                    let file = unpacked.file(location);
                    return Ok(file.map(|file| Entry::file(file, Some(unpacked))));
                }
                Err(cause) if cause.is_over_limit() => self.record_oversize(titled),
                Err(cause) => return Err(cause),
            }
        }
        let part = Part::Packages(Packages { only: Some(location.to_owned()), ..packages });
        self.one_file(&titled.layer, part, location).await
    }

    /// One file of a layer, of which nothing else is kept.
    async fn one_file(
        &self,
        layer: &Descriptor,
        part: Part,
        path: &str,
    ) -> Result<Option<Entry>, Cause> {
        let source = self.source().await?;
        let file = self.layers.get_file(&self.engine, source, layer, part, path.to_owned());
        Ok(file.await?.map(|file| Entry::file(file, None)))
    }

    /// A part of a layer; it is unpacked if it has not been yet.
    async fn unpack(&self, layer: &Descriptor, part: Part) -> Result<Layer, Cause> {
        let key = part.key(layer.digest().as_ref());
        let unpacked = self.unpacked(layer, part).await?;
        self.record_use(key).await?;
        Ok(unpacked)
    }

    /// The same, whatever else the store has room for.
    pub(super) async fn unpacked(&self, layer: &Descriptor, part: Part) -> Result<Layer, Cause> {
        self.layers.get(&self.engine, self.source().await?, layer, part).await
    }

    fn last_repomd(&self) -> MutexGuard<'_, Option<String>> {
        self.repomd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What packages are requested by.
    async fn listing(&self) -> Result<Arc<Listing>, Cause> {
        let mut listing = self.listing.lock().await;
        if let Some(listing) = &*listing {
            return Ok(Arc::clone(listing));
        }
        let read = self.read_listing().await?;
        Ok(Arc::clone(listing.insert(Arc::new(read))))
    }

    async fn read_listing(&self) -> Result<Listing, Cause> {
        let Some(cache_dir) = self.cache_dir.clone() else {
            return Ok(Listing::default());
        };
        let current = run(move || Ok(CachedMetadata::open(&cache_dir).map(Arc::new))).await?;
        let requested = self.last_repomd().clone();
        if let Some(repomd) = requested {
            let fetched = current.filter(|cached| cached.repomd.to_string() == repomd);
            let manifest_digest = self.snapshot().await?.manifest_digest.clone();
            return Ok(fetched.map_or_else(Listing::default, |cached| {
                Listing::new(cached, Some(manifest_digest))
            }));
        }
        // What has a marker was fetched ahead of dnf5, which loads it. Anything else that was put there
        // later is another dnf5's.
        let is_ours =
            |cached: &Arc<CachedMetadata>| cached.marker.is_some() || self.cached.is_none();
        let Some(cached) = current.filter(is_ours).or_else(|| self.cached.clone()) else {
            return Ok(Listing::default());
        };
        let manifest_digest = match &cached.marker {
            Some(marker) => Some(marker.manifest_digest.clone()),
            None => self.origin(&cached.repomd.to_string()).await?,
        };
        Ok(Listing::new(cached, manifest_digest))
    }

    /// The digest of the manifest that a repomd.xml with this digest came from, if that is recorded.
    pub(super) async fn origin(&self, repomd: &str) -> Result<Option<String>, Cause> {
        let (store, key) = (self.engine.store().await?, self.origin_key(repomd).await?);
        run(move || Ok(store.origin(&key))).await
    }

    /// Records that the repomd.xml that dnf5 is about to fetch comes from this manifest.
    async fn record_origin(&self, repomd: &str) {
        let recorded = async {
            let (store, snapshot) = (self.engine.store().await?, self.snapshot().await?);
            let key = self.origin_key(repomd).await?;
            run(move || {
                let recorded = store.record_origin(&key, &snapshot.manifest_digest);
                recorded.map_err(Cause::UnpackedLayer)
            })
            .await
        };
        if let Err(error) = recorded.await {
            tracing::debug!(%error, "the manifest of the metadata is not recorded");
        }
    }

    async fn origin_key(&self, repomd: &str) -> Result<String, Cause> {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(format!("{}\n{repomd}", identity(self.source().await?)).as_bytes());
        Ok(hasher.finish().hex().to_owned())
    }

    /// repomd.xml, as it is.
    pub(super) async fn repomd(&self) -> Result<Vec<u8>, Cause> {
        let entry = self.metadata(REPOMD).await?;
        let mut xml = Vec::new();
        // One byte more than is accepted tells that there is too much.
        let content = self.open(entry, 0).await?.take(MAX_REPOMD + 1);
        { content }.read_to_end(&mut xml).await.map_err(Cause::reading)?;
        Ok(xml)
    }

    pub(super) async fn open(&self, entry: Entry, offset: u64) -> Result<Content, Cause> {
        match entry.origin {
            Origin::File(file, layer) => {
                let mut file = tokio::fs::File::from_std(file);
                file.seek(SeekFrom::Start(offset)).await.map_err(Cause::reading)?;
                Ok(Content::File(file, layer))
            }
            Origin::Blob(descriptor) => self.blob(&descriptor, offset).await,
            Origin::Embedded(_, content) => {
                let mut content = Cursor::new(content);
                content.set_position(offset);
                Ok(Content::Embedded(content))
            }
            Origin::Unlisted(package) => self.unlisted(*package, offset).await,
        }
    }

    /// A package that no layer leads to, from `offset` on.
    async fn unlisted(&self, package: Unlisted, offset: u64) -> Result<Content, Cause> {
        let is_absent = |cause: &Cause| cause.kind() == Kind::NotFound;
        let mut content = self.blob(&package.blob, offset).await;
        if content.as_ref().is_err_and(is_absent) && self.request_segment_of(&package).await? {
            content = self.blob(&package.blob, offset).await;
        }
        content.map_err(|cause| if is_absent(&cause) { package.absent } else { cause })
    }

    /// A blob from `offset` on. What comes before is read as well: the digest is that of the whole, and
    /// registries are asked for nothing less.
    async fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Content, Cause> {
        let mut blob =
            self.engine.registry.blob(self.source().await?, descriptor, Check::Here).await?;
        let before = &mut (&mut blob).take(offset);
        tokio::io::copy(before, &mut tokio::io::sink()).await.map_err(Cause::reading)?;
        Ok(Content::Blob(Box::new(blob)))
    }
}

/// A file of metadata that was unpacked.
fn metadata_file(unpacked: Layer, name: &str) -> Option<Entry> {
    let directory = unpacked.directory_of(REPOMD_NAME)?;
    let file = unpacked.file(&format!("{directory}{name}"))?;
    Some(Entry::file(file, Some(unpacked)))
}

/// The one of the layers with a package's title that is the package by its checksum.
fn select(
    artifact: &Artifact,
    location: &str,
    layers: &[&Descriptor],
    known: &Known,
) -> Result<Entry, Cause> {
    if let Some(entry) = with_digest(artifact, known) {
        return Ok(entry);
    }
    match (&known.sha256, layers) {
        // The tag has moved to another package: the registry may still have this one.
        (Some(expected), [layer, ..]) => {
            let (expected, found) = (expected.to_string(), layer.digest().to_string());
            let changed = Cause::PackageChanged { location: location.into(), expected, found };
            unlisted(location, known, Some(changed))
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

/// The blob that a package would be if no layer leads to it; and what it means that the registry does not
/// have it.
fn unlisted(location: &str, known: &Known, absent: Option<Cause>) -> Result<Entry, Cause> {
    let (location, algorithm) = (location.to_owned(), known.algorithm);
    let digest = known.sha256.as_ref().and_then(|sha256| sha256.to_string().parse::<Digest>().ok());
    let Some(digest) = digest else {
        return Err(Cause::NotSha256 { location, algorithm });
    };
    let blob = Descriptor::new(MediaType::ImageLayer, known.size, digest);
    let absent = absent.unwrap_or_else(|| Cause::PackageNotInRepository(location.clone()));
    let package = Unlisted { location, blob, absent };
    Ok(Entry { size: known.size, modified: None, origin: Origin::Unlisted(Box::new(package)) })
}

/// The SHA-256 of an entry.
async fn digest(entry: &Entry) -> Result<String, Cause> {
    let mut file = match &entry.origin {
        Origin::File(file, _) => file.try_clone().map_err(Cause::UnpackedLayer)?,
        Origin::Blob(layer) | Origin::Embedded(layer, _) => return Ok(layer.digest().to_string()),
        Origin::Unlisted(package) => return Ok(package.blob.digest().to_string()),
    };
    run(move || {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        io::copy(&mut file, &mut hasher).map_err(Cause::UnpackedLayer)?;
        file.rewind().map_err(Cause::UnpackedLayer)?;
        Ok(hasher.finish().to_string())
    })
    .await
}
