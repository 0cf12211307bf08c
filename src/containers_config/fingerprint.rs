//! Whether the files that skopeo read have changed since.
//!
//! skopeo reads registries.conf and policy.json once for each process, and credentials, registries.d
//! and the keys that the policy names when it opens an image. A process that started before one of
//! these files changed must not be used any more, so that a change holds from the next request on;
//! nor must what was accepted before be taken for accepted.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{auth, policy};
use crate::containers_config::paths::home;
use crate::source::Access;

/// How far below a directory files are looked at: certs.d/HOST/ca.crt is the deepest.
const DEPTH: u32 = 3;

/// The state of all configuration that skopeo reads: equal as long as nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// As it is now.
    pub fn now(access: &Access) -> Self {
        let mut state = DefaultHasher::new();
        look(access, &mut |path, metadata| {
            path.hash(&mut state);
            (metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec())
                .hash(&mut state);
            // Of a file that was written over, even with its old time set again, this changes.
            (metadata.ctime(), metadata.ctime_nsec()).hash(&mut state);
        });
        Self(state.finish())
    }

    /// Whether anything has changed at that time or later.
    pub fn has_changed_since(access: &Access, time: SystemTime) -> bool {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = (since.as_secs().cast_signed(), i64::from(since.subsec_nanos()));
        let mut changed = false;
        look(access, &mut |_, metadata| {
            changed |= (metadata.ctime(), metadata.ctime_nsec()) >= since;
        });
        changed
    }
}

/// Shows all files that count, and the directories that they are in, to `see`.
fn look(access: &Access, see: &mut dyn FnMut(&Path, &Metadata)) {
    let certificates = access.certificates.named().map(|(_, file)| file.clone());
    let files = auth::search_order(access).into_iter().chain(certificates);
    for path in directories().into_iter().chain(files).chain(policy::key_files()) {
        look_into(&path, DEPTH, see);
    }
}

/// Where skopeo's configuration is: containers-registries.conf(5), containers-policy.json(5),
/// containers-certs.d(5), containers-registries.d(5).
fn directories() -> Vec<PathBuf> {
    let set =
        |name| env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from);
    // What is not credentials is looked for in the first, whatever the variable says.
    let users = [Some(home().join(".config")), set("XDG_CONFIG_HOME")];
    let users = users.into_iter().flatten();
    ["/etc/containers", "/usr/share/containers", "/etc/docker/certs.d"]
        .into_iter()
        .map(PathBuf::from)
        .chain(users.map(|config| config.join("containers")))
        .collect()
}

fn look_into(path: &Path, depth: u32, see: &mut dyn FnMut(&Path, &Metadata)) {
    let Ok(metadata) = fs::metadata(path) else {
        return;
    };
    see(path, &metadata);
    if !metadata.is_dir() || depth == 0 {
        return;
    }
    let mut entries: Vec<_> = fs::read_dir(path)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    entries.sort();
    for entry in entries {
        look_into(&entry, depth - 1, see);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_changed_auth_file_is_seen() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("auth.json");
        let access = Access { auth_file: Some(file.clone()), ..Access::default() };
        let without = Fingerprint::now(&access);
        fs::write(&file, "{}").expect("written");
        let with = Fingerprint::now(&access);
        assert_ne!(without, with);
        assert_eq!(with, Fingerprint::now(&access));
        fs::write(&file, "{\"auths\": {}}").expect("written");
        assert_ne!(with, Fingerprint::now(&access));
    }

    #[test]
    fn what_was_accepted_before_a_change_is_not_after_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("auth.json");
        let access = Access { auth_file: Some(file.clone()), ..Access::default() };
        fs::write(&file, "{}").expect("written");
        let changed = fs::metadata(&file).expect("there");
        let nanoseconds = u32::try_from(changed.ctime_nsec()).expect("below a second");
        let then = Duration::new(changed.ctime().cast_unsigned(), nanoseconds);
        assert!(Fingerprint::has_changed_since(&access, UNIX_EPOCH + then), "at that time");
        let later = UNIX_EPOCH + then + Duration::from_nanos(1);
        assert!(!Fingerprint::has_changed_since(&access, later));
    }
}
