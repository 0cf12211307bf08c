//! Whether the files that skopeo read have changed since.
//!
//! skopeo reads registries.conf and policy.json once for each process, and credentials when it
//! opens an image. A process that started before one of these files changed must not be used any
//! more, so that a change holds from the next request on.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Access;
use crate::credentials;

/// How far below a directory files are looked at: certs.d/HOST/ca.crt is the deepest.
const DEPTH: u32 = 3;

/// The state of all configuration that skopeo reads: equal as long as nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration(u64);

impl Configuration {
    /// As it is now.
    pub fn now(access: &Access) -> Self {
        let mut state = DefaultHasher::new();
        for path in directories().into_iter().chain(credentials::search_order(access)) {
            note(&path, DEPTH, &mut state);
        }
        Self(state.finish())
    }
}

/// Where skopeo's configuration is: containers-registries.conf(5), containers-policy.json(5),
/// containers-certs.d(5), containers-registries.d(5).
fn directories() -> Vec<PathBuf> {
    let set =
        |name| env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from);
    // Certificates are looked for in the second, whatever the variable says.
    let user = [set("XDG_CONFIG_HOME"), Some(credentials::home().join(".config"))]
        .into_iter()
        .flatten()
        .map(|config| config.join("containers"));
    ["/etc/containers", "/usr/share/containers", "/etc/docker/certs.d"]
        .into_iter()
        .map(PathBuf::from)
        .chain(user)
        .chain(set("CONTAINERS_REGISTRIES_CONF"))
        .chain(set("CONTAINERS_REGISTRIES_CONF_DIR"))
        .collect()
}

fn note(path: &Path, depth: u32, state: &mut DefaultHasher) {
    let Ok(metadata) = fs::metadata(path) else {
        return;
    };
    path.hash(state);
    (
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime_nsec(),
    )
        .hash(state);
    if !metadata.is_dir() || depth == 0 {
        return;
    }
    let mut entries: Vec<_> = fs::read_dir(path)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    entries.sort();
    for entry in entries {
        note(&entry, depth - 1, state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_auth_file_is_seen() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("auth.json");
        let access = Access { auth_file: Some(file.clone()), ..Access::default() };
        let without = Configuration::now(&access);
        fs::write(&file, "{}").expect("written");
        let with = Configuration::now(&access);
        assert_ne!(without, with);
        assert_eq!(with, Configuration::now(&access));
        fs::write(&file, "{\"auths\": {}}").expect("written");
        assert_ne!(with, Configuration::now(&access));
    }
}
