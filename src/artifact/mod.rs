//! How an OCI artifact contains an RPM repository.
//!
//! The titles of the layers (an annotation) are names of files, or of directories that `oras push` has
//! packed into tar layers (another annotation):
//!
//! | titles | repodata | packages |
//! |---|---|---|
//! | `repodata`, `a.rpm` … | one tar layer | one layer each |
//! | `repodata`, `Packages` … | one tar layer | in the tar layers of their directories |
//! | `repodata/repomd.xml` …, `Packages/a.rpm` … | one layer each | one layer each |
//!
//! A package without a layer may still be a blob of the registry, by its sha256.
//!
//! Titles are only compared with requested names. A title that is not a plain relative path matches none
//! of them, so its layer is ignored, like one without a title.

pub mod archive;
mod error;
mod name;

use std::collections::BTreeMap;
use std::iter;

use containers_image_proxy::oci_spec::image::{Descriptor, ImageManifest};

pub use error::Error;

/// The annotation with the file name of a layer: image-spec, annotations.md.
const TITLE: &str = "org.opencontainers.image.title";

/// The annotation by which oras marks the tar of a directory. The title is the directory's name, with
/// which the names in the tar begin.
const UNPACK: &str = "io.deis.oras.content.unpack";

/// The metadata directory.
const REPODATA: &str = "repodata";

/// The index of the metadata, without which the other files have no meaning.
const REPOMD: &str = "repomd.xml";

/// The titles of a tar layer with the metadata, in order of preference. They need no [`UNPACK`]: no other
/// file of a repository has these names, and who packs the tar by hand writes no such annotation.
const REPODATA_ARCHIVES: [&str; 4] =
    ["repodata", "repodata.tar", "repodata.tar.gz", "repodata.tar.zst"];

/// The title of the top directory, after `oras push REFERENCE .`.
const ROOT: &str = ".";

/// Maximum number of titles in an error.
const NAMED_TITLES: usize = 5;

/// An artifact's layers by their titles.
#[derive(Debug)]
pub struct Artifact {
    repodata: Repodata,
    layers: BTreeMap<String, Descriptor>,
}

/// The layers with the metadata.
#[derive(Debug)]
pub enum Repodata {
    /// One tar layer.
    Archive(Box<Descriptor>),
    /// One layer for each file, by its name: `repomd.xml`.
    Files(BTreeMap<String, Descriptor>),
}

/// The layers in which a package is looked up.
#[derive(Debug, PartialEq, Eq)]
pub enum PackageLocation<'a> {
    /// The package is this layer.
    Layer(&'a Descriptor),
    /// It may be in one of these tar layers; the likeliest first.
    InDirectory(Vec<&'a Descriptor>),
    /// No layer has it. It may be a blob with its sha256.
    ByDigest,
}

impl Artifact {
    /// Reads the layers of a manifest. The types of the artifact and its config are ignored.
    ///
    /// # Errors
    /// If no layer has the metadata, or two different ones have the same title.
    pub fn new(manifest: &ImageManifest) -> Result<Self, Error> {
        let layers = by_title(manifest)?;
        let repodata = find_repodata(&layers)
            .ok_or_else(|| Error::NoRepodata { titles: some_titles(manifest) })?;
        Ok(Self { repodata, layers })
    }

    /// The layers with the metadata.
    pub fn repodata(&self) -> &Repodata {
        &self.repodata
    }

    /// The layers for the package at this location, which is relative to the repository, as in its
    /// primary metadata.
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
    /// The name of the layout: `archive` or `files`.
    pub fn layout(&self) -> &'static str {
        match self {
            Self::Archive(_) => "archive",
            Self::Files(_) => "files",
        }
    }

    /// The size of the layers in bytes.
    pub fn size(&self) -> u64 {
        self.layers().into_iter().map(Descriptor::size).sum()
    }

    /// The digests of the layers, which identify the metadata.
    pub fn digests(&self) -> Vec<String> {
        self.layers().into_iter().map(|layer| layer.digest().to_string()).collect()
    }

    fn layers(&self) -> Vec<&Descriptor> {
        match self {
            Self::Archive(layer) => vec![layer],
            Self::Files(files) => files.values().collect(),
        }
    }
}

/// The layers with valid titles.
fn by_title(manifest: &ImageManifest) -> Result<BTreeMap<String, Descriptor>, Error> {
    let mut layers: BTreeMap<String, Descriptor> = BTreeMap::new();
    for layer in manifest.layers() {
        let Some(title) = annotation(layer, TITLE).and_then(normalized) else {
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

/// The name of a file directly in the metadata directory, which has no subdirectories.
fn metadata_file(title: &str) -> Option<&str> {
    title.strip_prefix(REPODATA)?.strip_prefix('/').filter(|name| !name.contains('/'))
}

/// The directories above a location, the deepest and therefore likeliest first.
fn directories_above(location: &str) -> impl Iterator<Item = &str> {
    location.rmatch_indices('/').map(|(end, _)| &location[..end]).chain(iter::once(ROOT))
}

fn annotation<'a>(layer: &'a Descriptor, name: &str) -> Option<&'a str> {
    layer.annotations().as_ref()?.get(name).map(String::as_str)
}

fn normalized(title: &str) -> Option<&str> {
    if name::is_root(title) { Some(ROOT) } else { name::relative(title) }
}

fn is_directory(layer: &Descriptor) -> bool {
    annotation(layer, UNPACK) == Some("true")
}

fn some_titles(manifest: &ImageManifest) -> String {
    let titles: Vec<_> =
        manifest.layers().iter().filter_map(|layer| annotation(layer, TITLE)).collect();
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
