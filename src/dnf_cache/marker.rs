//! What a fetch notes beside the metadata it has put there.

use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};

/// The marker's name in `repodata/`.
pub(super) const NAME: &str = ".dnf5-oci.json";

/// The form of the marker; one of another version is as good as none.
const VERSION: u32 = 1;

/// Which artifact cached metadata came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The reference they were fetched by, with the architecture if one was chosen.
    pub reference: String,
    /// The digest of the manifest.
    pub manifest_digest: String,
    /// The digests of the layers that the metadata were in.
    pub repodata_layers: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    marker: T,
}

impl Marker {
    /// The marker in a directory of metadata, if there is one that can be read.
    pub(super) fn read(repodata: &Dir) -> Option<Self> {
        let content = repodata.read(NAME).ok()?;
        let versioned: Versioned<Self> = serde_json::from_slice(&content).ok()?;
        (versioned.version == VERSION).then_some(versioned.marker)
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::json!(Versioned { version: VERSION, marker: self }).to_string()
    }
}
