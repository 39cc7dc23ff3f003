//! The driver against a fake box, in virtual time.

mod asleep;
mod contact;
mod doubt;
mod faults;
mod flow;
mod left_alone;
mod locked;
mod memory;
mod phases;
mod random;
mod unlock;

use control::{ChargerReport, Fault, Vehicle, WattHours, Watts};

use super::*;
use crate::charger::codec::{Failure, Outcome};
use crate::charger::fake_box::FakeBox;
use crate::charger::profile;
use crate::config::LinkConfig;

const ID: ChargerId = ChargerId(0);
/// Time taken by a request and its answer.
const TURN: Millis = Millis(50);
/// Time taken by an unanswered request and draining the line.
const TIMEOUT: Millis = Millis(800);

pub(super) fn setup() -> ChargerSetup {
    ChargerSetup {
        name: "carport".to_owned(),
        profile: "heidelberg-energy-control".to_owned(),
        link: LinkConfig::Serial { path: "/dev/null".into() },
        unit: 1,
        poll: Millis(1_000),
        watchdog: Millis(30_000),
        safe_current: Milliamps(0),
        standby: false,
        phase_switch: None,
        reply: None,
    }
}

pub(super) struct Rig {
    pub(super) driver: Driver,
    pub(super) fake: FakeBox,
    pub(super) now: Tick,
    pub(super) events: Vec<Event>,
    /// Order that is renewed regularly, as by the controller.
    pub(super) order: Option<Order>,
    /// Number of phases ordered with it.
    pub(super) phases: Option<u8>,
    relay: contact::FakeRelay,
}

impl Rig {
    pub(super) fn new(layout: u16) -> Self {
        Self::with(layout, &setup())
    }

    pub(super) fn with(layout: u16, setup: &ChargerSetup) -> Self {
        let profile = profile::load(&setup.profile).unwrap();
        let mut driver = Driver::new(ID, setup, profile, Tick(1));
        driver.handle(Input::LineUp, Tick(1));
        Self {
            driver,
            fake: FakeBox::new(layout),
            now: Tick(1),
            events: vec![],
            order: None,
            phases: None,
            relay: contact::FakeRelay::new(),
        }
    }

    pub(super) fn tell(&mut self, input: Input) {
        self.driver.handle(input, self.now);
        self.events.extend(std::iter::from_fn(|| self.driver.poll_event()));
    }

    pub(super) fn order(&mut self, setpoint: Option<Milliamps>) {
        let order = Order { charger: ID, setpoint, phases: self.phases, valid_until: self.now + Millis(10_000) };
        self.order = Some(order);
        self.tell(Input::Order(order));
    }

    pub(super) fn amps(&mut self, amps: u32) {
        self.order(Some(Milliamps(amps * 1_000)));
    }

    /// Lets time pass; the standing order is renewed every 3 s.
    pub(super) fn run(&mut self, span: Millis) {
        let end = self.now + span;
        let mut renew = self.now;
        while self.now < end {
            if let Some(order) = self.order.filter(|_| self.now >= renew) {
                self.order(order.setpoint);
                renew = self.now + Millis(3_000);
            }
            self.serve_relay();
            if let Some(request) = self.driver.poll_request(self.now) {
                let outcome = self.fake.answer(request, self.now);
                let silent = matches!(outcome, Outcome::Failed(_));
                self.now = self.now + if silent { TIMEOUT } else { TURN };
                self.tell(Input::Outcome(outcome));
                continue;
            }
            let next = self.driver.poll_timeout(self.now).map_or(end, |(at, _)| at);
            assert!(next > self.now, "asks to be called at once and then has nothing to do");
            let next = self.relay.due(self.now).map_or(next, |at| at.min(next));
            self.now = next.min(end).min(if self.order.is_some() { renew } else { end }).max(self.now + Millis(1));
        }
        self.tell(Input::Timeout);
    }

    pub(super) fn notices(&self) -> Vec<&Notice> {
        self.events
            .iter()
            .filter_map(|event| if let Event::Notice(notice) = event { Some(notice) } else { None })
            .collect()
    }

    pub(super) fn report(&self) -> ChargerReport {
        let report = |event: &Event| if let Event::Report(report) = event { Some(*report) } else { None };
        self.events.iter().rev().find_map(report).expect("a report")
    }

    pub(super) fn said(&self, wanted: &Event) -> usize {
        self.events.iter().filter(|event| *event == wanted).count()
    }

    /// Creates a rig that is connected and ordered to charge at an ordinary current.
    pub(super) fn charging_at(layout: u16, amps: u32) -> Self {
        let mut rig = Self::new(layout);
        rig.fake.state(7);
        rig.amps(amps);
        rig.run(Millis(5_000));
        assert_eq!(rig.report().setpoint, Some(Milliamps(amps * 1_000)));
        rig.events.clear();
        rig
    }
}

#[test]
fn before_the_first_order_it_only_reads_in_a_fixed_order() {
    for (layout, holding) in [(0x103, vec![]), (0x107, vec![261, 257, 262]), (0x108, vec![261, 257, 262, 258])] {
        let mut rig = Rig::new(layout);
        rig.run(Millis(30_000));
        assert_eq!(rig.fake.writes, [], "{layout:x}");
        let reads: Vec<u16> = rig.fake.requests.iter().filter_map(|(_, op)| holding_read(*op)).collect();
        assert!(reads.starts_with(&holding), "{layout:x}: {reads:?}");
        let first: Vec<u16> = rig.fake.requests.iter().filter_map(|(_, op)| input_read(*op)).take(3).collect();
        assert_eq!(first, [4, 100, 5]);
    }
}

fn holding_read(op: Operation) -> Option<u16> {
    if let Operation::ReadHolding { addr, .. } = op { Some(addr) } else { None }
}

fn input_read(op: Operation) -> Option<u16> {
    if let Operation::ReadInput { addr, .. } = op { Some(addr) } else { None }
}

#[test]
fn without_any_order_it_falls_silent_so_that_the_watchdog_can_act() {
    let mut rig = Rig::new(0x107);
    rig.run(Millis(61_000));
    let asked = rig.fake.requests.len();
    rig.run(Millis(60_000));
    assert_eq!(rig.fake.requests.len(), asked);
    assert_eq!(rig.notices().len(), 2, "{:?}", rig.notices());
}

#[test]
fn an_old_layout_is_watched_and_never_written() {
    let mut rig = Rig::new(0x103);
    rig.fake.input.extend([(5, 7), (6, 100), (7, 0), (8, 0), (11, 8), (12, 9)]);
    rig.amps(10);
    rig.run(Millis(60_000));
    assert_eq!(rig.fake.writes, []);
    let report = rig.report();
    assert_eq!(report.link, Reachability::ReadOnly);
    assert_eq!(report.vehicle, Vehicle::Charging);
    // There is no power register: 230 V × 10 A; the phases that are not wired report 0 V.
    assert_eq!(report.power, Some(Watts(2_300)));
    assert_eq!(report.voltages.unwrap().map(|volts| volts.0), [230, 0, 0]);
    assert_eq!((report.energy, report.setpoint), (None, None));
    assert_eq!(rig.notices().iter().filter(|notice| matches!(notice, Notice::ReadOnly { .. })).count(), 1);
    // Measurements continue.
    assert!(rig.fake.requests.len() > 50);
}

#[test]
fn the_fail_safe_is_programmed_and_proven_before_any_current() {
    for layout in [0x107, 0x108, 0x204] {
        let mut rig = Rig::new(layout);
        rig.fake.holding.insert(261, 0);
        rig.fake.holding.insert(262, 60);
        rig.amps(10);
        rig.run(Millis(5_000));
        let order: Vec<(u16, u16)> = rig.fake.writes.iter().map(|(_, address, value)| (*address, *value)).collect();
        assert_eq!(order, [(257, 30_000), (262, 0), (258, 4), (261, 100)], "{layout:x}");
        assert_eq!(rig.report().setpoint, Some(Milliamps(10_000)));
        assert_eq!(rig.report().box_max, Some(Milliamps(16_000)));
    }
}

#[test]
fn a_restart_of_the_daemon_writes_nothing_that_is_already_there() {
    let mut rig = Rig::new(0x108);
    rig.fake.holding.extend([(257, 30_000), (258, 4), (261, 100), (262, 0)]);
    rig.order(None);
    rig.run(Millis(2_000));
    rig.amps(10);
    rig.run(Millis(120_000));
    assert_eq!(rig.fake.writes, []);
}

#[test]
fn a_missing_standby_register_is_no_fault() {
    let mut rig = Rig::new(0x204);
    rig.fake.missing = vec![258];
    rig.amps(10);
    rig.run(Millis(30_000));
    assert_eq!(rig.report().fault, None);
    assert_eq!(rig.report().setpoint, Some(Milliamps(10_000)));
    assert_eq!(rig.fake.count_writes(258), 1);
}

#[test]
fn what_cannot_be_proven_means_no_current() {
    let cases: [&dyn Fn(&mut FakeBox); 4] = [
        &|fake| fake.stubborn = vec![257],
        &|fake| fake.stubborn = vec![262],
        &|fake| fake.missing = vec![257],
        &|fake| fake.missing = vec![262],
    ];
    for spoil in cases {
        let mut rig = Rig::new(0x204);
        rig.fake.holding.extend([(261, 0), (262, 80)]);
        spoil(&mut rig.fake);
        rig.amps(10);
        rig.run(Millis(30_000));
        assert_eq!(rig.report().fault, Some(Fault::Refused));
        assert!(
            rig.fake.writes.iter().all(|(_, address, value)| *address != 261 || *value == 0),
            "{:?}",
            rig.fake.writes
        );
        assert!(rig.fake.count_writes(257).max(rig.fake.count_writes(262)) <= 3);
        let refused = rig.notices().iter().filter(|notice| matches!(notice, Notice::Refused { .. })).count();
        assert_eq!(refused, 1, "said once");
    }
}

#[test]
fn a_setpoint_that_is_not_kept_is_tried_three_times_and_then_off() {
    let mut rig = Rig::charging_at(0x108, 6);
    rig.fake.stubborn = vec![261];
    rig.fake.writes.clear();
    rig.amps(12);
    rig.run(Millis(60_000));
    let values: Vec<u16> = rig.fake.writes.iter().map(|(_, _, value)| *value).collect();
    // The last ones are tries with silence between them: a wallbox that refuses 0 is left alone.
    assert_eq!(values[..6], [120, 120, 120, 0, 0, 0]);
    assert!(values[6..].len() <= 2 && values[6..].iter().all(|value| *value == 0), "{values:?}");
    assert_eq!(rig.report().fault, Some(Fault::Unusable));
    // A later attempt works.
    rig.fake.stubborn.clear();
    rig.run(Millis(600_000));
    assert_eq!(rig.report().fault, None);
    assert_eq!(rig.report().setpoint, Some(Milliamps(12_000)));
}

#[test]
fn the_setpoint_is_written_once_and_read_back_every_ten_seconds() {
    let mut rig = Rig::charging_at(0x107, 10);
    let before = rig.fake.requests.len();
    rig.run(Millis(100_000));
    assert_eq!(rig.fake.count_writes(261), 1);
    assert_eq!(rig.fake.count_writes(258), 1);
    let read = |(_, op): &&(Tick, Operation)| holding_read(*op) == Some(261);
    let reads = rig.fake.requests[before..].iter().filter(read).count();
    assert!((9..=11).contains(&reads), "{reads}");
    assert!(!rig.fake.requests.iter().any(|(_, op)| matches!(holding_read(*op), Some(258 | 259))));
}

#[test]
fn lowering_goes_before_everything_else() {
    let mut rig = Rig::charging_at(0x107, 16);
    // Everything is due at once.
    rig.now = rig.now + Millis(9_000);
    rig.order(Some(Milliamps(6_000)));
    let request = rig.driver.poll_request(rig.now).unwrap();
    assert_eq!(request.op, Operation::WriteSingle { addr: 261, value: 60 });
}

#[test]
fn the_lower_of_order_and_box_maximum_holds() {
    let mut rig = Rig::new(0x107);
    rig.fake.input.insert(100, 8);
    rig.amps(16);
    rig.run(Millis(5_000));
    assert_eq!(rig.fake.holding[&261], 80);
    rig.order(Some(Milliamps(5_900)));
    rig.run(Millis(1_000));
    assert_eq!(rig.fake.holding[&261], 0);
    rig.order(Some(Milliamps(7_999)));
    rig.run(Millis(1_000));
    assert_eq!(rig.fake.holding[&261], 79);
}

#[test]
fn states_mean_what_the_vendor_says() {
    let mut rig = Rig::charging_at(0x107, 10);
    let cases = [
        (1, Vehicle::Unknown, None, false),
        (2, Vehicle::Absent, None, false),
        (3, Vehicle::Absent, None, false),
        (4, Vehicle::Connected, None, false),
        (5, Vehicle::Connected, None, false),
        (6, Vehicle::Requesting, None, false),
        (7, Vehicle::Charging, None, false),
        (8, Vehicle::Charging, None, true),
        (9, Vehicle::Unknown, Some(Fault::Error), false),
        (10, Vehicle::Unknown, Some(Fault::Locked), false),
        (11, Vehicle::Unknown, Some(Fault::Error), false),
        (99, Vehicle::Unknown, None, false),
    ];
    for (raw, vehicle, fault, derated) in cases {
        rig.fake.state(raw);
        rig.run(Millis(2_000));
        let report = rig.report();
        assert_eq!((report.vehicle, report.fault, report.derated), (vehicle, fault, derated), "state {raw}");
    }
}

#[test]
fn a_change_of_state_makes_it_read_the_setpoint_back() {
    let mut rig = Rig::charging_at(0x107, 10);
    rig.run(Millis(11_000));
    rig.fake.state(4);
    let before = rig.fake.requests.len();
    rig.run(Millis(1_300));
    let reads = rig.fake.requests[before..].iter().filter(|(_, op)| holding_read(*op) == Some(261)).count();
    assert!(reads >= 1);
}

#[test]
fn energy_comes_from_the_best_counter_the_layout_has() {
    let mut rig = Rig::new(0x107);
    rig.fake.input.extend([(15, 0), (16, 7), (17, 0x0031), (18, 0xdde9), (14, 2_300)]);
    rig.order(None);
    rig.run(Millis(3_000));
    assert_eq!(rig.report().energy, Some(WattHours(3_268_073)));
    assert_eq!(rig.report().power, Some(Watts(2_300)));
    let mut old = Rig::new(0x104);
    old.fake.input.extend([(15, 1), (16, 7)]);
    old.run(Millis(3_000));
    assert_eq!(old.report().energy, Some(WattHours(65_543)));
}

#[test]
fn a_one_phase_connect_box_is_read_as_captured() {
    // Captured from a wallbox with layout 2.0.4: registers 5 to 18.
    let mut rig = Rig::new(0x204);
    let words = [7, 0, 0, 0, 362, 237, 1, 1, 1, 1, 0, 0, 0, 3_615];
    rig.fake.input.extend((5..=18).zip(words));
    rig.order(None);
    rig.run(Millis(3_000));
    let report = rig.report();
    assert_eq!(report.voltages.unwrap().map(|volts| volts.0), [237, 0, 0]);
    assert_eq!(report.energy, Some(WattHours(3_615)));
    assert_eq!(report.power, Some(Watts(1)));
}
