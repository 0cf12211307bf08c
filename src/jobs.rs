//! What the service is busy with: running calls, open sessions and connections. How many there are, and ending them.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Counts and cancels jobs. Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    count: watch::Sender<u32>,
    /// To cancel running calls and reject new ones. This ends sessions as well.
    pub(crate) cancelled: CancellationToken,
    /// To end sessions and reject new ones.
    pub(crate) sessions_ended: CancellationToken,
}

/// One call, session or connection. It counts until this is dropped.
pub(crate) struct Job(watch::Sender<u32>);

impl Default for Jobs {
    fn default() -> Self {
        let cancelled = CancellationToken::new();
        let sessions_ended = cancelled.child_token();
        Self { count: watch::Sender::new(0), cancelled, sessions_ended }
    }
}

impl Jobs {
    pub(crate) fn start(&self) -> Job {
        self.count.send_modify(|count| *count += 1);
        Job(self.count.clone())
    }

    pub(crate) fn count(&self) -> u32 {
        *self.count.borrow()
    }

    /// Returns when there has been no job for this long.
    pub(crate) async fn idle_for(&self, idle: Duration) {
        let mut counts = self.count.subscribe();
        loop {
            // This holds the sender, so waiting cannot fail.
            let _ = counts.wait_for(|count| *count == 0).await;
            if tokio::time::timeout(idle, counts.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_call_restarts_the_idle_time() {
        let jobs = Jobs::default();
        let job = jobs.start();
        assert_eq!(jobs.count(), 1);
        let idle = Duration::from_secs(10);
        let start = tokio::time::Instant::now();
        let waiting = tokio::spawn({
            let jobs = jobs.clone();
            async move { jobs.idle_for(idle).await }
        });
        tokio::time::sleep(Duration::from_secs(20)).await;
        drop(job);
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(jobs.start());
        waiting.await.expect("ended");
        assert_eq!(start.elapsed(), Duration::from_secs(35));
        assert_eq!(jobs.count(), 0);
    }

    #[test]
    fn calls_outlive_sessions_and_not_the_other_way_round() {
        let jobs = Jobs::default();
        jobs.sessions_ended.cancel();
        assert!(!jobs.cancelled.is_cancelled());
        let jobs = Jobs::default();
        jobs.cancelled.cancel();
        assert!(jobs.sessions_ended.is_cancelled());
    }
}
