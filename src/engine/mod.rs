//! What a repository has at a path, for every front end, and what is done with it: bring DNF's cached
//! metadata up to date, put packages into DNF's cache.
//!
//! Dropping a future of this module cancels its work; what is complete stays in the cache.
//!
//! | module | job |
//! |---|---|
//! | `view` | one repository as one session sees it: the only lookup |
//! | `lookup` | where a package is |
//! | `announced` | the packages that are about to be requested |
//! | `content` | what was found, and its bytes |
//! | `manifests` | what references lead to |
//! | `listing` | what the metadata lists |
//! | `locations` | the table of locations of a repository of segments |
//! | `segments` | caches that have a package only once its segment was requested |
//! | `layers` | layers, unpacked into the layer store |
//! | `unpack` | which of their members are written, and as which files |
//! | `store_use` | whether the layer store is large enough |
//! | `prefetch` | metadata into DNF's cache |
//! | `packages` | packages into DNF's cache |
//! | `files` | other files into DNF's cache, such as keys |
//! | `inspect` | what a reference leads to, for people |
//! | `reading`, `meter` | content for synchronous readers, and its progress |
//! | `failures` | what has failed a moment ago |
//! | `error`, `line`, `advice` | the one line for a failure, and what to do about it |

mod advice;
mod announced;
mod content;
pub(crate) mod error;
mod failures;
mod files;
mod inspect;
mod layers;
mod line;
mod listing;
mod locations;
mod lookup;
mod manifests;
mod meter;
mod packages;
mod prefetch;
mod reading;
mod segments;
mod store_use;
mod unpack;
mod view;

use std::collections::HashSet;
use std::env;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub use content::{Content, Entry};
pub use error::Error;
pub(crate) use failures::REFUSALS;
pub use inspect::Inspection;
use layers::UnpackLocks;
pub use prefetch::{PrefetchOptions, Prefetched, Status};
pub(crate) use view::REPOMD;
pub use view::View;

use crate::artifact::archive;
use crate::containers_config::auth;
use crate::layer_store::{self, Store};
use crate::registry::Registry;
pub use crate::repomd::Package;
use crate::source::Source;
use crate::temporary::TemporaryDir;
use error::Cause;
use manifests::Manifests;
use reading::run;

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
    /// The directory of unpacked layers. Where it cannot be used, they are kept in a temporary one, for
    /// this process alone.
    pub layer_store: Option<PathBuf>,
    /// How much the unpacked layers may take, in bytes.
    pub layer_store_size: u64,
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
            layer_store: default_layer_store(),
            layer_store_size: 4 * GIB,
        }
    }
}

/// Access to repositories, over one pool of connections. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    registry: Registry,
    settings: Arc<Settings>,
    manifests: Manifests,
    unpack_locks: UnpackLocks,
    store: Arc<tokio::sync::Mutex<Option<OpenStore>>>,
    /// Auth files that the log has warned of.
    warned: Arc<Mutex<HashSet<PathBuf>>>,
    /// References of repositories that the log has said the layer store is too small for.
    too_large: Arc<Mutex<HashSet<String>>>,
}

/// The layer store, and its directory if that is a temporary one.
struct OpenStore {
    store: Arc<Store>,
    _temporary: Option<TemporaryDir>,
}

impl Engine {
    /// An engine that fetches through `registry`.
    pub fn new(registry: Registry, settings: Settings) -> Self {
        Self {
            registry,
            settings: Arc::new(settings),
            manifests: Manifests::default(),
            unpack_locks: UnpackLocks::default(),
            store: Arc::default(),
            warned: Arc::default(),
            too_large: Arc::default(),
        }
    }

    /// The version of the skopeo in use.
    ///
    /// # Errors
    /// If there is no skopeo, or it cannot be run.
    pub async fn skopeo_version(&self) -> Result<String, crate::registry::Error> {
        self.registry.skopeo_version().await
    }

    /// The registries, for the doctor, who goes step by step.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The source with the auth file that applies to it.
    pub(crate) async fn with_credentials(&self, source: &Source) -> Result<Source, Cause> {
        let (mut source, settings) = (source.clone(), Arc::clone(&self.settings));
        let warned = Arc::clone(&self.warned);
        run(move || {
            if source.access.auth_file.is_none() && source.access.login.is_none() {
                let system = &settings.system_auth_file;
                source.access.auth_file = auth::selected(system, &source.reference);
                source.access.system_auth_file = Some(system.clone());
            }
            warn_of_exposed_files(&source, &warned);
            Ok(source)
        })
        .await
    }

    /// The layer store, opened when the first layer is needed, and again if its directory was removed.
    async fn store(&self) -> Result<Arc<Store>, Cause> {
        let settings = Arc::clone(&self.settings);
        let mut open = self.store.lock().await;
        let open = match &mut *open {
            Some(open) if open.store.is_in_place() => open,
            none => none.insert(run(move || open_store(&settings)).await?),
        };
        Ok(Arc::clone(&open.store))
    }
}

/// Warns once of each auth file that others can read.
fn warn_of_exposed_files(source: &Source, warned: &Mutex<HashSet<PathBuf>>) {
    let mut warned = warned.lock().unwrap_or_else(PoisonError::into_inner);
    for file in auth::search_order(&source.access) {
        if let Some(exposure) = auth::exposure(&file)
            && warned.insert(file)
        {
            tracing::warn!("{exposure}");
        }
    }
}

/// A temporary directory is always a fresh one: where everybody may write, another user may have put
/// something.
fn open_store(settings: &Settings) -> Result<OpenStore, Cause> {
    if let Some(directory) = &settings.layer_store {
        match Store::open(directory, settings.layer_store_size) {
            Ok(store) => {
                let store = Arc::new(store);
                // What was unpacked before the machine started may take long to delete.
                let swept = Arc::clone(&store);
                tokio::task::spawn_blocking(move || swept.sweep());
                return Ok(OpenStore { store, _temporary: None });
            }
            Err(error) => tracing::info!(%error, "layers are kept in a temporary directory"),
        }
    }
    let temporary =
        TemporaryDir::new().map_err(|error| layer_store::Error::at(&env::temp_dir(), error))?;
    let store = Arc::new(Store::open(temporary.path(), settings.layer_store_size)?);
    Ok(OpenStore { store, _temporary: Some(temporary) })
}

/// The system's for root, a user's own otherwise.
fn default_layer_store() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/cache/dnf5-oci"));
    }
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    caches.map(|caches| caches.join("dnf5-oci"))
}
