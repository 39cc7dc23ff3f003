//! Detects a car or wallbox that draws more than its setpoint.
//!
//! A car follows the pilot signal downwards within 5 s (IEC 61851-1, annex A); writing the setpoint and reading the currents takes some
//! seconds more. A draw above the highest setpoint of that time is not a ramp. It is reported, and if it lasts the charge is paused: a car
//! that takes what it likes takes it from the grid.

use alloc::collections::VecDeque;

use crate::pause::Pauses;
use crate::ranges::POLL_MAX_S;
use crate::reason::Reason;
use crate::units::{Milliamps, Millis, Tick};

/// A draw above the setpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdrawn {
    /// The setpoint.
    pub told: Milliamps,
    /// The current of the strongest phase.
    pub drawn: Milliamps,
}

/// Measured currents and cars that step by whole amperes differ by no more than this from the setpoint.
const TOLERANCE: Milliamps = Milliamps(1_000);
/// Time for write, ramp and reading together.
const FOLLOWED_AFTER: Millis = Millis::from_secs(10);
/// An excess that lasts this long is reported.
const SAID_AFTER: Millis = Millis::from_secs(5);
/// An excess that lasts this long pauses the charge.
const PAUSED_AFTER: Millis = Millis::from_secs(15);
/// A car that draws no more than its setpoint for this long obeys it; until then, the times of excess add up.
const OBEYS_AFTER: Millis = Millis::from_secs(60);
/// Measurements further apart than the longest poll interval say nothing about the rest of the time between them.
const APART: Millis = Millis::from_secs(POLL_MAX_S as u64);
/// An excess below this is the wallbox's rounding.
const ROUNDING: Milliamps = Milliamps(200);
/// Most that is learned of a steady excess with each measurement.
const LEARNS: Milliamps = Milliamps(100);
/// The first pause.
const PAUSE_FIRST: Millis = Millis::from_secs(120);
/// The longest pause.
const PAUSE_LONGEST: Millis = Millis::from_secs(3_600);
/// Number of setpoints kept: ten seconds at six changes per second. At the bound the oldest is dropped.
const SETPOINTS_MAX: usize = 60;

/// Compares the current drawn with the setpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overdraw {
    /// The setpoints that may still be in force, with the moment of each, the oldest first.
    setpoints: VecDeque<(Tick, Milliamps)>,
    drawn: Milliamps,
    measured_at: Option<Tick>,
    /// How long too much was drawn.
    beyond_for: Option<Millis>,
    /// Since when no more is drawn than the setpoint allows.
    within_since: Option<Tick>,
    /// Steady draw above the setpoint, within the tolerance.
    excess: Milliamps,
    seen: Option<Overdrawn>,
    pauses: Pauses,
}

impl Overdraw {
    pub(crate) const fn new() -> Self {
        Self {
            setpoints: VecDeque::new(),
            drawn: Milliamps::ZERO,
            measured_at: None,
            beyond_for: None,
            within_since: None,
            excess: Milliamps::ZERO,
            seen: None,
            pauses: Pauses::new(PAUSE_FIRST, PAUSE_LONGEST),
        }
    }

    /// Takes the setpoint that applies from now on.
    pub(crate) fn told(&mut self, setpoint: Milliamps, now: Tick) {
        let old = now.before(FOLLOWED_AFTER);
        while self.setpoints.get(1).is_some_and(|(at, _)| *at <= old) || self.setpoints.len() >= SETPOINTS_MAX {
            self.setpoints.pop_front();
        }
        self.setpoints.push_back((now, setpoint));
    }

    /// Takes the current measured on the strongest phase.
    pub(crate) fn measured(&mut self, drawn: Milliamps, now: Tick) {
        self.drawn = drawn;
        let told = self.setpoint();
        let before = self.measured_at.replace(now).map_or(Millis(0), |at| now.since(at).min(APART));
        if drawn.0 <= self.highest(now).0.saturating_add(TOLERANCE.0) {
            self.within(told, now);
            self.learn(told, now);
            return;
        }
        let was_within = self.within_since.take().is_some();
        let mut lasted = match self.beyond_for {
            Some(span) if was_within => span,
            Some(span) => span + before,
            None => Millis(0),
        };
        self.beyond_for = Some(lasted);
        if told == Milliamps::ZERO {
            // A draw after the stop is a new case, timed from the stop on.
            lasted = lasted.min(self.unchanged_for(now) - FOLLOWED_AFTER);
        }
        let same = |seen: Overdrawn| {
            (seen.told == Milliamps::ZERO) == (told == Milliamps::ZERO) && seen.drawn.0.abs_diff(drawn.0) <= TOLERANCE.0
        };
        if lasted >= SAID_AFTER && !self.seen.is_some_and(same) {
            self.seen = Some(Overdrawn { told, drawn });
        }
        if lasted >= PAUSED_AFTER && told > Milliamps::ZERO && self.pauses.left(now).is_none() {
            self.pauses.begin(now);
            self.beyond_for = None;
        }
    }

    fn within(&mut self, told: Milliamps, now: Tick) {
        let since = *self.within_since.get_or_insert(now);
        if told == Milliamps::ZERO || now.since(since) >= OBEYS_AFTER {
            self.beyond_for = None;
            if self.pauses.left(now).is_none() {
                self.seen = None;
            }
        }
    }

    /// Learns from a setpoint that has been in force for a while how much more the car, or its wallbox, draws.
    fn learn(&mut self, told: Milliamps, now: Tick) {
        if told == Milliamps::ZERO || self.unchanged_for(now) < FOLLOWED_AFTER {
            return;
        }
        let beyond = self.drawn - told;
        self.excess = beyond.min(self.excess + LEARNS);
    }

    /// Returns how much lower the setpoint must be for the car to draw what is intended.
    pub(crate) fn excess(&self) -> Milliamps {
        if self.excess > ROUNDING { self.excess } else { Milliamps::ZERO }
    }

    /// Notes that there is no measurement: the wallbox is silent, or its current cannot be set.
    pub(crate) const fn unmeasured(&mut self) {
        self.drawn = Milliamps::ZERO;
        self.measured_at = None;
        self.beyond_for = None;
    }

    /// Forgets what was learned, as another car may behave.
    pub(crate) const fn forget(&mut self) {
        self.excess = Milliamps::ZERO;
        self.pauses.forget();
    }

    /// Returns the draw above the setpoint, present or from before the pause.
    pub(crate) const fn seen(&self) -> Option<Overdrawn> {
        self.seen
    }

    /// Returns the reason to give while current flows although none is allowed.
    pub(crate) fn flows_at_zero(&self) -> Option<Reason> {
        let seen = self.seen.filter(|seen| seen.told == Milliamps::ZERO && self.beyond_for.is_some())?;
        Some(Reason::Overdraw { told: seen.told, drawn: seen.drawn, left: Millis(0) })
    }

    /// Returns why no current may be offered now.
    pub(crate) fn stops(&self, now: Tick) -> Option<Reason> {
        let paused = || {
            let (left, seen) = self.pauses.left(now).zip(self.seen)?;
            Some(Reason::Overdraw { told: seen.told, drawn: seen.drawn, left })
        };
        self.flows_at_zero().or_else(paused)
    }

    /// Returns the current drawn if it exceeds `told` by more than measuring explains; otherwise 0.
    pub(crate) fn beyond(&self, told: Milliamps) -> Milliamps {
        if self.drawn.0 > told.0.saturating_add(TOLERANCE.0) { self.drawn } else { Milliamps::ZERO }
    }

    fn setpoint(&self) -> Milliamps {
        self.setpoints.back().map_or(Milliamps::ZERO, |(_, setpoint)| *setpoint)
    }

    fn unchanged_for(&self, now: Tick) -> Millis {
        self.setpoints.back().map_or(Millis(u64::MAX), |(at, _)| now.since(*at))
    }

    /// Returns the highest setpoint that the car may still be following.
    fn highest(&self, now: Tick) -> Milliamps {
        let old = now.before(FOLLOWED_AFTER);
        let ends = self.setpoints.iter().skip(1).map(|(at, _)| Some(*at)).chain([None]);
        let in_force = self.setpoints.iter().zip(ends).filter(|(_, end)| end.is_none_or(|end| end > old));
        in_force.map(|((_, setpoint), _)| *setpoint).max().unwrap_or(Milliamps::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Tick {
        Tick(1_000_000 + second * 1_000)
    }

    fn told(milliamps: u32) -> Overdraw {
        let mut overdraw = Overdraw::new();
        overdraw.told(Milliamps(milliamps), at(0));
        overdraw
    }

    #[test]
    fn a_ramp_is_none() {
        let mut overdraw = told(16_000);
        overdraw.told(Milliamps(6_000), at(20));
        for (second, drawn) in [(20, 16_000), (24, 16_000), (26, 12_000), (29, 8_000), (30, 6_100), (60, 6_900)] {
            overdraw.measured(Milliamps(drawn), at(second));
            assert_eq!((overdraw.seen(), overdraw.stops(at(second))), (None, None));
        }
    }

    #[test]
    fn a_car_that_lags_behind_a_falling_setpoint_does_not_overdraw() {
        let mut overdraw = told(16_000);
        for second in 1..90_u32 {
            overdraw.told(Milliamps(16_000 - second * 100), at(u64::from(second)));
            overdraw.measured(Milliamps(16_000 - second.saturating_sub(8) * 100), at(u64::from(second)));
            assert_eq!(overdraw.beyond_for, None);
        }
    }

    #[test]
    fn it_is_said_and_then_paused_for_longer_each_time() {
        let mut overdraw = told(7_200);
        let mut second = 100;
        for minutes in [2, 4, 8, 16, 32, 60, 60] {
            for _ in 0..=PAUSED_AFTER.0 / 1_000 {
                assert_eq!(overdraw.stops(at(second)), None);
                overdraw.measured(Milliamps(16_000), at(second));
                second += 1;
            }
            let seen = Overdrawn { told: Milliamps(7_200), drawn: Milliamps(16_000) };
            assert_eq!(overdraw.seen(), Some(seen));
            let stops = Reason::Overdraw { told: seen.told, drawn: seen.drawn, left: Millis(minutes * 60_000) };
            assert_eq!(overdraw.stops(at(second)), Some(stops));
            overdraw.told(Milliamps::ZERO, at(second));
            overdraw.measured(Milliamps(16_000), at(second + 3));
            overdraw.measured(Milliamps::ZERO, at(second + 5));
            assert_eq!(overdraw.seen(), Some(seen), "why it is paused");
            second += minutes * 60;
            overdraw.measured(Milliamps::ZERO, at(second));
            assert_eq!((overdraw.seen(), overdraw.stops(at(second))), (None, None));
            overdraw.told(Milliamps(7_200), at(second));
        }
    }

    #[test]
    fn a_wallbox_that_is_polled_seldom_is_paused_at_the_second_poll() {
        let mut overdraw = told(8_000);
        overdraw.measured(Milliamps(16_000), at(20));
        assert_eq!(overdraw.stops(at(20)), None);
        overdraw.measured(Milliamps(16_000), at(40));
        assert!(overdraw.stops(at(40)).is_some());
    }

    /// 14 s of every 16 s: 15 s of it are together after two pulses.
    #[test]
    fn pulses_add_up() {
        let mut overdraw = told(8_000);
        let paused = (20..120).find(|second| {
            overdraw.measured(Milliamps(if second % 16 < 14 { 16_000 } else { 8_000 }), at(*second));
            overdraw.stops(at(*second)).is_some()
        });
        assert!(paused.is_some_and(|second| second < 20 + 2 * 16 + 2), "{paused:?}");
        let mut obeys = told(8_000);
        for second in 20..2_000 {
            obeys.measured(Milliamps(if second % 100 < 14 { 16_000 } else { 8_000 }), at(second));
            assert_eq!(obeys.stops(at(second)), None, "a minute within what was told begins anew");
        }
    }

    #[test]
    fn a_steady_excess_is_learned_and_forgotten() {
        let mut overdraw = told(7_200);
        for second in 1..=30 {
            overdraw.measured(Milliamps(8_100), at(second));
        }
        assert_eq!((overdraw.excess(), overdraw.seen()), (Milliamps(900), None));
        overdraw.told(Milliamps(6_300), at(31));
        for second in 31..=60 {
            overdraw.measured(Milliamps(7_200), at(second));
        }
        assert_eq!(overdraw.excess(), Milliamps(900));
        overdraw.measured(Milliamps(6_400), at(61));
        assert_eq!(overdraw.excess(), Milliamps::ZERO, "0.1 A is rounding");
    }

    #[test]
    fn current_at_zero_is_said_as_long_as_it_flows() {
        let mut overdraw = told(0);
        for second in 20..=26 {
            overdraw.measured(Milliamps(3_200), at(second));
        }
        let flows = Reason::Overdraw { told: Milliamps::ZERO, drawn: Milliamps(3_200), left: Millis(0) };
        assert_eq!(overdraw.stops(at(26)), Some(flows));
        overdraw.measured(Milliamps(300), at(27));
        assert_eq!((overdraw.seen(), overdraw.stops(at(27))), (None, None));
    }

    #[test]
    fn beyond_is_what_measuring_does_not_explain() {
        let mut overdraw = told(7_200);
        overdraw.measured(Milliamps(8_000), at(20));
        assert_eq!(overdraw.beyond(Milliamps(7_200)), Milliamps::ZERO);
        overdraw.measured(Milliamps(16_000), at(20));
        assert_eq!(overdraw.beyond(Milliamps(7_200)), Milliamps(16_000));
        overdraw.unmeasured();
        assert_eq!(overdraw.beyond(Milliamps(7_200)), Milliamps::ZERO);
    }
}
