//! Which directory has the certificates for a registry: containers-certs.d(5).
//!
//! skopeo finds it by itself. It is looked for here to tell people.

use std::path::{Path, PathBuf};

use crate::containers_config::paths::home;

/// A user's own, below the home directory.
const OWN: &str = ".config/containers/certs.d";

/// Those of the system.
const SYSTEM: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];

/// The directory that is read for a registry, given as host and port: the first that there is.
pub fn effective(host: &str) -> Option<PathBuf> {
    let places = std::iter::once(home().join(OWN)).chain(SYSTEM.map(PathBuf::from));
    places.map(|place| place.join(host)).find(|directory| directory.exists())
}

/// Where certificates for a registry belong.
pub fn directory(host: &str) -> PathBuf {
    effective(host).unwrap_or_else(|| Path::new(SYSTEM[0]).join(host))
}
