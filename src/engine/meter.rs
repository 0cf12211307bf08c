//! Counts the bytes of one item as they are read, for progress reports.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Progress;

pub(crate) struct Meter {
    item: String,
    total: u64,
    received: AtomicU64,
    progress: Arc<dyn Progress>,
}

impl Meter {
    pub(crate) fn new(item: &str, total: u64, progress: Arc<dyn Progress>) -> Self {
        Self { item: item.to_owned(), total, received: AtomicU64::new(0), progress }
    }

    /// A reader whose bytes count.
    pub(crate) fn reader<R: Read>(&self, inner: R) -> Metered<'_, R> {
        Metered { meter: self, inner }
    }

    /// The item is complete.
    pub(crate) fn finish(&self) {
        self.progress.finished(&self.item, self.total);
    }
}

pub(crate) struct Metered<'a, R> {
    meter: &'a Meter,
    inner: R,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let meter = self.meter;
        let received = meter.received.fetch_add(read as u64, Ordering::Relaxed) + read as u64;
        meter.progress.advanced(&meter.item, received, meter.total);
        Ok(read)
    }
}
