//! Whether the files that skopeo reads have changed.
//!
//! skopeo reads registries.conf and policy.json once for each process; credentials, registries.d and
//! the keys that the policy names, when it opens an image. A process that started before a change must
//! not be used after it, and what was accepted before a change must be checked again.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, Metadata};
use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{auth, paths, policy};
use crate::source::Access;

/// How deep directories are searched: certs.d/HOST/ca.crt is the deepest file.
const DEPTH: u32 = 3;

/// A hash of the state of all files that skopeo reads: equal as long as none has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Takes the fingerprint of the files as they are now. Walks directories, so it blocks.
    pub fn now(access: &Access) -> Self {
        let mut state = DefaultHasher::new();
        visit_files(access, &mut |path, metadata| {
            path.hash(&mut state);
            (metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec())
                .hash(&mut state);
            // A file that is overwritten and given its old time again still gets a new ctime.
            (metadata.ctime(), metadata.ctime_nsec()).hash(&mut state);
        });
        Self(state.finish())
    }

    /// Whether any file has changed at that time or later. Walks directories, so it blocks.
    pub fn has_changed_since(access: &Access, time: SystemTime) -> bool {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = (since.as_secs().cast_signed(), i64::from(since.subsec_nanos()));
        let mut changed = false;
        visit_files(access, &mut |_, metadata| {
            changed |= (metadata.ctime(), metadata.ctime_nsec()) >= since;
        });
        changed
    }
}

/// Calls `visit` with every file that skopeo may read, and with the directories above it.
fn visit_files(access: &Access, visit: &mut dyn FnMut(&Path, &Metadata)) {
    let certificates = access.certificates.named().map(|(_, file)| file.clone());
    let files = auth::search_order(access).into_iter().chain(certificates);
    for path in paths::directories().into_iter().chain(files).chain(policy::key_files()) {
        walk(&path, DEPTH, visit);
    }
}

fn walk(path: &Path, depth: u32, visit: &mut dyn FnMut(&Path, &Metadata)) {
    let Ok(metadata) = fs::metadata(path) else {
        return;
    };
    visit(path, &metadata);
    if !metadata.is_dir() || depth == 0 {
        return;
    }
    let mut entries: Vec<_> = fs::read_dir(path)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    entries.sort();
    for entry in entries {
        walk(&entry, depth - 1, visit);
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
