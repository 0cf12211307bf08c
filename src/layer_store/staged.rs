//! A layer that is being unpacked.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use cap_std::fs::{Dir, File, OpenOptions};

use super::room::Grant;
use super::{Error, FILES, Layer, MODE, SIZE, STAGED, Store, name, open};
use crate::staging;

/// A layer that is being unpacked. Dropping it removes what is not committed.
pub struct StagedLayer<'a> {
    store: &'a Store,
    staged: staging::Staged,
    files: Dir,
    taken: Mutex<Taken<'a>>,
}

/// How many bytes a layer takes, and the room for them.
struct Taken<'a> {
    bytes: u64,
    grant: Grant<'a>,
}

/// A file of such a layer.
pub struct StagedFile<'a, 'store> {
    path: PathBuf,
    file: File,
    taken: &'a Mutex<Taken<'store>>,
}

impl Store {
    /// Begins to unpack a layer.
    ///
    /// # Errors
    /// If its directory cannot be created.
    pub fn stage(&self) -> Result<StagedLayer<'_>, Error> {
        let stage = || {
            let staged = staging::Staged::new_dir(&self.dir, STAGED, MODE)?;
            let dir = staged.dir()?;
            dir.create_dir(FILES)?;
            Ok((staged, dir.open_dir(FILES)?))
        };
        let (staged, files) = stage().map_err(|error| Error::at(&self.path, error))?;
        let taken = Mutex::new(Taken { bytes: 0, grant: Grant::new(self) });
        Ok(StagedLayer { store: self, staged, files, taken })
    }
}

impl<'a> StagedLayer<'a> {
    /// Creates a file, which is always below the directory of the layer.
    ///
    /// # Errors
    /// If it exists or cannot be created.
    pub fn file(&self, path: &str) -> Result<StagedFile<'_, 'a>, Error> {
        let create = || {
            self.make_parent(path)?;
            self.files.open_with(path, OpenOptions::new().write(true).create_new(true))
        };
        let full = self.path().join(path);
        let file = create().map_err(|error| Error::at(&full, error))?;
        Ok(StagedFile { path: full, file, taken: &self.taken })
    }

    /// Gives a file a second name.
    ///
    /// # Errors
    /// If that exists or cannot be made.
    pub fn link(&self, path: &str, second: &str) -> Result<(), Error> {
        self.make_parent(second)
            .and_then(|()| self.files.hard_link(path, &self.files, second))
            .map_err(|error| Error::at(&self.path().join(second), error))
    }

    /// Whether it has a file with this name.
    pub fn has(&self, path: &str) -> bool {
        self.files.is_file(path)
    }

    fn make_parent(&self, path: &str) -> io::Result<()> {
        path.rsplit_once('/').map_or(Ok(()), |(parent, _)| self.files.create_dir_all(parent))
    }

    /// One of its files and what is known of it, if it has one at that path. The rest is removed, and the
    /// file itself when it is closed.
    pub fn into_file(self, path: &str) -> Option<(fs::File, fs::Metadata)> {
        open(&self.files, path)
    }

    /// Gives the layer its name. The lock stays as it is.
    ///
    /// # Errors
    /// If it cannot be written or renamed.
    pub fn commit(self, key: &str) -> Result<Layer, Error> {
        let error = |error| Error::at(&self.path(), error);
        self.record_size().map_err(error)?;
        if let Err(failed) = self.staged.rename(&self.store.dir, &name(key)) {
            // Another process was faster; its layer is the same.
            return self.store.layer(key).ok_or_else(|| error(failed));
        }
        let in_use = self.staged.file().try_clone().map_err(error)?;
        let files = self.files.try_clone().map_err(error)?;
        Ok(Layer { files, _in_use: in_use })
    }

    /// Records the size, and the time of the use: the clock of a file system can be coarse.
    fn record_size(&self) -> io::Result<()> {
        let mut file = self.staged.dir()?.create(SIZE)?.into_std();
        file.write_all(lock(&self.taken).bytes.to_string().as_bytes())?;
        file.set_modified(SystemTime::now())
    }

    fn path(&self) -> PathBuf {
        self.store.path.join(self.staged.name())
    }
}

impl StagedFile<'_, '_> {
    /// Sets the time of the last modification.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn finish(self, modified: SystemTime) -> Result<(), Error> {
        let set = self.file.into_std().set_modified(modified);
        set.map_err(|error| Error::at(&self.path, error))
    }
}

impl Write for StagedFile<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let error = |error| Error::at(&self.path, error);
        let mut taken = lock(self.taken);
        let most = taken.bytes + bytes.len() as u64;
        taken.grant.extend_to(most).map_err(error)?;
        let written = self.file.write(bytes).map_err(error)?;
        taken.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
