//! One repository as one session sees it: what it has at a path.

use std::io::{self, Cursor, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};

use containers_image_proxy::oci_spec::image::Descriptor;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::{Mutex, OnceCell};
use tokio_util::task::AbortOnDropHandle;

use super::Engine;
use super::announced::Announced;
use super::content::{Content, Entry, Origin};
use super::error::{Cause, Error};
use super::failures::Failures;
use super::layers::Layers;
use super::listing::Listing;
use super::locations::Locations;
use super::manifests::Snapshot;
use super::prefetch::identity;
use super::reading::run;
use super::segments::Requested;
use super::store_use::StoreUse;
use super::unpack::{OneFile, Part};
use crate::artifact::{Artifact, PackageLocation, Repodata, Titled};
use crate::blocking::join;
use crate::checksum::{Algorithm, Hasher};
use crate::dnf_cache::CachedMetadata;
use crate::layer_store::Layer;
use crate::registry::{Check, Delivered};
use crate::repomd::{MAX_REPOMD, Package};
use crate::source::Source;

/// The directory of the metadata, relative to the repository.
pub(super) const REPODATA: &str = "repodata/";

/// The index of the metadata.
pub(crate) const REPOMD: &str = "repodata/repomd.xml";

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
    /// The packages that are about to be requested.
    pub(super) announced: StdMutex<Arc<Announced>>,
    /// The packages that dnf5 has got and checks.
    delivered: Arc<Delivered>,
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
pub(super) struct Inside {
    pub(super) titled: Titled,
    /// The directory of the repository in the layer, with a slash at its end, or empty.
    pub(super) root: String,
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
            announced: StdMutex::default(),
            delivered: Arc::default(),
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

    /// The manifest, unless it takes a request to get it: it has been looked up, or is being looked up, or the one
    /// with the preferred digest was a moment ago.
    pub(super) async fn snapshot_at_hand(
        &self,
        preferred: Option<&str>,
    ) -> Result<Option<Arc<Snapshot>>, Cause> {
        let is_looked_up = self.snapshot.lock().await.is_some();
        let is_at_hand = is_looked_up
            || match preferred {
                Some(digest) => self.engine.recent(self.source().await?, digest).await?.is_some(),
                None => false,
            };
        match is_at_hand {
            true => self.snapshot_near(preferred).await.map(Some),
            false => Ok(None),
        }
    }

    /// The manifest that the reference leads to; if it has not been looked up yet, the one with this digest is
    /// preferred.
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
            return self.package(path).await;
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
    pub(super) async fn inside(
        &self,
        artifact: &Artifact,
        candidates: &[Titled],
    ) -> Result<&Inside, Cause> {
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

    /// One file of a layer, of which nothing else is kept.
    pub(super) async fn one_file(
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
    pub(super) async fn unpack(&self, layer: &Descriptor, part: Part) -> Result<Layer, Cause> {
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
    pub(super) async fn listing(&self) -> Result<Arc<Listing>, Cause> {
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
        let check = match entry.is_checked_by_reader {
            true => Check::ByReader(&self.delivered),
            false => Check::Here,
        };
        match entry.origin {
            Origin::File(file, layer) => {
                let mut file = tokio::fs::File::from_std(file);
                file.seek(SeekFrom::Start(offset)).await.map_err(Cause::reading)?;
                Ok(Content::File(file, layer))
            }
            Origin::Blob(descriptor) => self.blob(&descriptor, offset, check).await,
            Origin::Embedded(_, content) => {
                let mut content = Cursor::new(content);
                content.set_position(offset);
                Ok(Content::Embedded(content))
            }
            Origin::Unlisted(package) => self.unlisted(*package, offset, check).await,
        }
    }

    /// A blob from `offset` on. What comes before is read as well: the digest is that of the whole, and
    /// registries are asked for nothing less.
    pub(super) async fn blob(
        &self,
        descriptor: &Descriptor,
        offset: u64,
        check: Check<'_>,
    ) -> Result<Content, Cause> {
        let mut blob = self.engine.registry.blob(self.source().await?, descriptor, check).await?;
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
