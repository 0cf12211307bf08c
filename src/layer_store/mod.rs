//! Tar layers, unpacked once.
//!
//! ```text
//! DIRECTORY/BOOT/
//!   sha256-1f2e…/      one layer, by its digest; locked (shared) while it is read
//!     size             how many bytes it takes; its mtime is when it was last used
//!     files/repodata/repomd.xml …
//!   .staged-…/         a layer that is being unpacked; locked (exclusive) by who does it
//! ```
//!
//! A layer gets its name by a rename when all of it is written, so that a kill at any instant leaves
//! a whole layer or none. Nobody waits for the disk: what has not reached it before a power failure
//! belongs to another boot of the machine than the next, which does not look at it.
//!
//! When the layers take more than the limit, those go that were not used for longest; what is
//! locked stays.

mod reclaim;
mod staged;

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, File};
use rustix::fs::{FlockOperation, flock};

use crate::dnf_cache::Error;
pub use staged::{Staged, StagedFile};

const FILES: &str = "files";
const SIZE: &str = "size";
const STAGED: &str = ".staged-";

/// A directory of unpacked layers.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    dir: Dir,
    limit: u64,
}

/// An unpacked layer. It is not reclaimed as long as this is there.
#[derive(Debug)]
pub struct Layer {
    files: Dir,
    _in_use: File,
}

impl Store {
    /// Opens the directory, making it if need be, and removes what killed processes left in it.
    ///
    /// `limit` is in bytes; one layer that is larger is kept all the same, until the next.
    ///
    /// # Errors
    /// If the directory cannot be used.
    pub fn open(path: &Path, limit: u64) -> Result<Self, Error> {
        let failed = |error| Error::at(path, error);
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        let root = Dir::open_ambient_dir("/", ambient_authority()).map_err(failed)?;
        let below = path.strip_prefix("/").map_err(|_| Error::NotAbsolute(path.to_owned()))?;
        root.create_dir_with(below, &builder).map_err(failed)?;
        let all = Dir::open_ambient_dir(path, ambient_authority()).map_err(failed)?;
        let boot = boot();
        reclaim::remove_other_boots(&all, &boot);
        all.create_dir_with(&boot, &builder).map_err(failed)?;
        let dir = all.open_dir(&boot).map_err(failed)?;
        let store = Self { path: path.join(&boot), dir, limit };
        store.sweep();
        Ok(store)
    }

    /// The layer with this digest, if it has been unpacked.
    pub fn layer(&self, digest: &str) -> Option<Layer> {
        let name = name(digest);
        let in_use = self.dir.open(&name).ok()?;
        flock(&in_use, FlockOperation::NonBlockingLockShared).ok()?;
        let layer = self.dir.open_dir(&name).ok()?;
        // Gone if it was reclaimed before it was locked.
        let used = layer.open(SIZE).ok()?.into_std();
        if let Err(error) = used.set_modified(SystemTime::now()) {
            tracing::debug!(digest, %error, "the use of a layer is not noted");
        }
        Some(Layer { files: layer.open_dir(FILES).ok()?, _in_use: in_use })
    }

    fn error(&self, name: &str, error: io::Error) -> Error {
        Error::at(&self.path.join(name), error)
    }
}

impl Layer {
    /// A file of the layer and its size, if it has one at that path.
    pub fn file(&self, path: &str) -> Option<(std::fs::File, u64)> {
        let file = self.files.open(path).ok()?.into_std();
        let metadata = file.metadata().ok()?;
        metadata.is_file().then_some((file, metadata.len()))
    }
}

/// What tells this boot of the machine from others. Without a /proc nothing does: the layers are for
/// this process alone then.
fn boot() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => id.trim().to_owned(),
        Err(_) => format!("process-{}", std::process::id()),
    }
}

/// Digests have a colon, which names in paths are better without.
fn name(digest: &str) -> String {
    digest.replace(':', "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn store(limit: u64) -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&directory.path().join("store"), limit).expect("opened");
        (directory, store)
    }

    fn unpack(store: &Store, digest: &str, bytes: &[u8]) -> Layer {
        let staged = store.stage().expect("staged");
        let mut file = staged.file("repodata/repomd.xml").expect("made");
        file.write_all(bytes).expect("written");
        drop(file);
        staged.commit(digest).expect("committed")
    }

    fn names(store: &Store) -> Vec<String> {
        let mut names: Vec<_> = store
            .dir
            .entries()
            .expect("readable")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_layer_is_there_when_it_is_whole() {
        let (_directory, store) = store(1000);
        assert!(store.layer("sha256:a").is_none());
        drop(unpack(&store, "sha256:a", b"content"));
        let layer = store.layer("sha256:a").expect("there");
        let (mut file, size) = layer.file("repodata/repomd.xml").expect("there");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("readable");
        assert_eq!((text.as_str(), size), ("content", 7));
        assert!(layer.file("repodata").is_none());
        assert!(layer.file("../size").is_none());
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_what_is_used_stays() {
        let (_directory, store) = store(25);
        let used = unpack(&store, "sha256:a", &[0; 10]);
        drop(unpack(&store, "sha256:b", &[0; 10]));
        drop(unpack(&store, "sha256:c", &[0; 10]));
        assert_eq!(names(&store), ["sha256-a", "sha256-c"]);
        drop(used);
        drop(unpack(&store, "sha256:d", &[0; 10]));
        assert_eq!(names(&store), ["sha256-c", "sha256-d"]);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_worked_on_is_not() {
        let (directory, store) = store(100);
        store.dir.create_dir(".staged-1-1").expect("made");
        let staged = store.stage().expect("staged");
        let again = Store::open(&directory.path().join("store"), 100).expect("opened");
        assert_eq!(names(&again).len(), 1);
        drop(staged);
        assert!(names(&again).is_empty());
    }

    #[test]
    fn layers_of_another_boot_are_not_used_but_removed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let before = directory.path().join("before/sha256-a/files");
        std::fs::create_dir_all(&before).expect("made");
        let store = Store::open(directory.path(), 100).expect("opened");
        assert!(store.layer("sha256:a").is_none());
        assert!(!directory.path().join("before").exists());
    }
}
