//! How much may be written.

use std::io;
use std::sync::{MutexGuard, PoisonError};
use std::time::SystemTime;

use rustix::fs::fstatvfs;

use super::error::{NoReserve, OverLimit, full};
use super::{STAGED, Store};
use crate::staging;

/// Room is granted in steps of this many bytes where there is enough.
const STEP: u64 = 4 << 20;

/// The part of a file system that is left free, and its bounds in bytes.
const RESERVE: u64 = 20;
const LEAST_RESERVE: u64 = 16 << 20;
const MOST_RESERVE: u64 = 1 << 30;

/// Room that was granted to one layer; the store gets it back when this is dropped.
pub(super) struct Grant<'a> {
    store: &'a Store,
    bytes: u64,
}

impl<'a> Grant<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store, bytes: 0 }
    }

    /// Makes sure that the layer may take this many bytes.
    ///
    /// # Errors
    /// If the store or the file system has no room.
    pub(super) fn extend_to(&mut self, bytes: u64) -> io::Result<()> {
        let missing = bytes.saturating_sub(self.bytes);
        if missing > 0 {
            self.bytes += self.store.grant(missing)?;
        }
        Ok(())
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        *self.store.granted() -= self.bytes;
    }
}

impl Store {
    /// Grants these bytes, or more if that removes no layer; returns how many.
    fn grant(&self, bytes: u64) -> io::Result<u64> {
        let mut granted = self.granted();
        let room = self.limit.saturating_sub(*granted);
        let step = bytes.max(STEP);
        let allowed = if self.used() + step <= room && self.check_reserve(step).is_ok() {
            step
        } else {
            self.make_room(room, bytes)?;
            bytes
        };
        *granted += allowed;
        Ok(allowed)
    }

    /// Removes layers until these bytes fit, of the room that all layers have and on the file system.
    fn make_room(&self, room: u64, bytes: u64) -> io::Result<()> {
        if bytes > room || !self.reclaim(|used| used + bytes <= room) {
            return Err(full(OverLimit(self.limit)));
        }
        self.reclaim(|_| self.check_reserve(bytes).is_ok());
        self.check_reserve(bytes)
    }

    /// Checks that the file system keeps its reserve.
    fn check_reserve(&self, bytes: u64) -> io::Result<()> {
        let disk = fstatvfs(&self.dir)?;
        let reserve = (disk.f_blocks * disk.f_frsize / RESERVE).clamp(LEAST_RESERVE, MOST_RESERVE);
        if disk.f_bavail * disk.f_frsize < reserve + bytes {
            return Err(full(NoReserve(reserve)));
        }
        Ok(())
    }

    fn granted(&self) -> MutexGuard<'_, u64> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes the complete layers take.
    fn used(&self) -> u64 {
        self.layers().iter().map(|(_, size, _)| size).sum()
    }

    /// Removes layers, the least recently used first, until what the others take is little enough; returns
    /// whether it is.
    fn reclaim(&self, is_little: impl Fn(u64) -> bool) -> bool {
        let mut layers = self.layers();
        layers.sort();
        let mut total: u64 = layers.iter().map(|(_, size, _)| size).sum();
        for (_, size, name) in layers {
            if is_little(total) {
                return true;
            }
            match staging::remove_aside(&self.dir, &name, STAGED) {
                Ok(true) => total -= size,
                Ok(false) => {}
                Err(error) => tracing::warn!(name, %error, "a layer cannot be removed"),
            }
        }
        is_little(total)
    }

    /// Time of the last use, size in bytes and name of each complete layer.
    fn layers(&self) -> Vec<(SystemTime, u64, String)> {
        let usage = |name: String| self.usage(&name).map(|(used, size)| (used, size, name));
        staging::names(&self.dir).unwrap_or_default().into_iter().filter_map(usage).collect()
    }
}
