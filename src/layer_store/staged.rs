//! A layer that is being unpacked.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use cap_std::fs::{Dir, File, OpenOptions};

use super::{Error, FILES, Layer, MODE, SIZE, STAGED, Store, name};
use crate::staging;

/// A layer that is being unpacked. Dropping it removes what is not committed.
pub struct StagedLayer<'a> {
    store: &'a Store,
    staged: staging::Staged,
    files: Dir,
    size: AtomicU64,
}

/// A file of such a layer.
pub struct StagedFile<'a> {
    path: PathBuf,
    file: File,
    size: &'a AtomicU64,
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
        Ok(StagedLayer { store: self, staged, files, size: AtomicU64::new(0) })
    }
}

impl StagedLayer<'_> {
    /// Creates a file, which is always below the directory of the layer.
    ///
    /// # Errors
    /// If it exists or cannot be created.
    pub fn file(&self, path: &str) -> Result<StagedFile<'_>, Error> {
        let create = || {
            if let Some((parent, _)) = path.rsplit_once('/') {
                self.files.create_dir_all(parent)?;
            }
            self.files.open_with(path, OpenOptions::new().write(true).create_new(true))
        };
        let full = self.path().join(path);
        let file = create().map_err(|error| Error::at(&full, error))?;
        Ok(StagedFile { path: full, file, size: &self.size })
    }

    /// Gives the layer its name and then makes room. The lock stays as it is.
    ///
    /// # Errors
    /// If it cannot be written or renamed.
    pub fn commit(self, digest: &str) -> Result<Layer, Error> {
        let error = |error| Error::at(&self.path(), error);
        self.record_size().map_err(error)?;
        if let Err(failed) = self.staged.rename(&self.store.dir, &name(digest)) {
            // Another process was faster; its layer is the same.
            return self.store.layer(digest).ok_or_else(|| error(failed));
        }
        let in_use = self.staged.file().try_clone().map_err(error)?;
        let files = self.files.try_clone().map_err(error)?;
        self.store.reclaim();
        Ok(Layer { files, _in_use: in_use })
    }

    /// Records the size, and the time of the use: the clock of a file system can be coarse.
    fn record_size(&self) -> io::Result<()> {
        let mut file = self.staged.dir()?.create(SIZE)?.into_std();
        file.write_all(self.size.load(Ordering::Relaxed).to_string().as_bytes())?;
        file.set_modified(SystemTime::now())
    }

    fn path(&self) -> PathBuf {
        self.store.path.join(self.staged.name())
    }
}

impl Write for StagedFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes).map_err(|error| Error::at(&self.path, error))?;
        self.size.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
