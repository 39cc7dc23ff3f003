//! Pauses that grow as long as their cause comes back.

use crate::units::{Millis, Tick};

/// After this long without a pause the next one is as short as the first.
const FORGOTTEN_AFTER: Millis = Millis::from_secs(86_400);
/// Longer times are reported in whole minutes, shorter ones in steps of [`TELL_SHORT`], so that the report changes rarely.
const TELL_LONG: Millis = Millis::from_secs(60);
/// See [`TELL_LONG`].
const TELL_SHORT: Millis = Millis::from_secs(10);

/// A pause that is twice as long each time, up to a maximum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pauses {
    first: Millis,
    longest: Millis,
    count: u8,
    began: Option<Tick>,
    until: Option<Tick>,
}

impl Pauses {
    pub(crate) const fn new(first: Millis, longest: Millis) -> Self {
        Self { first, longest, count: 0, began: None, until: None }
    }

    /// Begins the next pause at `now`.
    pub(crate) fn begin(&mut self, now: Tick) {
        if self.began.is_some_and(|at| now.since(at) >= FORGOTTEN_AFTER) {
            self.count = 0;
        }
        let span = self.first.0.saturating_mul(1_u64 << self.count.min(16)).min(self.longest.0);
        self.count = self.count.saturating_add(1);
        self.began = Some(now);
        self.until = Some(now + Millis(span));
    }

    /// Returns the time left of the pause, rounded up; `None` if there is none.
    pub(crate) fn left(&self, now: Tick) -> Option<Millis> {
        let left = self.until?.since(now).0;
        let step = if left > 2 * TELL_LONG.0 { TELL_LONG.0 } else { TELL_SHORT.0 };
        (left > 0).then(|| Millis(left.div_ceil(step).saturating_mul(step)))
    }

    /// Ends the pause because its cause is gone; the next one is short again.
    pub(crate) const fn forget(&mut self) {
        self.count = 0;
        self.began = None;
        self.until = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    fn pauses() -> Pauses {
        Pauses::new(Millis(2 * MINUTE), Millis(10 * MINUTE))
    }

    #[test]
    fn each_is_twice_as_long_as_the_last_up_to_the_longest() {
        let mut pauses = pauses();
        let mut now = Tick(5);
        for minutes in [2, 4, 8, 10, 10] {
            pauses.begin(now);
            assert_eq!(pauses.left(now), Some(Millis(minutes * MINUTE)));
            now = now + Millis(minutes * MINUTE);
            assert_eq!(pauses.left(now), None);
        }
    }

    #[test]
    fn a_day_later_it_is_short_again() {
        let mut pauses = pauses();
        pauses.begin(Tick(5));
        pauses.begin(Tick(5) + FORGOTTEN_AFTER);
        assert_eq!(pauses.left(Tick(5) + FORGOTTEN_AFTER), Some(Millis(2 * MINUTE)));
    }

    #[test]
    fn what_is_left_is_told_in_coarse_steps() {
        let mut pauses = pauses();
        pauses.begin(Tick(0));
        pauses.begin(Tick(0));
        let told: alloc::collections::BTreeSet<_> =
            (0..4 * 60).map(|second| pauses.left(Tick(second * 1_000))).collect();
        assert_eq!(told.len(), 14, "4 and 3 minutes, then twelve steps of 10 s");
    }

    #[test]
    fn forgotten_it_is_over() {
        let mut pauses = pauses();
        pauses.begin(Tick(0));
        pauses.forget();
        assert_eq!(pauses.left(Tick(1)), None);
    }
}
