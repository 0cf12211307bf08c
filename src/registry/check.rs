//! Who checks the digest of a blob.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use containers_image_proxy::oci_spec::image::Digest;

use super::pull_source::PullSource;

/// How long a reader may take to find that the bytes were wrong, and to request the blob again.
const READER_ANSWERS: Duration = Duration::from_secs(60);

/// Who checks the digest of a blob.
#[derive(Clone, Copy)]
pub enum Check<'a> {
    /// The registry layer, before it delivers the last bytes.
    Here,
    /// The reader, after the last bytes. If it requests the blob again soon, the bytes were wrong: they count
    /// against the pull source that sent them, and the registry layer checks the next ones.
    ByReader(&'a Arc<Delivered>),
}

/// What one reader was sent unchecked.
#[derive(Default)]
pub struct Delivered(Mutex<HashMap<Digest, (PullSource, Instant)>>);

impl Delivered {
    /// Records that all bytes of a blob were delivered.
    pub(super) fn record(&self, digest: &Digest, sender: PullSource) {
        let mut delivered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        delivered.retain(|_, (_, at)| at.elapsed() < READER_ANSWERS);
        delivered.insert(digest.clone(), (sender, Instant::now()));
    }

    /// The sender of a blob that was delivered a moment ago; once.
    pub(super) fn take(&self, digest: &Digest) -> Option<PullSource> {
        let mut delivered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (sender, at) = delivered.remove(digest)?;
        (at.elapsed() < READER_ANSWERS).then_some(sender)
    }
}
