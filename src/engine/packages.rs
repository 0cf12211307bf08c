//! Putting packages into DNF's cache.

use std::collections::HashSet;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{TryStreamExt, stream};

use super::content::Entry;
use super::error::{Cause, Error};
use super::meter::Meter;
use super::reading::{copy, read_blocking, retry_next_mirror, run};
use super::{Progress, View};
use crate::checksum::Algorithm;
use crate::dnf_cache::{CacheDir, Verification};
use crate::repomd::Package;

/// Packages on their way into the cache.
struct Fetch<'a> {
    view: &'a View,
    cache: Arc<CacheDir>,
    progress: Arc<dyn Progress>,
}

impl View {
    /// Puts packages into `cache_dir`, DNF's own directory for the repository, side by side, and says where
    /// they are, in the same order. A package that is there already and right is not fetched.
    ///
    /// # Errors
    /// The first failure; the rest is cancelled then, and what is complete stays in the cache.
    pub async fn fetch_packages(
        self,
        cache_dir: PathBuf,
        packages: Vec<Package>,
        progress: Arc<dyn Progress>,
    ) -> Result<Vec<PathBuf>, Error> {
        let view = self.with_cache_dir(cache_dir.clone());
        let fetched = fetch(&view, cache_dir, packages, progress).await;
        fetched.map_err(|cause| view.error(cause))
    }
}

async fn fetch(
    view: &View,
    cache_dir: PathBuf,
    packages: Vec<Package>,
    progress: Arc<dyn Progress>,
) -> Result<Vec<PathBuf>, Cause> {
    let wanted = packages.clone();
    let (cache, missing) = run(move || {
        let cache = CacheDir::open(&cache_dir)?;
        cache.sweep()?;
        let missing = missing(&cache, wanted)?;
        Ok((Arc::new(cache), missing))
    })
    .await?;
    let parallel = view.engine.settings.parallel_packages;
    let fetch = Fetch { view, cache: Arc::clone(&cache), progress };
    fetch.all(missing, parallel).await?;
    packages.iter().map(|package| Ok(cache.package_path(&package.location)?)).collect()
}

fn missing(cache: &CacheDir, wanted: Vec<Package>) -> Result<Vec<Package>, Cause> {
    let mut seen = HashSet::new();
    let mut missing = Vec::new();
    for package in wanted {
        if seen.insert(package.clone())
            && !cache.has_package(&package.location, &package.checksum, package.size)?
        {
            missing.push(package);
        }
    }
    Ok(missing)
}

/// An entry that cannot be the package is refused before a byte of it is fetched.
fn check(package: &Package, entry: &Entry) -> Result<(), Cause> {
    let checksum = package.checksum.to_string();
    let other = |digest: &String| digest.starts_with("sha256:") && *digest != checksum;
    let digest = entry.digest().filter(|_| package.checksum.algorithm() == Algorithm::Sha256);
    if let Some(found) = digest.filter(other) {
        let location = package.location.clone();
        return Err(Cause::PackageChanged { location, expected: checksum, found });
    }
    if entry.size != package.size {
        return Err(Cause::other_size(&package.location, package.size, entry.size));
    }
    Ok(())
}

impl Fetch<'_> {
    async fn all(&self, packages: Vec<Package>, parallel: usize) -> Result<(), Cause> {
        stream::iter(packages.into_iter().map(Ok))
            .try_for_each_concurrent(parallel, async |package| {
                retry_next_mirror(|| self.package(package.clone())).await
            })
            .await
    }

    async fn package(&self, package: Package) -> Result<(), Cause> {
        let entry = self.view.look_for_package(&package).await?;
        check(&package, &entry)?;
        let is_verified = entry.is_checked_against(&package.checksum);
        let content = self.view.open(entry, 0).await?;
        let (cache, progress) = (Arc::clone(&self.cache), Arc::clone(&self.progress));
        read_blocking(content, move |reader| {
            let verification = match is_verified {
                true => Verification::Stream,
                false => Verification::Checksum(&package.checksum),
            };
            store(&cache, &package, verification, reader, progress)
        })
        .await
    }
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
