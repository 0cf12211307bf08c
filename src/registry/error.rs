//! How a request can fail.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use containers_image_proxy::oci_spec::image::Digest;

use super::messages;
use crate::error_kind::{Failure, Kind};

/// What to do where a reference leads to a repository that lacks something.
pub const INCOMPLETE: &str = "have its owner push it again, with all its files";

/// Why a request failed. Cheap to clone, for one process serves many requests and takes them all
/// along when it fails.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The registry, or a proxy or mirror on the way to it, refused or failed. The kind is read
    /// from skopeo's message, which is the registry's own in most cases.
    #[error("{message}")]
    Refused {
        /// What it means.
        kind: Kind,
        /// Whether skopeo thinks that another try could succeed.
        retryable: bool,
        /// What skopeo said, without secrets.
        message: String,
    },
    /// registries.conf forbids all access; what skopeo said names the file.
    #[error("{0}")]
    Blocked(String),
    /// TLS failed for want of a certificate, the registry's or one of ours, that will do.
    #[error("{0}")]
    Certificate(String),
    /// A file that belongs to the signature policy cannot be understood, so that nobody was asked;
    /// what skopeo said names it.
    #[error("{0}")]
    Damaged(String),
    /// The registry has the manifest, but not a blob that belongs to it.
    #[error("the registry does not have {digest}: {message}")]
    Missing {
        /// The blob.
        digest: String,
        /// What skopeo said.
        message: String,
    },
    /// No byte came for so long.
    #[error("nothing came from the registry for {} seconds", .0.as_secs_f32())]
    Stalled(Duration),
    /// The process ended or broke its protocol.
    #[error("skopeo failed: {0}")]
    Process(String),
    /// A stream ended before its size.
    #[error("{digest} ended after {received} of {size} bytes")]
    Short {
        /// The blob.
        digest: String,
        /// Bytes that came.
        received: u64,
        /// Bytes that should have come.
        size: u64,
    },
    /// A stream went on after its size.
    #[error("{digest} is larger than the {size} bytes that the manifest says")]
    Long {
        /// The blob.
        digest: String,
        /// Its size in the manifest.
        size: u64,
    },
    /// A stream's bytes are not those that were asked for.
    #[error("{expected} was sent as {found}")]
    DigestMismatch {
        /// The digest in the manifest.
        expected: String,
        /// The digest of what came.
        found: String,
    },
    /// A blob was wrong from one place. Reading it from the beginning will have it from another.
    #[error("{0}; another place will be asked")]
    MirrorCorrupt(Box<Self>),
    /// There is no further mirror, or registries.conf is such that none can be passed over.
    #[error("there is no other place to ask")]
    NoOtherPullSource,
    /// The digest of a descriptor uses an algorithm that is not known here.
    #[error("the digest {0:?} cannot be checked")]
    UnknownDigest(String),
    /// The manifest is none.
    #[error("the manifest cannot be read: {0}")]
    BadManifest(String),
    /// skopeo cannot be run.
    #[error("{skopeo} cannot be run: {reason}", skopeo = .skopeo.display())]
    SkopeoMissing {
        /// The program.
        skopeo: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// skopeo's protocol lacks what is needed.
    #[error("skopeo speaks version {found} of its proxy protocol, {wanted} is needed")]
    SkopeoTooOld {
        /// The version it speaks.
        found: String,
        /// The version needed.
        wanted: &'static str,
    },
    /// Reading from skopeo failed on this machine.
    #[error("reading from skopeo: {0}")]
    Pipe(String),
}

impl Error {
    /// What to do about it, where that can be said more closely than of its kind.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Refused { kind, message, .. } => messages::remedy(*kind, message),
            Self::Blocked(_) => Some("its entry there has blocked = true"),
            Self::Damaged(_) => Some("see containers-policy.json(5), containers-registries.d(5)"),
            Self::Missing { .. } => Some(INCOMPLETE),
            _ => None,
        }
    }

    /// The same of a request for a blob.
    pub(super) fn of_blob(self, digest: &Digest) -> Self {
        match self {
            Self::Refused { kind: Kind::NotFound, message, .. } => {
                Self::Missing { digest: digest.to_string(), message }
            }
            other => other,
        }
    }

    /// Whether the same request could succeed when it is tried again.
    pub(super) fn is_worth_a_retry(&self) -> bool {
        match self {
            Self::Refused { retryable, .. } => *retryable,
            Self::Stalled(_) | Self::Process(_) | Self::Short { .. } | Self::Pipe(_) => true,
            _ => false,
        }
    }

    /// Whether what was read so far is wrong, and reading on would not help.
    pub(super) fn is_wrong(&self) -> bool {
        matches!(self, Self::Long { .. } | Self::DigestMismatch { .. })
    }
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Refused { kind, .. } => *kind,
            Self::Blocked(_) | Self::Damaged(_) => Kind::PolicyRejected,
            Self::Missing { .. } => Kind::NotFound,
            Self::Stalled(_) => Kind::Stalled,
            Self::Certificate(_) | Self::Process(_) | Self::Pipe(_) | Self::Short { .. } => {
                Kind::Unreachable
            }
            Self::Long { .. } | Self::DigestMismatch { .. } => Kind::DigestMismatch,
            Self::MirrorCorrupt(error) => error.kind(),
            Self::NoOtherPullSource => Kind::NotFound,
            Self::UnknownDigest(_) | Self::BadManifest(_) => Kind::BadRepository,
            Self::SkopeoMissing { .. } => Kind::SkopeoMissing,
            Self::SkopeoTooOld { .. } => Kind::SkopeoTooOld,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

impl From<io::Error> for Error {
    /// Takes the error of a [`Blob`](super::Blob) out of its wrapping.
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(inner) => inner,
            Err(other) => Self::Pipe(other.to_string()),
        }
    }
}
