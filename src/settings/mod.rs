//! The settings of the service, as an administrator writes them.
//!
//! They are in `/etc/dnf5-oci/config.toml` and in drop-ins, `config.toml.d/*.toml` beside it. Every
//! key is optional; drop-ins come after the file, by name, and what is read later counts. Options
//! of a repository in dnf's configuration come before all that.
//!
//! | module | job |
//! |---|---|
//! | `files` | reading the files, and which of them has set what |

mod files;

use std::collections::BTreeMap;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::artifact::archive;
use crate::{engine, gateway, registry};

pub use files::{Error, Loaded};

/// Where they are.
pub const FILE: &str = "/etc/dnf5-oci/config.toml";

const MIB: u64 = 1 << 20;

/// What can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// The auth file that comes before podman's, where it has an entry.
    pub auth_file: PathBuf,
    /// The program: a path, or a name to look for in `$PATH`.
    pub skopeo: PathBuf,
    /// What skopeo finds in its environment besides what is in the service's own.
    pub environment: Environment,
    /// The most skopeo processes for one repository.
    pub processes: NonZeroUsize,
    /// How many packages FetchPackages fetches side by side.
    pub parallel_packages: NonZeroUsize,
    /// How often a request is tried, in all.
    pub attempts: NonZeroUsize,
    /// How long things may take.
    pub seconds: Seconds,
    /// What a repository may have.
    pub limits: Limits,
}

/// Variables of an environment, by name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Environment(BTreeMap<String, String>);

/// Times, in seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Seconds {
    /// Until a registry has given the manifest, over all its mirrors.
    pub open: NonZeroU64,
    /// Without a byte of a blob.
    pub stall: NonZeroU64,
    /// That a skopeo process is kept without work.
    pub process_idle: NonZeroU64,
    /// That the service on the bus stays without a call.
    pub idle: NonZeroU64,
}

/// Bounds on what a repository may have. Sizes are in MiB.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Files in a tar layer with metadata.
    pub metadata_files: u64,
    /// The size of one of them.
    pub metadata_file_size: u64,
    /// The size of all of them.
    pub metadata_size: u64,
    /// Files in a tar layer with packages.
    pub directory_files: u64,
    /// The size of one of them.
    pub directory_file_size: u64,
    /// The size of all of them.
    pub directory_size: u64,
    /// The size of all layers that are kept unpacked; one is kept in any case.
    pub store_size: u64,
}

impl Settings {
    /// What the pool of skopeo processes keeps to.
    pub fn registry(&self) -> registry::Settings {
        let seconds = |number: NonZeroU64| Duration::from_secs(number.get());
        registry::Settings {
            skopeo: self.skopeo.clone(),
            environment: self.environment.0.clone(),
            max_processes: self.processes.get(),
            stall: seconds(self.seconds.stall),
            open: seconds(self.seconds.open),
            attempts: self.attempts.get(),
            idle: seconds(self.seconds.process_idle),
            ..registry::Settings::default()
        }
    }

    /// What the operations keep to.
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
        }
    }

    /// Where the gateway keeps what it needs, and how much of it.
    pub fn places(&self) -> gateway::Directories {
        gateway::Directories {
            store_limit: self.limits.store_size.saturating_mul(MIB),
            ..gateway::Directories::default()
        }
    }

    /// How long the service on the bus stays without a call.
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
        let engine::Settings { repodata_limits, directory_limits, .. } =
            engine::Settings::default();
        Self {
            metadata_files: repodata_limits.members,
            metadata_file_size: repodata_limits.member_size / MIB,
            metadata_size: repodata_limits.total_size / MIB,
            directory_files: directory_limits.members,
            directory_file_size: directory_limits.member_size / MIB,
            directory_size: directory_limits.total_size / MIB,
            store_size: gateway::Directories::default().store_limit / MIB,
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
            Some((name, _)) => Err(format!("{name:?} can be no variable of an environment")),
            None => Ok(Self(variables)),
        }
    }
}
