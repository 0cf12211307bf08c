use crate::error_kind::{Failure, Kind};

/// repomd.xml cannot be relied upon.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not well-formed XML, or not repomd.xml.
    #[error("repomd.xml cannot be read: {0}")]
    Malformed(String),
    /// A record is not as it should be.
    #[error("repomd.xml: the record {record:?} {problem}")]
    Record {
        /// The record's type.
        record: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        Kind::BadMetadata
    }
}

impl Error {
    pub(super) fn malformed(reason: impl ToString) -> Self {
        Self::Malformed(reason.to_string())
    }
}
