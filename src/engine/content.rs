//! Content on demand: what a repository has at a path, as a stream.

use std::collections::HashMap;
use std::io::{Read, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use containers_image_proxy::oci_spec::image::Descriptor;
use tokio::io::{self, AsyncRead, AsyncReadExt, AsyncSeekExt, BufReader, ReadBuf};
use tokio::sync::{Mutex, OnceCell};
use tokio_util::task::AbortOnDropHandle;

use super::blocking::{run, with_reader};
use super::error::{Cause, Error};
use super::layers::Layers;
use super::manifests::Snapshot;
use super::packages::Package;
use super::{Engine, packages};
use crate::artifact::archive::{Limits, decompress};
use crate::artifact::{PackageLocation, Repodata};
use crate::layer_store::{Layer, Store};
use crate::registry::Blob;
use crate::repomd::{Listed, Repomd, read_primary};
use crate::source::Source;

/// Origin metadata are, relative to the repository.
const REPODATA: &str = "repodata/";

/// One repository as one run of dnf5 sees it: the manifest that the reference leads to when it is
/// first needed holds for as long as this lives.
pub struct View {
    engine: Engine,
    layers: Layers,
    id: String,
    source: Source,
    snapshot: Mutex<Option<Lookup>>,
    /// What the metadata list, by location; read when the first package has no layer.
    listed: OnceCell<HashMap<String, Package>>,
}

/// What the reference leads to. Finding out goes on when the request that began it is given up: dnf5
/// asks again when it has waited for half a minute, and skopeo takes longer than that over a mirror
/// that is dead.
enum Lookup {
    Asked(AbortOnDropHandle<Result<Arc<Snapshot>, Cause>>),
    Known(Arc<Snapshot>),
}

/// Something that a repository has.
pub struct Entry {
    /// Its size in bytes.
    pub size: u64,
    place: Origin,
}

enum Origin {
    Blob(Box<Descriptor>),
    /// A blob that the package at this location may have been pushed as.
    Unlisted(Box<Descriptor>, String),
    File(std::fs::File, Layer),
}

/// The bytes of something found.
pub enum Content {
    /// From the registry; verified when the last read returns nothing.
    Blob(Box<Blob>),
    /// From an unpacked layer, whose bytes were verified when it was unpacked.
    File(tokio::fs::File, Layer),
}

impl Engine {
    /// A view of a repository. Nothing is asked for yet.
    pub fn view(&self, id: String, source: &Source, store: Arc<Store>) -> View {
        let source = self.with_credentials(source);
        View {
            engine: self.clone(),
            layers: Layers::new(store),
            id,
            source,
            snapshot: Mutex::default(),
            listed: OnceCell::new(),
        }
    }
}

impl View {
    /// Finds what the repository has at `path`, which is relative to it.
    ///
    /// # Errors
    /// If there is nothing, or it cannot be told.
    pub async fn find(&self, path: &str) -> Result<Entry, Error> {
        self.look_for(path).await.map_err(|cause| self.error(cause))
    }

    /// Begins to read something found, `offset` bytes after its beginning.
    ///
    /// # Errors
    /// If it cannot be had.
    pub async fn read(&self, found: Entry, offset: u64) -> Result<Content, Error> {
        self.open(found, offset).await.map_err(|cause| self.error(cause))
    }

    /// The clear line for a failure in the middle of a stream.
    pub fn broken(&self, error: std::io::Error) -> Error {
        self.error(error.into())
    }

    fn error(&self, cause: Cause) -> Error {
        Error::new(Some(&self.id), &self.source, cause)
    }

    async fn snapshot(&self) -> Result<Arc<Snapshot>, Cause> {
        let mut lookup = self.snapshot.lock().await;
        let answer = match lookup.get_or_insert_with(|| self.look_up()) {
            Lookup::Known(snapshot) => return Ok(Arc::clone(snapshot)),
            Lookup::Asked(asked) => asked.await.unwrap_or(Err(Cause::Cancelled)),
        };
        *lookup = answer.as_ref().ok().map(|snapshot| Lookup::Known(Arc::clone(snapshot)));
        answer
    }

    fn look_up(&self) -> Lookup {
        let (engine, source) = (self.engine.clone(), self.source.clone());
        let asked = tokio::spawn(async move { engine.look_up(&source).await });
        Lookup::Asked(AbortOnDropHandle::new(asked))
    }

    async fn look_for(&self, path: &str) -> Result<Entry, Cause> {
        let snapshot = self.snapshot().await?;
        match path.strip_prefix(REPODATA) {
            Some(name) => self.metadata(&snapshot, path, name).await,
            None => self.package(&snapshot, path).await,
        }
    }

    async fn metadata(&self, snapshot: &Snapshot, path: &str, name: &str) -> Result<Entry, Cause> {
        let missing = || Cause::NoSuchFile(path.to_owned());
        match snapshot.artifact.repodata() {
            Repodata::Files(files) => files.get(name).map(blob).ok_or_else(missing),
            Repodata::Archive(layer) => {
                let limits = &self.engine.settings.repodata_limits;
                self.in_layer(layer, limits, path).await?.ok_or_else(missing)
            }
        }
    }

    async fn package(&self, snapshot: &Snapshot, location: &str) -> Result<Entry, Cause> {
        match snapshot.artifact.package(location) {
            PackageLocation::Layer(layer) => return Ok(blob(layer)),
            PackageLocation::InDirectory(layers) => {
                let limits = &self.engine.settings.directory_limits;
                let path = location.trim_start_matches("./");
                for layer in layers {
                    if let Some(found) = self.in_layer(layer, limits, path).await? {
                        return Ok(found);
                    }
                }
            }
            PackageLocation::ByDigest => {}
        }
        let package = self.listed(snapshot, location).await?;
        packages::by_digest(package).map(|blob| Entry {
            size: blob.size(),
            place: Origin::Unlisted(Box::new(blob), location.to_owned()),
        })
    }

    /// What the layer has at `path`; it is unpacked if it is not yet.
    async fn in_layer(
        &self,
        layer: &Descriptor,
        limits: &Limits,
        path: &str,
    ) -> Result<Option<Entry>, Cause> {
        let unpacked = self.layers.get(&self.engine, &self.source, layer, limits).await?;
        Ok(unpacked
            .file(path)
            .map(|(file, size)| Entry { size, place: Origin::File(file, unpacked) }))
    }

    /// The package as the metadata list it: its checksum leads to the blob.
    async fn listed(&self, snapshot: &Snapshot, location: &str) -> Result<Package, Cause> {
        let all = self.listed.get_or_try_init(|| self.read_primary(snapshot)).await?;
        let package = all.get(location).cloned();
        package.ok_or_else(|| Cause::PackageNotInRepository(location.to_owned()))
    }

    async fn read_primary(&self, snapshot: &Snapshot) -> Result<HashMap<String, Package>, Cause> {
        let path = "repodata/repomd.xml";
        let found = self.metadata(snapshot, path, "repomd.xml").await?;
        let mut xml = Vec::new();
        self.open(found, 0).await?.read_to_end(crate::repomd::MAX_REPOMD, &mut xml).await?;
        let records = Repomd::parse(&xml)?.records;
        let primary = records.into_iter().find(|record| record.kind == "primary");
        let name = primary.ok_or_else(|| Cause::NoSuchFile("primary.xml".to_owned()))?.name;
        let found = self.metadata(snapshot, &format!("{REPODATA}{name}"), &name).await?;
        match self.open(found, 0).await? {
            Content::Blob(blob) => with_reader(*blob, |reader| packages_of(reader)).await,
            Content::File(file, _in_use) => {
                let mut file = file.into_std().await;
                run(move || packages_of(&mut file)).await
            }
        }
    }

    async fn open(&self, found: Entry, offset: u64) -> Result<Content, Cause> {
        match found.place {
            Origin::File(file, layer) => {
                let mut file = tokio::fs::File::from_std(file);
                file.seek(SeekFrom::Start(offset)).await?;
                Ok(Content::File(file, layer))
            }
            Origin::Blob(descriptor) => self.blob(&descriptor, offset).await,
            Origin::Unlisted(descriptor, location) => {
                let content = self.blob(&descriptor, offset).await;
                content.map_err(|cause| cause.of_unlisted(location))
            }
        }
    }

    async fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Content, Cause> {
        let blob = self.engine.registry.blob(&self.source, descriptor).await?;
        let mut content = Content::Blob(Box::new(blob));
        content.skip(offset).await?;
        Ok(content)
    }
}

impl AsyncRead for Content {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Blob(blob) => Pin::new(blob).poll_read(cx, buf),
            Self::File(file, _) => Pin::new(file).poll_read(cx, buf),
        }
    }
}

impl Content {
    /// A blob is always read from its beginning, because its digest is checked.
    async fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let mut skipped = BufReader::with_capacity(128 * 1024, self.take(bytes));
        io::copy_buf(&mut skipped, &mut io::sink()).await.map(drop)
    }

    async fn read_to_end(&mut self, limit: u64, into: &mut Vec<u8>) -> Result<(), Cause> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.read(&mut buffer).await? {
                0 => return Ok(()),
                read => into.extend_from_slice(&buffer[..read]),
            }
            if into.len() as u64 > limit {
                return Err(Cause::NoSuchFile("repodata/repomd.xml of a bearable size".to_owned()));
            }
        }
    }
}

/// All packages that primary.xml, compressed or not, lists.
fn packages_of(stream: &mut dyn Read) -> Result<HashMap<String, Package>, Cause> {
    let mut packages = HashMap::new();
    let xml = decompress(stream)?;
    read_primary(std::io::BufReader::new(xml), |Listed { location, checksum, size }| {
        packages.insert(as_asked_for(&location), Package { location, checksum, size });
        true
    })?;
    Ok(packages)
}

/// A location as clients ask for it: they leave out the steps that lead nowhere (RFC 3986, 5.2.4).
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

fn blob(layer: &Descriptor) -> Entry {
    Entry { size: layer.size(), place: Origin::Blob(Box::new(layer.clone())) }
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
