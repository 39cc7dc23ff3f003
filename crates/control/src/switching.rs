//! Changes the number of phases connected: only at 0 A, only with the car measured at rest, and complete when it is read back.
//!
//! ```text
//!  connected ──begin──▶ stopping ──at rest──▶ changing ──read back──▶ connected
//!                                                 │
//!                                                 └─ not within `CONFIRM` ─▶ connected, as read back; not tried again for `RETRY`
//! ```
//! From `begin` to the end of `changing` the setpoint is 0. A change made by others (a knob, an app) is simply what is connected.

use crate::units::{Millis, Tick};

/// Time to confirm a change: twice what the slowest known wallbox needs (about 90 s, Amperfied connect series).
const CONFIRM: Millis = Millis::from_secs(180);
/// How long to wait after a change that was not confirmed.
const RETRY: Millis = Millis::from_secs(900);
/// Shortest time between two changes: while nothing charges, a choice costs nothing and must not be made over and over.
const SPACING: Millis = Millis::from_secs(300);

/// The change under way, and the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PhaseChange {
    change: Option<Change>,
    changed_at: Option<Tick>,
    given_up_at: Option<Tick>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    to: u8,
    /// When the car was first seen at rest, and the order given.
    ordered_at: Option<Tick>,
}

impl PhaseChange {
    pub(crate) const fn new() -> Self {
        Self { change: None, changed_at: None, given_up_at: None }
    }

    /// Returns the target number of phases while a change is under way.
    pub(crate) fn underway(&self) -> Option<u8> {
        self.change.map(|change| change.to)
    }

    /// When the last change was confirmed.
    pub(crate) const fn changed_at(&self) -> Option<Tick> {
        self.changed_at
    }

    /// Whether a change may begin: not soon after one that failed.
    pub(crate) fn allowed(&self, now: Tick) -> bool {
        self.given_up_at.is_none_or(|at| now.since(at) >= RETRY)
    }

    /// Whether the last change was long ago.
    pub(crate) fn settled(&self, now: Tick) -> bool {
        self.changed_at.is_none_or(|at| now.since(at) >= SPACING)
    }

    /// Begins a change. One that is already under way continues.
    pub(crate) fn begin(&mut self, to: u8) {
        self.change.get_or_insert(Change { to, ordered_at: None });
    }

    /// Takes the number of phases connected, as read back (`None`: not known, or changing), and whether the car is at rest.
    pub(crate) fn follow(&mut self, connected: Option<u8>, at_rest: bool, now: Tick) {
        let Some(change) = self.change.as_mut() else { return };
        if connected == Some(change.to) {
            if change.ordered_at.is_some() {
                self.changed_at = Some(now);
            }
            self.change = None;
        } else if at_rest && change.ordered_at.is_none() {
            change.ordered_at = Some(now);
        }
    }

    /// Gives up a change that is not confirmed. Must be called as time passes.
    pub(crate) fn expire(&mut self, now: Tick) {
        let late = |change: &Change| change.ordered_at.is_some_and(|at| now.since(at) >= CONFIRM);
        if self.change.as_ref().is_some_and(late) {
            self.change = None;
            self.given_up_at = Some(now);
        }
    }

    /// Returns the phases to order: the change, once the car is at rest; otherwise what is connected.
    pub(crate) fn order(&self, connected: Option<u8>, at_rest: bool) -> Option<u8> {
        self.change.filter(|change| at_rest && change.ordered_at.is_some()).map(|change| change.to).or(connected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Tick = Tick(1_000_000);

    #[test]
    fn nothing_is_ordered_before_the_car_is_at_rest() {
        let mut switch = PhaseChange::new();
        switch.begin(1);
        switch.follow(Some(3), false, NOW);
        assert_eq!(switch.order(Some(3), false), Some(3));
        switch.follow(Some(3), true, NOW);
        assert_eq!(switch.order(Some(3), true), Some(1));
        assert_eq!(switch.order(Some(3), false), Some(3), "current flows again: the order is taken back");
    }

    #[test]
    fn it_is_done_when_it_is_read_back() {
        let mut switch = PhaseChange::new();
        switch.begin(1);
        switch.follow(Some(3), true, NOW);
        switch.follow(None, true, NOW + Millis(1));
        assert_eq!((switch.underway(), switch.order(None, true)), (Some(1), Some(1)));
        switch.follow(Some(1), true, NOW + Millis(2));
        assert_eq!((switch.underway(), switch.changed_at()), (None, Some(NOW + Millis(2))));
        assert!(!switch.settled(NOW + Millis(2)) && switch.settled(NOW + Millis(2) + SPACING));
    }

    #[test]
    fn one_that_is_not_confirmed_is_given_up_and_not_tried_again_at_once() {
        let mut switch = PhaseChange::new();
        switch.begin(1);
        switch.expire(NOW + RETRY);
        assert_eq!(switch.underway(), Some(1), "it waits for the car as long as it takes");
        switch.follow(Some(3), true, NOW);
        switch.expire(NOW + CONFIRM);
        assert_eq!(switch.underway(), None);
        assert_eq!(switch.order(Some(3), true), Some(3));
        let given_up = NOW + CONFIRM;
        assert!(!switch.allowed(given_up) && switch.allowed(given_up + RETRY));
    }
}
