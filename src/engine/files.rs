//! Files that the metadata does not list, such as keys, into DNF's cache.

use std::path::PathBuf;

use tokio::io::AsyncReadExt;

use super::error::{Cause, Error};
use super::prefetch::PrefetchOptions;
use super::reading::{retry_next_mirror, run};
use super::view::View;
use crate::dnf_cache::CacheDir;
use crate::reference::SCHEME;

/// The largest file, in bytes. Keys have some thousand.
const MAX_FILE: u64 = 1 << 20;

impl View {
    /// Puts a file of the repository into `cache_dir`, DNF's own directory for a repository, and says where it
    /// is. A cached one that is young enough is not fetched again.
    ///
    /// # Errors
    /// If the repository has no such file, or it cannot be fetched or written.
    pub async fn fetch_file(
        &self,
        cache_dir: PathBuf,
        path: &str,
        options: PrefetchOptions,
    ) -> Result<PathBuf, Error> {
        let fetched = fetch(self, cache_dir, path, options).await;
        fetched.map_err(|cause| self.error(cause))
    }
}

async fn fetch(
    view: &View,
    cache_dir: PathBuf,
    path: &str,
    options: PrefetchOptions,
) -> Result<PathBuf, Cause> {
    let reference = view.source().await?.reference.to_string();
    let name = format!("{}/{path}", reference.trim_start_matches(SCHEME).trim_start_matches('/'));
    let cached = name.clone();
    let (cache, fresh) = run(move || {
        let cache = CacheDir::open(&cache_dir)?;
        let fresh = cache.fresh_file(&cached, options.max_age, options.repo_file.as_deref());
        Ok((cache, fresh))
    })
    .await?;
    if let Some(fresh) = fresh {
        return Ok(fresh);
    }
    let bytes = retry_next_mirror(|| read(view, path)).await?;
    run(move || Ok(cache.write_file(&name, &bytes)?)).await
}

async fn read(view: &View, path: &str) -> Result<Vec<u8>, Cause> {
    let entry = view.look_for_file(path, MAX_FILE).await?;
    if entry.size > MAX_FILE {
        return Err(Cause::LargeFile { path: path.to_owned(), limit: MAX_FILE });
    }
    let mut bytes = Vec::new();
    view.open(entry, 0).await?.read_to_end(&mut bytes).await.map_err(Cause::reading)?;
    Ok(bytes)
}
