//! How many requests there may be in a minute.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// A limit on the number of requests. Copies that share it stay below it together. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RateLimit {
    interval: Duration,
    /// When the next request may be sent.
    next: Arc<Mutex<Instant>>,
}

impl RateLimit {
    /// At most that many requests a minute, evenly spread.
    pub fn per_minute(requests: NonZeroU32) -> Self {
        Self { interval: MINUTE / requests.get(), next: Arc::new(Mutex::new(Instant::now())) }
    }

    /// Waits until another request may be sent.
    pub(super) async fn take(&self) {
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(Instant::now());
            *next = turn + self.interval;
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_who_share_a_limit_stay_below_it_together() {
        let limit = RateLimit::per_minute(NonZeroU32::new(120).expect("not 0"));
        let begin = Instant::now();
        let take = async |limit: RateLimit| {
            for _ in 0..30 {
                limit.take().await;
            }
        };
        futures_util::future::join(take(limit.clone()), take(limit)).await;
        let passed = begin.elapsed();
        assert!(
            passed >= Duration::from_secs(29) && passed < Duration::from_secs(31),
            "{passed:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_allows_no_burst() {
        let limit = RateLimit::per_minute(NonZeroU32::new(60).expect("not 0"));
        limit.take().await;
        tokio::time::sleep(MINUTE).await;
        let begin = Instant::now();
        for _ in 0..3 {
            limit.take().await;
        }
        assert!(begin.elapsed() >= Duration::from_secs(2));
    }
}
