use crate::error_kind::{Failure, Kind};

/// Why an artifact is not an RPM repository.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No layer has the metadata.
    #[error(
        "the artifact has no repodata: neither a layer titled \"repodata\" nor one titled \
         \"repodata/repomd.xml\"; its layers are {titles}"
    )]
    NoRepodata {
        /// Some of its titles.
        titles: String,
    },
    /// Two different layers have the same title.
    #[error("the artifact has two different layers titled {0:?}")]
    Ambiguous(String),
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        Kind::BadRepository
    }
}
