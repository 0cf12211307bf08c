//! What the manifest leads to: the layout, the metadata, and how fast layers come.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use containers_image_proxy::oci_spec::image::Descriptor;
use tokio::io::AsyncReadExt;

use super::{Check, Step, Verdict, counted};
use crate::artifact::{self, Artifact, Repodata};
use crate::engine::{Engine, Error, PrefetchOptions, Repository};
use crate::registry;
use crate::source::Source;

/// How much of a layer is read at most, in bytes: enough to know how fast they come.
const ENOUGH: u64 = 64 << 20;

/// Beside the files that it lists, a directory of metadata has repomd.xml and our marker.
const UNLISTED: usize = 2;

/// The steps, given what the manifest describes if it could be had.
pub(super) async fn steps(
    engine: &Engine,
    source: &Source,
    artifact: Option<&Result<Artifact, artifact::Error>>,
) -> Vec<Step> {
    let Some(artifact) = artifact else {
        return vec![Step::skipped(Check::Layout, ""), not_read(), not_downloaded()];
    };
    match artifact {
        Ok(artifact) => vec![
            Step::new(Check::Layout, Verdict::Ok, layout(artifact)),
            repodata(engine, source).await,
            download(engine, source, artifact).await,
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
    };
    let packages = counted(packages(artifact).len(), "package");
    format!("{metadata}, {packages} with layers of their own")
}

fn packages(artifact: &Artifact) -> Vec<(&str, &Descriptor)> {
    artifact.layers().into_iter().filter(|(title, _)| title.ends_with(".rpm")).collect()
}

/// Fetches the metadata as dnf5 would, into a directory that is removed.
async fn repodata(engine: &Engine, source: &Source) -> Step {
    let directory = match tempfile::tempdir() {
        Ok(directory) => directory,
        Err(error) => {
            let text = format!("no temporary directory can be made: {error}");
            return Step::new(Check::Repodata, Verdict::Failed, text);
        }
    };
    let repository = Repository {
        id: String::new(),
        source: source.clone(),
        cache_dir: directory.path().to_owned(),
    };
    match engine.prefetch(&repository, PrefetchOptions::default(), Arc::new(())).await {
        Ok(fetched) => {
            let files = listed(directory.path());
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

/// Fetches the smallest package, or the smallest layer if no package has one.
async fn download(engine: &Engine, source: &Source, artifact: &Artifact) -> Step {
    let candidates = match packages(artifact) {
        packages if packages.is_empty() => artifact.layers(),
        packages => packages,
    };
    let smallest = candidates.into_iter().min_by_key(|(_, layer)| layer.size());
    let Some((title, layer)) = smallest else {
        return not_downloaded();
    };
    let begin = Instant::now();
    match read(engine, source, layer).await {
        Ok(bytes) => {
            let text = format!("{title:?}: {bytes} bytes in {} ms", begin.elapsed().as_millis());
            Step::new(Check::Download, Verdict::Ok, text)
        }
        Err(error) => {
            let advice = Error::new(None, source, error.into()).advice();
            Step::new(Check::Download, Verdict::Failed, format!("{title:?}: {advice}"))
        }
    }
}

/// Reads a layer, to its end if it is not too large; then it has been checked.
async fn read(
    engine: &Engine,
    source: &Source,
    layer: &Descriptor,
) -> Result<u64, registry::Error> {
    let mut blob = engine.registry().blob(source, layer).await?;
    let mut buffer = vec![0; 128 * 1024];
    let mut received = 0;
    while received < ENOUGH {
        match blob.read(&mut buffer).await? {
            0 => break,
            read => received += read as u64,
        }
    }
    Ok(received)
}
