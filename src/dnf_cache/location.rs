//! The paths of DNF's caches.

use std::env;
use std::path::PathBuf;

use crate::checksum::{Algorithm, Hasher};
use crate::containers_config::paths::home;

/// Number of hexadecimal digits of the baseurl's hash in the name of a directory.
const HASH: usize = 16;

/// DNF's default cachedir for the user of this process.
pub fn default_cachedir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/cache/libdnf5");
    }
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME").unwrap_or_else(|| home().join(".cache")).join("libdnf5")
}

/// The name of a repository's directory in the cachedir, from its id and first baseurl.
pub fn directory_name(id: &str, baseurl: &str) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(baseurl.as_bytes());
    format!("{id}-{}", &hasher.finish().hex()[..HASH])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_named_by_id_and_baseurl() {
        // printf %s oci://localhost:5000/acme/rpms:stable | sha256sum
        let name = directory_name("tools", "oci://localhost:5000/acme/rpms:stable");
        assert_eq!(name, "tools-5f2178b1bf2c56bc");
    }
}
