//! How a request can fail.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use containers_image_proxy::oci_spec::image::Digest;

use super::messages;
use crate::blocking::Cancelled;
use crate::error_kind::{Failure, Kind};

/// The remedy where a reference leads to a repository that lacks something.
pub const INCOMPLETE: &str = "have its owner push it again, with all its files";

/// Why a request failed. Cheap to clone, since all later reads of a blob fail with the same error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The registry, or a proxy or mirror before it, refused the request or failed. The kind is read from
    /// skopeo's message, most of which are the registry's own.
    #[error("{message}")]
    Refused {
        /// What the message means.
        kind: Kind,
        /// Whether another attempt could succeed.
        retryable: bool,
        /// skopeo's message, without secrets.
        message: String,
    },
    /// registries.conf blocks the registry; skopeo's message names the file.
    #[error("{0}")]
    Blocked(String),
    /// TLS failed for lack of a valid certificate, the registry's or the client's.
    #[error("{0}")]
    Certificate(String),
    /// A file of the signature policy is malformed, so skopeo has sent no request. Its message names the
    /// file.
    #[error("{0}")]
    Damaged(String),
    /// The registry has the manifest, but not a blob that belongs to it.
    #[error("the registry does not have {digest}: {message}")]
    Missing {
        /// The blob.
        digest: String,
        /// skopeo's message.
        message: String,
    },
    /// No answer came for that long.
    #[error("request to the registry timed out after {} s", .0.as_secs_f32())]
    Stalled(Duration),
    /// Less came than the source's configuration accepts.
    #[error("transfer from the registry timed out: less than {rate} bytes/s for {} s", .time.as_secs_f32())]
    Slow {
        /// Bytes per second.
        rate: u64,
        /// For how long it was slower.
        time: Duration,
    },
    /// The registry limits the number of requests, and waiting did not help.
    #[error("the registry limits requests: {message}")]
    Limited {
        /// What it said.
        message: String,
        /// Whether skopeo has waited as long as the registry asked, in vain.
        waited: bool,
    },
    /// The process ended or broke its protocol.
    #[error("skopeo failed: {0}")]
    Process(String),
    /// The process has ended with a stack trace, which is in the log.
    #[error("skopeo crashed ({0})")]
    Crashed(String),
    /// A body ended before its size.
    #[error("transfer of {digest} ended early: expected {size} bytes, got {received}")]
    Short {
        /// The blob.
        digest: String,
        /// Number of bytes that came.
        received: u64,
        /// Size in the manifest, in bytes.
        size: u64,
    },
    /// A body went on after its size.
    #[error("size mismatch for {digest}: expected {size} bytes, got more")]
    Long {
        /// The blob.
        digest: String,
        /// Size in the manifest, in bytes.
        size: u64,
    },
    /// A body's bytes are wrong.
    #[error("checksum mismatch: expected {expected}, got {found}")]
    DigestMismatch {
        /// The digest in the manifest.
        expected: String,
        /// The digest of the bytes that came.
        found: String,
    },
    /// A pull source has sent wrong bytes. Whoever reads the blob again gets it anew, from the next pull
    /// source if there is one.
    #[error("{0}")]
    MirrorCorrupt(Box<Self>),
    /// There is no further pull source, or registries.conf does not allow to skip those before it.
    #[error("no other pull source")]
    NoOtherPullSource,
    /// The digest in a descriptor is malformed, or its algorithm is unknown.
    #[error("unsupported digest {0:?}")]
    UnknownDigest(String),
    /// The manifest is malformed.
    #[error("invalid manifest: {0}")]
    BadManifest(String),
    /// The registry does not let this account push.
    #[error("{0}")]
    PushDenied(String),
    /// The registry does not accept a manifest, most likely because it limits the size of manifests or the
    /// number of their layers.
    #[error("the registry rejects the manifest: {0}")]
    ManifestRejected(String),
    /// The registry does not let the tag be moved.
    #[error("the tag cannot be moved: {0}")]
    TagImmutable(String),
    /// The registry, or a proxy before it, limits the size of uploads.
    #[error("the registry does not accept an upload of this size: {0}")]
    BlobTooLarge(String),
    /// A file of a layout is not what its manifest says.
    #[error("a file has changed since it was read: {0}")]
    Changed(String),
    /// The registry does not let manifests be deleted.
    #[error("the registry does not allow manifests to be deleted: {0}")]
    DeleteNotAllowed(String),
    /// Pushes go to the name in the reference, but registries.conf has reads go elsewhere.
    #[error("registries.conf redirects {name} to {location} for reading, but not for pushing")]
    Redirected {
        /// Host and path of the reference.
        name: String,
        /// Where it is read from.
        location: String,
    },
    /// Another file than the main registries.conf has an entry for a mirror, so that it cannot be skipped.
    #[error("registries.conf does not let the mirrors of {0} be skipped")]
    MirrorsNotSkipped(String),
    /// The key cannot be used, or not with this passphrase.
    #[error("signing failed: {0}")]
    Signing(String),
    /// skopeo cannot be run.
    #[error("{skopeo} cannot be run: {reason}", skopeo = .skopeo.display())]
    SkopeoMissing {
        /// The program.
        skopeo: PathBuf,
        /// The operating system's error.
        reason: String,
    },
    /// skopeo's protocol lacks a request.
    #[error("skopeo is too old: expected version {wanted} of its proxy protocol, got {found}")]
    SkopeoTooOld {
        /// The version it has.
        found: String,
        /// The minimum version.
        wanted: String,
    },
    /// An I/O error between skopeo and this process.
    #[error("communication with skopeo failed: {0}")]
    Pipe(String),
    /// The service is shutting down.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Error {
    /// The remedy, where there is a better one than that of its kind.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Refused { kind, message, .. } => messages::remedy(*kind, message),
            Self::Blocked(_) => Some("remove \"blocked = true\" from its entry"),
            Self::Damaged(_) => Some("see containers-policy.json(5), containers-registries.d(5)"),
            Self::Missing { .. } => Some(INCOMPLETE),
            Self::Crashed(_) => {
                Some("update skopeo; if that does not help, report it with the service's log")
            }
            Self::PushDenied(_) => Some("log in with an account that may push: \"podman login\""),
            Self::ManifestRejected(_) => {
                Some("if it limits their size or number of layers, lower --layers-per-manifest")
            }
            Self::TagImmutable(_) => Some("push to another tag, or change the registry's rule"),
            Self::MirrorsNotSkipped(_) => {
                Some("move the entries of mirrors into the main registries.conf")
            }
            Self::Signing(_) => Some("check the key and the file with its passphrase"),
            Self::BlobTooLarge(_) => {
                Some("raise the limit of the registry, or of the proxy in front of it")
            }
            Self::Changed(_) => Some("run the command again"),
            Self::Redirected { .. } => Some("use the location as the reference"),
            Self::Limited { .. } => {
                Some("log in with \"podman login\", which raises the limit, or try again later")
            }
            _ => None,
        }
    }

    /// The error for a version of skopeo's protocol that is not supported.
    pub(super) fn too_old(found: String) -> Self {
        let (major, minor, patch) = messages::OLDEST_PROTOCOL;
        Self::SkopeoTooOld { found, wanted: format!("{major}.{minor}.{patch}") }
    }

    /// The same error when it is about a blob.
    pub(super) fn of_blob(self, digest: &Digest) -> Self {
        match self {
            Self::Refused { kind: Kind::NotFound, message, .. } => {
                Self::Missing { digest: digest.to_string(), message }
            }
            other => other,
        }
    }

    /// Whether another attempt could succeed.
    pub(super) fn is_worth_a_retry(&self) -> bool {
        match self {
            Self::Refused { retryable, .. } => *retryable,
            Self::Limited { waited, .. } => !waited,
            Self::Stalled(_)
            | Self::Slow { .. }
            | Self::Process(_)
            | Self::Crashed(_)
            | Self::Short { .. }
            | Self::Pipe(_) => true,
            _ => false,
        }
    }

    /// Whether the registry has refused what was requested, which it may do once and not again.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Refused { kind: Kind::NotFound | Kind::Unauthorized, .. } | Self::Missing { .. }
        )
    }

    /// Whether no, or too little, data has come.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::Stalled(_) | Self::Slow { .. })
    }

    /// Whether the bytes that were read are wrong, so that another attempt at the rest is useless.
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
            Self::Stalled(_) | Self::Slow { .. } => Kind::Stalled,
            Self::Certificate(_)
            | Self::Limited { .. }
            | Self::Process(_)
            | Self::Crashed(_)
            | Self::Pipe(_)
            | Self::Short { .. } => Kind::Unreachable,
            Self::Long { .. } | Self::DigestMismatch { .. } => Kind::DigestMismatch,
            Self::MirrorCorrupt(error) => error.kind(),
            Self::NoOtherPullSource => Kind::NotFound,
            Self::PushDenied(_) => Kind::Unauthorized,
            Self::ManifestRejected(_) | Self::BlobTooLarge(_) => Kind::BadRepository,
            Self::Changed(_) => Kind::DigestMismatch,
            Self::DeleteNotAllowed(_) | Self::TagImmutable(_) => Kind::AccessDenied,
            Self::MirrorsNotSkipped(_) | Self::Signing(_) => Kind::InvalidSettings,
            Self::Redirected { .. } => Kind::InvalidReference,
            Self::UnknownDigest(_) | Self::BadManifest(_) => Kind::BadRepository,
            Self::SkopeoMissing { .. } => Kind::SkopeoMissing,
            Self::SkopeoTooOld { .. } => Kind::SkopeoTooOld,
            Self::Cancelled(_) => Kind::Cancelled,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

impl From<io::Error> for Error {
    /// Unwraps the error of a [`Blob`](super::Blob).
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(inner) => inner,
            Err(other) => Self::Pipe(other.to_string()),
        }
    }
}
