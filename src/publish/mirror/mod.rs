//! Repositories into registries, out of them, and back.
//!
//! | module | job |
//! |---|---|
//! | `export` | a repository of a registry into a layout |
//! | `web` | a repository of a web server into a registry |
//! | `curl` | downloads |
//! | `layout` | layouts whose blobs are those of another one |

mod curl;
mod export;
pub(super) mod layout;
mod web;

pub use web::{InvalidUrl, Url};
