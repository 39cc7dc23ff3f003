//! The car at a charger, as far as its behaviour shows: what it takes, how often it closes the contactor, whether it obeys the setpoint.

use crate::contactor::Contactor;
use crate::facts::{ChargerReport, Mode, Reachability, Vehicle};
use crate::overdraw::Overdraw;
use crate::reason::Reason;
use crate::units::{Milliamps, Millis, Tick};
use crate::uptake::Uptake;

/// From this current upwards the car is charging, whatever state the wallbox reports.
const FLOWS: Milliamps = Milliamps(1_000);
/// An unknown state delays a decision for at most this long.
const UNKNOWN_FOR: Millis = Millis::from_secs(10);

/// State learned about the car.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Car {
    pub(crate) uptake: Uptake,
    pub(crate) contactor: Contactor,
    pub(crate) overdraw: Overdraw,
    drawn: Option<Milliamps>,
    unknown_since: Option<Tick>,
    /// The state to decide by at the last report, and whether no current could be offered then.
    judged: (Vehicle, bool),
}

impl Car {
    pub(crate) const fn new() -> Self {
        Self {
            uptake: Uptake::new(),
            contactor: Contactor::new(),
            overdraw: Overdraw::new(),
            drawn: None,
            unknown_since: None,
            judged: (Vehicle::Unknown, false),
        }
    }

    /// Takes a report and the current of its strongest phase; returns whether the contactor has closed since the last one.
    pub(crate) fn follow(&mut self, report: &ChargerReport, drawn: Option<Milliamps>, now: Tick) -> bool {
        self.drawn = drawn;
        let online = report.link == Reachability::Online;
        self.unknown_since = match report.vehicle {
            Vehicle::Unknown if online => self.unknown_since.or(Some(now)),
            Vehicle::Unknown | Vehicle::Absent | Vehicle::Connected | Vehicle::Requesting | Vehicle::Charging => None,
        };
        if report.vehicle == Vehicle::Absent {
            self.overdraw.forget();
        }
        if online && report.waking {
            self.uptake.woken(now);
        } else if online {
            self.uptake.follow(report.vehicle, drawn, now);
        }
        match drawn.filter(|_| online) {
            Some(drawn) => self.overdraw.measured(drawn, now),
            None => self.overdraw.unmeasured(),
        }
        let closes = self.contactor.follow(report, drawn, now);
        self.judged = (self.vehicle(report.vehicle, now), self.stops(Mode::Fast, now).is_some());
        closes
    }

    /// Takes a new setpoint.
    pub(crate) fn offered(&mut self, setpoint: Milliamps, now: Tick) {
        self.uptake.offered(setpoint, now);
        self.overdraw.told(setpoint, now);
    }

    /// Returns the state to decide by. Where the wallbox reports none, the current shows it; after some seconds without either, a car that
    /// does not charge is assumed.
    pub(crate) fn vehicle(&self, said: Vehicle, now: Tick) -> Vehicle {
        match said {
            Vehicle::Unknown if self.drawn.is_some_and(|drawn| drawn >= FLOWS) => Vehicle::Charging,
            Vehicle::Unknown if self.unknown_since.is_some_and(|since| now.since(since) >= UNKNOWN_FOR) => {
                Vehicle::Connected
            }
            Vehicle::Unknown | Vehicle::Absent | Vehicle::Connected | Vehicle::Requesting | Vehicle::Charging => said,
        }
    }

    /// Returns why no current may be offered now, whatever the surplus.
    pub(crate) fn stops(&self, mode: Mode, now: Tick) -> Option<Reason> {
        if mode == Mode::Off {
            return self.overdraw.flows_at_zero();
        }
        let rest = || self.contactor.rest(now).map(|(closures, left)| Reason::ContactorRest { closures, left });
        self.overdraw.stops(now).or_else(rest)
    }

    /// Returns the values that call for a new decision when a report changes them.
    pub(crate) const fn gist(&self) -> (Vehicle, bool, bool) {
        (self.judged.0, self.judged.1, self.uptake.taking())
    }
}
