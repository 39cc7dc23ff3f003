//! A bench for the tests: a controller with one or more chargers, driven in virtual time, its orders collected.

extern crate std;

use alloc::collections::BTreeMap;
use std::vec::Vec;

pub(crate) use site::{CAR, config};

use crate::*;

pub(crate) mod house;
mod site;

/// Returns the report of a healthy wallbox that charges `power` at `setpoint`.
pub(crate) fn report(charger: ChargerId, at: Tick, vehicle: Vehicle, power: i32, setpoint: u32) -> ChargerReport {
    ChargerReport {
        link: Reachability::Online,
        vehicle,
        power: Some(Watts(power)),
        currents: None,
        voltages: Some([Volts(230); 3]),
        setpoint: Some(Milliamps(setpoint)),
        connected: None,
        box_max: Some(Milliamps(16_000)),
        box_min: Some(Milliamps(6_000)),
        ..ChargerReport::silent(charger, at, Reachability::Online)
    }
}

/// Drives a controller; time only passes through [`Bench::run`].
pub(crate) struct Bench {
    pub(crate) controller: Controller,
    pub(crate) now: Tick,
    pub(crate) orders: BTreeMap<ChargerId, Order>,
    pub(crate) others: Vec<Action>,
    /// Whether wallboxes repeat their last report while time passes, as they do when polled.
    pub(crate) polled: bool,
    /// The last surplus, power of the cars, and power of the house.
    burst: (i32, i32, i32),
    /// Whether cars take their offer at once, with their wallboxes reporting that they charge. What they draw is not measured and not
    /// accounted for: the surplus of [`Bench::surplus`] stays what it is.
    pub(crate) eager: bool,
    last: BTreeMap<ChargerId, ChargerReport>,
}

/// Interval at which wallboxes repeat their report.
const POLL: Millis = Millis::from_secs(20);

impl Bench {
    pub(crate) fn new(config: Config) -> Self {
        let controller = Controller::new(config, Tick(1_000));
        Self {
            controller,
            now: Tick(1_000),
            orders: BTreeMap::new(),
            others: Vec::new(),
            polled: true,
            burst: (0, 0, 0),
            eager: false,
            last: BTreeMap::new(),
        }
    }

    fn drain(&mut self) {
        while let Some(action) = self.controller.poll_action() {
            if let Action::Order(order) = action {
                assert!(order.valid_until > self.now);
                self.orders.insert(order.charger, order);
            } else {
                self.others.push(action);
            }
        }
    }

    pub(crate) fn tell(&mut self, input: Input) {
        if let Input::Report(report) = &input {
            self.last.insert(report.charger, *report);
        }
        self.controller.handle(input, self.now);
        self.drain();
        self.obey();
    }

    fn obey(&mut self) {
        let eager = self.eager;
        for (id, last) in self.last.clone().into_iter().filter(|_| eager) {
            let Some(told) = self.orders.get(&id).and_then(|order| order.setpoint) else { continue };
            if last.link == Reachability::Online && last.setpoint != Some(told) {
                let vehicle = if told > Milliamps::ZERO { Vehicle::Charging } else { Vehicle::Requesting };
                let takes = ChargerReport { power: None, ..report(id, self.now, vehicle, 0, told.0) };
                self.tell(Input::Report(takes));
            }
        }
    }

    /// Lets time pass, firing every deadline on the way.
    pub(crate) fn run(&mut self, span: Millis) {
        let end = self.now + span;
        let mut beat = self.now + POLL;
        loop {
            let due = self.controller.poll_timeout().map_or(end, |(due, _)| due).max(self.now);
            if beat.min(due) > end {
                break;
            }
            self.now = beat.min(due);
            if beat <= due {
                self.repeat_reports();
                beat = beat + POLL;
            } else {
                self.controller.handle_timeout(self.now);
                self.drain();
                self.obey();
            }
        }
        self.now = end;
    }

    fn repeat_reports(&mut self) {
        let polled = self.polled;
        for report in self.last.clone().into_values().filter(|report| polled && report.link == Reachability::Online) {
            self.tell(Input::Report(ChargerReport { at: self.now, ..report }));
        }
    }

    pub(crate) fn secs(&mut self, secs: u64) {
        self.run(Millis::from_secs(secs));
    }

    pub(crate) fn read(&mut self, source: Source, value: i32) {
        self.tell(Input::Reading(Reading { source, value: Some(value), retained: false }));
    }

    /// One burst of all four powers, consistent, with this surplus and the charger drawing `cars`. The house draws 500 W, plus one watt
    /// every other time that nothing else changes, as no house is quite steady.
    pub(crate) fn surplus(&mut self, surplus: i32, cars: i32) {
        let (surplus_before, cars_before, house_before) = self.burst;
        let same = (surplus_before, cars_before) == (surplus, cars);
        let house = if same && house_before == 500 { 501 } else { 500 };
        self.burst = (surplus, cars, house);
        self.read(Source::Solar, surplus + house);
        self.read(Source::Battery, 0);
        self.read(Source::Grid, cars - surplus);
        self.read(Source::Load, house + cars);
    }

    pub(crate) fn says(&mut self, vehicle: Vehicle, power: i32, setpoint: u32) {
        let report = report(CAR, self.now, vehicle, power, setpoint);
        self.tell(Input::Report(report));
    }

    pub(crate) fn mode(&mut self, mode: Mode) {
        self.tell(Input::Command(Command::Mode { charger: None, mode }));
    }

    pub(crate) fn setpoint(&self) -> u32 {
        self.orders.get(&CAR).and_then(|order| order.setpoint).map_or(u32::MAX, |current| current.0)
    }

    pub(crate) fn reason(&self) -> &'static str {
        self.controller.snapshot().chargers[&CAR].reason.code()
    }

    pub(crate) fn check(&self, setpoint: u32, reason: &str) {
        assert_eq!((self.setpoint(), self.reason()), (setpoint, reason), "{:?}", self.controller.snapshot());
    }

    /// Delivers the report of a wallbox with a car that takes what it is offered.
    pub(crate) fn eager(config: Config) -> Self {
        let mut bench = Self::plugged(config);
        bench.eager = true;
        bench
    }

    /// Delivers the report of a wallbox with a car that waits.
    pub(crate) fn plugged(config: Config) -> Self {
        let mut bench = Self::new(config);
        bench.says(Vehicle::Connected, 0, 0);
        bench
    }
}
