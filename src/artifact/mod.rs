//! How an OCI artifact contains an RPM repository.
//!
//! The titles of the layers (an annotation) are names of files, or of directories that were packed into tar
//! layers:
//!
//! | titles | repodata | packages |
//! |---|---|---|
//! | `repodata`, `a.rpm` … | one tar layer | one layer each |
//! | `repodata`, `Packages` … | one tar layer | in the tar layers of their directories |
//! | `repodata/repomd.xml` …, `Packages/a.rpm` … | one layer each | one layer each |
//! | `repomd.xml` …, `a.rpm` … | one layer each | one layer each |
//! | `.` or `rr` | in a tar layer of the whole repository | there as well |
//! | `compose-metadata.tar.gz`, `a.rpm` … | in the tar layer that has a repomd.xml | one layer each |
//!
//! All of this may lie below one directory: `rr/repodata`, `rr/a.rpm`. A package without a layer may still be
//! a blob of the registry, by its sha256: that of the metadata, or of the table of [`locations`] that a
//! repository of segments has.
//!
//! Titles are only compared with requested names. A title that is not a plain relative path matches none
//! of them, so its layer is ignored, like one without a title. Two layers may have the same title: which one
//! is a package is told by its checksum.

pub mod archive;
mod embedded;
mod error;
pub mod locations;
pub mod media_types;
mod name;

use std::collections::BTreeSet;
use std::iter;
use std::time::SystemTime;

use containers_image_proxy::oci_spec::image::{Descriptor, ImageManifest, MediaType};

pub use embedded::embedded;
pub use error::Error;
use locations::{MAX_PACKAGES, MAX_SEGMENTS};
use media_types::{CREATED, LOCATIONS, PACKAGES, SEGMENTS, TITLE};

/// The annotation by which oras marks the tar of a directory. The title is the directory's name, with
/// which the names in the tar begin. Other tools pack directories without it.
const UNPACK: &str = "io.deis.oras.content.unpack";

/// The metadata directory.
const REPODATA: &str = "repodata";

/// The index of the metadata, without which the other files have no meaning.
const REPOMD: &str = "repomd.xml";

/// The titles of a tar layer with the metadata, in order of preference. They need no [`UNPACK`]: no other
/// file of a repository has these names, and who packs the tar by hand writes no such annotation.
const REPODATA_ARCHIVES: [&str; 6] = [
    "repodata",
    "repodata.tar",
    "repodata.tar.gz",
    "repodata.tar.zst",
    "repodata.tar.xz",
    "repodata.tar.bz2",
];

/// How titles of other tar files end.
const TAR: [&str; 9] =
    [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.xz", ".txz", ".tar.bz2", ".tbz2"];

/// How titles of packages end.
const PACKAGE: &str = ".rpm";

/// In how many tar layers metadata is looked for.
const MAX_CANDIDATES: usize = 4;

/// The title of the top directory, after `oras push REFERENCE .`.
const ROOT: &str = ".";

/// Maximum number of titles in an error.
const NAMED_TITLES: usize = 5;

/// An artifact's layers by their titles.
#[derive(Debug)]
pub struct Artifact {
    root: String,
    repodata: Repodata,
    /// Sorted by title.
    layers: Vec<Titled>,
    untitled: Vec<Descriptor>,
    locations: Option<Descriptor>,
    created: Option<SystemTime>,
}

/// How large a repository of segments says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// The number of packages that its metadata lists.
    pub packages: usize,
    /// The number of segments that have them.
    pub segments: usize,
}

/// A layer with its title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Titled {
    /// A plain relative path, or `.`.
    pub title: String,
    /// The layer.
    pub layer: Descriptor,
}

/// The layers with the metadata.
#[derive(Debug)]
pub enum Repodata {
    /// One tar layer with nothing else.
    Archive(Box<Descriptor>),
    /// One layer for each file, with its name as the title: `repomd.xml`. Sorted.
    Files(Vec<Titled>),
    /// One of these tar layers, which may have all of the repository in it. The smallest first.
    Inside(Vec<Titled>),
}

/// The layers in which a package is looked up.
#[derive(Debug, PartialEq, Eq)]
pub enum PackageLocation<'a> {
    /// The package is this layer.
    Layer(&'a Descriptor),
    /// It is one of these layers, which have the same title.
    OneOf(Vec<&'a Descriptor>),
    /// It may be in one of these tar layers; the likeliest first.
    InDirectory(Vec<&'a Titled>),
    /// No layer has its title. It may be a blob with its sha256.
    ByDigest,
}

impl Artifact {
    /// Reads the layers of a manifest. The types of the artifact and its config are ignored.
    ///
    /// # Errors
    /// If no layer can have the metadata, or several could.
    pub fn new(manifest: &ImageManifest) -> Result<Self, Error> {
        let layers = by_title(manifest);
        let (root, repodata) = find_repodata(&layers)?;
        let untitled = manifest.layers().iter().filter(|layer| annotation(layer, TITLE).is_none());
        let is_locations =
            |layer: &&Descriptor| layer.media_type() == &MediaType::Other(LOCATIONS.to_owned());
        let annotations = manifest.annotations().as_ref();
        Ok(Self {
            root,
            repodata,
            untitled: untitled.cloned().collect(),
            layers,
            locations: manifest.layers().iter().find(is_locations).cloned(),
            created: annotations.and_then(|all| time(all.get(CREATED)?)),
        })
    }

    /// The directory that titles and names in tar layers begin with, with a slash at its end, or empty.
    pub fn root(&self) -> &str {
        &self.root
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
        let path = format!("{}{location}", self.root);
        // `oras push` run inside a subdirectory titles its layers by the bare names.
        let name = location.rsplit('/').next().unwrap_or(location);
        let files = self.files(&path);
        if !files.is_empty() {
            return one_of(files);
        }
        let directories: Vec<_> = directories_above(&path)
            .flat_map(|directory| titled(&self.layers, directory))
            .filter(|titled| !self.has_metadata_only(&titled.layer))
            .collect();
        if !directories.is_empty() {
            return PackageLocation::InDirectory(directories);
        }
        one_of(self.files(name))
    }

    /// The layer with this digest, if the artifact has one.
    pub fn with_digest(&self, digest: &str) -> Option<&Descriptor> {
        let titled = self.layers.iter().map(|titled| &titled.layer);
        titled.chain(&self.untitled).find(|layer| layer.digest().as_ref() == digest)
    }

    /// The layer with the locations of the packages: dnf5-oci-layout(7), "Locations".
    pub fn locations(&self) -> Option<&Descriptor> {
        self.locations.as_ref()
    }

    /// How many packages and segments there are, if the layer with the locations says so.
    pub fn counts(&self) -> Option<Counts> {
        let layer = self.locations()?;
        let count = |name, most| {
            let count = annotation(layer, name)?.parse().ok()?;
            (count <= most).then_some(count)
        };
        let packages = count(PACKAGES, MAX_PACKAGES)?;
        Some(Counts { packages, segments: count(SEGMENTS, MAX_SEGMENTS)? })
    }

    /// All titled layers, sorted by title.
    pub fn layers(&self) -> &[Titled] {
        &self.layers
    }

    /// The tar layers that are marked as directories.
    pub fn directories(&self) -> impl Iterator<Item = &Descriptor> {
        self.layers.iter().map(|titled| &titled.layer).filter(|layer| is_directory(layer))
    }

    /// When a layer was made, if the annotations say so.
    pub fn created(&self, layer: &Descriptor) -> Option<SystemTime> {
        annotation(layer, CREATED).and_then(time).or(self.created)
    }

    /// The error for an artifact without metadata.
    pub fn no_repodata(&self) -> Error {
        Error::NoRepodata { titles: some_titles(&self.layers) }
    }

    fn files(&self, title: &str) -> Vec<&Descriptor> {
        let files = titled(&self.layers, title).iter().map(|titled| &titled.layer);
        files.filter(|layer| !is_directory(layer)).collect()
    }

    fn has_metadata_only(&self, layer: &Descriptor) -> bool {
        matches!(&self.repodata, Repodata::Archive(archive) if archive.digest() == layer.digest())
    }
}

impl Repodata {
    /// The name of the layout: `archive` or `files`.
    pub fn layout(&self) -> &'static str {
        match self {
            Self::Archive(_) | Self::Inside(_) => "archive",
            Self::Files(_) => "files",
        }
    }

    /// The layer of a metadata file that has its own.
    ///
    /// # Errors
    /// If several have its title.
    pub fn file(&self, name: &str) -> Result<Option<&Descriptor>, Error> {
        let Self::Files(files) = self else {
            return Ok(None);
        };
        match titled(files, name) {
            [] => Ok(None),
            [file] => Ok(Some(&file.layer)),
            _ => Err(Error::Ambiguous(name::shown(name))),
        }
    }

    /// The size of the layers in bytes.
    pub fn size(&self) -> u64 {
        self.layers().map(Descriptor::size).sum()
    }

    /// The digests of the layers, which identify the metadata.
    pub fn digests(&self) -> Vec<String> {
        self.layers().map(|layer| layer.digest().to_string()).collect()
    }

    fn layers(&self) -> impl Iterator<Item = &Descriptor> {
        let (archive, files) = match self {
            Self::Archive(layer) => (Some(layer.as_ref()), &[][..]),
            Self::Files(files) | Self::Inside(files) => (None, &files[..]),
        };
        archive.into_iter().chain(files.iter().map(|titled| &titled.layer))
    }
}

fn one_of(layers: Vec<&Descriptor>) -> PackageLocation<'_> {
    match layers[..] {
        [] => PackageLocation::ByDigest,
        [layer] => PackageLocation::Layer(layer),
        _ => PackageLocation::OneOf(layers),
    }
}

/// The layers with valid titles, sorted by title.
fn by_title(manifest: &ImageManifest) -> Vec<Titled> {
    let titled = |layer: &Descriptor| {
        let title = annotation(layer, TITLE).and_then(normalized)?.to_owned();
        Some(Titled { title, layer: layer.clone() })
    };
    let mut layers: Vec<_> = manifest.layers().iter().filter_map(titled).collect();
    layers.sort_by(|one, other| {
        let key = |titled: &'_ Titled| titled.layer.digest().to_string();
        one.title.cmp(&other.title).then_with(|| key(one).cmp(&key(other)))
    });
    layers.dedup_by(|one, other| {
        one.title == other.title && one.layer.digest() == other.layer.digest()
    });
    layers
}

/// The layers with this title.
fn titled<'a>(layers: &'a [Titled], title: &str) -> &'a [Titled] {
    let first = layers.partition_point(|titled| titled.title.as_str() < title);
    let count = layers[first..].partition_point(|titled| titled.title == title);
    &layers[first..first + count]
}

/// The directory of the repository, as [`Artifact::root`] has it, and its metadata.
fn find_repodata(layers: &[Titled]) -> Result<(String, Repodata), Error> {
    if let Some(found) = repodata_in(layers, "")? {
        return Ok((String::new(), found));
    }
    let roots: BTreeSet<_> = layers.iter().filter_map(|titled| root_of(&titled.title)).collect();
    if roots.len() > 1 {
        return Err(Error::SeveralRepositories(some(roots.into_iter())));
    }
    if let Some(root) = roots.first()
        && let Some(found) = repodata_in(layers, root)?
    {
        return Ok(((*root).to_owned(), found));
    }
    let candidates = candidates(layers);
    if candidates.is_empty() {
        return Err(Error::NoRepodata { titles: some_titles(layers) });
    }
    Ok((String::new(), Repodata::Inside(candidates)))
}

/// The metadata of the repository in the directory `root`.
fn repodata_in(layers: &[Titled], root: &str) -> Result<Option<Repodata>, Error> {
    for title in REPODATA_ARCHIVES {
        match titled(layers, &format!("{root}{title}")) {
            [] => {}
            [archive] => return Ok(Some(Repodata::Archive(Box::new(archive.layer.clone())))),
            _ => return Err(Error::Ambiguous(name::shown(title))),
        }
    }
    let directory = format!("{root}{REPODATA}/");
    let below = files_in(layers, &directory);
    let files = if titled(&below, REPOMD).is_empty() { files_in(layers, root) } else { below };
    Ok((!titled(&files, REPOMD).is_empty()).then_some(Repodata::Files(files)))
}

/// The files directly in a directory that are not packages, by their names.
fn files_in(layers: &[Titled], directory: &str) -> Vec<Titled> {
    let file = |titled: &Titled| {
        let name = titled.title.strip_prefix(directory)?;
        let is_metadata = !name.contains('/') && !name.ends_with(PACKAGE);
        (is_metadata && !is_directory(&titled.layer))
            .then(|| Titled { title: name.to_owned(), layer: titled.layer.clone() })
    };
    layers.iter().filter_map(file).collect()
}

/// The directory of the repository whose metadata has this title: `rr/` of `rr/repodata`.
fn root_of(title: &str) -> Option<&str> {
    let (directory, name) = title.rsplit_once('/')?;
    let end = match name {
        REPOMD if directory == REPODATA => return None,
        REPOMD => directory.strip_suffix("/repodata").unwrap_or(directory).len(),
        _ if REPODATA_ARCHIVES.contains(&name) => directory.len(),
        _ => return None,
    };
    Some(&title[..=end])
}

/// The tar layers that may have metadata in them, the smallest first.
fn candidates(layers: &[Titled]) -> Vec<Titled> {
    let may_be_tar = |titled: &&Titled| {
        let title = titled.title.as_str();
        is_directory(&titled.layer)
            || title == ROOT
            || TAR.iter().any(|end| title.ends_with(end))
            // A directory that was pushed without the annotation.
            || layers.len() == 1 && !title.contains('.')
    };
    let mut candidates: Vec<_> = layers.iter().filter(may_be_tar).cloned().collect();
    candidates.sort_by_key(|titled| titled.layer.size());
    candidates.truncate(MAX_CANDIDATES);
    candidates
}

/// The directories above a location, the deepest and therefore likeliest first.
fn directories_above(location: &str) -> impl Iterator<Item = &str> {
    location.rmatch_indices('/').map(|(end, _)| &location[..end]).chain(iter::once(ROOT))
}

/// Whether a text is a relative path without steps that lead elsewhere, as a title must be: dnf5-oci-layout(7).
pub fn is_plain_path(text: &str) -> bool {
    name::relative(text) == Some(text)
}

fn time(text: impl AsRef<str>) -> Option<SystemTime> {
    humantime::parse_rfc3339(text.as_ref()).ok()
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

fn some_titles(layers: &[Titled]) -> String {
    match layers {
        [] => "without titles".to_owned(),
        layers => some(layers.iter().map(|titled| titled.title.as_str())),
    }
}

/// The first of many names.
fn some<'a>(mut names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(NAMED_TITLES);
    let shown = |name| format!("{:?}", name::shown(name));
    let mut shown: Vec<_> = names.by_ref().take(NAMED_TITLES).map(shown).collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests;
