//! The marker beside cached metadata, which records where it came from.

use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};

/// The marker's name in `repodata/`.
pub(super) const NAME: &str = ".dnf5-oci.json";

/// The version of the format; a marker of another version is ignored.
const VERSION: u32 = 1;

/// The artifact that cached metadata came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The reference it was fetched by, with the architecture if one was selected.
    pub reference: String,
    /// The digest of the manifest.
    pub manifest_digest: String,
    /// The digests of the layers with the metadata.
    pub repodata_layers: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    marker: T,
}

impl Marker {
    /// The marker in a metadata directory, if it has a valid one.
    pub(super) fn read(repodata: &Dir) -> Option<Self> {
        let content = repodata.read(NAME).ok()?;
        let versioned: Versioned<Self> = serde_json::from_slice(&content).ok()?;
        (versioned.version == VERSION).then_some(versioned.marker)
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::json!(Versioned { version: VERSION, marker: self }).to_string()
    }
}
