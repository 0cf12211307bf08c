//! Signals to the caller about how far its call has come.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use zbus::object_server::SignalEmitter;

use super::interface::Backend1Signals;
use crate::backend::Progress;

/// The pause between two signals about one item: more is more than an eye can see.
const PAUSE: Duration = Duration::from_millis(100);

/// One signal.
struct Report {
    item: String,
    received: u64,
    total: u64,
    finished: bool,
}

/// Turns progress into signals.
pub(super) struct Reporter {
    reports: mpsc::UnboundedSender<Report>,
    reported: Mutex<HashMap<String, Instant>>,
}

impl Reporter {
    /// A reporter, and the task that sends its signals; it ends when the reporter is dropped.
    pub(super) fn new(emitter: SignalEmitter<'static>, job: u64) -> (Self, JoinHandle<()>) {
        let (reports, mut queue) = mpsc::unbounded_channel::<Report>();
        let sending = tokio::spawn(async move {
            while let Some(report) = queue.recv().await {
                let Report { item, received, total, finished } = report;
                if let Err(error) = emitter.progress(job, &item, received, total, finished).await {
                    tracing::debug!(%error, "a signal was not sent");
                }
            }
        });
        (Self { reports, reported: Mutex::default() }, sending)
    }

    /// Whether it is time for another signal about `item`.
    fn is_due(&self, item: &str) -> bool {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match reported.get_mut(item) {
            Some(last) if now.duration_since(*last) < PAUSE => false,
            Some(last) => {
                *last = now;
                true
            }
            None => {
                reported.insert(item.to_owned(), now);
                true
            }
        }
    }

    fn report(&self, item: &str, received: u64, total: u64, finished: bool) {
        // The task ends only after this is dropped.
        let _ = self.reports.send(Report { item: item.to_owned(), received, total, finished });
    }
}

impl Progress for Reporter {
    fn advanced(&self, item: &str, received: u64, total: u64) {
        if self.is_due(item) {
            self.report(item, received, total, false);
        }
    }

    fn finished(&self, item: &str, total: u64) {
        self.report(item, total, total, true);
    }
}
