//! Which directory has the certificates for a registry: containers-certs.d(5). skopeo finds it by
//! itself; messages name it.

use std::path::PathBuf;

use super::paths;

/// Returns the directory that skopeo reads for a registry, given as host and port.
pub fn effective(host: &str) -> Option<PathBuf> {
    paths::certs_d().map(|certs| certs.join(host)).into_iter().find(|directory| directory.exists())
}

/// Returns the directory to put certificates for a registry into.
pub fn directory(host: &str) -> PathBuf {
    effective(host).unwrap_or_else(|| paths::system("certs.d").join(host))
}
