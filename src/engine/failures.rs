//! What has failed a moment ago, and fails again without a request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::Cause;

/// How long a failure holds: dnf5 wants many files, and requests each several times.
const FAILURE_HOLDS: Duration = Duration::from_secs(10);

/// How often the registry may refuse the same before that holds: as often as dnf5 asks a web server.
pub(crate) const REFUSALS: u32 = 4;

/// Failures, by what has failed.
#[derive(Default)]
pub(super) struct Failures(Mutex<HashMap<String, Failed>>);

struct Failed {
    at: Instant,
    times: u32,
    cause: Arc<Cause>,
}

impl Failures {
    /// The failure that still holds.
    pub(super) fn recent(&self, what: &str) -> Option<Cause> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, failed| failed.at.elapsed() < FAILURE_HOLDS);
        let failed = all.get(what)?;
        let holds = !failed.cause.is_refusal() || failed.times >= REFUSALS;
        holds.then(|| Cause::Again(Arc::clone(&failed.cause)))
    }

    /// Records a failure.
    pub(super) fn record(&self, what: &str, cause: Cause) -> Cause {
        let cause = Arc::new(cause);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let times = all.get(what).map_or(0, |failed| failed.times) + 1;
        let failed = Failed { at: Instant::now(), times, cause: Arc::clone(&cause) };
        all.insert(what.to_owned(), failed);
        Cause::Again(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_kind::Kind;
    use crate::registry;

    #[test]
    fn a_refusal_holds_when_it_has_been_repeated() {
        let failures = Failures::default();
        for _ in 0..REFUSALS {
            assert!(failures.recent("layer").is_none());
            let message = "blob unknown to registry".to_owned();
            let refused =
                registry::Error::Refused { kind: Kind::NotFound, retryable: false, message };
            failures.record("layer", refused.into());
        }
        assert!(failures.recent("layer").is_some());
        assert!(failures.recent("other").is_none());
        failures.record("other", registry::Error::NoOtherPullSource.into());
        assert!(failures.recent("other").is_some(), "all attempts were made");
    }
}
