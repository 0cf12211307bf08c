//! A layer that is being unpacked.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use cap_std::fs::{Dir, File, OpenOptions};
use rustix::fs::{FlockOperation, flock};

use super::{FILES, Layer, SIZE, STAGED, Store, name};
use crate::dnf_cache::Error;

/// Numbers what this process stages.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A layer that is being unpacked; removed when this is dropped before it is committed.
pub struct Staged<'a> {
    store: &'a Store,
    name: String,
    dir: Dir,
    files: Dir,
    /// Locked against a sweep.
    locked: File,
    size: AtomicU64,
}

/// A file of such a layer.
pub struct StagedFile<'a> {
    file: File,
    size: &'a AtomicU64,
}

impl Store {
    /// Begins to unpack a layer.
    ///
    /// # Errors
    /// If the directory for it cannot be made.
    pub fn stage(&self) -> Result<Staged<'_>, Error> {
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("{STAGED}{}-{number}", std::process::id());
            let error = |error| self.error(&name, error);
            match self.dir.create_dir(&name) {
                // Of a process with the same number in another container.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                result => result.map_err(error)?,
            }
            // A sweep may have come between; it takes what is not locked.
            let Ok(locked) = self.dir.open(&name) else {
                continue;
            };
            if flock(&locked, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            let Ok(dir) = self.dir.open_dir(&name) else {
                continue;
            };
            dir.create_dir(FILES).map_err(error)?;
            let files = dir.open_dir(FILES).map_err(error)?;
            let size = AtomicU64::new(0);
            return Ok(Staged { store: self, name, dir, files, locked, size });
        }
    }
}

impl Staged<'_> {
    /// Makes a file. Nothing leaves the layer's own directory, whatever `path` says.
    ///
    /// # Errors
    /// If it is there already or cannot be made.
    pub fn file(&self, path: &str) -> Result<StagedFile<'_>, Error> {
        let failed = |error| self.store.error(&self.name, error);
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.files.create_dir_all(parent).map_err(failed)?;
        }
        let options = OpenOptions::new().write(true).create_new(true).clone();
        let file = self.files.open_with(path, &options).map_err(failed)?;
        Ok(StagedFile { file, size: &self.size })
    }

    /// Gives the layer its name, and makes room by what is not used.
    ///
    /// # Errors
    /// If it cannot be written or renamed.
    pub fn commit(self, digest: &str) -> Result<Layer, Error> {
        let error = |error| self.store.error(&self.name, error);
        let size = self.size.load(Ordering::Relaxed);
        self.note(size).map_err(error)?;
        let target = name(digest);
        // From here on it is in use rather than in the making.
        flock(&self.locked, FlockOperation::LockShared).map_err(|errno| error(errno.into()))?;
        if let Err(failed) = self.dir_rename(&target) {
            // Another process was faster; its layer is the same.
            return self.store.layer(digest).ok_or_else(|| error(failed));
        }
        let in_use = self.locked.try_clone().map_err(error)?;
        let files = self.files.try_clone().map_err(error)?;
        self.store.reclaim();
        Ok(Layer { files, _in_use: in_use })
    }

    /// Notes the size, and the time in full: a file system's own clock may tick slowly.
    fn note(&self, size: u64) -> io::Result<()> {
        let mut file = self.dir.create(SIZE)?.into_std();
        file.write_all(size.to_string().as_bytes())?;
        file.set_modified(SystemTime::now())
    }

    fn dir_rename(&self, target: &str) -> io::Result<()> {
        self.store.dir.rename(&self.name, &self.store.dir, target)
    }
}

impl Write for StagedFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.size.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // After a commit nothing has this name any more.
        if let Err(error) = self.store.dir.remove_dir_all(&self.name)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(name = self.name, %error, "a leftover stays");
        }
    }
}
