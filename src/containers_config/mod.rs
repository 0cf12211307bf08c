//! podman's configuration, as far as skopeo's use of it must be known here.
//!
//! skopeo reads these files and decides. They are read here to name files and entries in messages, to
//! put the system's own auth file before podman's, to skip a mirror that lacks a blob, and to notice
//! changes. Parsers take a text; opening files is apart from them.
//!
//! | module | job |
//! |---|---|
//! | `fingerprint` | whether any of these files has changed |
//! | [`auth`] | containers-auth.json(5): which auth file applies to a registry |
//! | [`policy`] | containers-policy.json(5): which scope applies to a reference |
//! | [`certs`] | containers-certs.d(5): which directory has a registry's certificates |
//! | [`registries`] | containers-registries.conf(5): mirrors, locations, blocked registries |
//! | `writable` | where skopeo has to write |
//! | [`paths`] | where all of them are |

pub mod auth;
pub mod certs;
mod fingerprint;
pub mod paths;
pub mod policy;
pub mod registries;
mod writable;

pub use fingerprint::Fingerprint;
pub use writable::{writable, written_by_pushes};
