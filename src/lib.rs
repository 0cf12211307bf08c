//! RPM repositories from container registries, for dnf5.
//!
//! The layers, from the registry to the front ends; each knows only those above it in this list:
//!
//! | module | job |
//! |---|---|
//! | [`failure`] | what kinds of failure there are, for every layer's error type |
//! | [`secret`] | what is not to be shown |
//! | [`checksum`] | checksums and digests |
//! | [`home`] | the user's home directory |
//! | [`reference`] | `oci://` references |
//! | [`registries`] | which entry of registries.conf holds, and the places that it leads to |
//! | [`credentials`] | which auth file holds for a registry |
//! | [`policy`] | which scope of policy.json holds for a reference |
//! | [`certificates`] | which directory has the certificates for a registry |
//! | [`registry`] | manifests and blobs, through a pool of skopeo processes |
//! | [`artifact`] | how a repository is laid out in an OCI artifact, and its tar layers |
//! | [`repodata`] | repomd.xml and its checksums |
//! | [`cache`] | DNF's cache directory of one repository |
//! | [`store`] | tar layers, unpacked once |
//! | [`backend`] | the operations: prefetch, fetch packages, content on demand, inspect |
//! | [`gateway`] | the HTTP front end, for what dnf5 asks for by itself |
//! | [`doctor`] | why dnf5 does or does not get packages from a reference |
//! | [`service`] | the D-Bus front end |
//! | [`settings`] | what an administrator can set |
//! | [`cli`] | the command line |

pub mod artifact;
pub mod backend;
pub mod cache;
pub mod certificates;
pub mod checksum;
pub mod cli;
pub mod credentials;
pub mod doctor;
pub mod failure;
pub mod gateway;
pub mod home;
pub mod policy;
pub mod reference;
pub mod registries;
pub mod registry;
pub mod repodata;
pub mod secret;
pub mod service;
pub mod settings;
pub mod store;
mod toml_line;
