//! Manifests and indexes as they are written: the fields of image-spec, in a fixed order, so that the same
//! content makes the same bytes. It is the order of the Go library of image-spec: skopeo writes an index anew
//! when it copies it with all its manifests, and the bytes must be the same then.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::artifact::media_types::{EMPTY, TITLE, UNKNOWN};
use crate::checksum::{Algorithm, Checksum, Hasher};

/// The media type of a manifest: image-spec, media-types.md.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The media type of an index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A SHA-256 digest: `sha256:` and 64 digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// What refers to a manifest or blob: image-spec, descriptor.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Names and values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The content itself, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// What a manifest is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The artifact type of a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Fields that only others use. They are written as they were read.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// What a manifest in an index is for: image-spec, image-index.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// In Go's names: `amd64`.
    pub architecture: String,
    /// `linux`, or `unknown` for a segment.
    pub os: String,
    /// The name of a segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Fields that only others use.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// A manifest: image-spec, manifest.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    schema_version: u8,
    #[serde(default)]
    media_type: String,
    /// What kind of artifact it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    config: Descriptor,
    /// The files.
    pub layers: Vec<Descriptor>,
    /// Names and values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An index: image-spec, image-index.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    schema_version: u8,
    #[serde(default)]
    media_type: String,
    /// What kind of artifact it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
    /// Names and values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The text is not the SHA-256 digest of a blob.
#[derive(Debug, thiserror::Error)]
#[error("unsupported digest {0:?}")]
pub struct UnsupportedDigest(String);

/// The empty JSON object, which is the config of every manifest here: image-spec, manifest.md, "Guidance for
/// an Empty Descriptor".
pub const CONFIG: &[u8] = b"{}";

/// Its base64.
const CONFIG_DATA: &str = "e30=";

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(bytes);
        Self(hasher.finish().to_string())
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits alone.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// The same as a checksum.
    pub fn to_checksum(&self) -> Option<Checksum> {
        self.0.parse().ok()
    }
}

impl TryFrom<String> for Digest {
    type Error = UnsupportedDigest;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.parse::<Checksum>() {
            Ok(checksum) if checksum.to_string() == text => Self::try_from(&checksum),
            _ => Err(UnsupportedDigest(text)),
        }
    }
}

impl TryFrom<&Checksum> for Digest {
    type Error = UnsupportedDigest;

    fn try_from(checksum: &Checksum) -> Result<Self, Self::Error> {
        match checksum.algorithm() {
            Algorithm::Sha256 => Ok(Self(checksum.to_string())),
            _ => Err(UnsupportedDigest(checksum.to_string())),
        }
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Descriptor {
    /// A blob without further fields.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            artifact_type: None,
            digest,
            size,
            data: None,
            platform: None,
            annotations: BTreeMap::new(),
            other: BTreeMap::new(),
        }
    }

    /// The same with a title.
    pub fn titled(mut self, title: &str) -> Self {
        self.annotations.insert(TITLE.to_owned(), title.to_owned());
        self
    }

    /// Whether it is an entry for a segment.
    pub fn is_segment(&self) -> bool {
        self.platform.as_ref().is_some_and(|platform| platform.os == UNKNOWN)
    }

    /// Its title, if it has one.
    pub fn title(&self) -> Option<&str> {
        self.annotations.get(TITLE).map(String::as_str)
    }
}

impl Platform {
    /// The platform of metadata for one architecture.
    pub fn linux(architecture: &str) -> Self {
        Self::new(architecture, "linux", None)
    }

    /// The platform of a segment.
    pub fn segment(variant: &str) -> Self {
        Self::new(UNKNOWN, UNKNOWN, Some(variant.to_owned()))
    }

    fn new(architecture: &str, os: &str, variant: Option<String>) -> Self {
        let (architecture, os) = (architecture.to_owned(), os.to_owned());
        Self { architecture, os, variant, other: BTreeMap::new() }
    }
}

impl Manifest {
    /// A manifest of these layers.
    pub fn new(artifact_type: &str, layers: Vec<Descriptor>) -> Self {
        let config = Descriptor::new(EMPTY, Digest::of(CONFIG), CONFIG.len() as u64);
        Self {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            artifact_type: Some(artifact_type.to_owned()),
            config: Descriptor { data: Some(CONFIG_DATA.to_owned()), ..config },
            layers,
            annotations: BTreeMap::new(),
        }
    }
}

impl Index {
    /// An index of these manifests.
    pub fn new(artifact_type: &str, manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: INDEX.to_owned(),
            artifact_type: Some(artifact_type.to_owned()),
            manifests,
            annotations: BTreeMap::new(),
        }
    }
}

/// The bytes of a document.
pub fn to_bytes(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("all keys are texts")
}
