use crate::error_kind::{Failure, Kind};

/// The artifact is no RPM repository.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No layer is the metadata.
    #[error(
        "the artifact has no repodata: neither a layer titled \"repodata\" nor one titled \
         \"repodata/repomd.xml\"; its layers are {titles}"
    )]
    NoRepodata {
        /// Some of the titles it has.
        titles: String,
    },
    /// Two layers with one title and different content.
    #[error("the artifact has two different layers titled {0:?}")]
    Ambiguous(String),
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        Kind::BadRepository
    }
}
