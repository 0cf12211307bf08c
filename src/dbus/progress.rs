//! Progress signals to the caller.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use zbus::object_server::SignalEmitter;

use super::interface::Backend1Signals;
use crate::engine::Progress;

/// The shortest time between two signals about one item. Progress bars need no more.
const PAUSE: Duration = Duration::from_millis(100);

/// The arguments of one signal after `job`.
type Report = (String, u64, u64, bool);

/// Sends progress as signals.
pub(super) struct Reporter {
    reports: mpsc::UnboundedSender<Report>,
    reported: Mutex<HashMap<String, Instant>>,
}

impl Reporter {
    /// A reporter, and the future that sends its signals and ends when the reporter is dropped.
    pub(super) fn new(
        emitter: SignalEmitter<'static>,
        job: u64,
    ) -> (Self, impl Future<Output = ()>) {
        let (reports, mut queue) = mpsc::unbounded_channel::<Report>();
        let sending = async move {
            while let Some((item, received, total, finished)) = queue.recv().await {
                if let Err(error) = emitter.progress(job, &item, received, total, finished).await {
                    tracing::debug!(%error, "sending a progress signal failed");
                }
            }
        };
        (Self { reports, reported: Mutex::default() }, sending)
    }

    /// Whether another signal about `item` is due.
    fn is_due(&self, item: &str) -> bool {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_due = reported.get(item).is_none_or(|last| now.duration_since(*last) >= PAUSE);
        if is_due {
            reported.insert(item.to_owned(), now);
        }
        is_due
    }

    fn report(&self, item: &str, received: u64, total: u64, finished: bool) {
        // If nothing receives reports any more, the call has been cancelled.
        let _ = self.reports.send((item.to_owned(), received, total, finished));
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use futures_util::StreamExt;
    use zbus::connection::Builder;
    use zbus::message::Type;
    use zbus::names::BusName;
    use zbus::{Guid, MessageStream};

    use super::super::caller::Caller;
    use super::*;

    #[tokio::test]
    async fn signals_are_few_for_the_caller_alone_and_end_with_the_last() {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let (ours, theirs) = tokio::try_join!(
            Builder::unix_stream(ours).server(Guid::generate()).p2p().build(),
            Builder::unix_stream(theirs).p2p().build(),
        )
        .expect("connected");
        let mut signals = MessageStream::from(&theirs);
        let caller = Caller::named(&ours, ":1.7");

        let (reporter, sending) = Reporter::new(caller.emitter().expect("an emitter"), 5);
        for received in 0..1_000 {
            reporter.advanced("a.rpm", received, 1_000);
            reporter.advanced("b.rpm", received, 2_000);
        }
        reporter.finished("a.rpm", 1_000);
        drop(reporter);
        sending.await;
        ours.close().await.expect("closed");

        let mut seen = Vec::new();
        while let Some(Ok(signal)) = signals.next().await {
            let header = signal.header();
            assert_eq!(header.message_type(), Type::Signal);
            assert_eq!(header.destination(), Some(&BusName::try_from(":1.7").expect("a name")));
            seen.push(signal.body().deserialize::<(u64, String, u64, u64, bool)>().expect("one"));
        }
        let (a, b): (Vec<_>, Vec<_>) = seen.into_iter().partition(|report| report.1 == "a.rpm");
        assert_eq!(a.first(), Some(&(5, "a.rpm".to_owned(), 0, 1_000, false)));
        assert_eq!(a.last(), Some(&(5, "a.rpm".to_owned(), 1_000, 1_000, true)));
        assert_eq!(b.first(), Some(&(5, "b.rpm".to_owned(), 0, 2_000, false)));
        assert!(a.len() < 10 && b.len() < 10, "{} and {} of 1,000", a.len(), b.len());
    }
}
