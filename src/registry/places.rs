//! How many workers there may be: of one pull source, and of all.
//!
//! Each worker asks the registry for the manifest, which some registries count, and takes memory, so another
//! one must save more time than it costs. A pull source begins with one. There is another one when the
//! requests that are to be expected end noticeably sooner with it, and the processors have time for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::Settings;
use super::processors::Processors;

/// How much sooner all requests must end with another worker.
const MIN_SAVING: Duration = Duration::from_millis(60);

/// How many round trips it takes to open an image: TCP, TLS, whether a token is needed, the token, the
/// manifest.
const ROUND_TRIPS_TO_OPEN: u32 = 6;

/// An answer that takes longer than the least one makes that grow by one in so many parts.
const FORGETS: u32 = 20;

/// How long no request must have waited for the queue to be a new one.
const NEW_QUEUE: Duration = Duration::from_secs(1);

/// How long no answer must have come for the workers to be stuck, and not the processors busy.
const STUCK: Duration = Duration::from_secs(1);

/// When to ask again after there was no place for another worker.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// The places for the workers of one pull source.
pub(super) struct Places {
    state: Mutex<State>,
    /// Notified when a worker is idle or has ended.
    pub(super) changed: Notify,
}

struct State {
    max: usize,
    /// How many are taken.
    taken: usize,
    /// How many requests wait for a worker.
    waiting: usize,
    /// How many requests have had to wait since the queue is there.
    queued: usize,
    /// When the last request stopped waiting.
    waited: Option<Instant>,
    /// How many requests are announced and have not come yet.
    announced: usize,
    /// How long it took to open the image.
    open: Duration,
    /// How long it takes the registry to answer a request; the least lately, since anything above that is spent
    /// waiting for a processor.
    answer: Duration,
    /// When the last answer came, or the first of the requests that wait began to.
    progress: Instant,
    processors: Processors,
}

/// One worker's place. Freed when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    /// Its share of the total.
    _share: OwnedSemaphorePermit,
}

/// A request that waits for a worker.
pub(super) struct Waiting<'a>(&'a Places);

/// Requests that are going to come. They are no longer expected when this is dropped.
pub(super) struct Announced {
    places: Arc<Places>,
    requests: usize,
}

/// Why another worker starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A request waits.
    Now,
    /// Requests are announced, and there is time before they come.
    Ahead,
}

impl Places {
    pub(super) fn new(settings: &Settings) -> Arc<Self> {
        let state = State {
            max: settings.max_processes.max(1),
            taken: 0,
            waiting: 0,
            queued: 0,
            waited: None,
            announced: 0,
            open: Duration::ZERO,
            answer: Duration::ZERO,
            progress: Instant::now(),
            processors: Processors::default(),
        };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    /// Counts a request that has to wait.
    pub(super) fn wait(&self) -> Waiting<'_> {
        let mut state = self.state();
        let is_new = |waited: Instant| waited.elapsed() >= NEW_QUEUE;
        if state.waiting == 0 && state.waited.is_none_or(is_new) {
            state.queued = 0;
        }
        if state.waiting == 0 {
            state.progress = Instant::now();
        }
        state.waiting += 1;
        state.queued += 1;
        Waiting(self)
    }

    /// Expects so many requests.
    pub(super) fn announce(self: &Arc<Self>, requests: usize) -> Announced {
        let mut state = self.state();
        state.announced += requests;
        Announced { places: Arc::clone(self), requests }
    }

    /// Whether announced requests have not come yet.
    pub(super) fn are_announced(&self) -> bool {
        self.state().announced > 0
    }

    /// A place for another worker, with a share of the total.
    ///
    /// # Errors
    /// There is none; after how long to ask again, unless a worker is idle or ends before.
    pub(super) fn take(
        self: &Arc<Self>,
        share: OwnedSemaphorePermit,
        need: Need,
    ) -> Result<Place, Duration> {
        let mut state = self.state();
        if state.taken > 0 {
            state.check(need)?;
        }
        state.taken += 1;
        Ok(Place { places: Arc::clone(self), _share: share })
    }

    /// Whether there is no worker.
    pub(super) fn are_free(&self) -> bool {
        self.state().taken == 0
    }

    /// Whether a worker has opened the image.
    pub(super) fn are_open(&self) -> bool {
        let state = self.state();
        state.taken > 0 && !state.open.is_zero()
    }

    /// Records how long it took to open the image.
    pub(super) fn opened(&self, time: Duration) {
        let mut state = self.state();
        (state.open, state.progress) = (time, Instant::now());
        drop(state);
        // Now it is known when there may be another one.
        self.changed.notify_waiters();
    }

    /// Records that a request is made.
    pub(super) fn requested(&self) {
        let mut state = self.state();
        state.announced = state.announced.saturating_sub(1);
    }

    /// Records how long the registry took to answer a request.
    pub(super) fn answered(&self, time: Duration) {
        let mut state = self.state();
        state.answer = match state.answer {
            Duration::ZERO => time,
            least => time.min(least + least / FORGETS),
        };
        state.progress = Instant::now();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Checks that there may be another worker, and that it is worth it.
    fn check(&mut self, need: Need) -> Result<(), Duration> {
        if self.taken >= self.max || self.open.is_zero() {
            return Err(Duration::MAX);
        }
        let is_busy = self.stuck(need).is_zero() && self.processors.are_busy();
        match (self.saving(need) >= MIN_SAVING, need) {
            (true, _) if is_busy => Err(ASK_AGAIN),
            (true, _) => Ok(()),
            (false, Need::Now) => Err(ASK_AGAIN),
            // The fewer are left, the less they are worth.
            (false, Need::Ahead) => Err(Duration::MAX),
        }
    }

    /// How much sooner the requests that are to be expected end with another worker.
    fn saving(&self, need: Need) -> Duration {
        // A queue is likely to last as long as it has lasted.
        let requests = self.waiting.max(self.queued).max(self.announced);
        let answer = match self.answer {
            Duration::ZERO => self.open / ROUND_TRIPS_TO_OPEN,
            answer => answer,
        };
        let all = answer.saturating_mul(count(requests));
        match need {
            Need::Now => {
                // What they do until another one is ready, it cannot.
                let meanwhile = self.open * count(self.taken);
                self.share(all.max(self.stuck(need)).saturating_sub(meanwhile))
            }
            Need::Ahead if requests > self.taken => self.share(all),
            Need::Ahead => Duration::ZERO,
        }
    }

    /// For how long the workers have been stuck, while a request waits.
    fn stuck(&self, need: Need) -> Duration {
        match need {
            Need::Now if self.waiting > 0 && self.progress.elapsed() >= STUCK => {
                self.progress.elapsed()
            }
            _ => Duration::ZERO,
        }
    }

    /// How much of so much work, which the workers share, another one would save.
    fn share(&self, work: Duration) -> Duration {
        let taken = count(self.taken);
        work / taken / (taken + 1)
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.state().taken -= 1;
        self.places.changed.notify_one();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.waiting -= 1;
        state.waited = Some(Instant::now());
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        let mut state = self.places.state();
        state.announced = state.announced.saturating_sub(self.requests);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &Arc<Places>, need: Need) -> Result<Place, Duration> {
        let total = Arc::new(tokio::sync::Semaphore::new(1));
        places.take(total.try_acquire_owned().expect("one"), need)
    }

    /// Places with one worker, after the image was opened in that time, which never find the processors busy.
    fn places(max_processes: usize, open: Duration) -> (Arc<Places>, Vec<Place>) {
        let places = Places::new(&Settings { max_processes, ..Settings::default() });
        places.state().processors = Processors::idle();
        let first = vec![take(&places, Need::Now).expect("the first one")];
        assert_eq!(take(&places, Need::Now).err(), Some(Duration::MAX), "it is being started");
        assert!(!places.are_open());
        places.opened(open);
        assert!(places.are_open());
        (places, first)
    }

    /// Takes as many places as there are, and tells how many are taken then.
    fn fill(places: &Arc<Places>, taken: &mut Vec<Place>, need: Need) -> usize {
        taken.extend(std::iter::from_fn(|| take(places, need).ok()));
        taken.len()
    }

    const FAR: Duration = Duration::from_millis(300);
    const NEAR: Duration = Duration::from_millis(12);
    const VERY_FAR: Duration = Duration::from_secs(2);

    #[test]
    fn the_announced_packages_are_what_more_workers_must_be_worth() {
        for (open, packages, expected) in [
            (FAR, 1, 1),
            (VERY_FAR, 1, 1),
            (VERY_FAR, 2, 2),
            (FAR, 2, 1),
            (FAR, 3, 2),
            (FAR, 20, 4),
            (FAR, 100, 9),
            (FAR, 10_000, 20),
            (NEAR, 20, 1),
            (NEAR, 400, 4),
        ] {
            let (places, mut taken) = places(20, open);
            let _announced = places.announce(packages);
            assert_eq!(fill(&places, &mut taken, Need::Ahead), expected, "{open:?} {packages}");
        }
    }

    #[test]
    fn requests_that_were_made_are_no_longer_expected() {
        let (places, mut taken) = places(20, FAR);
        let announced = places.announce(20);
        (0..18).for_each(|_| places.requested());
        assert_eq!(fill(&places, &mut taken, Need::Ahead), 1);
        drop(announced);
        assert!(!places.are_announced());
        let _other = places.announce(20);
        assert_eq!(fill(&places, &mut taken, Need::Ahead), 4);
    }

    #[test]
    fn what_is_served_while_a_worker_starts_it_does_not_save() {
        let (places, mut taken) = places(20, FAR);
        let _waiting = [(); 12].map(|()| places.wait());
        assert_eq!(fill(&places, &mut taken, Need::Now), 2);
    }

    #[test]
    fn a_queue_that_lasts_is_worth_more_workers() {
        let (places, mut taken) = places(20, FAR);
        let waiting = [(); 3].map(|()| places.wait());
        assert_eq!(fill(&places, &mut taken, Need::Now), 1);
        for _ in 0..40 {
            drop(places.wait());
        }
        assert_eq!(fill(&places, &mut taken, Need::Now), 4);
        drop((taken, waiting));
        places.state().waited = Instant::now().checked_sub(NEW_QUEUE);
        let mut taken = vec![take(&places, Need::Now).expect("all are free")];
        let _waiting = [(); 3].map(|()| places.wait());
        assert_eq!(fill(&places, &mut taken, Need::Now), 1, "the queue is a new one");
    }

    #[test]
    fn where_the_answers_are_slow_more_workers_are_worth_it() {
        let (places, mut taken) = places(20, NEAR);
        let _waiting = [(); 19].map(|()| places.wait());
        assert_eq!(fill(&places, &mut taken, Need::Now), 1);
        places.answered(Duration::from_millis(80));
        assert_eq!(fill(&places, &mut taken, Need::Now), 5);
    }

    #[test]
    fn answers_that_wait_for_a_processor_are_no_slow_ones() {
        let (places, mut taken) = places(20, NEAR);
        let _waiting = [(); 19].map(|()| places.wait());
        for slow in [3, 80, 80, 3, 80, 80, 80, 80] {
            places.answered(Duration::from_millis(slow));
        }
        assert_eq!(fill(&places, &mut taken, Need::Now), 1);
        (0..100).for_each(|_| places.answered(Duration::from_millis(80)));
        assert_eq!(fill(&places, &mut taken, Need::Now), 5);
    }

    #[test]
    fn a_request_does_not_wait_for_ever_for_a_worker_that_is_stuck() {
        let (places, mut taken) = places(20, NEAR);
        places.state().progress = Instant::now().checked_sub(STUCK).expect("later than the boot");
        assert_eq!(fill(&places, &mut taken, Need::Now), 1, "it was idle");
        let _waiting = places.wait();
        assert_eq!(fill(&places, &mut taken, Need::Now), 1);
        for (stuck, expected) in [(STUCK / 2, 1), (STUCK, 4), (STUCK * 2, 6)] {
            places.state().progress =
                Instant::now().checked_sub(stuck).expect("later than the boot");
            assert_eq!(fill(&places, &mut taken, Need::Now), expected);
        }
        places.answered(NEAR);
        assert_eq!(fill(&places, &mut taken, Need::Now), 6);
    }

    #[test]
    fn there_is_a_limit() {
        let (places, mut taken) = places(3, FAR);
        let _announced = places.announce(1000);
        assert_eq!(fill(&places, &mut taken, Need::Now), 3);
        assert_eq!(take(&places, Need::Now).err(), Some(Duration::MAX));
    }

    #[test]
    fn busy_processors_are_no_place_for_another_worker() {
        let (places, mut taken) = places(20, FAR);
        let _announced = places.announce(1000);
        places.state().processors = Processors::busy();
        for need in [Need::Now, Need::Ahead] {
            assert_eq!(take(&places, need).err(), Some(ASK_AGAIN));
        }
        let _waiting = places.wait();
        assert_eq!(take(&places, Need::Now).err(), Some(ASK_AGAIN));
        places.state().progress = Instant::now().checked_sub(STUCK).expect("later than the boot");
        taken.push(take(&places, Need::Now).expect("the other one is stuck"));
        places.state().processors = Processors::idle();
        assert_eq!(fill(&places, &mut taken, Need::Ahead), 20);
        assert_eq!(take(&places, Need::Ahead).err(), Some(Duration::MAX));
    }
}
