//! The operations of the project, for every front end: bring DNF's cached metadata up to date, put
//! packages into DNF's cache, say what a reference leads to.
//!
//! Dropping a future of this module gives its work up; what is complete stays in the cache.

mod blocking;
mod content;
mod copy;
pub(crate) mod error;
mod inspect;
mod layers;
mod manifests;
mod meter;
mod packages;
mod prefetch;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub use content::{Content, Entry, View};
pub use error::Error;
pub use inspect::Inspection;
use layers::UnpackLocks;
pub use packages::Package;
pub use prefetch::{PrefetchOptions, Prefetched, Status};

use crate::artifact::archive;
use crate::containers_config::auth;
use crate::registry::Registry;
use crate::source::Source;
use manifests::Manifests;

/// One repository, as a front end hands it over.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Its id in dnf's configuration, for messages.
    pub id: String,
    /// Origin it is and how it is reached.
    pub source: Source,
    /// DNF's own cache directory for it.
    pub cache_dir: PathBuf,
}

/// How far the work has come; a front end that shows it implements what it needs.
pub trait Progress: Send + Sync {
    /// `received` of `total` bytes of `item` are there.
    fn advanced(&self, item: &str, received: u64, total: u64) {
        let _ = (item, received, total);
    }

    /// `item`, of `total` bytes, is complete and in the cache.
    fn finished(&self, item: &str, total: u64) {
        let _ = (item, total);
    }
}

/// For those whom progress does not interest.
impl Progress for () {}

/// What the engine keeps to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bounds on the tar layer that holds the repodata.
    pub repodata_limits: archive::Limits,
    /// Bounds on a tar layer that holds packages.
    pub directory_limits: archive::Limits,
    /// How many packages are fetched side by side.
    pub parallel_packages: usize,
    /// The auth file of the system that comes before those of podman.
    pub system_auth_file: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        Self {
            repodata_limits: archive::Limits {
                members: 1_000,
                member_size: 2 * GIB,
                total_size: 4 * GIB,
            },
            directory_limits: archive::Limits {
                members: 100_000,
                member_size: 16 * GIB,
                total_size: 256 * GIB,
            },
            parallel_packages: 8,
            system_auth_file: PathBuf::from(auth::SYSTEM_AUTH_FILE),
        }
    }
}

/// The operations, over one pool of connections. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    registry: Registry,
    settings: Settings,
    manifests: Manifests,
    unpack_locks: UnpackLocks,
    /// Auth files that the log was told of.
    told: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Engine {
    /// A engine that fetches through `registry`.
    pub fn new(registry: Registry, settings: Settings) -> Self {
        Self {
            registry,
            settings,
            manifests: Manifests::default(),
            unpack_locks: UnpackLocks::default(),
            told: Arc::default(),
        }
    }

    /// The version of the skopeo in use.
    ///
    /// # Errors
    /// If there is none, or it cannot be run.
    pub async fn skopeo_version(&self) -> Result<String, crate::registry::Error> {
        self.registry.skopeo_version().await
    }

    /// The registries, for those who go step by step.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The source with the auth file that holds for it written down.
    pub(crate) fn with_credentials(&self, source: &Source) -> Source {
        let mut source = source.clone();
        if source.access.auth_file.is_none() && source.access.login.is_none() {
            let system = &self.settings.system_auth_file;
            source.access.auth_file = auth::selected(system, &source.reference);
            source.access.system_auth_file = Some(system.clone());
        }
        self.tell_of_exposed_files(&source);
        source
    }

    /// Tells the log of auth files that others can read, of each once.
    fn tell_of_exposed_files(&self, source: &Source) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for file in auth::search_order(&source.access) {
            if let Some(exposure) = auth::exposure(&file)
                && told.insert(file)
            {
                tracing::warn!("{exposure}");
            }
        }
    }
}
