//! Tar layers, unpacked once.
//!
//! ```text
//! DIRECTORY/manifests/   which manifest a repomd.xml came from: one small file each
//! DIRECTORY/BOOT/        the layers of this boot of the machine; locked (shared) by each process
//!   sha256-1f2e…/        one layer, by its key; locked (shared) while it is read
//!     size               its size in bytes; its mtime is the time of its last use
//!     files/repodata/repomd.xml …
//!   .staged-<random>/    a layer that is being unpacked or removed; locked
//! ```
//!
//! A layer gets its name by a rename when it is complete, so that a kill at any instant leaves a whole
//! layer or none. Nothing waits for the disk: data that did not reach it before a power failure belongs
//! to an earlier boot, whose layers are not used any more.
//!
//! Before the layers take more than the limit, the least recently used ones are removed, but none that is
//! locked. What does not fit then is not written, nor what the file system has no room for.
//! [`Store::sweep`] removes the rest: layers of earlier boots and what killed processes have left.

mod error;
mod origins;
mod room;
mod staged;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, MetadataExt as _};

use crate::confinement::Confinement;
use crate::staging;
pub use error::Error;
pub use staged::{StagedFile, StagedLayer};

const MANIFESTS: &str = "manifests";
const FILES: &str = "files";
const SIZE: &str = "size";
const STAGED: &str = ".staged-";

/// The mode of the directories.
const MODE: u32 = 0o700;

/// A directory of unpacked layers.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// The directories of all boots.
    boots: Dir,
    dir: Dir,
    _in_use: File,
    limit: u64,
    /// How many bytes the layers that are being unpacked may take.
    granted: Mutex<u64>,
}

/// An unpacked layer, which is not removed while this exists.
#[derive(Debug)]
pub struct Layer {
    files: Dir,
    _in_use: File,
}

impl Store {
    /// Opens the directory, and creates it if needed. Nothing is removed: see [`Store::sweep`].
    ///
    /// `limit` is in bytes.
    ///
    /// # Errors
    /// If the directory cannot be used.
    pub fn open(path: &Path, limit: u64) -> Result<Self, Error> {
        let boot = boot();
        let open = || {
            DirBuilder::new().recursive(true).mode(MODE).create(path.join(&boot))?;
            let boots = Dir::open_ambient_dir(path, ambient_authority())?;
            let in_use = staging::open_in_use(&boots, &boot)?.ok_or(io::ErrorKind::ResourceBusy)?;
            let dir = boots.open_dir(&boot)?;
            let granted = Mutex::default();
            Ok(Self { path: path.join(&boot), boots, dir, _in_use: in_use, limit, granted })
        };
        open().map_err(|error| Error::at(path, error))
    }

    /// Whether this is still the directory with its name. It is not once someone has removed it.
    pub fn is_in_place(&self) -> bool {
        let own = self.dir.dir_metadata().map(|own| (own.dev(), own.ino()));
        let named = fs::metadata(&self.path).map(|named| (named.dev(), named.ino()));
        own.is_ok_and(|own| named.is_ok_and(|named| named == own))
    }

    /// Rules for a thread that unpacks a layer: it can open nothing outside of the store.
    ///
    /// # Errors
    /// If the kernel refuses them.
    pub fn confinement(&self) -> Result<Confinement, Error> {
        Confinement::within(&self.boots).map_err(|error| Error::at(&self.path, error))
    }

    /// Removes what earlier boots and killed processes have left. This can take long: run it on a thread
    /// that may block, beside the work that needs the store.
    pub fn sweep(&self) {
        let boot = self.path.file_name();
        let swept = staging::sweep(&self.dir, |name| name.starts_with(STAGED)).and_then(|()| {
            staging::sweep(&self.boots, |name| Some(name.as_ref()) != boot && name != MANIFESTS)
        });
        if let Err(error) = swept {
            tracing::warn!(path = %self.path.display(), %error, "old layers cannot be removed");
        }
    }

    /// How many bytes the layers may take.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// A file without a name, for as long as it is open.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn scratch_file(&self) -> io::Result<fs::File> {
        tempfile::tempfile_in(&self.path)
    }

    /// The layer with this key, if it has been unpacked.
    pub fn layer(&self, key: &str) -> Option<Layer> {
        let in_use = staging::open_in_use(&self.dir, &name(key)).ok()??;
        let layer = Dir::from_std_file(in_use.try_clone().ok()?.into_std());
        let used = layer.open(SIZE).ok()?.into_std();
        if let Err(error) = used.set_modified(SystemTime::now()) {
            tracing::debug!(key, %error, "the use of a layer cannot be recorded");
        }
        Some(Layer { files: layer.open_dir(FILES).ok()?, _in_use: in_use })
    }

    /// Whether the layer with this key is there.
    pub fn has(&self, key: &str) -> bool {
        self.dir.exists(name(key))
    }

    /// The time of the last use of a layer and its size in bytes; `None` if it is not complete.
    fn usage(&self, name: &str) -> Option<(SystemTime, u64)> {
        if name.starts_with(STAGED) {
            return None;
        }
        let layer = self.dir.open_dir(name).ok()?;
        let used = layer.metadata(SIZE).ok()?.modified().ok()?.into_std();
        Some((used, layer.read_to_string(SIZE).ok()?.parse().ok()?))
    }
}

impl Layer {
    /// A file of the layer and what is known of it, if the layer has one at that path.
    pub fn file(&self, path: &str) -> Option<(fs::File, fs::Metadata)> {
        open(&self.files, path)
    }

    /// The directory with a file of this name, with a slash at its end or empty; of several the one that is
    /// least deep.
    pub fn directory_of(&self, file: &str) -> Option<String> {
        let mut level = vec![String::new()];
        while !level.is_empty() {
            let path = |directory: &String| format!("{directory}{file}");
            if let Some(found) = level.iter().find(|directory| self.files.is_file(path(directory)))
            {
                return Some(found.clone());
            }
            level = level.iter().flat_map(|directory| self.subdirectories(directory)).collect();
        }
        None
    }

    fn subdirectories(&self, directory: &str) -> Vec<String> {
        let names =
            self.files.open_dir(format!("./{directory}")).and_then(|dir| staging::names(&dir));
        let paths = names.unwrap_or_default().into_iter().map(|name| format!("{directory}{name}"));
        let mut found: Vec<_> =
            paths.filter(|path| self.files.is_dir(path)).map(|path| path + "/").collect();
        found.sort();
        found
    }
}

fn open(files: &Dir, path: &str) -> Option<(fs::File, fs::Metadata)> {
    let file = files.open(path).ok()?.into_std();
    let metadata = file.metadata().ok()?;
    metadata.is_file().then_some((file, metadata))
}

/// An id of this boot of the machine. Without a /proc it is one of this process, which then shares no
/// layers.
fn boot() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => id.trim().to_owned(),
        Err(_) => format!("process-{}", std::process::id()),
    }
}

/// Keys begin with digests, which have a colon. Some tools take that for a separator of paths.
fn name(key: &str) -> String {
    key.replace(':', "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_kind::{Failure, Kind};
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
        file.finish(SystemTime::UNIX_EPOCH).expect("finished");
        staged.commit(digest).expect("committed")
    }

    fn names(store: &Store) -> Vec<String> {
        let mut names = staging::names(&store.dir).expect("readable");
        names.sort();
        names
    }

    #[test]
    fn a_removed_directory_is_noticed() {
        let (directory, store) = store(1000);
        assert!(store.is_in_place());
        std::fs::remove_dir_all(directory.path().join("store")).expect("removed");
        assert!(!store.is_in_place());
        let again = Store::open(&directory.path().join("store"), 1000).expect("opened");
        assert!(again.is_in_place() && !store.is_in_place());
    }

    #[test]
    fn a_layer_is_there_when_it_is_whole() {
        let (_directory, store) = store(1000);
        assert!(store.layer("sha256:a").is_none());
        drop(unpack(&store, "sha256:a", b"content"));
        let layer = store.layer("sha256:a").expect("there");
        let (mut file, metadata) = layer.file("repodata/repomd.xml").expect("there");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("readable");
        assert_eq!((text.as_str(), metadata.len()), ("content", 7));
        assert_eq!(metadata.modified().expect("known"), SystemTime::UNIX_EPOCH);
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
    fn what_does_not_fit_is_not_written() {
        let (_directory, store) = store(25);
        let used = unpack(&store, "sha256:a", &[0; 10]);
        drop(unpack(&store, "sha256:b", &[0; 10]));
        let staged = store.stage().expect("staged");
        let mut file = staged.file("large").expect("made");
        // The other layer makes room for the first bytes; nothing can for more.
        file.write_all(&[0; 15]).expect("written");
        assert!(store.layer("sha256:b").is_none());
        let error = file.write_all(&[0; 1]).expect_err("refused").downcast::<Error>();
        let error = error.expect("the store's");
        assert!(error.is_over_limit() && error.kind() == Kind::NoSpace, "{error}");
        assert!(error.to_string().contains("/large: unpacked layers would take more than 0 MiB"));
        drop((used, file));
        drop(staged);
        drop(unpack(&store, "sha256:c", &[0; 15]));
        assert_eq!(names(&store), ["sha256-a", "sha256-c"], "nothing else counts any more");
    }

    #[test]
    fn a_second_name_takes_no_room() {
        let (_directory, store) = store(10);
        let staged = store.stage().expect("staged");
        let mut file = staged.file("p/a.rpm").expect("made");
        file.write_all(&[0; 10]).expect("written");
        assert!(staged.has("p/a.rpm") && !staged.has("q/b.rpm"));
        staged.link("p/a.rpm", "q/b.rpm").expect("linked");
        let layer = staged.commit("sha256:a").expect("committed");
        assert_eq!(layer.file("q/b.rpm").expect("there").1.len(), 10);
    }

    #[test]
    fn the_directory_of_a_file_is_the_least_deep_one() {
        let (_directory, store) = store(1000);
        let staged = store.stage().expect("staged");
        for path in ["a/b/x", "c/x", "y", "a/b/c/z"] {
            staged.file(path).map(drop).expect("made");
        }
        let layer = staged.commit("sha256:a").expect("committed");
        let found = |name| layer.directory_of(name);
        assert_eq!(found("x").as_deref(), Some("c/"));
        assert_eq!(found("y").as_deref(), Some(""));
        assert_eq!(found("z").as_deref(), Some("a/b/c/"));
        assert_eq!(found("b"), None, "a directory");
    }

    #[test]
    fn opening_removes_nothing() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path();
        let open = || Store::open(path, 100).expect("opened");
        let store = open();
        let old = path.join("before/sha256-a/files");
        std::fs::create_dir_all(&old).expect("made");
        for number in 0..100 {
            std::fs::write(old.join(number.to_string()), "x").expect("written");
        }
        store.dir.create_dir(".staged-left").expect("made");
        let again = open();
        assert_eq!(std::fs::read_dir(&old).expect("there").count(), 100);
        assert_eq!(names(&again), [".staged-left"]);
        assert!(again.layer("sha256:a").is_none(), "of another boot");
    }

    #[test]
    fn a_sweep_removes_what_is_left_and_nothing_in_use() {
        let (directory, store) = store(100);
        let top = directory.path().join("store");
        for name in ["before/sha256-a/files", "in-use/sha256-a/files"] {
            std::fs::create_dir_all(top.join(name)).expect("made");
        }
        // As a process on another machine has it that shares the directory.
        let other = staging::open_in_use(&store.boots, "in-use").expect("opened").expect("there");
        store.dir.create_dir_all(".staged-left/files/repodata").expect("made");
        drop(unpack(&store, "sha256:b", b"content"));
        let staged = store.stage().expect("staged");
        store.sweep();
        let left = names(&store);
        assert!(left.len() == 2 && left[0] != ".staged-left" && left[1] == "sha256-b", "{left:?}");
        assert!(staged.file("a").is_ok(), "it is still there");
        assert!(!top.join("before").exists());
        assert!(top.join("in-use/sha256-a/files").exists());
        // As a process after another boot does it.
        staging::sweep(&store.boots, |_| true).expect("swept");
        assert_eq!(names(&store).len(), 2, "the store itself is in use");
        drop((staged, other));
        store.sweep();
        assert_eq!(names(&store), ["sha256-b"]);
        assert!(!top.join("in-use").exists());
    }

    #[test]
    fn the_second_to_unpack_a_layer_gets_that_of_the_first() {
        let (_directory, store) = store(100);
        let second = store.stage().expect("staged");
        drop(unpack(&store, "sha256:a", b"content"));
        let layer = second.commit("sha256:a").expect("committed");
        assert!(layer.file("repodata/repomd.xml").is_some());
        assert_eq!(names(&store), ["sha256-a"]);
    }

    #[test]
    fn errors_name_the_path_and_their_kind() {
        let (directory, store) = store(100);
        let staged = store.stage().expect("staged");
        drop(staged.file("a").expect("made"));
        let error = staged.file("a").map(drop).expect_err("it exists");
        assert_eq!(error.kind(), Kind::CacheDirectory);
        let path = store.path.join(&names(&store)[0]).join("a");
        assert!(error.to_string().starts_with(&format!("{}: ", path.display())), "{error}");
        let file = directory.path().join("file");
        std::fs::write(&file, "").expect("written");
        let error = Store::open(&file, 100).expect_err("not a directory");
        assert!(error.to_string().starts_with(&format!("{}: ", file.display())), "{error}");
    }
}
