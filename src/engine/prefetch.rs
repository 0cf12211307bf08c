//! Bringing DNF's cached metadata of one repository up to date.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use containers_image_proxy::oci_spec::image::Descriptor;
use futures_util::{TryStreamExt, stream};

use super::blocking::{retry_next_mirror, run, with_reader};
use super::copy::copy;
use super::error::{Cause, Error};
use super::manifests::Snapshot;
use super::meter::Meter;
use super::{Engine, Progress, Repository};
use crate::artifact::Repodata;
use crate::artifact::archive::{Limits, read_archive};
use crate::containers_config::Fingerprint;
use crate::dnf_cache::{CacheDir, Freshness, Marker, MaxAge, StagedRepodata};
use crate::source::Source;

/// The name of the metadata in progress reports.
const ITEM: &str = "repodata";

/// What comes before every name in a repodata layer.
const DIRECTORY: &str = "repodata/";

/// How many metadata files are fetched side by side.
const PARALLEL_FILES: usize = 4;

/// When cached metadata are good enough.
#[derive(Clone, Debug, Default)]
pub struct PrefetchOptions {
    /// How old they may be.
    pub max_age: MaxAge,
    /// The `.repo` file; metadata older than it are expired.
    pub repo_file: Option<PathBuf>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The metadata were fetched.
    Fetched,
    /// The registry was asked and has the metadata that are cached.
    Unchanged,
    /// The cached metadata are young enough; nobody was asked.
    Fresh,
}

/// The outcome of [`Engine::prefetch`].
#[derive(Clone, Debug)]
pub struct Prefetched {
    /// What was done.
    pub status: Status,
    /// The manifest that the metadata came from; empty if dnf5 fetched them by itself.
    pub manifest_digest: String,
    /// Compressed bytes fetched.
    pub bytes: u64,
}

impl Engine {
    /// Brings DNF's cached metadata of one repository up to date.
    ///
    /// # Errors
    /// Whatever keeps it from that; the cache is then as it was.
    pub async fn prefetch(
        &self,
        repository: &Repository,
        options: PrefetchOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<Prefetched, Error> {
        let source = self.with_credentials(&repository.source);
        self.bring_up_to_date(repository, &source, options, progress)
            .await
            .map_err(|cause| Error::new(Some(&repository.id), &source, cause))
    }

    async fn bring_up_to_date(
        &self,
        repository: &Repository,
        source: &Source,
        options: PrefetchOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<Prefetched, Cause> {
        let path = repository.cache_dir.clone();
        let (cache, freshness, marker) = run(move || {
            let cache = CacheDir::open(&path)?;
            cache.sweep()?;
            let freshness = cache.freshness(options.max_age, options.repo_file.as_deref());
            let marker = cache.marker();
            Ok((Arc::new(cache), freshness, marker))
        })
        .await?;
        let marker = marker.filter(|_| freshness != Freshness::Missing);
        let identity = identity(source);
        // dnf5 names its directory by the baseurl alone: they may be another architecture's.
        let others = marker.as_ref().is_some_and(|marker| marker.reference != identity);
        if freshness == Freshness::Fresh && !others {
            return Ok(Prefetched {
                status: Status::Fresh,
                manifest_digest: marker.map(|marker| marker.manifest_digest).unwrap_or_default(),
                bytes: 0,
            });
        }
        if let Some(marker) = &marker
            && !others
            && is_settled(source, &cache)
        {
            return unchanged(cache, marker.manifest_digest.clone()).await;
        }
        let snapshot = self.look_up(source).await?;
        let noted = Marker {
            reference: identity,
            manifest_digest: snapshot.manifest_digest.clone(),
            repodata_layers: snapshot.artifact.repodata().digests(),
        };
        if marker.is_some_and(|marker| marker.repodata_layers == noted.repodata_layers) {
            return unchanged(cache, snapshot.manifest_digest.clone()).await;
        }
        retry_next_mirror(|| {
            let (cache, progress) = (Arc::clone(&cache), Arc::clone(&progress));
            self.fetch_repodata(source, &snapshot, cache, noted.clone(), progress)
        })
        .await
    }

    async fn fetch_repodata(
        &self,
        source: &Source,
        snapshot: &Snapshot,
        cache: Arc<CacheDir>,
        marker: Marker,
        progress: Arc<dyn Progress>,
    ) -> Result<Prefetched, Cause> {
        let staged = run(move || Ok(Arc::new(cache.stage_repodata()?))).await?;
        let repodata = snapshot.artifact.repodata();
        let layers = repodata.layers();
        let bytes = repodata.size();
        let meter = Arc::new(Meter::new(ITEM, bytes, progress));
        match repodata {
            Repodata::Archive(layer) => {
                self.unpack(source, layer, &staged, Arc::clone(&meter)).await?;
            }
            Repodata::Files(_) => {
                stream::iter(layers.into_iter().map(Ok))
                    .try_for_each_concurrent(PARALLEL_FILES, |(name, layer)| {
                        self.fetch_file(source, name, layer, &staged, Arc::clone(&meter))
                    })
                    .await?;
            }
        }
        let manifest_digest = marker.manifest_digest.clone();
        run(move || {
            // All who wrote to it are done, so this is the last handle.
            let staged = Arc::into_inner(staged).ok_or(Cause::Cancelled)?;
            staged.verify()?;
            Ok(staged.commit(&marker)?)
        })
        .await?;
        meter.finish();
        Ok(Prefetched { status: Status::Fetched, manifest_digest, bytes })
    }

    async fn unpack(
        &self,
        source: &Source,
        layer: &Descriptor,
        staged: &Arc<StagedRepodata>,
        meter: Arc<Meter>,
    ) -> Result<(), Cause> {
        let blob = self.registry.blob(source, layer).await?;
        let limits = self.settings.repodata_limits.clone();
        let staged = Arc::clone(staged);
        with_reader(blob, move |reader| unpack_into(meter.reader(reader), &limits, &staged)).await
    }

    async fn fetch_file(
        &self,
        source: &Source,
        name: &str,
        layer: &Descriptor,
        staged: &Arc<StagedRepodata>,
        meter: Arc<Meter>,
    ) -> Result<(), Cause> {
        let blob = self.registry.blob(source, layer).await?;
        let (name, staged) = (name.to_owned(), Arc::clone(staged));
        with_reader(blob, move |reader| copy(&mut meter.reader(reader), &mut staged.file(&name)?))
            .await
    }
}

/// What a digest leads to never changes; but it can be refused once the policy has changed.
fn is_settled(source: &Source, cache: &CacheDir) -> bool {
    let changed_since = |then| Fingerprint::has_changed_since(&source.access, then);
    source.reference.digest().is_some()
        && cache.confirmed().is_some_and(|then| !changed_since(then))
}

/// The same reference can lead to different metadata for different architectures.
fn identity(source: &Source) -> String {
    match &source.access.arch {
        Some(arch) => format!("{} ({arch})", source.reference),
        None => source.reference.to_string(),
    }
}

async fn unchanged(cache: Arc<CacheDir>, manifest_digest: String) -> Result<Prefetched, Cause> {
    run(move || Ok(cache.confirm()?)).await?;
    Ok(Prefetched { status: Status::Unchanged, manifest_digest, bytes: 0 })
}

fn unpack_into(layer: impl Read, limits: &Limits, staged: &StagedRepodata) -> Result<(), Cause> {
    read_archive(layer, limits, |path, _size, member| {
        let name = path
            .strip_prefix(DIRECTORY)
            .filter(|name| !name.contains('/'))
            .ok_or_else(|| Cause::StrayMember(path.to_owned()))?;
        copy(member, &mut staged.file(name)?)
    })
}
