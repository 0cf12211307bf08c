//! What killed runs leave behind.

use std::io;

use cap_std::fs::{DirEntry, File};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{CacheDir, Error, STAGED};

impl CacheDir {
    /// Removes what killed runs have staged. What somebody works on is locked and stays.
    ///
    /// # Errors
    /// If the directory cannot be read; what cannot be removed is left for the next time.
    pub fn sweep(&self) -> Result<(), Error> {
        self.recover_aside();
        for entry in self.dir.entries().map_err(|error| self.error("", error))? {
            let entry = entry.map_err(|error| self.error("", error))?;
            let name = entry.file_name();
            if !name.to_string_lossy().starts_with(STAGED) {
                continue;
            }
            if let Err(error) = self.remove_if_left(&entry) {
                tracing::debug!(?name, %error, "a leftover stays");
            }
        }
        Ok(())
    }

    fn remove_if_left(&self, entry: &DirEntry) -> io::Result<()> {
        let name = entry.file_name();
        let staged = self.dir.open(&name)?;
        if !lock(&staged)? {
            return Ok(());
        }
        if entry.file_type()?.is_dir() {
            self.dir.remove_dir_all(&name)
        } else {
            self.dir.remove_file(&name)
        }
    }
}

/// Locks what is staged, for as long as the file is open; `false` if another run has it.
pub(super) fn lock(staged: &File) -> io::Result<bool> {
    match flock(staged, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
