use std::fmt::Display;
use std::io;

use crate::error_kind::{Failure, Kind};

/// Why a metadata file is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading the stream failed: the document is not to blame.
    #[error(transparent)]
    Read(io::Error),
    /// It is not well-formed XML, another document, or has invalid records.
    #[error("cannot parse {document}: {reason}")]
    Malformed {
        /// `repomd.xml` or `primary.xml`.
        document: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        Kind::BadMetadata
    }
}

/// What is wrong with a document.
pub(super) struct Reason(pub(super) String);

impl<E: Display> From<E> for Reason {
    fn from(reason: E) -> Self {
        Self(reason.to_string())
    }
}

impl Reason {
    pub(super) fn in_document(self, document: &'static str) -> Error {
        Error::Malformed { document, reason: self.0 }
    }
}
