//! Publishing: what a directory or a command says becomes what a tag leads to, in the layout of
//! dnf5-oci-layout(7).
//!
//! Each command reads what the tag leads to, plans the next state, pushes what the registry lacks, and moves
//! the tag last. If the tag has been moved by others meanwhile, the work begins again on what it leads to.
//!
//! | module | job |
//! |---|---|
//! | `update` | publish, add and remove: new content under a tag |
//! | `promote` | a repository as it is, from a tag or a layout to a tag |
//! | `mounts` | blobs from another repository of the registry |
//! | `mirror` | into registries, out of them, and back |
//! | `prune` | what is no longer needed leaves the tag |
//! | `listing`, `diff` | what a reference leads to, and what two have of each other |
//! | `verify` | whether it is complete and right |
//! | `state` | what a tag leads to |
//! | `prepare` | what it is to lead to, from a directory or a change |
//! | `contents` | metadata, packages and keys of a directory |
//! | `metadata` | createrepo_c and gpg |
//! | `plan` | the next manifests and the next index |
//! | `segments` | which package is in which segment |
//! | `document` | manifests, indexes and descriptors |
//! | `workspace` | the local layout that is pushed from |
//! | `layout_files` | the files of a layout |
//! | `push` | pushing a plan, the tag last |

mod contents;
mod diff;
mod document;
mod error;
mod layout_files;
mod listing;
mod metadata;
mod mirror;
mod mounts;
mod plan;
mod prepare;
mod promote;
mod prune;
mod push;
mod segments;
mod state;
#[cfg(test)]
mod tests;
mod update;
mod verify;
mod workspace;

pub use diff::{Change as PackageChange, Difference};
pub use error::Error;
pub use listing::{Architecture, ListedPackage, Listing};
pub use mirror::{InvalidUrl, Url};
pub use promote::Transferred;
pub use prune::{Pruned, Pruning};
pub use update::{Change, Directory};
pub use verify::{Problem, Verified};

use crate::engine::Engine;
use crate::registry::{RateLimit, Registry, Signing};
use crate::temporary::TemporaryDir;

/// A temporary directory for the files of one command.
fn temporary_directory() -> Result<TemporaryDir, Error> {
    TemporaryDir::new().map_err(|error| Error::file(&std::env::temp_dir(), error))
}

/// What registries take: dnf5-oci-layout(7), "Limits".
#[derive(Clone, Debug)]
pub struct Limits {
    /// Layers of a manifest.
    pub layers: usize,
    /// Size of a manifest or an index in bytes.
    pub manifest_bytes: usize,
    /// Entries of an index.
    pub entries: usize,
    /// Size of the packages of a segment together, in bytes.
    pub segment_size: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { layers: 400, manifest_bytes: 200 << 10, entries: 500, segment_size: 4 << 30 }
    }
}

/// How a repository is published.
#[derive(Clone, Debug)]
pub struct Options {
    /// The architecture that the metadata is for, as Go names it; `None` is all.
    pub arch: Option<String>,
    /// Further tags that are to lead to the same.
    pub also: Vec<String>,
    /// How the signature is made, if there is to be one.
    pub signing: Option<Signing>,
    /// The GPG key that signs the metadata.
    pub metadata_key: Option<String>,
    /// What the registry takes.
    pub limits: Limits,
    /// The limit on requests.
    pub rate: Option<RateLimit>,
    /// How many copies run side by side.
    pub parallel: usize,
    /// Whether nothing is pushed.
    pub is_dry_run: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            arch: None,
            also: Vec::new(),
            signing: None,
            metadata_key: None,
            limits: Limits::default(),
            rate: None,
            parallel: 8,
            is_dry_run: false,
        }
    }
}

/// How far the work has come; a front end that shows it implements what it needs.
pub trait Progress: Send + Sync {
    /// The work that begins now.
    fn step(&self, what: &str) {
        let _ = what;
    }

    /// Something that the user should know.
    fn warn(&self, what: &str) {
        let _ = what;
    }

    /// That many blobs with that many bytes are to be pushed.
    fn begin(&self, blobs: usize, bytes: u64) {
        let _ = (blobs, bytes);
    }

    /// That many blobs with that many bytes are to be read.
    fn begin_reading(&self, blobs: usize, bytes: u64) {
        let _ = (blobs, bytes);
    }

    /// A blob of that size is there, or was read.
    fn pushed(&self, bytes: u64) {
        let _ = bytes;
    }

    /// All are there.
    fn end(&self) {}
}

/// For those whom progress does not interest.
impl Progress for () {}

/// What was done, or would be.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outcome {
    /// The reference.
    pub reference: String,
    /// The digest of what it leads to.
    pub digest: String,
    /// The digest of what it led to before.
    pub previous: Option<String>,
    /// Whether the two differ.
    pub changed: bool,
    /// The locations of packages that came.
    pub added: Vec<String>,
    /// The locations of packages that left.
    pub removed: Vec<String>,
    /// Number of packages.
    pub packages: usize,
    /// Number of segments.
    pub segments: usize,
    /// Number of blobs that the registry did not have.
    pub pushed: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// Whether nothing was done.
    pub dry_run: bool,
}

/// Publishes repositories. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    registry: Registry,
    engine: Engine,
}

impl Publisher {
    /// A publisher that reads and writes through `registry`, and reads metadata through `engine`.
    pub fn new(registry: Registry, engine: Engine) -> Self {
        Self { registry, engine }
    }
}
