//! Counts how often the contactor in the wallbox closes, whatever the cause.
//!
//! A car closes it by asking for current while some is offered (IEC 61851-1, from state B to C). That may be the answer to a new offer or
//! the car's own doing: balancing, preheating, or a nervous charger that wakes up at each change of the pilot signal. The contacts wear in
//! any case, so every closure that the reports show is counted.

use alloc::collections::VecDeque;

use crate::budget::DAY;
use crate::facts::{ChargerReport, Reachability, Vehicle};
use crate::pause::Pauses;
use crate::units::{Milliamps, Millis, Tick};

/// Number of closures within [`WINDOW`] considered normal. With the default minimum times, solar charging causes five at most.
const CLOSURES_MAX: usize = 5;
/// See [`CLOSURES_MAX`].
const WINDOW: Millis = Millis::from_secs(600);
/// The first pause after too many closures.
const REST_FIRST: Millis = Millis::from_secs(600);
/// The longest pause.
const REST_LONGEST: Millis = Millis::from_secs(3_600);
/// From this current upwards the contacts are closed, whatever the wallbox says about the car.
const CARRIES: Milliamps = Milliamps(1_000);

/// Time from an offer until a car that wants to charge has closed the contactor and the reports show it.
const CLOSES_WITHIN: Millis = Millis::from_secs(60);

/// State of the contactor and of the pauses it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contactor {
    closed: Option<bool>,
    recent: VecDeque<Tick>,
    rest: Pauses,
}

impl Contactor {
    pub(crate) const fn new() -> Self {
        Self { closed: None, recent: VecDeque::new(), rest: Pauses::new(REST_FIRST, REST_LONGEST) }
    }

    /// Takes a report and the current in it; returns whether the contactor has closed since the last one.
    pub(crate) fn follow(&mut self, report: &ChargerReport, drawn: Option<Milliamps>, now: Tick) -> bool {
        let Some(closed) = closed(report, drawn) else { return false };
        let before = self.closed.replace(closed);
        if before != Some(false) || !closed {
            return false;
        }
        self.recent.retain(|at| now.since(*at) < WINDOW);
        self.recent.push_back(now);
        if self.recent.len() > CLOSURES_MAX {
            self.recent.clear();
            self.rest.begin(now);
        }
        true
    }

    /// Whether it was last seen closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed == Some(true)
    }

    /// Returns how long a start counts that may have happened since `started` and is not reported yet. Without this, a machine that crashes
    /// as the contactor closes would never use up its starts.
    pub(crate) fn under_way(&self, started: Option<Tick>, now: Tick) -> Option<Millis> {
        let since = started.map(|at| now.since(at)).filter(|_| !self.is_closed())?;
        (since < CLOSES_WITHIN).then(|| DAY - since)
    }

    /// Whether it has closed only rarely in recent minutes.
    pub(crate) fn is_calm(&self, now: Tick) -> bool {
        self.recent.iter().filter(|at| now.since(**at) < WINDOW).count() <= CLOSURES_MAX / 2
    }

    /// Returns how often it closed in a short time and how long it is to be left open. A running charge is not cut off for this.
    pub(crate) fn rest(&self, now: Tick) -> Option<(u16, Millis)> {
        let closures = u16::try_from(CLOSURES_MAX + 1).unwrap_or(u16::MAX);
        self.rest.left(now).filter(|_| !self.is_closed()).map(|left| (closures, left))
    }
}

/// Whether a report shows the contactor closed; `None` if it shows neither.
fn closed(report: &ChargerReport, drawn: Option<Milliamps>) -> Option<bool> {
    if !matches!(report.link, Reachability::Online | Reachability::ReadOnly) {
        return None;
    }
    if drawn.is_some_and(|current| current >= CARRIES) {
        return Some(true);
    }
    match report.vehicle {
        Vehicle::Charging => Some(true),
        Vehicle::Absent | Vehicle::Connected | Vehicle::Requesting => Some(false),
        Vehicle::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::ChargerId;

    fn says(contactor: &mut Contactor, vehicle: Vehicle, drawn: u32, second: u64) -> bool {
        let now = Tick(second * 1_000);
        let report = ChargerReport { vehicle, ..ChargerReport::silent(ChargerId(0), now, Reachability::Online) };
        contactor.follow(&report, Some(Milliamps(drawn)), now)
    }

    #[test]
    fn a_closure_is_seen_once() {
        let mut contactor = Contactor::new();
        assert!(!says(&mut contactor, Vehicle::Charging, 10_000, 0), "found running");
        assert!(!says(&mut contactor, Vehicle::Requesting, 4_000, 1), "it ramps down");
        assert!(!says(&mut contactor, Vehicle::Requesting, 0, 2));
        assert!(says(&mut contactor, Vehicle::Charging, 0, 3));
        assert!(!says(&mut contactor, Vehicle::Charging, 6_000, 4));
        assert!(!says(&mut contactor, Vehicle::Unknown, 0, 5), "nothing is known of it");
        assert!(!says(&mut contactor, Vehicle::Charging, 6_000, 6));
        assert!(!says(&mut contactor, Vehicle::Connected, 0, 7));
        assert!(says(&mut contactor, Vehicle::Unknown, 6_000, 8), "the current tells");
    }

    #[test]
    fn a_silent_wallbox_says_nothing_of_it() {
        let mut contactor = Contactor::new();
        says(&mut contactor, Vehicle::Charging, 6_000, 0);
        let silent = ChargerReport::silent(ChargerId(0), Tick(1_000), Reachability::Offline);
        assert!(!contactor.follow(&silent, None, Tick(1_000)));
        assert!(contactor.is_closed() && !says(&mut contactor, Vehicle::Charging, 6_000, 2));
    }

    #[test]
    fn too_many_closures_bring_a_rest_that_grows() {
        let mut contactor = Contactor::new();
        let mut second = 0;
        for minutes in [10, 20, 40, 60, 60] {
            for _ in 0..6 {
                assert_eq!(contactor.rest(Tick(second * 1_000)), None);
                says(&mut contactor, Vehicle::Connected, 0, second);
                assert!(says(&mut contactor, Vehicle::Charging, 300, second + 5));
                second += 60;
            }
            assert_eq!(contactor.rest(Tick(second * 1_000)), None, "a charge that runs is not cut off");
            says(&mut contactor, Vehicle::Connected, 0, second);
            let (closures, left) = contactor.rest(Tick((second - 55) * 1_000)).unwrap();
            assert_eq!((closures, left), (6, Millis(minutes * 60_000)));
            second += minutes * 60;
        }
    }

    #[test]
    fn as_many_as_the_minimum_times_allow_are_fine() {
        let mut contactor = Contactor::new();
        for start in 0..100 {
            says(&mut contactor, Vehicle::Connected, 0, start * 120);
            says(&mut contactor, Vehicle::Charging, 6_000, start * 120 + 8);
            says(&mut contactor, Vehicle::Connected, 0, start * 120 + 60);
            assert_eq!(contactor.rest(Tick((start * 120 + 60) * 1_000)), None);
        }
    }
}
