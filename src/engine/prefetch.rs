//! Bringing DNF's cached metadata of one repository up to date.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{TryStreamExt, stream};

use super::content::Entry;
use super::error::{Cause, Error};
use super::meter::Meter;
use super::reading::{copy, read_blocking, retry_next_mirror, run};
use super::view::{REPODATA, REPOMD};
use super::{Progress, View};
use crate::blocking::Cancelled;
use crate::containers_config::Fingerprint;
use crate::dnf_cache::{CacheDir, Freshness, Marker, MaxAge, StagedRepodata};
use crate::repomd::{Record, Repomd};
use crate::source::Source;

/// The name of the metadata in progress reports.
const ITEM: &str = "repodata";

/// The detached signature of repomd.xml, which repomd.xml cannot list.
const SIGNATURE: &str = "repomd.xml.asc";

/// How many metadata files are fetched side by side.
const PARALLEL_FILES: usize = 4;

/// When cached metadata is good enough.
#[derive(Clone, Debug, Default)]
pub struct PrefetchOptions {
    /// How old it may be.
    pub max_age: MaxAge,
    /// The `.repo` file; metadata older than this file is expired.
    pub repo_file: Option<PathBuf>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The metadata was fetched.
    Fetched,
    /// The registry has the metadata that is cached.
    Unchanged,
    /// The cached metadata is young enough; no request was made.
    Fresh,
}

/// The outcome of [`View::prefetch`].
#[derive(Clone, Debug)]
pub struct Prefetched {
    /// What was done.
    pub status: Status,
    /// The manifest that the metadata came from; empty if dnf5 fetched it by itself.
    pub manifest_digest: String,
    /// Bytes of metadata fetched, as repomd.xml lists it: compressed.
    pub bytes: u64,
}

impl View {
    /// Brings the cached metadata in `cache_dir`, DNF's own directory for the repository, up to date.
    ///
    /// # Errors
    /// Whatever keeps it from that; the cache is then as it was.
    pub async fn prefetch(
        &self,
        cache_dir: PathBuf,
        options: PrefetchOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<Prefetched, Error> {
        bring_up_to_date(self, cache_dir, options, progress)
            .await
            .map_err(|cause| self.error(cause))
    }
}

async fn bring_up_to_date(
    view: &View,
    cache_dir: PathBuf,
    options: PrefetchOptions,
    progress: Arc<dyn Progress>,
) -> Result<Prefetched, Cause> {
    let (cache, freshness, marker) = run(move || {
        let cache = CacheDir::open(&cache_dir)?;
        cache.sweep()?;
        let freshness = cache.freshness(options.max_age, options.repo_file.as_deref());
        let marker = cache.marker();
        Ok((Arc::new(cache), freshness, marker))
    })
    .await?;
    let marker = marker.filter(|_| freshness != Freshness::Missing);
    let source = view.source().await?;
    let identity = identity(source);
    // dnf5 names its directory by the baseurl alone: it may have another architecture's metadata.
    let is_other = marker.as_ref().is_some_and(|marker| marker.reference != identity);
    if freshness == Freshness::Fresh && !is_other {
        return Ok(Prefetched {
            status: Status::Fresh,
            manifest_digest: marker.map(|marker| marker.manifest_digest).unwrap_or_default(),
            bytes: 0,
        });
    }
    if let Some(marker) = &marker
        && !is_other
        && is_settled(source, &cache).await?
    {
        return unchanged(cache, marker.manifest_digest.clone()).await;
    }
    let snapshot = view.snapshot().await?;
    let current = Marker {
        reference: identity,
        manifest_digest: snapshot.manifest_digest.clone(),
        repodata_layers: snapshot.artifact.repodata().digests(),
    };
    if marker.is_some_and(|marker| marker.repodata_layers == current.repodata_layers) {
        return unchanged(cache, current.manifest_digest).await;
    }
    retry_next_mirror(|| fetch(view, &cache, &current, Arc::clone(&progress))).await
}

/// Fetches repomd.xml and what it lists.
async fn fetch(
    view: &View,
    cache: &Arc<CacheDir>,
    marker: &Marker,
    progress: Arc<dyn Progress>,
) -> Result<Prefetched, Cause> {
    let repomd = view.repomd().await?;
    let records = Repomd::parse(&repomd)?.records;
    let bytes = repomd.len() as u64 + records.iter().filter_map(|record| record.size).sum::<u64>();
    let staging = Staging {
        view,
        staged: run({
            let cache = Arc::clone(cache);
            move || Ok(Arc::new(cache.stage_repodata()?))
        })
        .await?,
        meter: Arc::new(Meter::new(ITEM, bytes, progress)),
    };
    staging.all(repomd, &records).await?;
    let Staging { staged, meter, .. } = staging;
    let (marker, manifest_digest) = (marker.clone(), marker.manifest_digest.clone());
    run(move || {
        // All that wrote to it are done, so this is the last handle.
        let staged = Arc::into_inner(staged).ok_or(Cancelled)?;
        staged.verify()?;
        Ok(staged.commit(&marker)?)
    })
    .await?;
    meter.finish();
    Ok(Prefetched { status: Status::Fetched, manifest_digest, bytes })
}

/// Metadata on its way into the cache.
struct Staging<'a> {
    view: &'a View,
    staged: Arc<StagedRepodata>,
    meter: Arc<Meter>,
}

impl Staging<'_> {
    async fn all(&self, repomd: Vec<u8>, records: &[Record]) -> Result<(), Cause> {
        let (staged, meter) = (Arc::clone(&self.staged), Arc::clone(&self.meter));
        let name = REPOMD.trim_start_matches(REPODATA);
        run(move || copy(&mut meter.reader(repomd.as_slice()), &mut staged.file(name)?)).await?;
        match self.view.look_for(&format!("{REPODATA}{SIGNATURE}")).await {
            Ok(signature) => self.file(SIGNATURE, signature).await?,
            Err(Cause::NoSuchFile(_)) => {}
            Err(cause) => return Err(cause),
        }
        // Two records may share a file.
        let names: BTreeSet<_> = records.iter().map(|record| record.name.as_str()).collect();
        stream::iter(names.into_iter().map(Ok))
            .try_for_each_concurrent(PARALLEL_FILES, async |name| {
                self.file(name, self.view.look_for(&format!("{REPODATA}{name}")).await?).await
            })
            .await
    }

    async fn file(&self, name: &str, entry: Entry) -> Result<(), Cause> {
        let content = self.view.open(entry, 0).await?;
        let (name, staged, meter) =
            (name.to_owned(), Arc::clone(&self.staged), Arc::clone(&self.meter));
        read_blocking(content, move |reader| {
            copy(&mut meter.reader(reader), &mut staged.file(&name)?)
        })
        .await
    }
}

/// What a digest leads to never changes; but it can be refused once the policy has changed.
async fn is_settled(source: &Source, cache: &Arc<CacheDir>) -> Result<bool, Cause> {
    if source.reference.digest().is_none() {
        return Ok(false);
    }
    let (access, cache) = (source.access.clone(), Arc::clone(cache));
    run(move || {
        let changed_since = |then| Fingerprint::has_changed_since(&access, then);
        Ok(cache.confirmed().is_some_and(|then| !changed_since(then)))
    })
    .await
}

/// The same reference can lead to different metadata for different architectures.
pub(super) fn identity(source: &Source) -> String {
    match &source.access.arch {
        Some(arch) => format!("{} ({arch})", source.reference),
        None => source.reference.to_string(),
    }
}

async fn unchanged(cache: Arc<CacheDir>, manifest_digest: String) -> Result<Prefetched, Cause> {
    run(move || Ok(cache.confirm()?)).await?;
    Ok(Prefetched { status: Status::Unchanged, manifest_digest, bytes: 0 })
}
