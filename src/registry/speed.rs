//! How slow a transfer may be, and whether one is slower.

use std::time::Duration;

use super::Settings;
use crate::source::Access;

/// dnf5's default for `minrate`.
const DEFAULT_RATE: u64 = 1000;

/// The longest time over which the speed is averaged; libcurl's.
const SLICE: Duration = Duration::from_secs(5);

/// The lowest speed that is accepted: what `minrate` and `timeout` in dnf5's configuration mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MinSpeed {
    /// Bytes per second; 0 stands for any byte at all.
    pub(super) rate: u64,
    /// How long a transfer may be slower than that.
    pub(super) time: Duration,
}

impl MinSpeed {
    /// That of a source. libcurl measures nothing if one of the values is 0; here something must come, so that
    /// no process waits for ever.
    pub(super) fn of(access: &Access, settings: &Settings) -> Self {
        let rate = access.min_rate.unwrap_or(DEFAULT_RATE);
        match access.timeout.unwrap_or(settings.stall) {
            time if rate > 0 && !time.is_zero() => Self { rate, time },
            _ => Self { rate: 0, time: settings.stall },
        }
    }
}

/// Measures one transfer.
pub(super) struct Speedometer {
    limit: MinSpeed,
    /// The time and the bytes that are not judged yet.
    waited: Duration,
    received: u64,
    slow_for: Duration,
}

impl Speedometer {
    pub(super) fn new(limit: MinSpeed) -> Self {
        Self { limit, waited: Duration::ZERO, received: 0, slow_for: Duration::ZERO }
    }

    /// How long to wait for bytes before the next call of [`Self::is_too_slow`].
    pub(super) fn slice(&self) -> Duration {
        SLICE.min(self.limit.time)
    }

    /// Adds bytes, and the time that was spent waiting for them. Whether the transfer has been too slow for
    /// too long.
    pub(super) fn is_too_slow(&mut self, waited: Duration, received: u64) -> bool {
        self.waited += waited;
        self.received += received;
        if self.waited < self.slice() {
            return false;
        }
        let wanted = (self.limit.rate as f64 * self.waited.as_secs_f64()).max(1.0);
        match (self.received as f64) < wanted {
            true => self.slow_for += self.waited,
            false => self.slow_for = Duration::ZERO,
        }
        (self.waited, self.received) = (Duration::ZERO, 0);
        self.slow_for >= self.limit.time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// After how many seconds a transfer with these bytes in each second, the last for ever, is too slow.
    fn seconds(rate: u64, time: u64, bytes: &[u64]) -> Option<usize> {
        let mut speed = Speedometer::new(MinSpeed { rate, time: Duration::from_secs(time) });
        let last = bytes.last().copied();
        let bytes = bytes.iter().copied().chain(last.into_iter().cycle());
        bytes.take(1000).position(|received| speed.is_too_slow(SECOND, received)).map(|at| at + 1)
    }

    #[test]
    fn slow_is_what_dnf5_configures() {
        for (rate, time, bytes, expected) in [
            (1000, 30, &[0][..], Some(30)),
            (1000, 30, &[1], Some(30)),
            (1000, 30, &[999], Some(30)),
            (1000, 30, &[1000], None),
            // A pause that is shorter than the timeout.
            (1000, 30, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1000], None),
            (1000, 3, &[0], Some(3)),
            (0, 30, &[0], Some(30)),
            (0, 30, &[1], None),
            (1000, 30, &[1000, 1000, 1000, 1000, 1000, 0], Some(35)),
        ] {
            assert_eq!(seconds(rate, time, bytes), expected, "{rate} {time} {bytes:?}");
        }
    }

    #[test]
    fn zero_means_that_any_byte_will_do() {
        let settings = Settings { stall: 30 * SECOND, ..Settings::default() };
        for (min_rate, timeout, expected) in [
            (None, None, (1000, 30)),
            (Some(5), Some(7 * SECOND), (5, 7)),
            (None, Some(100 * SECOND), (1000, 100)),
            (Some(0), Some(7 * SECOND), (0, 30)),
            (Some(5), Some(Duration::ZERO), (0, 30)),
        ] {
            let access = Access { min_rate, timeout, ..Access::default() };
            let MinSpeed { rate, time } = MinSpeed::of(&access, &settings);
            assert_eq!((rate, time.as_secs()), expected, "{min_rate:?} {timeout:?}");
        }
    }

    #[test]
    fn the_readers_time_does_not_count() {
        let mut speed = Speedometer::new(MinSpeed { rate: 1000, time: SECOND });
        assert!((0..1000).all(|_| !speed.is_too_slow(Duration::ZERO, 1)));
    }
}
