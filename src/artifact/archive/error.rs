use std::{fmt, io};

use super::super::name;
use crate::decompress::TooLong;
use crate::error_kind::{Failure, Kind};

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading the stream failed: the archive is not to blame.
    #[error(transparent)]
    Read(io::Error),
    /// The bytes are not an archive, or a damaged one.
    #[error("the tar layer is damaged: {0}")]
    Damaged(String),
    /// A member is not allowed.
    #[error("invalid member {member:?} in the tar layer: {error}")]
    Member {
        /// Its name.
        member: String,
        /// What is wrong with it.
        error: MemberError,
    },
    /// More members than allowed.
    #[error("the tar layer has more than {0} members")]
    TooMany(u64),
    /// More bytes than allowed.
    #[error("the tar layer expands to more than {0} bytes")]
    TooLarge(u64),
}

/// What is wrong with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberError {
    /// An absolute name, `..`, an empty or overlong one, control characters, not UTF-8.
    Name,
    /// A link, a device, a sparse file, or anything but a plain file or a directory.
    Kind,
    /// The second of that name.
    Duplicate,
    /// Larger than this many bytes.
    Size(u64),
}

impl fmt::Display for MemberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => write!(f, "unsafe name"),
            Self::Kind => write!(f, "neither a regular file nor a directory"),
            Self::Duplicate => write!(f, "duplicate name"),
            Self::Size(limit) => write!(f, "larger than {limit} bytes"),
        }
    }
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        Kind::BadMetadata
    }
}

impl Error {
    pub(super) fn member(member: &str, error: MemberError) -> Self {
        Self::Member { member: name::shown(member), error }
    }

    /// An error of a reader above the stream: the decompressor, the tar crate or a bound.
    pub(super) fn damage(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<TooLong>()) {
            Some(TooLong(limit)) => Self::TooLarge(*limit),
            None => Self::Damaged(error.to_string()),
        }
    }
}
