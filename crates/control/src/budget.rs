//! Two bounds over a day without a calendar: energy the home battery may give, and automatic starts.

use alloc::collections::VecDeque;

use crate::units::{Millis, Tick, WattHours, Watts};

const DAY: Millis = Millis::from_secs(86_400);
/// Watt-milliseconds in a watt-hour.
const WMS_PER_WH: i64 = 3_600_000;
/// A longer pause between samples counts as this long: what happened in it is not known.
const STEP_MAX: Millis = Millis::from_secs(60);

/// Energy that may be spent in a day: a bucket that refills evenly. Spent, it stays closed until a tenth is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DrainBudget {
    size: i64,
    level: i64,
    at: Option<Tick>,
    spent: bool,
}

impl DrainBudget {
    pub(crate) fn new(size: WattHours) -> Self {
        let size = size.0.clamp(0, 1_000_000) * WMS_PER_WH;
        Self { size, level: size, at: None, spent: size == 0 }
    }

    /// A new size on reload; what has been spent stays spent.
    pub(crate) fn resize(&mut self, size: WattHours) {
        let used = self.size - self.level;
        let fresh = Self::new(size);
        *self = Self { level: (fresh.size - used).max(0), at: self.at, spent: self.spent && fresh.size > 0, ..fresh };
        self.close_or_open();
    }

    /// Time has passed, in which the battery gave `power` to the car.
    pub(crate) fn pass(&mut self, now: Tick, power: Watts) {
        let pause = self.at.map_or(Millis(0), |at| now.since(at));
        self.at = Some(now);
        let span = |limit: Millis| i64::try_from(pause.min(limit).0).unwrap_or(0);
        let refill = (self.size / 86_400_000) * span(DAY);
        let spend = i64::from(power.positive().0) * span(STEP_MAX);
        self.level = (self.level + refill - spend).clamp(0, self.size);
        self.close_or_open();
    }

    fn close_or_open(&mut self) {
        self.spent = if self.spent { self.size == 0 || self.level < self.size / 10 } else { self.level == 0 };
    }

    /// Nothing more may come from the battery on purpose.
    pub(crate) const fn spent(&self) -> bool {
        self.spent
    }
}

/// Starts in the last 24 h. At the bound the oldest goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Starts {
    at: VecDeque<Tick>,
}

/// The largest bound that may be configured.
const STARTS_MAX: usize = 200;

impl Starts {
    pub(crate) const fn new() -> Self {
        Self { at: VecDeque::new() }
    }

    pub(crate) fn note(&mut self, now: Tick) {
        if self.at.len() == STARTS_MAX {
            self.at.pop_front();
        }
        self.at.push_back(now);
    }

    pub(crate) fn count(&self, now: Tick) -> u16 {
        let recent = self.at.iter().filter(|at| now.since(**at) < DAY).count();
        u16::try_from(recent).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_and_comes_back() {
        let mut budget = DrainBudget::new(WattHours(1_000));
        budget.pass(Tick(0), Watts(0));
        for minute in 1..=60 {
            budget.pass(Tick(minute * 60_000), Watts(1_000));
        }
        assert!(!budget.spent(), "a little was refilled meanwhile");
        for minute in 61..=70 {
            budget.pass(Tick(minute * 60_000), Watts(1_000));
        }
        assert!(budget.spent());
        budget.pass(Tick(70 * 60_000 + 3_600_000), Watts(0));
        assert!(budget.spent(), "an hour brings back less than a tenth");
        budget.pass(Tick(70 * 60_000 + 3 * 3_600_000), Watts(0));
        assert!(!budget.spent());
    }

    #[test]
    fn no_budget_is_always_spent() {
        let mut budget = DrainBudget::new(WattHours(0));
        budget.pass(Tick(0), Watts(0));
        budget.pass(Tick(90_000_000), Watts(0));
        assert!(budget.spent());
    }

    #[test]
    fn a_reload_does_not_refill() {
        let mut budget = DrainBudget::new(WattHours(100));
        for minute in 0..10 {
            budget.pass(Tick(minute * 60_000), Watts(2_000));
        }
        assert!(budget.spent());
        budget.resize(WattHours(101));
        assert!(budget.spent());
        budget.resize(WattHours(1_000));
        assert!(!budget.spent());
    }

    #[test]
    fn starts_are_forgotten_after_a_day() {
        let mut starts = Starts::new();
        starts.note(Tick(0));
        starts.note(Tick(1_000));
        assert_eq!(starts.count(Tick(86_399_999)), 2);
        assert_eq!(starts.count(Tick(86_400_000)), 1);
    }
}
