//! Making room.

use std::io;
use std::time::SystemTime;

use cap_std::fs::Dir;
use rustix::fs::{FlockOperation, flock};

use super::{SIZE, STAGED, Store};

/// Removes what was unpacked before the machine started. Nobody can be using it.
pub(super) fn remove_other_boots(all: &Dir, boot: &str) {
    for name in names(all).into_iter().filter(|name| name != boot) {
        if let Err(error) = all.remove_dir_all(&name) {
            tracing::debug!(name, %error, "layers of another boot stay");
        }
    }
}

fn names(dir: &Dir) -> Vec<String> {
    let Ok(entries) = dir.entries() else {
        return Vec::new();
    };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// A layer that could be removed.
struct Candidate {
    name: String,
    size: u64,
    used: SystemTime,
}

impl Store {
    /// Removes what killed processes have left.
    pub(super) fn sweep(&self) {
        for name in names(&self.dir).into_iter().filter(|name| name.starts_with(STAGED)) {
            if let Err(error) = self.remove_unless_locked(&name) {
                tracing::debug!(name, %error, "a leftover stays");
            }
        }
    }

    /// Removes layers until the rest is within the limit.
    pub(super) fn reclaim(&self) {
        let mut candidates: Vec<_> =
            names(&self.dir).into_iter().filter_map(|name| self.candidate(name)).collect();
        candidates.sort_by_key(|candidate| candidate.used);
        let mut total: u64 = candidates.iter().map(|candidate| candidate.size).sum();
        for Candidate { name, size, .. } in candidates {
            if total <= self.limit {
                return;
            }
            match self.remove_unless_locked(&name) {
                Ok(true) => total -= size,
                Ok(false) => {}
                Err(error) => tracing::warn!(name, %error, "a layer cannot be removed"),
            }
        }
    }

    fn candidate(&self, name: String) -> Option<Candidate> {
        if name.starts_with(STAGED) {
            return None;
        }
        let noted = self.dir.open_dir(&name).ok()?;
        let size = noted.read_to_string(SIZE).ok()?.parse().ok()?;
        let used = noted.metadata(SIZE).ok()?.modified().ok()?.into_std();
        Some(Candidate { name, size, used })
    }

    /// Whether it was removed: not if it is in use.
    fn remove_unless_locked(&self, name: &str) -> io::Result<bool> {
        let locked = self.dir.open(name)?;
        if flock(&locked, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(false);
        }
        // A kill in the middle of the removal must not leave half a layer by its name.
        let aside = format!("{STAGED}removed-{name}");
        self.dir.rename(name, &self.dir, &aside)?;
        self.dir.remove_dir_all(&aside)?;
        Ok(true)
    }
}
