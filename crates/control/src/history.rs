//! Recent power of each charger, so that a sample of the site is compared with the charger's power at the same moment.

use alloc::collections::VecDeque;

use crate::judge::evidence::STILL;
use crate::units::{Millis, Tick, Watts};

/// Number of ages of the meters' values that are distinguished: 0, 1, 2 … seconds.
pub(crate) const AGES: usize = 32;
/// Number of readings kept: half a minute with the fastest polling (five per second). At the bound the oldest is dropped.
const ENTRIES_MAX: usize = 160;
/// After this long without a reading the charger's power counts as unknown.
const FORGET_AFTER: Millis = Millis::from_secs(60);

/// How long a charger's power is compared with the meters: see [`AGES`].
const SHOWS_FOR: Millis = Millis::from_secs(AGES as u64);

/// Power that moves by no more than this is steady.
const STEADY: Watts = Watts(150);

/// The recent power of one charger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PowerHistory {
    entries: VecDeque<(Tick, Watts)>,
    /// The power within [`STEADY`], and when it last came to that level; a charger first seen at rest has not moved.
    level: Watts,
    moved_at: Option<Tick>,
    /// From then on the known power is what was really drawn.
    clear_since: Tick,
    measured: bool,
}

impl PowerHistory {
    pub(crate) const fn new() -> Self {
        Self { entries: VecDeque::new(), level: Watts::ZERO, moved_at: None, clear_since: Tick(0), measured: false }
    }

    /// Notes whether the charger is measured. What it draws unmeasured shows in the meters but not here, and what it is then found to draw
    /// has been in the meters for a while.
    pub(crate) fn measured(&mut self, measured: bool, power: Option<Watts>, now: Tick) {
        if core::mem::replace(&mut self.measured, measured) == measured {
            return;
        }
        let draws = power.is_some_and(|power| power.0.saturating_abs() > STEADY.0);
        let span = match (measured, draws) {
            (true, false) => Millis(0),
            (true, true) => SHOWS_FOR,
            (false, _) => FORGET_AFTER + SHOWS_FOR,
        };
        self.clear_since = now + span;
    }

    /// Returns since when the meters must show each change of the power known here; later than `at` if they need not at `at`.
    pub(crate) fn clear_since(&self, at: Tick) -> Tick {
        let silent = self.measured && !self.heard_by(at);
        if silent { Tick(at.0.saturating_add(1)) } else { self.clear_since }
    }

    /// Notes what the charger drew at `at`.
    pub(crate) fn push(&mut self, at: Tick, power: Watts) {
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back((at, power));
        if (power - self.level).0.saturating_abs() > STEADY.0 {
            self.level = power;
            self.moved_at = Some(at);
        }
    }

    /// Returns the power at `at`: the last reading taken by then, or the first there is; `None` after a minute without a reading.
    pub(crate) fn at(&self, at: Tick) -> Option<Watts> {
        if !self.heard_by(at) {
            return None;
        }
        self.entries.iter().rev().find(|entry| entry.0 <= at).or(self.entries.front()).map(|entry| entry.1)
    }

    /// Returns whether the power was still the one known at `at` when it was next read; `None` until then. A change that a reading shows
    /// may have come at any moment since the reading before.
    pub(crate) fn holds(&self, at: Tick) -> Option<bool> {
        let Some(then) = self.at(at) else { return Some(true) };
        let next = self.entries.iter().find(|entry| entry.0 >= at)?;
        Some((next.1 - then).0.saturating_abs() <= STILL.0)
    }

    /// Whether there has been a reading within a minute before `at`.
    pub(crate) fn heard_by(&self, at: Tick) -> bool {
        self.entries.back().is_some_and(|newest| at.since(newest.0) <= FORGET_AFTER)
    }

    /// Returns when the power last changed by more than [`STEADY`]; `None` if it never did.
    pub(crate) fn moved_at(&self) -> Option<Tick> {
        self.moved_at
    }

    /// Returns all readings, the newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = (Tick, Watts)> {
        self.entries.iter().rev().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_reading_of_that_moment() {
        let mut history = PowerHistory::new();
        assert_eq!(history.at(Tick(5)), None);
        for (at, power) in [(1_000, 0), (2_000, 4_071), (3_000, 4_140)] {
            history.push(Tick(at), Watts(power));
        }
        assert_eq!(history.at(Tick(2_999)), Some(Watts(4_071)));
        assert_eq!(history.at(Tick(3_000)), Some(Watts(4_140)));
        assert_eq!(history.at(Tick(63_000)), Some(Watts(4_140)));
        assert_eq!(history.at(Tick(63_001)), None, "no news for over a minute");
        assert_eq!(history.at(Tick(10)), Some(Watts(0)), "before the first reading: the first");
    }

    #[test]
    fn a_reading_holds_once_the_next_one_agrees() {
        let mut history = PowerHistory::new();
        assert_eq!(history.holds(Tick(5)), Some(true), "never measured");
        history.push(Tick(1_000), Watts(0));
        assert_eq!(history.holds(Tick(1_500)), None);
        history.push(Tick(6_000), Watts(100));
        assert_eq!(history.holds(Tick(1_500)), Some(true));
        assert_eq!(history.holds(Tick(6_000)), Some(true));
        history.push(Tick(11_000), Watts(4_140));
        assert_eq!(history.holds(Tick(6_001)), Some(false), "it may have changed before or after");
        assert_eq!(history.holds(Tick(1_500)), Some(true));
    }

    #[test]
    fn is_bounded() {
        let mut history = PowerHistory::new();
        for at in 0..1_000 {
            history.push(Tick(at), Watts(1));
        }
        assert_eq!(history.entries.len(), ENTRIES_MAX);
    }
}
