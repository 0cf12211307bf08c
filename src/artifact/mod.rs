//! How an RPM repository is laid out in an OCI artifact.
//!
//! The titles of the layers (an annotation) are names of files, or of directories that `oras push`
//! has packed into tar layers (another annotation says so):
//!
//! | titles | repodata | packages |
//! |---|---|---|
//! | `repodata`, `a.rpm` … | one tar layer | layers of their own |
//! | `repodata`, `Packages` … | one tar layer | in the tar layers of their directories |
//! | `repodata/repomd.xml` …, `Packages/a.rpm` … | layers of their own | layers of their own |
//!
//! Packages that have no layer may still be blobs of the registry, named by their own sha256.
//!
//! A title is only ever compared with names that are looked for. One that is no plain relative path
//! can be none of them, so its layer is passed over as one without a title is.

pub mod archive;
mod error;
mod name;

use std::collections::BTreeMap;
use std::iter;

use containers_image_proxy::oci_spec::image::{Descriptor, ImageManifest};

pub use error::Error;

/// The annotation with the name of a layer's file: image-spec, annotations.md.
const TITLE: &str = "org.opencontainers.image.title";

/// The annotation with which oras marks the tar of a directory. The names in that tar begin with
/// the directory's, which is the layer's title.
const UNPACK: &str = "io.deis.oras.content.unpack";

/// The directory of the metadata.
const REPODATA: &str = "repodata";

/// The metadata's own index, without which the others mean nothing.
const REPOMD: &str = "repomd.xml";

/// The titles of a tar layer with the metadata; the first that is there is taken. They need no
/// [`UNPACK`]: nothing else of a repository has these names, and only oras writes the annotation,
/// not those who pack the tar themselves.
const REPODATA_ARCHIVES: [&str; 4] =
    ["repodata", "repodata.tar", "repodata.tar.gz", "repodata.tar.zst"];

/// The title of the directory that everything is in, as `oras push REFERENCE .` makes it.
const ROOT: &str = ".";

/// How many titles an error names.
const NAMED_TITLES: usize = 5;

/// An artifact's layers by their titles.
#[derive(Debug)]
pub struct Artifact {
    repodata: Repodata,
    layers: BTreeMap<String, Descriptor>,
}

/// Where the metadata are.
#[derive(Debug)]
pub enum Repodata {
    /// All in one tar layer.
    Archive(Box<Descriptor>),
    /// Each in a layer of its own, by name: `repomd.xml`.
    Files(BTreeMap<String, Descriptor>),
}

/// Where a package is.
#[derive(Debug, PartialEq, Eq)]
pub enum PackageLocation<'a> {
    /// It is this layer.
    Layer(&'a Descriptor),
    /// It may be in one of these tar layers; the likeliest first.
    InDirectory(Vec<&'a Descriptor>),
    /// No layer has it: only its own sha256 can lead to it.
    ByDigest,
}

impl Artifact {
    /// Reads the layers of a manifest. What the artifact calls itself (its type, its config) does
    /// not matter.
    ///
    /// # Errors
    /// If there are no metadata among the layers, or two of them contradict each other.
    pub fn new(manifest: &ImageManifest) -> Result<Self, Error> {
        let layers = by_title(manifest)?;
        let repodata = find_repodata(&layers)
            .ok_or_else(|| Error::NoRepodata { titles: some_titles(manifest) })?;
        Ok(Self { repodata, layers })
    }

    /// Where the metadata are.
    pub fn repodata(&self) -> &Repodata {
        &self.repodata
    }

    /// Where the package with this location (relative to the repository, as in its primary
    /// metadata) is.
    pub fn package(&self, location: &str) -> PackageLocation<'_> {
        let Some(location) = name::relative(location) else {
            return PackageLocation::ByDigest;
        };
        if let Some(layer) = self.file(location) {
            return PackageLocation::Layer(layer);
        }
        let directories: Vec<_> = directories_above(location)
            .filter_map(|directory| self.layers.get(directory))
            .filter(|layer| is_directory(layer))
            .collect();
        if !directories.is_empty() {
            return PackageLocation::InDirectory(directories);
        }
        // `oras push` run inside a subdirectory titles its layers by the bare names.
        let name = location.rsplit('/').next().unwrap_or(location);
        self.file(name).map_or(PackageLocation::ByDigest, PackageLocation::Layer)
    }

    /// All titled layers, sorted by title.
    pub fn layers(&self) -> Vec<(&str, &Descriptor)> {
        self.layers.iter().map(|(title, layer)| (title.as_str(), layer)).collect()
    }

    fn file(&self, title: &str) -> Option<&Descriptor> {
        self.layers.get(title).filter(|layer| !is_directory(layer))
    }
}

impl Repodata {
    /// What people call it: `archive` or `files`.
    pub fn layout(&self) -> &'static str {
        match self {
            Self::Archive(_) => "archive",
            Self::Files(_) => "files",
        }
    }

    /// The layers, each with the name of its file; that of a tar layer is empty.
    pub fn layers(&self) -> Vec<(&str, &Descriptor)> {
        match self {
            Self::Archive(layer) => vec![("", layer)],
            Self::Files(files) => {
                files.iter().map(|(name, layer)| (name.as_str(), layer)).collect()
            }
        }
    }

    /// The size of all layers in bytes.
    pub fn size(&self) -> u64 {
        self.layers().iter().map(|(_, layer)| layer.size()).sum()
    }

    /// What the metadata are identified by: as long as these are the same, so are the metadata.
    pub fn digests(&self) -> Vec<String> {
        self.layers().iter().map(|(_, layer)| layer.digest().to_string()).collect()
    }
}

/// The layers whose titles are names of files or directories.
fn by_title(manifest: &ImageManifest) -> Result<BTreeMap<String, Descriptor>, Error> {
    let mut layers: BTreeMap<String, Descriptor> = BTreeMap::new();
    for layer in manifest.layers() {
        let Some(title) = title(layer).and_then(normalized) else {
            continue;
        };
        match layers.insert(title.to_owned(), layer.clone()) {
            Some(other) if other.digest() != layer.digest() => {
                return Err(Error::Ambiguous(name::shown(title)));
            }
            _ => {}
        }
    }
    Ok(layers)
}

fn find_repodata(layers: &BTreeMap<String, Descriptor>) -> Option<Repodata> {
    if let Some(archive) = REPODATA_ARCHIVES.iter().find_map(|title| layers.get(*title)) {
        return Some(Repodata::Archive(Box::new(archive.clone())));
    }
    let files: BTreeMap<_, _> = layers
        .iter()
        .filter_map(|(title, layer)| Some((metadata_file(title)?.to_owned(), layer.clone())))
        .collect();
    files.contains_key(REPOMD).then_some(Repodata::Files(files))
}

/// The name of a file directly in the metadata's directory; there are none deeper in it.
fn metadata_file(title: &str) -> Option<&str> {
    title.strip_prefix(REPODATA)?.strip_prefix('/').filter(|name| !name.contains('/'))
}

/// The directories that a location is in, the deepest first: it is the likeliest.
fn directories_above(location: &str) -> impl Iterator<Item = &str> {
    location.rmatch_indices('/').map(|(end, _)| &location[..end]).chain(iter::once(ROOT))
}

fn title(layer: &Descriptor) -> Option<&str> {
    layer.annotations().as_ref()?.get(TITLE).map(String::as_str)
}

fn normalized(title: &str) -> Option<&str> {
    if name::is_root(title) { Some(ROOT) } else { name::relative(title) }
}

fn is_directory(layer: &Descriptor) -> bool {
    layer
        .annotations()
        .as_ref()
        .and_then(|annotations| annotations.get(UNPACK))
        .is_some_and(|unpack| unpack == "true")
}

fn some_titles(manifest: &ImageManifest) -> String {
    let titles: Vec<_> = manifest.layers().iter().filter_map(title).collect();
    if titles.is_empty() {
        return "without titles".to_owned();
    }
    let mut named: Vec<_> =
        titles.iter().take(NAMED_TITLES).map(|title| format!("{:?}", name::shown(title))).collect();
    if titles.len() > NAMED_TITLES {
        named.push(format!("and {} more", titles.len() - NAMED_TITLES));
    }
    named.join(", ")
}

#[cfg(test)]
mod tests;
