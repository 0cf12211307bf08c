//! repodata
