//! Phase changes: in a safe order, proven, and never under load, whatever is ordered.

use super::*;
use crate::charger::fake_box::{FakeCar, FakeSwitch};
use crate::config::PhaseSwitch;

const CAR: FakeCar = FakeCar { stops_after: Millis(4_000) };

fn connect() -> ChargerSetup {
    ChargerSetup { profile: "amperfied-connect".to_owned(), phase_switch: Some(PhaseSwitch::Charger), ..setup() }
}

/// A rig charging with 10 A on three phases.
fn charging() -> Rig {
    let mut rig = Rig::with(0x204, &connect());
    rig.fake.car = Some(CAR);
    rig.phases = Some(3);
    rig.amps(10);
    rig.run(Millis(20_000));
    assert_eq!(rig.report().connected, Some(3));
    assert_eq!(rig.report().setpoint, Some(Milliamps(10_000)));
    assert_eq!(rig.fake.count_writes(501), 0);
    rig.fake.writes.clear();
    rig.events.clear();
    rig
}

impl Rig {
    fn switch_to(&mut self, phases: u8) {
        self.phases = Some(phases);
        self.amps(0);
    }

    /// Checks that every phase command came while the wallbox offered nothing and the car drew nothing.
    fn never_under_load(&self) {
        let mut setpoint = 160;
        for (_, address, value) in &self.fake.writes {
            match address {
                261 => setpoint = *value,
                501 => assert_eq!(setpoint, 0, "{:?}", self.fake.writes),
                _ => {}
            }
        }
    }

    fn switch_writes(&self) -> Vec<(u16, u16)> {
        let of_interest = self.fake.writes.iter().filter(|(_, address, _)| matches!(address, 261 | 501));
        of_interest.map(|(_, address, value)| (*address, *value)).collect()
    }
}

#[test]
fn it_stops_waits_for_the_car_commands_reads_back_and_goes_on() {
    let mut rig = charging();
    rig.switch_to(1);
    rig.run(Millis(8_000));
    // The car kept drawing for 4 s, and must have been at rest for 6 s.
    assert_eq!(rig.switch_writes(), [(261, 0)]);
    assert_eq!(rig.report().connected, Some(3));
    rig.run(Millis(8_000));
    assert_eq!(rig.switch_writes(), [(261, 0), (501, 1)]);
    assert_eq!(rig.report().connected, None, "while it changes");
    // An impatient controller gets no current.
    rig.amps(6);
    rig.run(Millis(80_000));
    assert_eq!(rig.report().connected, None);
    rig.run(Millis(30_000));
    assert_eq!(rig.report().connected, Some(1));
    assert_eq!(rig.switch_writes(), [(261, 0), (501, 1), (261, 60)]);
    let changed = |notice: &&&Notice| matches!(notice, Notice::PhasesChanged { phases: 1, .. });
    assert_eq!(rig.notices().iter().filter(changed).count(), 1);
    assert_eq!(rig.said(&Event::Notice(Notice::PhasesChanging { to: 1 })), 1);
    rig.switch_to(3);
    rig.run(Millis(130_000));
    assert_eq!(rig.report().connected, Some(3));
    rig.never_under_load();
}

#[test]
fn nothing_is_commanded_while_current_is_allowed_or_flows() {
    // A change ordered together with a current, contrary to the controller's promise.
    let mut rig = charging();
    rig.phases = Some(1);
    rig.amps(10);
    rig.run(Millis(120_000));
    assert_eq!(rig.fake.count_writes(501), 0);
    // A car that does not stop, which only one phase shows.
    for (state, amps) in [(7, [5, 0, 0]), (6, [0, 0, 5]), (8, [0; 3]), (7, [0; 3]), (10, [0; 3]), (1, [0; 3])] {
        let mut rig = charging();
        rig.fake.car = None;
        rig.fake.state(state);
        rig.fake.input.extend((6..9).zip(amps));
        rig.switch_to(1);
        rig.run(Millis(120_000));
        assert_eq!(rig.fake.count_writes(501), 0, "state {state}, {amps:?}");
    }
    // The last digit of the meter is noise, not load.
    let mut rig = charging();
    rig.fake.car = None;
    rig.fake.state(6);
    rig.fake.input.extend((6..9).zip([4, 1, 0]));
    rig.switch_to(1);
    rig.run(Millis(20_000));
    assert_eq!(rig.fake.count_writes(501), 1);
}

#[test]
fn an_order_that_is_withdrawn_before_the_car_rests_changes_nothing() {
    let mut rig = charging();
    rig.switch_to(1);
    rig.run(Millis(7_000));
    rig.phases = Some(3);
    rig.amps(8);
    rig.run(Millis(60_000));
    assert_eq!(rig.switch_writes(), [(261, 0), (261, 80)]);
    // The setpoint is raised for a moment in between: the rest time starts over.
    rig.fake.writes.clear();
    rig.switch_to(1);
    rig.run(Millis(9_500));
    rig.amps(6);
    rig.run(Millis(400));
    rig.amps(0);
    rig.run(Millis(3_000));
    assert_eq!(rig.fake.count_writes(501), 0, "{:?}", rig.switch_writes());
    rig.run(Millis(20_000));
    assert_eq!(rig.fake.count_writes(501), 1);
    rig.never_under_load();
}

#[test]
fn the_command_is_read_back_and_a_box_that_does_not_keep_it_goes_on_as_it_was() {
    let mut rig = charging();
    rig.fake.stubborn = vec![501];
    rig.switch_to(1);
    rig.run(Millis(60_000));
    assert_eq!(rig.fake.count_writes(501), 3);
    assert_eq!(rig.said(&Event::Notice(Notice::PhasesRefused { to: 1, connected: Some(3) })), 1);
    assert_eq!((rig.report().connected, rig.report().fault), (Some(3), None));
    rig.amps(10);
    rig.run(Millis(20_000));
    assert_eq!(rig.report().setpoint, Some(Milliamps(10_000)));
    // After ten minutes it may be tried again.
    rig.fake.stubborn.clear();
    rig.switch_to(1);
    rig.run(Millis(500_000));
    assert_eq!(rig.fake.count_writes(501), 3);
    rig.run(Millis(260_000));
    assert_eq!(rig.report().connected, Some(1));
    rig.never_under_load();
}

#[test]
fn a_command_that_is_declined_is_not_repeated() {
    let mut rig = charging();
    rig.fake.missing = vec![501];
    rig.switch_to(1);
    rig.run(Millis(60_000));
    assert_eq!(rig.fake.count_writes(501), 1);
    assert_eq!(rig.said(&Event::Notice(Notice::PhasesRefused { to: 1, connected: Some(3) })), 1);
    assert_eq!(rig.report().connected, Some(3));
    rig.amps(10);
    rig.run(Millis(20_000));
    assert_eq!(rig.report().setpoint, Some(Milliamps(10_000)));
}

#[test]
fn a_change_that_never_begins_is_taken_back_before_any_current() {
    let mut rig = charging();
    rig.fake.switch = FakeSwitch::Ignores;
    rig.switch_to(1);
    rig.run(Millis(16_000));
    rig.amps(6);
    rig.run(Millis(170_000));
    assert_eq!(rig.switch_writes(), [(261, 0), (501, 1)]);
    assert_eq!(rig.report().setpoint, Some(Milliamps(0)));
    rig.run(Millis(40_000));
    assert_eq!(rig.said(&Event::Notice(Notice::PhasesNotConfirmed { to: 1, connected: Some(3) })), 1);
    assert_eq!(rig.switch_writes(), [(261, 0), (501, 1), (501, 3), (261, 60)], "taken back first");
    assert_eq!((rig.report().connected, rig.report().fault), (Some(3), None));
    rig.never_under_load();
}

#[test]
fn a_failed_change_that_cannot_be_taken_back_keeps_the_current_off() {
    let mut rig = charging();
    rig.fake.switch = FakeSwitch::Ignores;
    rig.switch_to(1);
    rig.run(Millis(30_000));
    rig.fake.stubborn = vec![501];
    rig.amps(6);
    rig.run(Millis(260_000));
    assert_eq!((rig.report().connected, rig.report().fault), (None, Some(Fault::Phases)));
    assert_eq!(rig.fake.holding[&261], 0);
    // It is tried again every ten minutes.
    rig.fake.stubborn.clear();
    rig.run(Millis(620_000));
    assert_eq!((rig.report().connected, rig.report().fault), (Some(3), None));
    assert_eq!(rig.fake.holding[&261], 60);
    rig.never_under_load();
}

#[test]
fn a_change_that_never_ends_keeps_the_current_off() {
    let mut rig = charging();
    rig.fake.switch = FakeSwitch::Hangs;
    rig.switch_to(1);
    rig.run(Millis(16_000));
    rig.amps(6);
    rig.run(Millis(600_000));
    assert_eq!(rig.said(&Event::Notice(Notice::PhasesNotConfirmed { to: 1, connected: None })), 1);
    assert_eq!((rig.report().connected, rig.report().fault), (None, Some(Fault::Phases)));
    assert_eq!(rig.switch_writes(), [(261, 0), (501, 1)]);
    // The change ends after all.
    rig.fake.input.insert(5_001, 1);
    rig.run(Millis(20_000));
    assert_eq!(rig.said(&Event::Notice(Notice::PhasesKnown { phases: 1 })), 1);
    assert_eq!((rig.report().connected, rig.report().fault), (Some(1), None));
    assert_eq!(rig.report().setpoint, Some(Milliamps(6_000)));
}

#[test]
fn a_box_that_loses_power_in_the_middle_is_read_anew() {
    for back_with in [1, 3] {
        let mut rig = charging();
        rig.switch_to(1);
        rig.run(Millis(30_000));
        assert_eq!(rig.report().connected, None);
        rig.fake.silent = true;
        rig.run(Millis(10_000));
        rig.fake.silent = false;
        rig.fake.power_cycle();
        // The wallbox restarts with the commanded number of phases, or with the previous one.
        rig.fake.input.insert(5_001, back_with);
        rig.amps(6);
        rig.run(Millis(60_000));
        assert_eq!(rig.report().connected, Some(u8::try_from(back_with).unwrap()));
        assert_eq!(rig.report().setpoint, Some(Milliamps(6_000)));
        let commands: Vec<u16> =
            rig.switch_writes().into_iter().filter(|(at, _)| *at == 501).map(|(_, to)| to).collect();
        assert_eq!(commands, if back_with == 1 { vec![1] } else { vec![1, 3] }, "a command left over is taken back");
        rig.never_under_load();
    }
}

#[test]
fn an_order_that_lapses_in_the_middle_ends_in_silence_and_the_next_one_looks_again() {
    let mut rig = charging();
    rig.switch_to(1);
    rig.run(Millis(30_000));
    rig.order = None;
    rig.run(Millis(12_000));
    let asked = rig.fake.requests.len();
    rig.run(Millis(40_000));
    assert_eq!(rig.fake.requests.len(), asked, "silent");
    rig.amps(6);
    rig.run(Millis(10_000));
    assert_eq!((rig.report().connected, rig.report().setpoint), (None, Some(Milliamps(0))), "still changing");
    rig.run(Millis(60_000));
    assert_eq!((rig.report().connected, rig.report().setpoint), (Some(1), Some(Milliamps(6_000))));
    assert_eq!(rig.switch_writes(), [(261, 0), (501, 1), (261, 60)]);
}

#[test]
fn a_daemon_that_starts_in_the_middle_of_a_change_waits_for_its_end() {
    let mut rig = Rig::with(0x204, &connect());
    rig.fake.holding.extend([(261, 0), (501, 1)]);
    rig.fake.input.insert(5_001, 0);
    rig.fake.car = Some(CAR);
    rig.phases = Some(3);
    rig.amps(6);
    rig.run(Millis(60_000));
    assert_eq!((rig.report().connected, rig.fake.holding[&261]), (None, 0));
    rig.fake.input.insert(5_001, 1);
    rig.run(Millis(20_000));
    assert_eq!(rig.report().connected, Some(1));
    assert_eq!(rig.fake.holding[&261], 60);
}

#[test]
fn a_box_that_never_says_what_is_connected_gets_no_current_and_says_why() {
    let mut rig = charging();
    // The phases are changed at the wallbox, and that change hangs.
    rig.fake.input.insert(5_001, 0);
    rig.run(Millis(15_000));
    assert_eq!((rig.report().connected, rig.report().setpoint), (None, Some(Milliamps(0))));
    assert_eq!(rig.report().fault, None);
    rig.run(Millis(200_000));
    assert_eq!(rig.said(&Event::Notice(Notice::PhasesUnknown)), 1);
    assert_eq!(rig.report().fault, Some(Fault::Phases));
    assert_eq!(rig.fake.count_writes(501), 0);
}

#[test]
fn a_write_without_an_answer_is_looked_after() {
    let mut rig = charging();
    rig.switch_to(1);
    loop {
        let request = rig.driver.poll_request(rig.now);
        if let Some(Operation::WriteSingle { addr: 501, .. }) = request.map(|request| request.op) {
            // The command arrives, but its answer does not.
            rig.fake.answer(request.unwrap(), rig.now);
            rig.tell(Input::Outcome(Outcome::Failed(Failure::Timeout)));
            break;
        }
        match request {
            Some(request) => {
                let outcome = rig.fake.answer(request, rig.now);
                rig.tell(Input::Outcome(outcome));
            }
            None => rig.now = rig.now + Millis(100),
        }
        rig.amps(0);
    }
    rig.run(Millis(130_000));
    assert_eq!(rig.fake.count_writes(501), 1, "not repeated");
    assert_eq!(rig.report().connected, Some(1));
}

#[test]
fn boxes_without_the_switch_are_never_written_and_say_so_once() {
    // A connect.home declines these registers; an Energy Control has an error memory there.
    let mut home = Rig::with(0x204, &connect());
    home.fake.missing = vec![501, 503, 504, 5_001];
    let energy_control = Rig::with(0x108, &connect());
    for (mut rig, charges) in [(home, true), (energy_control, false)] {
        rig.fake.car = Some(CAR);
        rig.phases = Some(1);
        rig.amps(6);
        rig.run(Millis(60_000));
        rig.amps(0);
        rig.run(Millis(60_000));
        assert_eq!(rig.fake.count_writes(501), 0);
        assert_eq!(rig.fake.count_writes(261) > 0, charges);
        assert_eq!(rig.report().connected, None);
        assert_eq!(rig.said(&Event::Notice(Notice::NoPhaseSwitch)), 1);
    }
    // The Energy Control's own profile has no such register, whatever is configured and ordered.
    let mut rig = Rig::with(0x108, &ChargerSetup { profile: setup().profile, ..connect() });
    rig.fake.car = Some(CAR);
    rig.phases = Some(1);
    rig.amps(0);
    rig.run(Millis(60_000));
    assert_eq!((rig.fake.count_writes(501), rig.report().connected), (0, None));
}

#[test]
fn without_the_configuration_it_does_not_even_ask() {
    let mut rig = Rig::with(0x204, &ChargerSetup { phase_switch: None, ..connect() });
    rig.fake.car = Some(CAR);
    rig.phases = Some(1);
    rig.amps(0);
    rig.run(Millis(60_000));
    let asks = |op: &Operation| {
        matches!(op, Operation::ReadInput { addr: 5_001, .. } | Operation::ReadHolding { addr: 501, .. })
    };
    assert!(!rig.fake.requests.iter().any(|(_, op)| asks(op)));
    assert_eq!((rig.fake.count_writes(501), rig.report().connected), (0, None));
}

#[test]
fn the_connect_series_has_no_standby_register_and_is_not_raised_sooner_than_after_five_seconds() {
    let mut rig = charging();
    assert_eq!(rig.fake.count_writes(258), 0);
    rig.amps(11);
    rig.run(Millis(2_000));
    rig.amps(12);
    rig.run(Millis(2_000));
    assert_eq!(rig.fake.holding[&261], 110, "raised 2 s before");
    rig.amps(8);
    rig.run(Millis(200));
    assert_eq!(rig.fake.holding[&261], 80, "lowering does not wait");
    rig.amps(12);
    rig.run(Millis(5_500));
    assert_eq!(rig.fake.holding[&261], 120);
}
