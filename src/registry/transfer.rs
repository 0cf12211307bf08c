//! What is copied into, within and out of a registry, and how.

use std::path::PathBuf;

use super::RateLimit;
use crate::source::Source;

/// A manifest or an index, byte for byte as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawManifest {
    /// The digest of the bytes: `sha256:` and hexadecimal digits.
    pub digest: String,
    /// The bytes: JSON.
    pub bytes: Vec<u8>,
}

/// A copy of a manifest with its blobs, or of an index. Digests stay as they are.
pub struct Copy<'a> {
    /// A repository in a registry, or a layout.
    pub from: &'a Source,
    /// The tag, the digest, or the layout to write to.
    pub to: &'a Source,
    /// What is copied if `from` leads to an index.
    pub instances: Instances,
    /// How the copy is signed, if it is.
    pub signing: Option<&'a Signing>,
    /// Whether `from` was made by this process, so that no signature policy applies to it.
    pub trusted: bool,
    /// The limit on requests, which other copies may share.
    pub rate: Option<&'a RateLimit>,
}

/// What is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instances {
    /// One manifest: that which the reference leads to, or the one in the index for the source's architecture.
    Manifest,
    /// The index without its manifests, which the target must have.
    IndexOnly,
    /// The index with all its manifests.
    All,
}

/// How a copy is signed: skopeo-copy(1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signing {
    /// The private key for a sigstore signature.
    pub sigstore_private_key: Option<PathBuf>,
    /// The fingerprint of the GPG key for a simple signature.
    pub gpg_fingerprint: Option<String>,
    /// The file with the passphrase of the key.
    pub passphrase_file: Option<PathBuf>,
    /// What the signature is for, as `HOST/PATH:TAG`; `None` is the target.
    pub identity: Option<String>,
}
