use crate::error_kind::{Failure, Kind};

/// Why an artifact is not an RPM repository.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No layer has the metadata.
    #[error(
        "the artifact has no repodata: no layer is titled \"repodata\", \"repodata/repomd.xml\" or \
         \"repomd.xml\", and no tar layer has a repomd.xml; its layers are {titles}"
    )]
    NoRepodata {
        /// Some of its titles.
        titles: String,
    },
    /// There are repositories in several directories.
    #[error("the artifact has several repositories, in {0}")]
    SeveralRepositories(String),
    /// Two different layers have the same title, and nothing tells which one is meant.
    #[error("the artifact has two different layers titled {0:?}")]
    Ambiguous(String),
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        Kind::BadRepository
    }
}
