//! The settings of the service, in `/etc/dnf5-oci/config.toml` and its drop-ins.
//!
//! Every key is optional. Drop-ins, `config.toml.d/*.toml`, are read after the file, in the order of
//! their names, and override it. Options of a repository in dnf's configuration override all of them.
//!
//! | module | job |
//! |---|---|
//! | `files` | reading the files, and which file each setting comes from |

mod files;

use std::collections::BTreeMap;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::artifact::archive;
use crate::{engine, registry};

pub use files::Loaded;

/// The main file.
pub const FILE: &str = "/etc/dnf5-oci/config.toml";

const MIB: u64 = 1 << 20;

/// The settings, with the names of the keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// The auth file to search before podman's.
    pub auth_file: PathBuf,
    /// The skopeo program: a path, or a name to look up in `$PATH`.
    pub skopeo: PathBuf,
    /// Environment variables for skopeo, besides those of the service.
    pub environment: Environment,
    /// The maximum number of skopeo processes for one repository.
    pub processes: NonZeroUsize,
    /// The maximum number of skopeo processes for all repositories.
    pub total_processes: NonZeroUsize,
    /// How many packages FetchPackages downloads in parallel.
    pub parallel_packages: NonZeroUsize,
    /// How often a request is tried, including the first attempt.
    pub attempts: NonZeroUsize,
    /// Timeouts.
    pub seconds: Seconds,
    /// Limits on what a repository may contain.
    pub limits: Limits,
}

/// Environment variables, by name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Environment(BTreeMap<String, String>);

/// Timeouts, in seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Seconds {
    /// For fetching the manifest, over all mirrors.
    pub open: NonZeroU64,
    /// For which a registry may send nothing, or too little.
    pub stall: NonZeroU64,
    /// Until an idle skopeo process is ended.
    pub process_idle: NonZeroU64,
    /// Until the service on the bus exits if there is no call.
    pub idle: NonZeroU64,
}

/// Limits on what a repository may contain. Sizes are in MiB.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// The number of files in a tar layer with metadata.
    pub metadata_files: u64,
    /// The size of one of these files.
    pub metadata_file_size: u64,
    /// The size of all of these files.
    pub metadata_size: u64,
    /// The number of files in a tar layer with packages.
    pub directory_files: u64,
    /// The size of one of these files.
    pub directory_file_size: u64,
    /// The size of all of these files.
    pub directory_size: u64,
    /// The size of all layers that are kept unpacked.
    pub store_size: u64,
}

impl Settings {
    /// Returns the settings of the pool of skopeo processes.
    pub fn registry(&self) -> registry::Settings {
        let seconds = |number: NonZeroU64| Duration::from_secs(number.get());
        registry::Settings {
            skopeo: self.skopeo.clone(),
            environment: self.environment.0.clone(),
            max_processes: self.processes.get(),
            max_total_processes: self.total_processes.get(),
            stall: seconds(self.seconds.stall),
            open: seconds(self.seconds.open),
            attempts: self.attempts.get(),
            idle: seconds(self.seconds.process_idle),
            ..registry::Settings::default()
        }
    }

    /// Returns the settings of the engine.
    pub fn engine(&self) -> engine::Settings {
        let limits = &self.limits;
        engine::Settings {
            repodata_limits: archive::Limits {
                members: limits.metadata_files,
                member_size: limits.metadata_file_size.saturating_mul(MIB),
                total_size: limits.metadata_size.saturating_mul(MIB),
            },
            directory_limits: archive::Limits {
                members: limits.directory_files,
                member_size: limits.directory_file_size.saturating_mul(MIB),
                total_size: limits.directory_size.saturating_mul(MIB),
            },
            parallel_packages: self.parallel_packages.get(),
            system_auth_file: self.auth_file.clone(),
            layer_store_size: limits.store_size.saturating_mul(MIB),
            ..engine::Settings::default()
        }
    }

    /// Returns how long the service on the bus waits for a call before it exits.
    pub fn idle(&self) -> Duration {
        Duration::from_secs(self.seconds.idle.get())
    }
}

impl Default for Settings {
    fn default() -> Self {
        let (registry, engine) = (registry::Settings::default(), engine::Settings::default());
        let number = |number| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN);
        Self {
            auth_file: engine.system_auth_file,
            skopeo: registry.skopeo,
            environment: Environment::default(),
            processes: number(registry.max_processes),
            total_processes: number(registry.max_total_processes),
            parallel_packages: number(engine.parallel_packages),
            attempts: number(registry.attempts),
            seconds: Seconds::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Seconds {
    fn default() -> Self {
        let registry = registry::Settings::default();
        let seconds = |time: Duration| NonZeroU64::new(time.as_secs()).unwrap_or(NonZeroU64::MIN);
        Self {
            open: seconds(registry.open),
            stall: seconds(registry.stall),
            process_idle: seconds(registry.idle),
            idle: seconds(crate::dbus::IDLE),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let engine::Settings { repodata_limits, directory_limits, layer_store_size, .. } =
            engine::Settings::default();
        Self {
            metadata_files: repodata_limits.members,
            metadata_file_size: repodata_limits.member_size / MIB,
            metadata_size: repodata_limits.total_size / MIB,
            directory_files: directory_limits.members,
            directory_file_size: directory_limits.member_size / MIB,
            directory_size: directory_limits.total_size / MIB,
            store_size: layer_store_size / MIB,
        }
    }
}

impl TryFrom<BTreeMap<String, String>> for Environment {
    type Error = String;

    fn try_from(variables: BTreeMap<String, String>) -> Result<Self, String> {
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        match variables.iter().find(|(name, value)| !is_name(name) || value.contains('\0')) {
            Some((name, _)) => Err(format!("{name:?} is not a valid environment variable")),
            None => Ok(Self(variables)),
        }
    }
}
