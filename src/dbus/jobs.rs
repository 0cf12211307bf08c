//! What is being worked on: for the property and for the idle exit.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Counts calls. Cheap to clone.
#[derive(Clone)]
pub(super) struct Jobs {
    count: watch::Sender<u32>,
    given_up: CancellationToken,
}

/// One call; it counts until this is dropped.
pub(super) struct Job(watch::Sender<u32>);

impl Default for Jobs {
    fn default() -> Self {
        Self { count: watch::Sender::new(0), given_up: CancellationToken::new() }
    }
}

impl Jobs {
    /// Counts a call.
    pub(super) fn begin(&self) -> Job {
        self.count.send_modify(|count| *count += 1);
        Job(self.count.clone())
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        *self.count.borrow()
    }

    /// Returns when there has been no call for so long.
    pub(super) async fn none_for(&self, idle: Duration) {
        let mut counts = self.count.subscribe();
        loop {
            // The sender is here, so waiting cannot fail.
            let _ = counts.wait_for(|count| *count == 0).await;
            if tokio::time::timeout(idle, counts.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Gives all calls up, those to come as well.
    pub(super) fn give_up(&self) {
        self.given_up.cancel();
    }

    /// Returns when calls are given up.
    pub(super) async fn given_up(&self) {
        self.given_up.cancelled().await;
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
    async fn idleness_begins_anew_with_every_call() {
        let jobs = Jobs::default();
        let job = jobs.begin();
        assert_eq!(jobs.count(), 1);
        let idle = Duration::from_secs(10);
        let begin = tokio::time::Instant::now();
        let waiting = tokio::spawn({
            let jobs = jobs.clone();
            async move { jobs.none_for(idle).await }
        });
        tokio::time::sleep(Duration::from_secs(20)).await;
        drop(job);
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(jobs.begin());
        waiting.await.expect("ended");
        assert_eq!(begin.elapsed(), Duration::from_secs(35));
        assert_eq!(jobs.count(), 0);
    }
}
