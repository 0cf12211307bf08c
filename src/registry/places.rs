//! How many workers there may be: of one pull source, and of all.
//!
//! Each worker asks the registry for the manifest, which some registries count, so another one must save more
//! time than it costs. A pull source begins with one. The number grows when the requests that wait now will
//! have to wait for as long as it takes to open the image, or when some have waited for even longer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::Settings;

/// How much the number of places grows at a time.
const GROWTH: usize = 4;

/// The least that it is taken to cost to open the image: on a near registry, more workers do not help.
const MIN_COST: Duration = Duration::from_millis(200);

/// The places for the workers of one pull source.
pub(super) struct Places {
    state: Mutex<State>,
    /// Notified when a worker is idle or has ended.
    pub(super) changed: Notify,
}

struct State {
    max: usize,
    /// How many places there are now, at most `max`.
    limit: usize,
    /// How many are taken.
    taken: usize,
    /// How many requests wait for a worker.
    waiting: usize,
    /// How long some request has waited since `limit` was set, until `since`.
    waited: Duration,
    /// Since when some request has been waiting.
    since: Option<Instant>,
    /// How long it took to open the image.
    open: Duration,
    /// How long it takes until the registry answers a request.
    answer: Duration,
}

/// One worker's place. Freed when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    /// Its share of the total.
    _share: OwnedSemaphorePermit,
}

/// A request that waits for a worker.
pub(super) struct Waiting<'a>(&'a Places);

impl Places {
    pub(super) fn new(settings: &Settings) -> Arc<Self> {
        let state = State {
            max: settings.max_processes.max(1),
            limit: 1,
            taken: 0,
            waiting: 0,
            waited: Duration::ZERO,
            since: None,
            open: Duration::ZERO,
            answer: Duration::ZERO,
        };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    /// Counts a request that has to wait.
    pub(super) fn wait(&self) -> Waiting<'_> {
        let mut state = self.state();
        state.waiting += 1;
        state.since.get_or_insert_with(Instant::now);
        Waiting(self)
    }

    /// A place for another worker, with a share of the total.
    ///
    /// # Errors
    /// There is none; after how long to ask again, unless a worker is idle or ends before.
    pub(super) fn take(self: &Arc<Self>, share: OwnedSemaphorePermit) -> Result<Place, Duration> {
        let mut state = self.state();
        if state.taken >= state.limit {
            state.grow()?;
        }
        state.taken += 1;
        Ok(Place { places: Arc::clone(self), _share: share })
    }

    /// Whether there is no worker.
    pub(super) fn are_free(&self) -> bool {
        self.state().taken == 0
    }

    /// Records how long it took to open the image.
    pub(super) fn opened(&self, time: Duration) {
        self.state().open = time;
        // Now it is known when there may be another one.
        self.changed.notify_waiters();
    }

    /// Records how long the registry took to answer a request.
    pub(super) fn answered(&self, time: Duration) {
        let mut state = self.state();
        state.answer = (state.answer * 3 + time) / 4;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Makes room for more workers if that is worth it.
    fn grow(&mut self) -> Result<(), Duration> {
        if self.limit >= self.max || self.open.is_zero() {
            return Err(Duration::MAX);
        }
        let now = Instant::now();
        let cost = self.open.max(MIN_COST);
        let waited = self.waited + self.since.map(|since| now - since).unwrap_or_default();
        // A few that wait are likely to be served before another worker is ready.
        let wanted = if self.waiting < self.limit { cost * 3 } else { cost * 3 / 2 };
        let missing = wanted.saturating_sub(waited);
        if self.expected() < cost && !missing.is_zero() {
            return Err(missing);
        }
        self.limit = (self.limit * GROWTH).min(self.max);
        self.waited = Duration::ZERO;
        self.since = (self.waiting > 0).then_some(now);
        Ok(())
    }

    /// How long the last of the requests that wait now will wait.
    fn expected(&self) -> Duration {
        let turns = self.waiting / self.limit;
        self.answer * u32::try_from(turns).unwrap_or(u32::MAX)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.state();
        state.taken -= 1;
        state.limit = state.limit.min(state.taken.max(1));
        drop(state);
        self.places.changed.notify_one();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.waiting -= 1;
        if state.waiting == 0
            && let Some(since) = state.since.take()
        {
            state.waited += since.elapsed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &Arc<Places>) -> Result<Place, Duration> {
        let total = Arc::new(tokio::sync::Semaphore::new(1));
        places.take(total.try_acquire_owned().expect("one"))
    }

    fn places(max_processes: usize) -> Arc<Places> {
        Places::new(&Settings { max_processes, ..Settings::default() })
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// Lets some request have waited for that long.
    fn waited(places: &Places, time: Duration) {
        places.state().waited += time;
    }

    #[test]
    fn more_workers_must_be_worth_their_start() {
        let places = places(8);
        let mut taken = vec![take(&places).expect("the first one")];
        let waiting = [(); 4].map(|()| places.wait());
        assert_eq!(take(&places).err(), Some(Duration::MAX), "it is being started");
        places.opened(SECOND);
        assert!(take(&places).is_err_and(|pause| pause > SECOND), "none has waited");
        waited(&places, SECOND * 3 / 2);
        taken.extend([(); 3].map(|()| take(&places).expect("worth it")));
        assert!(take(&places).is_err_and(|pause| pause > SECOND), "it begins anew");
        waited(&places, SECOND * 3 / 2);
        drop(waiting);
        assert!(take(&places).is_err_and(|pause| pause > SECOND), "few wait");
        drop(taken);
        let _first = take(&places).expect("all are free");
        assert!(take(&places).is_err(), "it begins with one again");
    }

    #[test]
    fn many_requests_to_a_far_registry_need_not_wait_first() {
        let places = places(8);
        let _first = take(&places).expect("the first one");
        let _waiting = [(); 9].map(|()| places.wait());
        places.opened(SECOND / 2);
        (0..20).for_each(|_| places.answered(SECOND / 100));
        assert!(take(&places).is_err(), "a near one");
        (0..20).for_each(|_| places.answered(SECOND / 10));
        let _more = [(); 3].map(|()| take(&places).expect("worth it"));
        assert!(take(&places).is_err(), "these are enough for now");
    }

    #[test]
    fn there_is_a_limit() {
        let places = places(3);
        let _waiting = [(); 9].map(|()| places.wait());
        let mut taken = Vec::new();
        for _ in 0..10 {
            places.opened(Duration::from_nanos(1));
            waited(&places, SECOND);
            taken.extend(take(&places).ok());
        }
        assert_eq!(taken.len(), 3);
        assert_eq!(take(&places).err(), Some(Duration::MAX));
    }

    #[test]
    fn time_counts_while_some_request_waits() {
        let places = places(8);
        let _first = take(&places).ok();
        places.opened(Duration::from_millis(1));
        let waiting = (places.wait(), places.wait());
        assert!(take(&places).is_err());
        std::thread::sleep(MIN_COST * 3 / 2);
        drop(waiting);
        let _waiting = places.wait();
        assert!(take(&places).is_ok());
    }
}
