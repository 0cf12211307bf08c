//! One repository as one session sees it: what it has at a path.

use std::collections::HashMap;
use std::io::{self, Read, SeekFrom};
use std::sync::Arc;

use containers_image_proxy::oci_spec::image::Descriptor;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::{Mutex, OnceCell};
use tokio_util::task::AbortOnDropHandle;

use super::content::{Content, Entry, Origin};
use super::error::{Cause, Error};
use super::failures::Failures;
use super::layers::Layers;
use super::manifests::Snapshot;
use super::packages::Package;
use super::reading::{read_blocking, retry_next_mirror};
use super::{Engine, packages};
use crate::artifact::archive::Limits;
use crate::artifact::{PackageLocation, Repodata};
use crate::blocking::join;
use crate::repomd::{Listed, MAX_REPOMD, Repomd, read_primary};
use crate::source::Source;

/// The directory of the metadata, relative to the repository.
pub(super) const REPODATA: &str = "repodata/";

/// The index of the metadata.
pub(super) const REPOMD: &str = "repodata/repomd.xml";

/// What has failed if the manifest cannot be had.
const MANIFEST: &str = "manifest";

/// One repository as one session sees it. The manifest that the reference leads to when it is first
/// needed stays the same for as long as this lives.
pub struct View {
    pub(super) engine: Engine,
    layers: Layers,
    id: String,
    source: Source,
    /// The source with the auth file that applies to it; found when it is first needed.
    credentialed: OnceCell<Source>,
    /// The manifest that the cached metadata came from, which is preferred to what the reference leads
    /// to now.
    pub(super) preferred_digest: Option<String>,
    snapshot: Mutex<Option<Lookup>>,
    failures: Failures,
    /// What the metadata list, by location; read when the first package has no layer.
    listed: OnceCell<HashMap<String, Package>>,
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
            preferred_digest: None,
            snapshot: Mutex::default(),
            failures: Failures::default(),
            listed: OnceCell::new(),
        }
    }
}

impl View {
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
        let listed = self.all_listed().await.map_err(|cause| self.error(cause))?;
        Ok(listed.values().min_by_key(|package| (package.size, &package.location)).cloned())
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
        let mut lookup = self.snapshot.lock().await;
        if let Some(cause) = self.failures.recent(MANIFEST) {
            return Err(cause);
        }
        let current = match &mut *lookup {
            Some(current) => current,
            none => none.insert(self.look_up().await?),
        };
        let answer = match current {
            Lookup::Done(snapshot) => return Ok(Arc::clone(snapshot)),
            Lookup::Running(task) => join(task).await,
        };
        *lookup = answer.as_ref().ok().map(|snapshot| Lookup::Done(Arc::clone(snapshot)));
        answer.map_err(|cause| self.failures.record(MANIFEST, cause))
    }

    async fn look_up(&self) -> Result<Lookup, Cause> {
        let (engine, source) = (self.engine.clone(), self.source().await?.clone());
        let preferred = self.preferred_digest.clone();
        let task =
            tokio::spawn(async move { engine.look_up_at(&source, preferred.as_deref()).await });
        Ok(Lookup::Running(AbortOnDropHandle::new(task)))
    }

    /// The source with the auth file that applies to it.
    pub(crate) async fn source(&self) -> Result<&Source, Cause> {
        self.credentialed.get_or_try_init(|| self.engine.with_credentials(&self.source)).await
    }

    pub(super) async fn look_for(&self, path: &str) -> Result<Entry, Cause> {
        let snapshot = self.snapshot().await?;
        if path.starts_with(REPODATA) {
            return self.metadata(&snapshot, path).await;
        }
        match self.titled_package(&snapshot, path).await? {
            Some(entry) => Ok(entry),
            None => by_digest(self.listed(path).await?),
        }
    }

    /// Finds a package whose checksum is known, so that no metadata need be read.
    pub(super) async fn look_for_package(&self, package: &Package) -> Result<Entry, Cause> {
        let snapshot = self.snapshot().await?;
        match self.titled_package(&snapshot, &package.location).await? {
            Some(entry) => Ok(entry),
            None => by_digest(package.clone()),
        }
    }

    async fn metadata(&self, snapshot: &Snapshot, path: &str) -> Result<Entry, Cause> {
        let missing = || Cause::NoSuchFile(path.to_owned());
        let name = path.strip_prefix(REPODATA).unwrap_or(path);
        match snapshot.artifact.repodata() {
            Repodata::Files(files) => files.get(name).map(Entry::layer).ok_or_else(missing),
            Repodata::Archive(layer) => {
                let limits = &self.engine.settings.repodata_limits;
                self.in_layer(layer, limits, path).await?.ok_or_else(missing)
            }
        }
    }

    /// The package that the titles of the layers lead to.
    async fn titled_package(
        &self,
        snapshot: &Snapshot,
        location: &str,
    ) -> Result<Option<Entry>, Cause> {
        let layers = match snapshot.artifact.package(location) {
            PackageLocation::Layer(layer) => return Ok(Some(Entry::layer(layer))),
            PackageLocation::InDirectory(layers) => layers,
            PackageLocation::ByDigest => return Ok(None),
        };
        let limits = &self.engine.settings.directory_limits;
        let path = location.trim_start_matches("./");
        for layer in layers {
            if let Some(entry) = self.in_layer(layer, limits, path).await? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// What the layer has at `path`; it is unpacked if it has not been yet.
    async fn in_layer(
        &self,
        layer: &Descriptor,
        limits: &Limits,
        path: &str,
    ) -> Result<Option<Entry>, Cause> {
        let source = self.source().await?;
        let unpacked = self.layers.get(&self.engine, source, layer, limits).await?;
        Ok(unpacked
            .file(path)
            .map(|(file, size)| Entry { size, origin: Origin::File(file, unpacked) }))
    }

    /// The package at this location as the metadata list it.
    async fn listed(&self, location: &str) -> Result<Package, Cause> {
        let package = self.all_listed().await?.get(location).cloned();
        package.ok_or_else(|| Cause::PackageNotInRepository(location.to_owned()))
    }

    async fn all_listed(&self) -> Result<&HashMap<String, Package>, Cause> {
        self.listed.get_or_try_init(|| retry_next_mirror(|| self.read_primary())).await
    }

    async fn read_primary(&self) -> Result<HashMap<String, Package>, Cause> {
        let records = Repomd::parse(&self.repomd().await?)?.records;
        let primary = records.into_iter().find(|record| record.kind == "primary");
        let name = primary.ok_or_else(|| Cause::NoSuchFile("primary.xml".to_owned()))?.name;
        let snapshot = self.snapshot().await?;
        let entry = self.metadata(&snapshot, &format!("{REPODATA}{name}")).await?;
        read_blocking(self.open(entry, 0).await?, |reader| packages_of(reader)).await
    }

    /// repomd.xml, as it is.
    pub(super) async fn repomd(&self) -> Result<Vec<u8>, Cause> {
        let entry = self.metadata(&*self.snapshot().await?, REPOMD).await?;
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
            Origin::Unlisted(descriptor, location) => {
                let content = self.blob(&descriptor, offset).await;
                content.map_err(|cause| cause.of_unlisted(location))
            }
        }
    }

    /// A blob from `offset` on. What comes before is read as well: the digest is that of the whole, and
    /// registries are asked for nothing less.
    async fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Content, Cause> {
        let mut blob = self.engine.registry.blob(self.source().await?, descriptor).await?;
        let before = &mut (&mut blob).take(offset);
        tokio::io::copy(before, &mut tokio::io::sink()).await.map_err(Cause::reading)?;
        Ok(Content::Blob(Box::new(blob)))
    }
}

/// The blob that a package would be if no title leads to it.
fn by_digest(package: Package) -> Result<Entry, Cause> {
    let blob = packages::blob_of(&package)?;
    let origin = Origin::Unlisted(Box::new(blob), package.location);
    Ok(Entry { size: package.size, origin })
}

/// All packages that primary.xml, compressed or not, lists.
fn packages_of(stream: &mut dyn Read) -> Result<HashMap<String, Package>, Cause> {
    let mut packages = HashMap::new();
    read_primary(stream, |Listed { location, checksum, size }| {
        packages.insert(as_asked_for(&location), Package { location, checksum, size });
    })?;
    Ok(packages)
}

/// A location as clients request it: without the steps that lead nowhere (RFC 3986, 5.2.4).
fn as_asked_for(location: &str) -> String {
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
