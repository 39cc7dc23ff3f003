//! Learns how often samples arrive, and what follows for the limits of their age.

use crate::config::FailSafe;
use crate::units::{Millis, Tick};

/// Number of intervals that must be alike before they count as a rhythm.
const ALIKE: usize = 4;
/// Intervals are alike if none is longer than this multiple of the shortest.
const SPREAD_PERMILLE: u64 = 1_300;
/// Number of intervals after which samples with a rhythm are late.
const LATE_AFTER: u64 = 2;

/// The last intervals between samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cadence {
    last: Option<Tick>,
    intervals: [Millis; ALIKE],
}

impl Cadence {
    pub(crate) const fn new() -> Self {
        Self { last: None, intervals: [Millis(0); ALIKE] }
    }

    /// Takes the time of a sample.
    pub(crate) fn sample(&mut self, at: Tick) {
        if let Some(last) = self.last {
            self.intervals.rotate_left(1);
            if let Some(newest) = self.intervals.last_mut() {
                *newest = at.since(last);
            }
        }
        self.last = Some(at);
    }

    /// Returns the interval at which samples arrive, if they have a rhythm.
    pub(crate) fn rhythm(&self) -> Option<Millis> {
        let shortest = self.intervals.iter().min()?.0;
        let longest = self.intervals.iter().max()?.0;
        (shortest > 0 && longest.saturating_mul(1_000) <= shortest.saturating_mul(SPREAD_PERMILLE))
            .then_some(Millis(longest))
    }

    /// Returns the age from which data is stale: as configured, or later if samples arrive in a slower rhythm, but never beyond
    /// `stop_after`.
    pub(crate) fn stale_after(&self, policy: &FailSafe) -> Millis {
        let learned = self.rhythm().map_or(Millis(0), |every| every * LATE_AFTER);
        policy.stale_after.max(learned.min(policy.stop_after))
    }

    /// Returns the mean of the last intervals, each counted as `longest` at most: a single outage is no habit.
    pub(crate) fn mean(&self, longest: Millis) -> Option<Millis> {
        let known = || self.intervals.iter().filter(|interval| interval.0 > 0);
        let count = u64::try_from(known().count()).ok().filter(|count| *count > 0)?;
        Some(Millis(known().map(|interval| interval.0.min(longest.0)).sum::<u64>() / count))
    }

    /// Returns the mean of the last intervals, if that is too long to charge by: the next sample would arrive about when data counts as
    /// gone.
    pub(crate) fn too_slow(&self, policy: &FailSafe) -> Option<Millis> {
        let mean = self.mean(policy.stop_after * 2);
        mean.filter(|mean| mean.0.saturating_mul(6) / 5 > policy.stop_after.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::config;

    fn every(secs: u64, times: u64) -> Cadence {
        let mut cadence = Cadence::new();
        for step in 0..=times {
            cadence.sample(Tick(step * secs * 1_000));
        }
        cadence
    }

    #[test]
    fn limits_follow_a_slow_rhythm_within_their_bound() {
        let policy = config().fail_safe;
        for (secs, stale, slow) in
            [(1, 90, false), (30, 90, false), (60, 120, false), (110, 220, false), (200, 300, false), (305, 300, true)]
        {
            let cadence = every(secs, 4);
            assert_eq!(cadence.stale_after(&policy), Millis::from_secs(stale), "every {secs} s");
            assert_eq!(cadence.too_slow(&policy).is_some(), slow, "every {secs} s");
        }
    }

    #[test]
    fn a_single_gap_is_no_rhythm() {
        let mut cadence = every(30, 10);
        cadence.sample(Tick(600_000));
        assert_eq!(cadence.rhythm(), None);
    }

    #[test]
    fn samples_are_too_seldom_from_the_first_interval_on_and_whatever_their_rhythm() {
        let policy = config().fail_safe;
        let mut cadence = Cadence::new();
        cadence.sample(Tick(0));
        assert_eq!(cadence.too_slow(&policy), None, "nothing is known");
        for (interval, mean) in [(310, 310), (200, 255), (420, 310), (210, 285), (340, 292)] {
            cadence.sample(cadence.last.unwrap() + Millis::from_secs(interval));
            assert_eq!(cadence.too_slow(&policy).map(|mean| mean.0 / 1_000), Some(mean), "after {interval} s");
        }
        for interval in [30, 30] {
            cadence.sample(cadence.last.unwrap() + Millis::from_secs(interval));
        }
        assert_eq!(cadence.too_slow(&policy), None, "often enough again");
    }
}
