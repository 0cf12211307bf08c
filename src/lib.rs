//! RPM repositories from container registries, for dnf5.
//!
//! The layers, from the front ends down to the parts that know nothing of the rest. A module uses only
//! those below it in this list:
//!
//! | module | job |
//! |---|---|
//! | [`cli`] | the command line; the only part that prints |
//! | [`settings`] | what an administrator can set |
//! | [`dbus`] | the D-Bus front end |
//! | [`doctor`] | why dnf5 does or does not get packages from a reference |
//! | [`gateway`] | the HTTP front end, for what dnf5 asks for by itself |
//! | [`engine`] | what a repository has at a path, and bringing it into DNF's cache |
//! | [`dnf_cache`] | DNF's cache directory of one repository |
//! | [`layer_store`] | tar layers, unpacked once |
//! | [`artifact`] | how a repository is laid out in an OCI artifact, and its tar layers |
//! | [`repomd`] | repomd.xml, primary.xml and their checksums |
//! | [`registry`] | manifests and blobs, through pools of skopeo processes |
//! | [`containers_config`] | podman's files: which entry applies to a reference |
//! | [`source`] | a repository and how it is reached |
//! | [`reference`] | `oci://` references |
//! | [`checksum`] | checksums and digests |
//! | [`blocking`] | blocking work, away from async tasks |
//! | [`redact`] | secrets, which no output shows |
//! | [`error_kind`] | the kinds of failure, for every layer's error type |

pub mod artifact;
pub mod blocking;
pub mod checksum;
pub mod cli;
pub mod containers_config;
pub mod dbus;
pub mod dnf_cache;
pub mod doctor;
pub mod engine;
pub mod error_kind;
pub mod gateway;
pub mod layer_store;
pub mod redact;
pub mod reference;
pub mod registry;
pub mod repomd;
pub mod settings;
pub mod source;
