//! How an RPM repository is laid out in an OCI artifact.
//!
//! The titles of the layers ([`TITLE`]) are names of files, or of directories that `oras push` has
//! packed into tar layers ([`UNPACK`]):
//!
//! | titles | repodata | packages |
//! |---|---|---|
//! | `repodata`, `a.rpm` … | one tar layer | layers of their own |
//! | `repodata`, `Packages` … | one tar layer | in the tar layers of their directories |
//! | `repodata/repomd.xml` …, `Packages/a.rpm` … | layers of their own | layers of their own |
//!
//! Packages that have no layer may still be blobs of the registry, named by their own sha256.

pub mod archive;

use std::collections::{BTreeMap, HashMap};

use containers_image_proxy::oci_spec::image::{Descriptor, ImageManifest};

use crate::failure::{Failure, Kind};

/// The annotation with the name of a layer's file: image-spec, annotations.md.
const TITLE: &str = "org.opencontainers.image.title";

/// The annotation with which oras marks the tar of a directory.
const UNPACK: &str = "io.deis.oras.content.unpack";

/// The directory of the metadata.
const REPODATA: &str = "repodata";

/// Tar layers of the metadata that were packed by hand rather than by oras.
const REPODATA_ARCHIVES: [&str; 4] =
    ["repodata", "repodata.tar", "repodata.tar.gz", "repodata.tar.zst"];

/// How many titles an error names.
const NAMED_TITLES: usize = 5;

/// The artifact is no RPM repository.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No layer is the metadata.
    #[error(
        "the artifact has no repodata: neither a layer titled \"repodata\" nor one titled \
         \"repodata/repomd.xml\"; its layers are {titles}"
    )]
    NoRepodata {
        /// Some of the titles it has.
        titles: String,
    },
    /// Two layers with one title and different content.
    #[error("the artifact has two different layers titled {0:?}")]
    Ambiguous(String),
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        Kind::BadRepository
    }
}

/// An artifact's layers by their titles.
#[derive(Debug)]
pub struct Artifact {
    repodata: Repodata,
    files: HashMap<String, Descriptor>,
    /// Tar layers of directories other than the metadata's.
    directories: Vec<(String, Descriptor)>,
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
pub enum Place<'a> {
    /// It is this layer.
    Layer(&'a Descriptor),
    /// It may be in one of these tar layers; the likeliest first.
    InDirectory(Vec<&'a Descriptor>),
    /// No layer has it: only its own sha256 can lead to it.
    ByDigest,
}

impl Artifact {
    /// Reads the layers of a manifest. Layers without a title are passed over.
    ///
    /// # Errors
    /// If there are no metadata among them, or two layers contradict each other.
    pub fn new(manifest: &ImageManifest) -> Result<Self, Error> {
        let mut archive = None;
        let mut repodata_files = BTreeMap::new();
        let mut files: HashMap<String, Descriptor> = HashMap::new();
        let mut directories = Vec::new();
        for layer in manifest.layers() {
            let Some(title) = title(layer) else {
                continue;
            };
            let name = title.trim_start_matches("./").trim_end_matches('/');
            if REPODATA_ARCHIVES.contains(&name) {
                archive = Some(Box::new(layer.clone()));
            } else if let Some(file) = below(name, REPODATA) {
                repodata_files.insert(file.to_owned(), layer.clone());
            } else if is_directory(layer) {
                directories.push((name.to_owned(), layer.clone()));
                continue;
            }
            match files.insert(name.to_owned(), layer.clone()) {
                Some(other) if other.digest() != layer.digest() => {
                    return Err(Error::Ambiguous(name.to_owned()));
                }
                _ => {}
            }
        }
        let repodata = match archive {
            Some(layer) => Repodata::Archive(layer),
            None if repodata_files.contains_key("repomd.xml") => Repodata::Files(repodata_files),
            None => return Err(Error::NoRepodata { titles: some_titles(manifest) }),
        };
        Ok(Self { repodata, files, directories })
    }

    /// Where the metadata are.
    pub fn repodata(&self) -> &Repodata {
        &self.repodata
    }

    /// Where the package with this location (relative to the repository, as in its primary
    /// metadata) is.
    pub fn package(&self, location: &str) -> Place<'_> {
        let location = location.trim_start_matches("./");
        if let Some(layer) = self.files.get(location) {
            return Place::Layer(layer);
        }
        let mut above: Vec<_> = self
            .directories
            .iter()
            .filter(|(directory, _)| directory == "." || below(location, directory).is_some())
            .collect();
        if !above.is_empty() {
            // The deepest directory is the likeliest.
            above.sort_by_key(|(directory, _)| std::cmp::Reverse(directory.len()));
            return Place::InDirectory(above.into_iter().map(|(_, layer)| layer).collect());
        }
        // `oras push` run inside a subdirectory titles its layers by the bare names.
        let name = location.rsplit('/').next().unwrap_or(location);
        self.files.get(name).map_or(Place::ByDigest, Place::Layer)
    }

    /// All titled layers, sorted by title.
    pub fn layers(&self) -> Vec<(&str, &Descriptor)> {
        let directories = self.directories.iter().map(|(title, layer)| (title.as_str(), layer));
        let files = self.files.iter().map(|(title, layer)| (title.as_str(), layer));
        let mut layers: Vec<_> = directories.chain(files).collect();
        layers.sort_by_key(|(title, _)| *title);
        layers
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

    /// What the metadata are identified by: as long as these are the same, so are the metadata.
    pub fn digests(&self) -> Vec<String> {
        self.layers().iter().map(|(_, layer)| layer.digest().to_string()).collect()
    }
}

fn title(layer: &Descriptor) -> Option<&str> {
    layer.annotations().as_ref()?.get(TITLE).map(String::as_str)
}

fn is_directory(layer: &Descriptor) -> bool {
    layer
        .annotations()
        .as_ref()
        .and_then(|annotations| annotations.get(UNPACK))
        .is_some_and(|unpack| unpack == "true")
}

/// What is left of `name` below `directory`.
fn below<'a>(name: &'a str, directory: &str) -> Option<&'a str> {
    name.strip_prefix(directory)?.strip_prefix('/')
}

fn some_titles(manifest: &ImageManifest) -> String {
    let titles: Vec<_> = manifest.layers().iter().filter_map(title).collect();
    if titles.is_empty() {
        return "without titles".to_owned();
    }
    let mut named: Vec<_> =
        titles.iter().take(NAMED_TITLES).map(|title| format!("{title:?}")).collect();
    if titles.len() > NAMED_TITLES {
        named.push(format!("and {} more", titles.len() - NAMED_TITLES));
    }
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A manifest as oras makes it; each layer's digest is a number.
    fn manifest(layers: &[(&str, bool, u8)]) -> ImageManifest {
        let layers: Vec<_> = layers
            .iter()
            .map(|(title, unpack, number)| {
                let mut annotations = json!({ TITLE: title });
                if *unpack {
                    annotations[UNPACK] = json!("true");
                    annotations["io.deis.oras.content.digest"] = json!(digest(0));
                }
                json!({
                    "mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": digest(*number),
                    "size": 1,
                    "annotations": annotations,
                })
            })
            .collect();
        serde_json::from_value(json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.unknown.artifact.v1",
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
                "size": 2,
                "data": "e30=",
            },
            "layers": layers,
        }))
        .expect("a manifest")
    }

    fn digest(number: u8) -> String {
        format!("sha256:{number:064}")
    }

    fn number(layer: &Descriptor) -> u8 {
        layer.digest().digest().parse().expect("a number")
    }

    fn place(artifact: &Artifact, location: &str) -> Vec<u8> {
        match artifact.package(location) {
            Place::Layer(layer) => vec![number(layer)],
            Place::InDirectory(layers) => layers.into_iter().map(number).collect(),
            Place::ByDigest => vec![],
        }
    }

    #[test]
    fn as_oras_pushes_a_flat_repository() {
        let artifact =
            Artifact::new(&manifest(&[("a.rpm", false, 1), ("repodata", true, 2)])).expect("read");
        assert_eq!(artifact.repodata().digests(), [digest(2)]);
        assert_eq!(artifact.repodata().layout(), "archive");
        assert_eq!(place(&artifact, "a.rpm"), [1]);
        assert_eq!(place(&artifact, "./a.rpm"), [1]);
        assert_eq!(place(&artifact, "Packages/a.rpm"), [1]);
        assert!(place(&artifact, "b.rpm").is_empty());
        let titles: Vec<_> = artifact.layers().into_iter().map(|(title, _)| title).collect();
        assert_eq!(titles, ["a.rpm", "repodata"]);
    }

    #[test]
    fn as_oras_pushes_subdirectories() {
        let artifact = Artifact::new(&manifest(&[
            ("repodata", true, 1),
            ("Packages", true, 2),
            ("Packages/c", true, 3),
            ("Pack", true, 4),
            (".", true, 5),
        ]))
        .expect("read");
        assert_eq!(place(&artifact, "Packages/c/x.rpm"), [3, 2, 5]);
        assert_eq!(place(&artifact, "Packages/d/x.rpm"), [2, 5]);
        assert_eq!(place(&artifact, "x.rpm"), [5]);
    }

    #[test]
    fn every_file_a_layer() {
        let artifact = Artifact::new(&manifest(&[
            ("repodata/repomd.xml", false, 1),
            ("repodata/primary.xml.zst", false, 2),
            ("Packages/c/x.rpm", false, 3),
        ]))
        .expect("read");
        let names: Vec<_> =
            artifact.repodata().layers().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["primary.xml.zst", "repomd.xml"]);
        assert_eq!(place(&artifact, "Packages/c/x.rpm"), [3]);
    }

    #[test]
    fn what_is_no_repository() {
        let titles: Vec<_> = (0..7).map(|n| format!("f{n}")).collect();
        let layers: Vec<_> = titles.iter().map(|title| (title.as_str(), false, 1)).collect();
        let error = Artifact::new(&manifest(&layers)).expect_err("no repodata").to_string();
        assert!(error.contains("\"repodata\""), "{error}");
        assert!(error.ends_with("\"f0\", \"f1\", \"f2\", \"f3\", \"f4\", and 2 more"), "{error}");
        let error = Artifact::new(&manifest(&[])).expect_err("no layer").to_string();
        assert!(error.ends_with("without titles"), "{error}");
    }

    #[test]
    fn layers_that_contradict_each_other() {
        let same = [("repodata", true, 1), ("a.rpm", false, 2), ("a.rpm", false, 2)];
        assert!(Artifact::new(&manifest(&same)).is_ok());
        let different = [("repodata", true, 1), ("a.rpm", false, 2), ("./a.rpm", false, 3)];
        let error = Artifact::new(&manifest(&different)).expect_err("ambiguous").to_string();
        assert!(error.contains("\"a.rpm\""), "{error}");
    }
}
