//! What the manifest leads to: the layout, the metadata, and the speed of a download.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::AsyncReadExt;

use super::{Check, Step, Verdict};
use crate::artifact::{self, Artifact, Counts, Repodata, Titled};
use crate::engine::{Error, PrefetchOptions, View};
use crate::error_kind::counted;
use crate::source::Source;
use crate::temporary::TemporaryDir;

/// How much of a package is read at most, in bytes: enough to measure the speed.
const ENOUGH: u64 = 64 << 20;

/// A metadata directory has two files that repomd.xml does not list: repomd.xml itself and our marker.
const UNLISTED: usize = 2;

/// The steps, given the artifact if there is a manifest.
pub(super) async fn steps(
    view: &View,
    source: &Source,
    artifact: Option<&Result<Artifact, artifact::Error>>,
) -> Vec<Step> {
    let Some(artifact) = artifact else {
        return vec![Step::skipped(Check::Layout, ""), not_read(), not_downloaded()];
    };
    match artifact {
        Ok(artifact) => vec![
            Step::new(Check::Layout, Verdict::Ok, layout(artifact)),
            repodata(view).await,
            download(view).await,
        ],
        Err(error) => {
            let advice = Error::new(None, source, error.clone().into()).advice();
            vec![Step::new(Check::Layout, Verdict::Failed, advice), not_read(), not_downloaded()]
        }
    }
}

fn not_read() -> Step {
    Step::skipped(Check::Repodata, "")
}

fn not_downloaded() -> Step {
    Step::skipped(Check::Download, "")
}

fn layout(artifact: &Artifact) -> String {
    let metadata = match artifact.repodata() {
        Repodata::Archive(_) => "metadata in one tar layer",
        Repodata::Files(_) => "metadata in a layer for each file",
        Repodata::Inside(_) => "metadata inside another tar layer",
    };
    if let Some(Counts { packages, segments }) = artifact.counts() {
        let (packages, segments) = (counted(packages, "package"), counted(segments, "segment"));
        return format!("{metadata}, {packages} in {segments}");
    }
    let is_package = |titled: &&Titled| titled.title.ends_with(".rpm");
    let packages = counted(artifact.layers().iter().filter(is_package).count(), "package");
    format!("{metadata}, {packages} with layers of their own")
}

/// Fetches the metadata as dnf5 would, into a directory that is removed.
async fn repodata(view: &View) -> Step {
    let directory = match TemporaryDir::new() {
        Ok(directory) => directory,
        Err(error) => {
            let text = format!("no temporary directory can be made: {error}");
            return Step::new(Check::Repodata, Verdict::Failed, text);
        }
    };
    // The directory itself is locked, and updating a cache locks that.
    let cache_dir = directory.path().join("cache");
    match view.prefetch(cache_dir.clone(), PrefetchOptions::default(), Arc::new(())).await {
        Ok(fetched) => {
            let files = listed(&cache_dir);
            let text =
                format!("repomd.xml and all {files} files it lists, {} bytes", fetched.bytes);
            Step::new(Check::Repodata, Verdict::Ok, text)
        }
        Err(error) => Step::new(Check::Repodata, Verdict::Failed, error.advice()),
    }
}

fn listed(cache_dir: &Path) -> usize {
    let all = fs::read_dir(cache_dir.join("repodata")).map_or(0, Iterator::count);
    all.saturating_sub(UNLISTED)
}

/// Fetches the smallest package.
async fn download(view: &View) -> Step {
    let failed = |advice| Step::new(Check::Download, Verdict::Failed, advice);
    let location = match view.smallest_package().await {
        Ok(Some(package)) => package.location,
        Ok(None) => return Step::new(Check::Download, Verdict::Ok, "there are no packages".into()),
        // The step before says why.
        Err(_) => return not_downloaded(),
    };
    let begin = Instant::now();
    match read(view, &location).await {
        Ok(bytes) => {
            let text = format!("{location:?}: {bytes} bytes in {} ms", begin.elapsed().as_millis());
            Step::new(Check::Download, Verdict::Ok, text)
        }
        Err(error) => failed(format!("{location:?}: {}", error.advice())),
    }
}

/// Reads a package, to its end unless it is very large; at its end its digest has been checked.
async fn read(view: &View, location: &str) -> Result<u64, Error> {
    let entry = view.find(location).await?;
    let mut content = view.read(entry, 0).await?.take(ENOUGH);
    let read = tokio::io::copy(&mut content, &mut tokio::io::sink()).await;
    read.map_err(|error| view.read_error(error))
}
