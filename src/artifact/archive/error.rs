use std::{fmt, io};

use super::super::name;
use super::bounds::Expanded;
use crate::error_kind::{Failure, Kind};

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream below failed: the archive is not to blame.
    #[error(transparent)]
    Read(io::Error),
    /// The bytes are no archive, or a damaged one.
    #[error("the tar layer is damaged: {0}")]
    Damaged(String),
    /// A member that is not allowed.
    #[error("the tar layer has {member:?}, {what}")]
    Member {
        /// Its name.
        member: String,
        /// What is wrong with it.
        what: MemberError,
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
            Self::Name => write!(f, "which is not a safe name"),
            Self::Kind => write!(f, "which is neither a regular file nor a directory"),
            Self::Duplicate => write!(f, "twice"),
            Self::Size(limit) => write!(f, "which is larger than {limit} bytes"),
        }
    }
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        Kind::BadMetadata
    }
}

impl Error {
    pub(super) fn member(member: &str, what: MemberError) -> Self {
        Self::Member { member: name::shown(member), what }
    }

    /// An error of a reader above the stream: of the decompressor or the tar crate, or a bound.
    pub(super) fn damage(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Expanded>()) {
            Some(Expanded(limit)) => Self::TooLarge(*limit),
            None => Self::Damaged(error.to_string()),
        }
    }
}
