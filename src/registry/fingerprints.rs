//! The state of podman's files, which every request depends on.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Error;
use crate::blocking;
use crate::containers_config::Fingerprint;
use crate::source::Access;

/// How long a fingerprint holds for blobs: hundreds of packages in a second need not look at the files each. Nobody
/// can tell a request from one that came so much earlier.
const HOLDS: Duration = Duration::from_millis(100);

/// The latest fingerprints, by what they are for.
#[derive(Default)]
pub(super) struct Fingerprints(Mutex<HashMap<Access, (Instant, Fingerprint)>>);

impl Fingerprints {
    /// The fingerprint of the files as they are now.
    pub(super) async fn now(&self, access: &Access) -> Result<Fingerprint, Error> {
        let looked = Instant::now();
        let owned = access.clone();
        let fingerprint = blocking::run(move || Ok::<_, Error>(Fingerprint::now(&owned))).await?;
        let mut known = self.known();
        known.retain(|_, (looked, _)| looked.elapsed() < HOLDS);
        known.insert(access.clone(), (looked, fingerprint));
        Ok(fingerprint)
    }

    /// The fingerprint of the files as they were a moment ago.
    pub(super) async fn recent(&self, access: &Access) -> Result<Fingerprint, Error> {
        let recent =
            self.known().get(access).filter(|(looked, _)| looked.elapsed() < HOLDS).copied();
        match recent {
            Some((_, fingerprint)) => Ok(fingerprint),
            None => self.now(access).await,
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Access, (Instant, Fingerprint)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn a_change_is_seen_at_once_or_a_moment_later() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("auth.json");
        let access = Access { auth_file: Some(file.clone()), ..Access::default() };
        let fingerprints = Fingerprints::default();
        let before = fingerprints.recent(&access).await.expect("read");
        fs::write(&file, "{}").expect("written");
        let other = Access { tls_verify: Some(false), ..access.clone() };
        assert_ne!(fingerprints.recent(&other).await.expect("read"), before);
        let after = fingerprints.now(&access).await.expect("read");
        assert_ne!(after, before);
        assert_eq!(fingerprints.recent(&access).await.expect("read"), after);
        fs::remove_file(&file).expect("removed");
        tokio::time::sleep(HOLDS).await;
        assert_ne!(fingerprints.recent(&access).await.expect("read"), after);
    }
}
