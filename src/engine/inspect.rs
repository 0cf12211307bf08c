//! What a reference leads to, for people.

use std::path::PathBuf;

use super::View;
use super::error::{Cause, Error};
use crate::artifact::{Counts, Titled};
use crate::containers_config::auth;

/// The outcome of [`View::inspect`].
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The reference as it was understood.
    pub reference: String,
    /// The digest of the manifest it leads to.
    pub manifest_digest: String,
    /// How the metadata are kept: `archive` or `files`.
    pub layout: &'static str,
    /// Title, size in bytes and digest of each layer.
    pub files: Vec<(String, u64, String)>,
    /// How many packages and segments there are, if the repository says so.
    pub counts: Option<Counts>,
    /// The version of skopeo.
    pub skopeo: String,
    /// The file that has credentials for the registry.
    pub auth_file: Option<PathBuf>,
}

impl Inspection {
    /// The size of all layers in bytes.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|(_, size, _)| size).sum()
    }
}

impl View {
    /// Says what the reference leads to. Writes nothing.
    ///
    /// # Errors
    /// If it leads nowhere, or to something that is no repository.
    pub async fn inspect(&self) -> Result<Inspection, Error> {
        inspect(self).await.map_err(|cause| self.error(cause))
    }
}

async fn inspect(view: &View) -> Result<Inspection, Cause> {
    let (snapshot, source) = (view.snapshot().await?, view.source().await?);
    let files = snapshot
        .artifact
        .layers()
        .iter()
        .map(|Titled { title, layer }| (title.clone(), layer.size(), layer.digest().to_string()))
        .collect();
    Ok(Inspection {
        reference: source.reference.to_string(),
        manifest_digest: snapshot.manifest_digest.clone(),
        layout: snapshot.artifact.repodata().layout(),
        files,
        counts: snapshot.artifact.counts(),
        skopeo: view.engine.registry.skopeo_version().await?,
        auth_file: auth::repositories(&source.reference)
            .iter()
            .find_map(|name| auth::effective(&source.access, name))
            .map(|(file, _)| file),
    })
}
