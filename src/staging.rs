//! Files and directories that are being written beside their place: names, locks, sweeps.
//!
//! Each has a random name with a known prefix, and a shared flock(2) for as long as it is in use. Removing
//! something takes an exclusive lock, so a sweep removes only what killed processes have left: the kernel
//! releases their locks.
//!
//! A lock is never converted, not even when something written becomes something to read: flock(2) may
//! release the old lock before it takes the new one, and a sweep in another process could come between.

use std::io::{self, ErrorKind};

use cap_std::fs::{
    Dir, DirBuilder, DirBuilderExt as _, File, MetadataExt as _, OpenOptions, OpenOptionsExt as _,
};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use uuid::Uuid;

use crate::error_kind::Kind;

/// Something that is being written. Dropping it removes whatever has its name then.
#[derive(Debug)]
pub(crate) struct Staged {
    parent: Dir,
    name: String,
    /// The file or directory; locked for as long as it or a clone of it is open.
    file: File,
}

impl Staged {
    /// Creates a file for writing, with a random name that begins with `prefix`.
    pub(crate) fn new_file(parent: &Dir, prefix: &str, mode: u32) -> io::Result<Self> {
        let options = OpenOptions::new().write(true).create_new(true).mode(mode).clone();
        Self::create(parent, prefix, |name| parent.open_with(name, &options).map(Some))
    }

    /// Creates a directory with a random name that begins with `prefix`.
    pub(crate) fn new_dir(parent: &Dir, prefix: &str, mode: u32) -> io::Result<Self> {
        Self::create(parent, prefix, |name| {
            parent.create_dir_with(name, DirBuilder::new().mode(mode))?;
            if_exists(parent.open(name))
        })
    }

    fn create(
        parent: &Dir,
        prefix: &str,
        make: impl Fn(&str) -> io::Result<Option<File>>,
    ) -> io::Result<Self> {
        let parent = parent.try_clone()?;
        loop {
            let name = random_name(prefix);
            // A sweep may remove it before it is locked.
            if let Some(file) = make(&name)?
                && lock(&parent, &name, &file, FlockOperation::NonBlockingLockShared)?
            {
                return Ok(Self { parent, name, file });
            }
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The file, or the directory as one. A clone of it keeps the lock.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn dir(&self) -> io::Result<Dir> {
        Ok(Dir::from_std_file(self.file.try_clone()?.into_std()))
    }

    /// Moves it to its place, `name` in `to`. It stays locked.
    pub(crate) fn rename(&self, to: &Dir, name: &str) -> io::Result<()> {
        self.parent.rename(&self.name, to, name)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.parent, &self.name) {
            tracing::debug!(name = self.name, %error, "left for the next sweep");
        }
    }
}

/// Opens a file or directory and keeps it from being removed for as long as it is open. `None` if it does
/// not exist or is being removed.
pub(crate) fn open_in_use(parent: &Dir, name: &str) -> io::Result<Option<File>> {
    open_locked(parent, name, FlockOperation::NonBlockingLockShared)
}

/// Removes all entries that `is_leftover` and are not in use. One that cannot be removed stays until the
/// next sweep.
pub(crate) fn sweep(parent: &Dir, is_leftover: impl Fn(&str) -> bool) -> io::Result<()> {
    for name in names(parent)?.iter().filter(|name| is_leftover(name)) {
        if let Err(error) = remove_unused(parent, name) {
            tracing::debug!(name, %error, "a leftover cannot be removed");
        }
    }
    Ok(())
}

fn remove_unused(parent: &Dir, name: &str) -> io::Result<()> {
    match open_locked(parent, name, FlockOperation::NonBlockingLockExclusive)? {
        Some(_locked) => remove(parent, name),
        None => Ok(()),
    }
}

/// Removes an entry unless it is in use, and returns whether it did. It is first renamed to a leftover with
/// this prefix: a kill in the middle must not leave half of it under its own name.
pub(crate) fn remove_aside(parent: &Dir, name: &str, prefix: &str) -> io::Result<bool> {
    let exclusive = FlockOperation::NonBlockingLockExclusive;
    let Some(_locked) = open_locked(parent, name, exclusive)? else {
        return Ok(false);
    };
    let aside = random_name(prefix);
    parent.rename(name, parent, &aside)?;
    remove(parent, &aside)?;
    Ok(true)
}

/// Removes a file, a link or a directory with its content, if it exists.
pub(crate) fn remove(parent: &Dir, name: &str) -> io::Result<()> {
    let removed = parent.symlink_metadata(name).and_then(|found| {
        if found.is_dir() { parent.remove_dir_all(name) } else { parent.remove_file(name) }
    });
    if_exists(removed).map(drop)
}

/// The names in a directory that are UTF-8.
pub(crate) fn names(dir: &Dir) -> io::Result<Vec<String>> {
    let names = dir.entries()?.map(|entry| Ok(entry?.file_name().into_string().ok()));
    names.filter_map(Result::transpose).collect()
}

/// How the interface calls a failure to write.
pub(crate) fn kind(error: &io::Error) -> Kind {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Kind::NoSpace,
        _ => Kind::CacheDirectory,
    }
}

/// A name that no other process uses, not even in another container.
fn random_name(prefix: &str) -> String {
    format!("{prefix}{}", Uuid::new_v4().simple())
}

fn open_locked(parent: &Dir, name: &str, operation: FlockOperation) -> io::Result<Option<File>> {
    let Some(file) = if_exists(parent.open(name))? else {
        return Ok(None);
    };
    Ok(lock(parent, name, &file, operation)?.then_some(file))
}

/// Locks an open file. `false` if another process has it locked, or has renamed or removed it since it was
/// opened.
fn lock(parent: &Dir, name: &str, file: &File, operation: FlockOperation) -> io::Result<bool> {
    match flock(file, operation) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    }
    let opened = file.metadata()?;
    let found = if_exists(parent.symlink_metadata(name))?;
    Ok(found.is_some_and(|found| (found.dev(), found.ino()) == (opened.dev(), opened.ino())))
}

fn if_exists<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cap_std::ambient_authority;
    use std::io::Write as _;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    const PREFIX: &str = ".staged-";

    fn parent() -> (tempfile::TempDir, Dir) {
        let top = tempfile::tempdir().expect("a temporary directory");
        let dir = open(top.path());
        (top, dir)
    }

    fn open(path: &Path) -> Dir {
        Dir::open_ambient_dir(path, ambient_authority()).expect("opened")
    }

    fn is_locked(dir: &Dir, name: &str) -> bool {
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        open_locked(dir, name, exclusive).expect("tried").is_none()
    }

    fn sweep_all(dir: &Dir) {
        sweep(dir, |name| name.starts_with(PREFIX)).expect("swept");
    }

    #[test]
    fn what_is_dropped_is_removed_and_what_is_renamed_stays() {
        let (_top, dir) = parent();
        for new in [Staged::new_file, Staged::new_dir] {
            let staged = new(&dir, PREFIX, 0o700).expect("staged");
            assert_eq!(names(&dir).expect("read"), [staged.name()]);
            assert!(staged.name().starts_with(PREFIX) && staged.name().len() > PREFIX.len() + 20);
            drop(staged);
            assert!(names(&dir).expect("read").is_empty());
        }
        let staged = Staged::new_dir(&dir, PREFIX, 0o700).expect("staged");
        staged.dir().expect("opened").create_dir("below").expect("made");
        staged.rename(&dir, "place").expect("renamed");
        drop(staged);
        assert_eq!(names(&dir).expect("read"), ["place"]);
    }

    #[test]
    fn a_lock_is_shared_from_the_beginning_and_outlives_the_rename() {
        let (_top, dir) = parent();
        let staged = Staged::new_dir(&dir, PREFIX, 0o700).expect("staged");
        assert!(open_in_use(&dir, staged.name()).expect("tried").is_some(), "shared");
        assert!(is_locked(&dir, staged.name()));
        staged.rename(&dir, "place").expect("renamed");
        let in_use = staged.file().try_clone().expect("cloned");
        drop(staged);
        assert!(is_locked(&dir, "place"));
        assert!(!remove_aside(&dir, "place", PREFIX).expect("tried"), "in use");
        drop(in_use);
        assert!(remove_aside(&dir, "place", PREFIX).expect("tried"));
        assert!(names(&dir).expect("read").is_empty());
        assert!(!remove_aside(&dir, "place", PREFIX).expect("tried"), "gone");
    }

    #[test]
    fn a_sweep_takes_what_is_left_and_nothing_in_use() {
        let (_top, dir) = parent();
        let mut file = Staged::new_file(&dir, PREFIX, 0o600).expect("staged").file().try_clone();
        let staged = Staged::new_dir(&dir, PREFIX, 0o700).expect("staged");
        dir.write(".staged-left", "left").expect("written");
        dir.create_dir_all(".staged-directory/x/y").expect("made");
        dir.write("other", "").expect("written");
        sweep_all(&dir);
        let mut left = names(&dir).expect("read");
        left.sort();
        assert_eq!(left, [staged.name(), "other"]);
        file.as_mut().expect("cloned").write_all(b"still open").expect("written");
    }

    #[test]
    fn a_sweep_follows_no_link() {
        let ((top, dir), (outside_path, outside)) = (parent(), parent());
        outside.write("file", "outside").expect("written");
        outside.create_dir("directory").expect("made");
        dir.write("inside", "inside").expect("written");
        for target in ["file", "directory"] {
            let link = top.path().join(format!("{PREFIX}{target}"));
            symlink(outside_path.path().join(target), link).expect("linked");
        }
        symlink("inside", top.path().join(".staged-inside")).expect("linked");
        sweep_all(&dir);
        assert_eq!(outside.read_to_string("file").expect("there"), "outside");
        assert!(outside.is_dir("directory"));
        assert_eq!(dir.read_to_string("inside").expect("there"), "inside");
    }

    #[test]
    fn a_lock_is_worth_nothing_once_the_name_leads_elsewhere() {
        let (_top, dir) = parent();
        let name = ".staged-1";
        let shared = |file: &File| {
            lock(&dir, name, file, FlockOperation::NonBlockingLockShared).expect("tried")
        };
        dir.write(name, "").expect("written");
        let opened = dir.open(name).expect("opened");
        dir.remove_file(name).expect("removed");
        assert!(!shared(&opened), "it is gone");
        dir.write(name, "").expect("written");
        assert!(!shared(&opened), "it is another");
        assert!(shared(&dir.open(name).expect("opened")));
        let removing = dir.open(name).expect("opened");
        flock(&removing, FlockOperation::NonBlockingLockExclusive).expect("locked");
        assert!(!shared(&dir.open(name).expect("opened")), "it is being removed");
    }

    #[test]
    fn a_removal_that_was_killed_is_finished_by_a_sweep() {
        let (_top, dir) = parent();
        dir.create_dir_all("layer/x").expect("made");
        // What `remove_aside` leaves if it is killed after the rename.
        dir.rename("layer", &dir, random_name(PREFIX)).expect("renamed");
        sweep_all(&dir);
        assert!(names(&dir).expect("read").is_empty());
    }

    #[test]
    fn staging_where_the_directory_is_gone_fails() {
        let (top, dir) = parent();
        drop(top);
        for new in [Staged::new_file, Staged::new_dir] {
            assert_eq!(new(&dir, PREFIX, 0o700).expect_err("gone").kind(), ErrorKind::NotFound);
        }
    }

    #[test]
    fn a_full_file_system_has_its_own_kind() {
        for error in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
            assert_eq!(kind(&error.into()), Kind::NoSpace);
        }
        assert_eq!(kind(&ErrorKind::PermissionDenied.into()), Kind::CacheDirectory);
    }
}
