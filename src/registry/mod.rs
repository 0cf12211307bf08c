//! Manifests and blobs, read through pools of skopeo workers and written by `skopeo copy`.
//!
//! | module | job |
//! |---|---|
//! | `blob` | a blob as a stream that survives failed transfers and is checked |
//! | `check` | who checks its digest |
//! | `attempts` | how often a blob is requested, and from which pull source |
//! | `pool` | which worker gets a request, and when workers end |
//! | `source_pool` | the workers of one pull source |
//! | `places` | how many workers there may be |
//! | `processors` | whether the processors have time for more of them |
//! | `ready` | workers that are started before the requests come |
//! | `pull_source` | the mirrors of a repository and the registry itself |
//! | `body` | the bytes of a blob that a worker sends |
//! | `relay` | the same of a skopeo without GetRawBlob |
//! | `speed` | how slow a transfer may be |
//! | `worker` | a skopeo process and its requests |
//! | `log` | what skopeo logs while it works on a request |
//! | `command` | the command that starts it |
//! | `copy` | `skopeo copy` |
//! | `raw` | manifests byte for byte, and their deletion |
//! | `program` | skopeo as a program that does one thing and ends |
//! | `rate` | how many requests there may be in a minute |
//! | `child` | a process that can be killed at any time |
//! | `messages` | what skopeo's messages mean |

mod attempts;
mod blob;
mod body;
mod check;
mod child;
mod command;
mod copy;
mod error;
mod log;
mod messages;
mod places;
mod pool;
mod processors;
mod program;
mod pull_source;
mod rate;
mod raw;
mod ready;
mod relay;
mod settings;
mod source_pool;
mod speed;
mod worker;

use std::sync::Arc;

use containers_image_proxy::oci_spec::image::{Descriptor, Digest, ImageManifest};

pub use blob::Blob;
pub use check::{Check, Delivered};
pub use copy::{Copy, Instances, Signing};
pub use error::{Error, INCOMPLETE};
#[cfg(fuzzing)]
#[doc(hidden)]
pub use messages::refused;
pub use rate::RateLimit;
pub use raw::RawManifest;
pub use ready::Expected;
pub use settings::Settings;

use crate::source::Source;
use pool::Pool;

/// The manifest that a reference leads to.
#[derive(Debug)]
pub struct Manifest {
    /// The digest of the manifest in the registry.
    pub digest: Digest,
    /// The manifest, which skopeo has converted to OCI's format if it was Docker's.
    pub image: ImageManifest,
}

/// All registries, through skopeo. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    pool: Arc<Pool>,
}

impl Registry {
    /// Starts no worker yet.
    pub fn new(settings: Settings) -> Self {
        Self { pool: Pool::new(settings) }
    }

    /// Asks the registry for the manifest that the reference leads to now: one request, and another one for
    /// the instance if it is an image index.
    ///
    /// # Errors
    /// If there is no manifest, or all attempts fail.
    pub async fn manifest(&self, source: &Source) -> Result<Manifest, Error> {
        // Boxed here, for the compiler's sake: the futures around it are deep enough.
        Box::pin(self.pool.manifest(source)).await
    }

    /// Streams a blob of the repository, whose size and digest are those of `descriptor`.
    ///
    /// # Errors
    /// If all attempts fail.
    pub async fn blob(
        &self,
        source: &Source,
        descriptor: &Descriptor,
        check: Check<'_>,
    ) -> Result<Blob, Error> {
        Box::pin(Blob::open(Arc::clone(&self.pool), source, descriptor, check))
            .await
            .map_err(|error| error.of_blob(descriptor.digest()))
    }

    /// Whether a worker has the image of the source open, under the configuration as it is now. It can serve any
    /// blob of the repository.
    ///
    /// # Errors
    /// If the configuration cannot be read.
    pub async fn is_open(&self, source: &Source) -> Result<bool, Error> {
        self.pool.is_open(source).await
    }

    /// Expects requests for so many blobs: workers are kept for longer then, and there may be more of them.
    /// Starts none.
    ///
    /// # Errors
    /// If the configuration cannot be read.
    pub async fn expect(&self, source: &Source, blobs: usize) -> Result<Expected, Error> {
        Expected::new(Arc::clone(&self.pool), source, blobs).await
    }

    /// Asks the registry itself, and no mirror, for the manifest or index that the reference leads to.
    ///
    /// # Errors
    /// If there is none, or all attempts fail.
    pub async fn raw_manifest(&self, source: &Source) -> Result<RawManifest, Error> {
        Box::pin(raw::read(&self.pool.settings, source)).await
    }

    /// Copies a manifest with its blobs, or an index. What the target has is not sent again. `progress` is
    /// called with the digest of each blob when its turn comes, also if the target has it.
    ///
    /// # Errors
    /// If all attempts fail; each that gets further than those before it gets the full number anew.
    pub async fn copy(
        &self,
        copy: &Copy<'_>,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<(), Error> {
        Box::pin(copy::run(&self.pool.settings, copy, progress)).await
    }

    /// Deletes the manifest that a tag leads to, and so *all* tags that lead to it.
    ///
    /// # Errors
    /// [`Error::DeleteNotAllowed`] if the registry does not allow it, or if all attempts fail.
    pub async fn delete(&self, source: &Source) -> Result<(), Error> {
        Box::pin(raw::delete(&self.pool.settings, source)).await
    }

    /// The version of skopeo.
    ///
    /// # Errors
    /// If there is no skopeo, or its answer is not a version.
    pub async fn skopeo_version(&self) -> Result<String, Error> {
        worker::skopeo_version(&self.pool.settings.skopeo).await
    }
}
