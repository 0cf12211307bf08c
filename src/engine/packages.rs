//! Putting packages into DNF's cache.

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use containers_image_proxy::oci_spec::image::{Descriptor, Digest, MediaType};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::blocking::{retry_next_mirror, run, with_reader};
use super::copy::copy;
use super::error::{Cause, Error};
use super::manifests::Snapshot;
use super::meter::Meter;
use super::{Engine, Progress, Repository};
use crate::artifact::PackageLocation;
use crate::artifact::archive::{self, Limits, read_archive};
use crate::checksum::{Algorithm, Checksum};
use crate::dnf_cache::{CacheDir, Verification};
use crate::source::Source;

/// One package, as the repository's primary metadata describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Origin it is, relative to the repository.
    pub location: String,
    /// What its bytes hash to.
    pub checksum: Checksum,
    /// Its size in bytes.
    pub size: u64,
}

/// One fetch: all that its parts share.
struct Fetch<'a> {
    engine: &'a Engine,
    source: &'a Source,
    cache: Arc<CacheDir>,
    progress: Arc<dyn Progress>,
}

/// What is read in one go: a package of its own, or all that is wanted from a directory layer.
enum Job {
    Blob(Package, Descriptor),
    Digest(Package, Descriptor),
    Directories(Vec<Descriptor>, Vec<Package>),
}

impl Engine {
    /// Puts packages into DNF's cache, side by side, and says where they are, in the same order.
    /// What is there already and right is not fetched.
    ///
    /// # Errors
    /// The first failure; the rest is given up then, and what is complete stays in the cache.
    pub async fn fetch_packages(
        &self,
        repository: &Repository,
        packages: &[Package],
        progress: Arc<dyn Progress>,
    ) -> Result<Vec<PathBuf>, Error> {
        let source = self.with_credentials(&repository.source);
        self.bring_packages(repository, &source, packages, progress)
            .await
            .map_err(|cause| Error::new(Some(&repository.id), &source, cause))
    }

    async fn bring_packages(
        &self,
        repository: &Repository,
        source: &Source,
        packages: &[Package],
        progress: Arc<dyn Progress>,
    ) -> Result<Vec<PathBuf>, Cause> {
        let path = repository.cache_dir.clone();
        let wanted = packages.to_vec();
        let (cache, marker, missing) = run(move || {
            let cache = CacheDir::open(&path)?;
            cache.sweep()?;
            let missing = missing(&cache, wanted)?;
            let marker = cache.marker();
            Ok((Arc::new(cache), marker, missing))
        })
        .await?;
        if !missing.is_empty() {
            let digest = marker.as_ref().map(|marker| marker.manifest_digest.as_str());
            let snapshot = self.look_up_at(source, digest).await?;
            let fetch = Fetch { engine: self, source, cache: Arc::clone(&cache), progress };
            stream::iter(plan(&snapshot, missing)?.into_iter().map(Ok))
                .try_for_each_concurrent(self.settings.parallel_packages, |job| fetch.job(job))
                .await?;
        }
        packages.iter().map(|package| Ok(cache.package_path(&package.location)?)).collect()
    }
}

fn missing(cache: &CacheDir, wanted: Vec<Package>) -> Result<Vec<Package>, Cause> {
    let mut missing: Vec<Package> = Vec::new();
    for package in wanted {
        let there = cache.has_package(&package.location, &package.checksum, package.size)?;
        if !there && !missing.contains(&package) {
            missing.push(package);
        }
    }
    Ok(missing)
}

/// Finds each package in the artifact, and brings together what one layer holds.
fn plan(snapshot: &Snapshot, packages: Vec<Package>) -> Result<Vec<Job>, Cause> {
    let mut jobs = Vec::new();
    let mut directories: HashMap<String, (Vec<Descriptor>, Vec<Package>)> = HashMap::new();
    for package in packages {
        match snapshot.artifact.package(&package.location) {
            PackageLocation::Layer(layer) => {
                check_layer(&package, layer)?;
                jobs.push(Job::Blob(package, layer.clone()));
            }
            PackageLocation::InDirectory(layers) => {
                let key = layers.iter().map(|layer| layer.digest().to_string()).collect();
                let entry = directories.entry(key).or_default();
                if entry.0.is_empty() {
                    entry.0 = layers.into_iter().cloned().collect();
                }
                entry.1.push(package);
            }
            PackageLocation::ByDigest => jobs.push(job_by_digest(package)?),
        }
    }
    jobs.extend(directories.into_values().map(|(layers, wanted)| Job::Directories(layers, wanted)));
    Ok(jobs)
}

/// A layer that cannot be the package is refused before a byte of it is fetched.
fn check_layer(package: &Package, layer: &Descriptor) -> Result<(), Cause> {
    let digest = layer.digest().to_string();
    let checksum = package.checksum.to_string();
    let comparable = package.checksum.algorithm() == Algorithm::Sha256
        && digest.starts_with(Algorithm::Sha256.name());
    let (wanted, found) = if comparable && digest != checksum {
        (checksum, digest)
    } else if layer.size() != package.size {
        (format!("{} bytes", package.size), format!("{} bytes", layer.size()))
    } else {
        return Ok(());
    };
    Err(Cause::PackageChanged { location: package.location.clone(), wanted, found })
}

/// No layer has the package's title: a registry may have it as a blob all the same, whose digest
/// is the package's checksum.
fn job_by_digest(package: Package) -> Result<Job, Cause> {
    by_digest(package.clone()).map(|blob| Job::Digest(package, blob))
}

/// The blob that a package would be.
pub(super) fn by_digest(package: Package) -> Result<Descriptor, Cause> {
    let digest = package.checksum.to_string().parse::<Digest>();
    match digest {
        Ok(digest) if package.checksum.algorithm() == Algorithm::Sha256 => {
            Ok(Descriptor::new(MediaType::ImageLayer, package.size, digest))
        }
        _ => Err(Cause::PackageNotInRepository(package.location)),
    }
}

impl Fetch<'_> {
    async fn job(&self, job: Job) -> Result<(), Cause> {
        match job {
            Job::Blob(package, layer) => {
                retry_next_mirror(|| self.blob(package.clone(), &layer)).await
            }
            Job::Digest(package, blob) => {
                let location = package.location.clone();
                let fetched = retry_next_mirror(|| self.blob(package.clone(), &blob)).await;
                fetched.map_err(|cause| cause.of_unlisted(location))
            }
            Job::Directories(layers, wanted) => self.directories(&layers, wanted).await,
        }
    }

    /// A package that is a blob of its own.
    async fn blob(&self, package: Package, layer: &Descriptor) -> Result<(), Cause> {
        let blob = self.engine.registry.blob(self.source, layer).await?;
        let (cache, progress) = (Arc::clone(&self.cache), Arc::clone(&self.progress));
        let is_the_checksum = layer.digest().to_string() == package.checksum.to_string();
        with_reader(blob, move |reader| {
            let verification = match is_the_checksum {
                true => Verification::Stream,
                false => Verification::Checksum(&package.checksum),
            };
            store(&cache, &package, verification, reader, progress)
        })
        .await
    }

    /// Packages that lie in directory layers: each layer is read once for all that is wanted from
    /// it. What is in none of them may still be a blob.
    async fn directories(&self, layers: &[Descriptor], wanted: Vec<Package>) -> Result<(), Cause> {
        let mut wanted = wanted;
        for layer in layers {
            if wanted.is_empty() {
                break;
            }
            wanted = retry_next_mirror(|| self.directory(layer, wanted.clone())).await?;
        }
        let jobs = wanted.into_iter().map(job_by_digest);
        stream::iter(jobs)
            .map(|job| async { Box::pin(self.job(job?)).await })
            .buffer_unordered(self.engine.settings.parallel_packages)
            .try_collect()
            .await
    }

    /// Takes what is wanted from one directory layer; returns what is not in it.
    async fn directory(
        &self,
        layer: &Descriptor,
        wanted: Vec<Package>,
    ) -> Result<Vec<Package>, Cause> {
        let blob = self.engine.registry.blob(self.source, layer).await?;
        let limits = self.engine.settings.directory_limits.clone();
        let (cache, progress) = (Arc::clone(&self.cache), Arc::clone(&self.progress));
        with_reader(blob, move |reader| {
            take_from_directory(reader, &limits, wanted, |package, member| {
                let verification = Verification::Checksum(&package.checksum);
                store(&cache, package, verification, member, Arc::clone(&progress))
            })
        })
        .await
    }
}

/// Ends the reading of an archive: by a failure, or because nothing more is wanted from it.
enum Stop {
    Failed(Cause),
    Enough,
}

impl From<archive::Error> for Stop {
    fn from(error: archive::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Hands every wanted member of a tar layer to `store`; returns what was not in it.
///
/// Reading ends with the last wanted member. The layer's own digest is not checked then, which
/// loses nothing: each package is checked against the metadata.
fn take_from_directory(
    layer: impl Read,
    limits: &Limits,
    wanted: Vec<Package>,
    mut store: impl FnMut(&Package, &mut dyn Read) -> Result<(), Cause>,
) -> Result<Vec<Package>, Cause> {
    let mut wanted = wanted;
    let outcome = read_archive(layer, limits, |path, size, member| {
        let Some(index) = wanted.iter().position(|package| is_at(package, path)) else {
            return Ok(());
        };
        let package = wanted.swap_remove(index);
        if size != package.size {
            return Err(Stop::Failed(Cause::PackageChanged {
                location: package.location,
                wanted: format!("{} bytes", package.size),
                found: format!("{size} bytes"),
            }));
        }
        store(&package, member).map_err(Stop::Failed)?;
        if wanted.is_empty() { Err(Stop::Enough) } else { Ok(()) }
    });
    match outcome {
        Ok(()) | Err(Stop::Enough) => Ok(wanted),
        Err(Stop::Failed(cause)) => Err(cause),
    }
}

/// Locations may begin with `./`; member names come without.
fn is_at(package: &Package, path: &str) -> bool {
    package.location.trim_start_matches("./") == path
}

/// Writes one package beside its place, checks it, and puts it there.
fn store(
    cache: &CacheDir,
    package: &Package,
    verification: Verification<'_>,
    from: &mut dyn Read,
    progress: Arc<dyn Progress>,
) -> Result<(), Cause> {
    let meter = Meter::new(&package.location, package.size, progress);
    let mut staged = cache.stage_package(&package.location, package.size, verification)?;
    copy(&mut meter.reader(from), &mut staged)?;
    staged.commit()?;
    meter.finish();
    Ok(())
}
