//! RPM repositories from container registries, for dnf5.
//!
//! The modules, from the command line down to those that know nothing of the others. A module uses only
//! modules below it in this list; `tests/modules.rs` checks that.
//!
//! | module | job |
//! |---|---|
//! | [`cli`] | the command line; the only module that prints |
//! | [`settings`] | what an administrator can set |
//! | [`dbus`] | the D-Bus front end |
//! | [`doctor`] | a check, step by step, whether dnf5 can get packages from a reference |
//! | [`publish`] | repositories in registries: publishing, changing and copying them |
//! | [`gateway`] | the HTTP front end, for the requests of dnf5 and other programs |
//! | [`jobs`] | what the service is busy with |
//! | [`engine`] | what a repository has at a path, and bringing it into DNF's cache |
//! | [`dnf_cache`] | DNF's cache directory of one repository |
//! | [`layer_store`] | unpacked tar layers |
//! | [`artifact`] | how an OCI artifact contains a repository, and its tar layers |
//! | [`repomd`] | repomd.xml, primary.xml and their checksums |
//! | `decompress` | streams that may be compressed, within bounds |
//! | [`registry`] | manifests and blobs, through pools of skopeo processes |
//! | [`containers_config`] | podman's configuration: which entry applies to a reference |
//! | [`source`] | a repository, and how to reach it |
//! | [`mod@reference`] | `oci://` references |
//! | [`checksum`] | checksums and digests |
//! | `temporary` | temporary directories, and what killed processes have left of them |
//! | `staging` | what is being written: names, locks, sweeps |
//! | [`blocking`] | blocking work, away from async tasks |
//! | [`confinement`] | what a process or thread may do to files |
//! | [`redact`] | secrets, which no output shows |
//! | [`error_kind`] | the kinds of failure, for every layer's error type |
//! | [`config_file`] | configuration files and their drop-ins |

// The types of nested async functions are deep; the default of 128 does for some orders of compilation only.
#![recursion_limit = "256"]

pub mod artifact;
pub mod blocking;
pub mod checksum;
#[cfg(not(fuzzing))]
pub mod cli;
pub mod config_file;
pub mod confinement;
pub mod containers_config;
#[cfg(not(fuzzing))]
pub mod dbus;
mod decompress;
pub mod dnf_cache;
pub mod doctor;
pub mod engine;
pub mod error_kind;
pub mod gateway;
pub mod jobs;
pub mod layer_store;
pub mod publish;
pub mod redact;
pub mod reference;
pub mod registry;
pub mod repomd;
#[cfg(not(fuzzing))]
pub mod settings;
pub mod source;
mod staging;
mod temporary;
