//! Manifests and blobs, through a pool of skopeo processes.
//!
//! | module | job |
//! |---|---|
//! | `pool` | how many skopeo processes there are, which one gets the next request, when they end |
//! | `worker` | one skopeo process and its requests |
//! | `command` | how it is started |
//! | `child` | killing it, whatever happens |
//! | `pull_source` | the mirrors of a repository and the registry itself |
//! | `blob` | a blob as a stream that survives failed transfers and is checked |
//! | `transfer` | the attempts at a blob, and the check of what has come |
//! | `body` | the bytes of a blob that skopeo sends |
//! | `messages` | what skopeo's messages mean |

mod blob;
mod body;
mod child;
mod command;
mod error;
mod messages;
mod pool;
mod pull_source;
mod settings;
mod transfer;
mod worker;

use std::sync::Arc;

use containers_image_proxy::oci_spec::image::{Descriptor, Digest, ImageManifest};

pub use blob::Blob;
pub use error::{Error, INCOMPLETE};
pub use settings::Settings;

use crate::source::Source;
use pool::Pool;

/// What a reference leads to.
#[derive(Debug)]
pub struct Manifest {
    /// The digest of the manifest as the registry has it.
    pub digest: Digest,
    /// The manifest, which skopeo has turned into OCI's form if it was docker's.
    pub image: ImageManifest,
}

/// All registries, as skopeo reaches them. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    pool: Arc<Pool>,
}

impl Registry {
    /// No process is started yet.
    pub fn new(settings: Settings) -> Self {
        Self { pool: Pool::new(settings) }
    }

    /// Asks the registry what the reference leads to now: one request for the manifest, and one
    /// more for the instance if it leads to an image index.
    ///
    /// # Errors
    /// If it leads nowhere, is refused, or cannot be had after as many tries as the settings say.
    pub async fn manifest(&self, source: &Source) -> Result<Manifest, Error> {
        self.pool.manifest(source).await
    }

    /// Streams a blob of the repository. At its end its size and digest have been checked: the
    /// last read fails if they are not those of `descriptor`.
    ///
    /// # Errors
    /// If it cannot be had, after as many tries as the settings say.
    pub async fn blob(&self, source: &Source, descriptor: &Descriptor) -> Result<Blob, Error> {
        Blob::open(Arc::clone(&self.pool), source, descriptor)
            .await
            .map_err(|error| error.of_blob(descriptor.digest()))
    }

    /// The version of the skopeo in use.
    ///
    /// # Errors
    /// If there is none, or it does not say.
    pub async fn skopeo_version(&self) -> Result<String, Error> {
        worker::skopeo_version(&self.pool.settings.skopeo).await
    }
}
