//! podman's files, as far as skopeo's use of them must be known here.
//!
//! skopeo reads all of them by itself and decides. They are looked at here to name files and entries in
//! messages, to put the system's own auth file before podman's, to skip a mirror that lacks a blob,
//! and to notice that they have changed.
//!
//! | module | job |
//! |---|---|
//! | [`registries`] | containers-registries.conf(5): mirrors, locations, blocked registries |
//! | [`auth`] | containers-auth.json(5): which auth file applies to a registry |
//! | [`policy`] | containers-policy.json(5): which scope applies to a reference |
//! | [`certs`] | containers-certs.d(5): which directory has a registry's certificates |
//! | `fingerprint` | whether any of these files has changed |
//! | `paths` | where a user's own files are |

pub mod auth;
pub mod certs;
mod fingerprint;
pub mod paths;
pub mod policy;
pub mod registries;
pub(crate) mod toml_line;

pub use fingerprint::Fingerprint;
