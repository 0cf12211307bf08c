//! Whether a repository is complete and right: what its manifests, its tables and its metadata say of each
//! other, and whether the blobs are what they are called.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::document::{Descriptor, Digest, Index, MANIFEST, Manifest};
use super::error::Error;
use super::listing::{Metadata, Package};
use super::prepare::MetadataDir;
use super::state::{PARALLEL, Placed, at, for_arch, parse, variant_of};
use super::{Progress, Publisher};
use crate::artifact::locations::Table;
use crate::artifact::media_types::{LOCATIONS, PACKAGES, REMOVED, REPOSITORY, SEGMENT};
use crate::artifact::{Artifact, PackageLocation};
use crate::blocking;
use crate::checksum::Checksum;
use crate::engine::{PrefetchOptions, View};
use crate::registry::RawManifest;
use crate::source::Source;

/// Size of the buffer for reading blobs, in bytes.
const BUFFER: usize = 64 * 1024;

/// What was verified, and what is wrong.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verified {
    /// The reference.
    pub reference: String,
    /// The digest of the manifest or index.
    pub digest: String,
    /// How many sets of metadata were verified: one for each architecture, or one for all.
    pub architectures: usize,
    /// Number of packages of the metadata.
    pub packages: usize,
    /// Number of segments.
    pub segments: usize,
    /// Number of packages that have left the metadata, and stay for a while.
    pub removed: usize,
    /// Whether the blobs were read.
    pub deep: bool,
    /// Number of blobs and packages that were read.
    pub blobs: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Problem {
    /// The architecture of the metadata, in Go's names; `None` is the one for all.
    pub arch: Option<String>,
    /// What is wrong: a package's location, or a part of the repository.
    pub subject: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What the tag leads to: all manifests, as far as they can be read.
#[derive(Default)]
struct Tree {
    instances: Vec<Branch>,
    segments: Vec<Branch>,
}

/// A manifest.
struct Branch {
    arch: Option<String>,
    /// What people know it by.
    name: String,
    digest: Digest,
    manifest: Manifest,
    bytes: Vec<u8>,
}

/// The packages of each segment with their sizes, by the name of the segment.
type Segments = HashMap<String, HashMap<Digest, u64>>;

/// A package that is in a tar layer.
struct Packed {
    arch: Option<String>,
    package: Package,
    view: Arc<View>,
}

/// A blob that is to be read.
struct Blob {
    arch: Option<String>,
    subject: String,
    layer: Descriptor,
    /// What else its bytes must hash to.
    checksum: Option<Checksum>,
}

/// The work on one reference.
struct Verification<'a> {
    publisher: &'a Publisher,
    source: &'a Source,
    tree: Tree,
    report: Verified,
    packed: Vec<Packed>,
    blobs: BTreeMap<Digest, Blob>,
}

impl Publisher {
    /// Verifies what a reference leads to: that its manifests name the blob of each package, what the tables
    /// and the metadata say, and that the signature policy accepts it; with `arch`, the metadata for that
    /// architecture alone, and with `deep`, the bytes of everything.
    ///
    /// # Errors
    /// If the reference leads nowhere. What is wrong with the repository is in the result.
    pub async fn verify(
        &self,
        source: &Source,
        arch: Option<&str>,
        deep: bool,
        progress: &dyn Progress,
    ) -> Result<Verified, Error> {
        progress.step("Reading the manifests");
        let top = self.raw_manifest(source).await?;
        let mut report = Verified {
            reference: source.reference.to_string(),
            digest: top.digest.clone(),
            deep,
            ..Verified::default()
        };
        let tree = self.tree(source, top, &mut report.problems).await?;
        let (packed, blobs) = (Vec::new(), BTreeMap::new());
        let mut work = Verification { publisher: self, source, tree, report, packed, blobs };
        progress.step("Reading the metadata");
        work.instances(arch).await?;
        if deep {
            work.read(progress).await;
        }
        work.report.problems.sort();
        work.report.problems.dedup();
        Ok(work.report)
    }

    /// Reads all manifests that an index names.
    async fn tree(
        &self,
        source: &Source,
        top: RawManifest,
        problems: &mut Vec<Problem>,
    ) -> Result<Tree, Error> {
        let pinned = &at(source, &top.digest);
        let Ok(index) = serde_json::from_slice::<Index>(&top.bytes) else {
            let digest = Digest::try_from(top.digest);
            let digest = digest.map_err(|error| Error::not_a_repository(source, error))?;
            let manifest = parse(source, &top.bytes)?;
            let name = "manifest".to_owned();
            let branch = Branch { arch: None, name, digest, manifest, bytes: top.bytes };
            return Ok(Tree { instances: vec![branch], segments: Vec::new() });
        };
        let read = |entry: Descriptor| async move {
            let branch = self.branch(pinned, &entry).await;
            (entry, branch)
        };
        let read: Vec<_> =
            stream::iter(index.manifests).map(read).buffered(PARALLEL).collect().await;
        let mut tree = Tree::default();
        for (entry, branch) in read {
            let (arch, name) = describe(&entry);
            match branch {
                Ok(branch) if entry.is_segment() => {
                    if entry.artifact_type.as_deref() == Some(SEGMENT)
                        && branch.name != variant_of(&entry.digest)
                    {
                        let reason = "its variant is not the beginning of its digest";
                        problems.push(Problem::new(None, &name, reason));
                    }
                    tree.segments.push(branch);
                }
                Ok(branch) => tree.instances.push(branch),
                Err(error) => problems.push(Problem::new(arch.as_deref(), &name, error)),
            }
        }
        Ok(tree)
    }

    async fn branch(&self, source: &Source, entry: &Descriptor) -> Result<Branch, Error> {
        let raw = self.raw(source, &entry.digest).await?;
        if raw.digest != entry.digest.as_str() || raw.bytes.len() as u64 != entry.size {
            return Err(Error::not_a_repository(source, "a manifest is not what the index says"));
        }
        let manifest = parse(source, &raw.bytes)?;
        let (arch, name) = describe(entry);
        Ok(Branch { arch, name, digest: entry.digest.clone(), manifest, bytes: raw.bytes })
    }

    /// Reads a stream to its end.
    async fn hash(
        mut stream: impl AsyncRead + Unpin,
        checksum: Option<&Checksum>,
    ) -> std::io::Result<Option<String>> {
        let mut hasher = checksum.map(Checksum::hasher);
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = stream.read(&mut buffer).await?;
            if count == 0 {
                break;
            }
            if let Some(hasher) = &mut hasher {
                hasher.update(&buffer[..count]);
            }
        }
        let found = hasher.map(|hasher| hasher.finish()).filter(|found| Some(found) != checksum);
        Ok(found.map(|found| found.to_string()))
    }
}

/// The architecture of an entry of an index, and what people know it by.
fn describe(entry: &Descriptor) -> (Option<String>, String) {
    let platform = entry.platform.as_ref();
    match platform {
        Some(platform) if entry.is_segment() => {
            (None, platform.variant.clone().unwrap_or_else(|| entry.digest.to_string()))
        }
        platform => (platform.map(|all| all.architecture.clone()), "manifest".to_owned()),
    }
}

impl Branch {
    fn sizes(&self) -> HashMap<Digest, u64> {
        self.manifest.layers.iter().map(|layer| (layer.digest.clone(), layer.size)).collect()
    }

    fn tables(&self, media_type: &str) -> impl Iterator<Item = &Descriptor> {
        self.manifest.layers.iter().filter(move |layer| layer.media_type == media_type)
    }
}

impl Problem {
    fn new(arch: Option<&str>, subject: &str, reason: impl ToString) -> Self {
        let (arch, subject) = (arch.map(str::to_owned), subject.to_owned());
        Self { arch, subject, reason: reason.to_string() }
    }
}

impl Verification<'_> {
    async fn instances(&mut self, arch: Option<&str>) -> Result<(), Error> {
        let instances = std::mem::take(&mut self.tree.instances);
        let has_own = instances.iter().any(|branch| branch.arch.as_deref() == arch);
        let is_selected =
            |branch: &&Branch| arch.is_none() || branch.arch.as_deref() == arch.filter(|_| has_own);
        let selected: Vec<_> = instances.iter().filter(is_selected).collect();
        if selected.is_empty() && self.report.problems.is_empty() {
            let reason = arch.map_or_else(
                || "no manifest in it has metadata".to_owned(),
                |arch| format!("it has no metadata for {arch:?}"),
            );
            return Err(Error::conflict(self.source, reason));
        }
        let segments: Segments =
            self.tree.segments.iter().map(|branch| (branch.name.clone(), branch.sizes())).collect();
        let mut named: HashMap<_, _> = instances.iter().flat_map(Branch::sizes).collect();
        named.extend(segments.values().flatten().map(|(digest, size)| (digest.clone(), *size)));
        self.report.architectures = selected.len();
        self.report.segments = self.tree.segments.len();
        for branch in &selected {
            self.instance(branch, &segments, &named).await?;
        }
        if arch.is_none() {
            let segments = std::mem::take(&mut self.tree.segments);
            let layers = segments.iter().flat_map(|branch| &branch.manifest.layers);
            layers.for_each(|layer| self.want(selected[0].arch.as_deref(), layer, None));
        }
        Ok(())
    }

    /// Verifies the metadata of one architecture. `named` are the blobs that all manifests name.
    async fn instance(
        &mut self,
        branch: &Branch,
        segments: &Segments,
        named: &HashMap<Digest, u64>,
    ) -> Result<(), Error> {
        let arch = branch.arch.as_deref();
        let source = for_arch(self.source, branch.arch.clone());
        let opened = self.open(branch, &source).await?;
        let (view, packages) = match opened {
            Ok(opened) => opened,
            Err(problem) => {
                self.report.problems.push(problem);
                return Ok(());
            }
        };
        self.report.packages += packages.len();
        let mut problems = Vec::new();
        let mut located = None;
        for (media_type, table) in [(LOCATIONS, Table::Locations), (REMOVED, Table::Removed)] {
            for layer in branch.tables(media_type) {
                let rows = match self.publisher.table(&source, table, layer).await {
                    Ok(rows) => rows,
                    Err(error) => {
                        problems.push((table.describe().to_owned(), error.to_string()));
                        continue;
                    }
                };
                let rows: Vec<_> =
                    rows.into_iter().map(|(row, in_)| Placed::new(&row, in_)).collect();
                if table == Table::Removed {
                    self.report.removed += rows.len();
                    problems.extend(check_segments(&rows, segments, &branch.sizes()));
                    self.want_packages(arch, rows.iter(), named);
                    continue;
                }
                problems.extend(check_counts(layer, &rows));
                problems.extend(check_locations(&packages, &rows));
                problems.extend(check_segments(&rows, segments, &HashMap::new()));
                located = Some(rows);
            }
        }
        if located.is_none()
            && !segments.is_empty()
            && branch.manifest.artifact_type.as_deref() == Some(REPOSITORY)
            && branch.tables(LOCATIONS).next().is_none()
        {
            problems.push(("locations".to_owned(), "there is no table of them".to_owned()));
        }
        let located = located.unwrap_or_default();
        let found = self.check_packages(branch, &packages, &located, named)?;
        problems.extend(found.problems);
        for (package, digest) in found.blobs {
            let size = named[&digest];
            let layer = Descriptor::new(MANIFEST, digest, size).titled(&package.location);
            let is_sha256 = Digest::try_from(&package.checksum).is_ok();
            self.want(arch, &layer, Some(package.checksum).filter(|_| !is_sha256));
        }
        let view = Arc::new(view);
        self.packed.extend(found.packed.into_iter().map(|package| Packed {
            arch: branch.arch.clone(),
            package,
            view: Arc::clone(&view),
        }));
        branch.manifest.layers.iter().for_each(|layer| self.want(arch, layer, None));
        let problem = |(subject, reason): (String, String)| Problem::new(arch, &subject, reason);
        self.report.problems.extend(problems.into_iter().map(problem));
        Ok(())
    }

    /// Opens the repository and fetches its metadata as dnf5 does.
    async fn open(
        &self,
        branch: &Branch,
        source: &Source,
    ) -> Result<Result<(View, Vec<Package>), Problem>, Error> {
        let problem = |subject: &str, reason: &dyn ToString| {
            Ok(Err(Problem::new(branch.arch.as_deref(), subject, reason.to_string())))
        };
        let view = self.publisher.engine.view("", source);
        match view.inspect().await {
            Err(error) => return problem("manifest", &error),
            Ok(found) if found.manifest_digest != branch.digest.as_str() => {
                let (found, expected) = (found.manifest_digest, &branch.digest);
                let reason = format!(
                    "clients get {found}, and the registry has {expected}: a mirror is behind, or the tag has \
                     just been moved"
                );
                return problem("manifest", &reason);
            }
            Ok(_) => {}
        }
        let workspace = MetadataDir::new()?;
        let (cache, options) = (workspace.path.clone(), PrefetchOptions::default());
        if let Err(error) = view.prefetch(cache, options, Arc::new(())).await {
            return problem("metadata", &error);
        }
        match blocking::run(move || Metadata::read(&workspace.path)).await {
            Ok(metadata) => Ok(Ok((view, metadata.packages))),
            Err(error) => problem("metadata", &error),
        }
    }

    fn check_packages(
        &self,
        branch: &Branch,
        packages: &[Package],
        located: &[Placed],
        named: &HashMap<Digest, u64>,
    ) -> Result<Found, Error> {
        let artifact = Artifact::new(&parse(self.source, &branch.bytes)?)
            .map_err(|error| Error::not_a_repository(self.source, error))?;
        let layers = branch.manifest.layers.iter();
        let titled = layers.filter_map(|layer| Some((layer.title()?, &layer.digest)));
        let located = located.iter().map(|placed| (placed.location.as_str(), &placed.digest));
        let by_location: HashMap<_, _> = titled.chain(located).collect();
        let is_packed =
            |location: &str| matches!(artifact.package(location), PackageLocation::InDirectory(_));
        Ok(check_packages(packages, &by_location, named, is_packed))
    }

    fn want_packages<'a>(
        &mut self,
        arch: Option<&str>,
        rows: impl Iterator<Item = &'a Placed>,
        named: &HashMap<Digest, u64>,
    ) {
        for Placed { digest, location, .. } in rows {
            if let Some(size) = named.get(digest) {
                let layer = Descriptor::new(MANIFEST, digest.clone(), *size).titled(location);
                self.want(arch, &layer, None);
            }
        }
    }

    /// Has a blob read.
    fn want(&mut self, arch: Option<&str>, layer: &Descriptor, checksum: Option<Checksum>) {
        let subject = layer.title().unwrap_or(layer.digest.as_str()).to_owned();
        let blob = || Blob {
            arch: arch.map(str::to_owned),
            subject,
            layer: layer.clone(),
            checksum: None,
        };
        let blob = self.blobs.entry(layer.digest.clone()).or_insert_with(blob);
        blob.checksum = checksum.or(blob.checksum.take());
    }

    /// Reads all blobs.
    async fn read(&mut self, progress: &dyn Progress) {
        let (blobs, packed) = (std::mem::take(&mut self.blobs), std::mem::take(&mut self.packed));
        self.report.blobs = blobs.len() + packed.len();
        let of_packed = packed.iter().map(|packed| packed.package.size);
        self.report.bytes = blobs.values().map(|blob| blob.layer.size).chain(of_packed).sum();
        progress.begin_reading(self.report.blobs, self.report.bytes);
        let (publisher, source) = (self.publisher, self.source);
        let read = |blob: Blob| async move {
            let problem = publisher.read_blob(source, &blob).await;
            progress.pushed(blob.layer.size);
            problem
        };
        let problems: Vec<_> =
            stream::iter(blobs.into_values()).map(read).buffer_unordered(PARALLEL).collect().await;
        self.report.problems.extend(problems.into_iter().flatten());
        for packed in packed {
            self.report.problems.extend(packed.read().await);
            progress.pushed(packed.package.size);
        }
        progress.end();
    }
}

impl Publisher {
    /// Reads a blob, whose digest is checked on the way.
    async fn read_blob(&self, source: &Source, blob: &Blob) -> Option<Problem> {
        let source = for_arch(source, blob.arch.clone());
        let problem = |reason| Some(Problem::new(None, &blob.subject, reason));
        let stream = match self.open_blob(&source, &blob.layer).await {
            Ok(stream) => stream,
            Err(error) => return problem(error.to_string()),
        };
        match Self::hash(stream, blob.checksum.as_ref()).await {
            Ok(None) => None,
            Ok(Some(found)) => problem(mismatch(blob.checksum.as_ref(), &found)),
            Err(error) => problem(Error::reading(&source, error).to_string()),
        }
    }
}

impl Packed {
    /// Reads a package that is in a tar layer.
    async fn read(&self) -> Option<Problem> {
        let Package { location, checksum, .. } = &self.package;
        let problem = |reason| Some(Problem::new(self.arch.as_deref(), location, reason));
        let content = match self.view.find(location).await {
            Ok(entry) => self.view.read(entry, 0).await,
            Err(error) => Err(error),
        };
        let content = match content {
            Ok(content) => content,
            Err(error) => return problem(error.to_string()),
        };
        match Publisher::hash(content, Some(checksum)).await {
            Ok(None) => None,
            Ok(Some(found)) => problem(mismatch(Some(checksum), &found)),
            Err(error) => problem(self.view.read_error(error).to_string()),
        }
    }
}

fn mismatch(expected: Option<&Checksum>, found: &str) -> String {
    let expected = expected.map(ToString::to_string).unwrap_or_default();
    format!("checksum mismatch: expected {expected}, got {found}")
}

/// What was found of the packages of the metadata.
#[derive(Default)]
struct Found {
    problems: Vec<(String, String)>,
    /// With the digests of their blobs.
    blobs: Vec<(Package, Digest)>,
    /// Those in tar layers.
    packed: Vec<Package>,
}

/// Each package must be a blob that a manifest names, of the right size, unless it is in a tar layer.
fn check_packages(
    packages: &[Package],
    by_location: &HashMap<&str, &Digest>,
    named: &HashMap<Digest, u64>,
    is_packed: impl Fn(&str) -> bool,
) -> Found {
    let mut found = Found::default();
    for package in packages {
        let location = package.location.as_str();
        let other = || by_location.get(location).map(|digest| (*digest).clone());
        let digest = Digest::try_from(&package.checksum).ok().or_else(other);
        let size = digest.as_ref().and_then(|digest| named.get(digest));
        match (digest, size) {
            (Some(digest), Some(size)) => {
                if *size != package.size {
                    let reason = format!(
                        "its layer says {size} bytes, and the metadata {}; publish it again",
                        package.size
                    );
                    found.problems.push((location.to_owned(), reason));
                }
                found.blobs.push((package.clone(), digest));
            }
            _ if is_packed(location) => found.packed.push(package.clone()),
            (_, _) => {
                let reason = format!(
                    "no manifest of the repository names its blob {}; publish it again",
                    package.checksum
                );
                found.problems.push((location.to_owned(), reason));
            }
        }
    }
    found
}

fn check_counts(layer: &Descriptor, rows: &[Placed]) -> Option<(String, String)> {
    let said = layer.annotations.get(PACKAGES)?;
    let count = rows.len();
    (*said != count.to_string()).then(|| {
        (
            "locations".to_owned(),
            format!("the table has {count} packages, its annotation says {said}"),
        )
    })
}

/// The table of locations must have what the metadata has, and nothing else.
fn check_locations(packages: &[Package], rows: &[Placed]) -> Vec<(String, String)> {
    let rows: HashMap<_, _> = rows.iter().map(|row| (row.location.as_str(), row)).collect();
    let mut problems = Vec::new();
    for package in packages {
        let reason = match rows.get(package.location.as_str()) {
            None => "the table of locations does not have it".to_owned(),
            Some(row) if row.size != package.size => format!(
                "the table of locations says {} bytes, and the metadata {}",
                row.size, package.size
            ),
            Some(row) => match Digest::try_from(&package.checksum) {
                Ok(digest) if digest != row.digest => {
                    format!("the table of locations says {}, and the metadata {digest}", row.digest)
                }
                _ => continue,
            },
        };
        problems.push((package.location.clone(), reason));
    }
    let listed: HashSet<_> = packages.iter().map(|package| package.location.as_str()).collect();
    let further = rows.keys().filter(|location| !listed.contains(*location));
    problems.extend(further.map(|location| {
        ((*location).to_owned(), "it is in the table of locations, not in the metadata".to_owned())
    }));
    problems
}

/// The segments must have what a table says that they have. `own` are the layers of the manifest itself, in
/// which packages without a segment are.
fn check_segments(
    rows: &[Placed],
    segments: &Segments,
    own: &HashMap<Digest, u64>,
) -> Vec<(String, String)> {
    let problem = |row: &Placed| {
        let Placed { digest, variant, size, .. } = row;
        let (place, name) = match variant.as_str() {
            "" => (Some(own), "the manifest".to_owned()),
            variant => (segments.get(variant), format!("segment {variant}")),
        };
        match place.map(|place| place.get(digest)) {
            None => Some(format!("it is said to be in {name}, which the index does not have")),
            Some(None) => Some(format!("it is said to be in {name}, which does not have {digest}")),
            Some(Some(found)) if found != size => {
                Some(format!("a table says {size} bytes, and {name} {found}"))
            }
            Some(Some(_)) => None,
        }
    };
    rows.iter().filter_map(|row| Some((row.location.clone(), problem(row)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::Algorithm;
    use crate::repomd::Nevra;

    fn checksum(byte: u8) -> Checksum {
        Checksum::from_bytes(Algorithm::Sha256, &[byte; 32])
    }

    fn digest(byte: u8) -> Digest {
        Digest::try_from(&checksum(byte)).expect("SHA-256")
    }

    fn package(byte: u8) -> Package {
        let text = || byte.to_string();
        Package {
            nevra: Nevra {
                name: text(),
                epoch: text(),
                version: text(),
                release: text(),
                arch: text(),
            },
            location: format!("{byte}.rpm"),
            checksum: checksum(byte),
            size: 10 + u64::from(byte),
        }
    }

    fn row(byte: u8, variant: &str) -> Placed {
        Placed {
            digest: digest(byte),
            location: format!("{byte}.rpm"),
            size: 10 + u64::from(byte),
            variant: variant.to_owned(),
        }
    }

    fn sizes(bytes: &[u8]) -> HashMap<Digest, u64> {
        bytes.iter().map(|byte| (digest(*byte), 10 + u64::from(*byte))).collect()
    }

    #[track_caller]
    fn one(problems: &[(String, String)], subject: &str, reason: &str) {
        let [(found, text)] = problems else {
            panic!("{problems:?}");
        };
        assert!(found == subject && text.contains(reason), "{problems:?}");
    }

    #[test]
    fn a_package_is_a_blob_of_the_right_size_that_a_manifest_names() {
        let none = HashMap::new();
        let packages = [package(1), package(2)];
        let found = check_packages(&packages, &none, &sizes(&[1, 2, 3]), |_| false);
        assert!(found.problems.is_empty() && found.blobs.len() == 2);
        let found = check_packages(&packages, &none, &sizes(&[1]), |_| false);
        one(&found.problems, "2.rpm", "no manifest of the repository names its blob sha256:0202");
        let found = check_packages(&packages, &none, &sizes(&[1]), |location| location == "2.rpm");
        assert!(found.problems.is_empty() && found.packed == packages[1..]);
        let mut other = sizes(&[1]);
        other.insert(digest(2), 9);
        let found = check_packages(&packages, &none, &other, |_| false);
        one(&found.problems, "2.rpm", "its layer says 9 bytes, and the metadata 12");
    }

    #[test]
    fn a_package_with_another_checksum_is_found_by_its_location() {
        let sha512 = Checksum::from_bytes(Algorithm::Sha512, &[7; 64]);
        let packages = [Package { checksum: sha512, ..package(1) }];
        let location = digest(1);
        let by_location = HashMap::from([("1.rpm", &location)]);
        let found = check_packages(&packages, &by_location, &sizes(&[1]), |_| false);
        assert!(found.problems.is_empty() && found.blobs[0].1 == location);
        let found = check_packages(&packages, &HashMap::new(), &sizes(&[1]), |_| false);
        one(&found.problems, "1.rpm", "names its blob sha512:0707");
    }

    #[test]
    fn the_table_has_what_the_metadata_has() {
        let packages = [package(1), package(2)];
        let rows = || vec![row(1, "s"), row(2, "s")];
        assert_eq!(check_locations(&packages, &rows()), []);
        one(&check_locations(&packages, &rows()[..1]), "2.rpm", "locations does not have it");
        one(&check_locations(&packages[..1], &rows()), "2.rpm", "not in the metadata");
        let mut lies = rows();
        lies[1].size = 1;
        one(&check_locations(&packages, &lies), "2.rpm", "says 1 bytes, and the metadata 12");
        lies = rows();
        lies[0].digest = digest(9);
        one(&check_locations(&packages, &lies), "1.rpm", "locations says sha256:0909");
    }

    #[test]
    fn the_segments_have_what_the_tables_say() {
        let segments = Segments::from([("s1".to_owned(), sizes(&[1])), ("s2".into(), sizes(&[2]))]);
        let none = HashMap::new();
        assert_eq!(check_segments(&[row(1, "s1"), row(2, "s2")], &segments, &none), []);
        one(
            &check_segments(&[row(1, "s2")], &segments, &none),
            "1.rpm",
            "s2, which does not have sha256:01",
        );
        one(
            &check_segments(&[row(1, "s3")], &segments, &none),
            "1.rpm",
            "s3, which the index does not",
        );
        let lie = Placed { size: 5, ..row(1, "s1") };
        one(&check_segments(&[lie], &segments, &none), "1.rpm", "5 bytes, and segment s1 11");
        assert_eq!(check_segments(&[row(3, "")], &segments, &sizes(&[3])), []);
        one(
            &check_segments(&[row(3, "")], &segments, &none),
            "3.rpm",
            "the manifest, which does not",
        );
    }
}
