//! What happens when the controller, the wallbox, the line or the car goes away.

use super::*;

#[test]
fn a_lapsed_order_becomes_the_safe_current_once_and_then_silence() {
    let mut safe = setup();
    safe.safe_current = Milliamps(6_000);
    let mut rig = Rig::with(0x107, &safe);
    rig.fake.state(7);
    rig.amps(16);
    rig.run(Millis(5_000));
    rig.order = None;
    rig.fake.writes.clear();
    rig.run(Millis(15_000));
    assert_eq!(rig.fake.writes.iter().map(|(_, address, value)| (*address, *value)).collect::<Vec<_>>(), [(261, 60)]);
    let asked = rig.fake.requests.len();
    let last = rig.fake.requests.last().unwrap().1;
    assert_eq!(last, Operation::ReadHolding { addr: 261, count: 1 }, "read back");
    rig.run(Millis(600_000));
    assert_eq!(rig.fake.requests.len(), asked, "silent");
    assert_eq!(rig.fake.offers(rig.now), 60, "the box's own watchdog holds it there");
    // A new order is obeyed at once.
    rig.amps(10);
    rig.run(Millis(1_000));
    assert_eq!(rig.fake.holding[&261], 100);
    assert_eq!(rig.said(&Event::Notice(Notice::Resumed)), 1);
}

#[test]
fn a_lapse_never_raises_the_current() {
    let mut safe = setup();
    safe.safe_current = Milliamps(6_000);
    let mut rig = Rig::with(0x107, &safe);
    rig.amps(0);
    rig.run(Millis(5_000));
    rig.order = None;
    rig.run(Millis(60_000));
    assert_eq!(rig.fake.holding[&261], 0);
}

#[test]
fn an_unanswered_lapse_gives_up_and_leaves_it_to_the_box() {
    let mut rig = Rig::charging_at(0x107, 16);
    rig.order = None;
    rig.fake.silent = true;
    rig.run(Millis(60_000));
    assert_eq!(rig.fake.offers(rig.now), 0);
    rig.fake.silent = false;
    let asked = rig.fake.requests.len();
    rig.run(Millis(60_000));
    assert_eq!(rig.fake.requests.len(), asked, "nothing feeds the watchdog");
}

/// After orders have ceased, only the driver itself can try again.
#[test]
fn a_lapse_with_one_lost_answer_is_tried_again() {
    let mut safe = setup();
    safe.safe_current = Milliamps(6_000);
    let mut rig = Rig::with(0x107, &safe);
    rig.fake.state(7);
    rig.amps(16);
    rig.run(Millis(5_000));
    rig.order = None;
    let lapse = rig.driver.order.unwrap().valid_until;
    rig.run(lapse.since(rig.now));
    rig.fake.silent = true;
    rig.run(Millis(500));
    rig.fake.silent = false;
    rig.run(Millis(5_000));
    assert_eq!(rig.fake.holding[&261], 60);
    let asked = rig.fake.requests.len();
    rig.run(Millis(600_000));
    assert_eq!(rig.fake.requests.len(), asked, "silent");
}

#[test]
fn a_power_cycle_is_seen_and_everything_restored() {
    for layout in [0x107, 0x108] {
        let mut rig = Rig::charging_at(layout, 10);
        rig.fake.input.insert(16, 900);
        rig.run(Millis(3_000));
        let before = rig.fake.count_writes(258);
        rig.fake.power_cycle();
        rig.run(Millis(5_000));
        let holding = &rig.fake.holding;
        assert_eq!([holding[&257], holding[&258], holding[&261], holding[&262]], [30_000, 4, 100, 0], "{layout:x}");
        let rewritten = usize::from(layout == 0x107);
        assert_eq!(rig.fake.count_writes(258) - before, rewritten, "{layout:x}: kept by the box from 1.0.8 on");
        assert_eq!(rig.said(&Event::Notice(Notice::PowerCycle { sign: Sign::CounterBack })), 1);
        assert_eq!(rig.said(&Event::Notice(Notice::Restored)), 1);
    }
}

#[test]
fn a_power_cycle_without_a_trace_in_the_counter_shows_in_the_setpoint_or_the_watchdog() {
    let mut rig = Rig::charging_at(0x107, 10);
    rig.fake.power_cycle();
    rig.run(Millis(12_000));
    assert_eq!(rig.said(&Event::Notice(Notice::PowerCycle { sign: Sign::SetpointChanged })), 1);
    assert_eq!(rig.fake.holding[&261], 100);
    // A wallbox that comes back with the same setpoint.
    rig.fake.power_cycle();
    rig.fake.holding.insert(261, 100);
    rig.run(Millis(62_000));
    assert_eq!(rig.fake.holding[&257], 30_000);
    assert_eq!(rig.said(&Event::Notice(Notice::PowerCycle { sign: Sign::SettingsLost })), 1);
    assert_eq!(rig.fake.count_writes(258), 3);
}

#[test]
fn three_failures_make_it_offline_and_it_comes_back_by_itself() {
    let mut rig = Rig::charging_at(0x107, 10);
    rig.fake.silent = true;
    rig.run(Millis(2_000));
    assert!(rig.events.is_empty(), "one failure is nothing: {:?}", rig.events);
    rig.run(Millis(20_000));
    assert_eq!(rig.report().link, Reachability::Offline);
    assert_eq!(rig.report().setpoint, None);
    rig.fake.silent = false;
    rig.fake.power_cycle();
    rig.run(Millis(15_000));
    assert_eq!(rig.report().link, Reachability::Online);
    assert_eq!(rig.fake.holding[&261], 100);
    assert_eq!(rig.fake.holding[&257], 30_000);
    let lost = rig.notices().iter().filter(|notice| matches!(notice, Notice::LinkLost { .. })).count();
    let recovered = rig.notices().iter().filter(|notice| matches!(notice, Notice::Recovered { .. })).count();
    assert_eq!((lost, recovered), (1, 1));
}

#[test]
fn a_write_that_may_not_have_arrived_is_read_back_before_anything_is_believed() {
    let mut rig = Rig::charging_at(0x107, 16);
    rig.order(Some(Milliamps(6_000)));
    let request = rig.driver.poll_request(rig.now).unwrap();
    assert_eq!(request.op, Operation::WriteSingle { addr: 261, value: 60 });
    rig.tell(Input::Outcome(Outcome::Failed(Failure::Timeout)));
    rig.now = rig.now + Millis(1_000);
    assert!(rig.driver.is_urgent(rig.now));
    rig.run(Millis(2_000));
    assert_eq!(rig.fake.holding[&261], 60);
    assert_eq!(rig.report().setpoint, Some(Milliamps(6_000)));
}

#[test]
fn a_box_in_standby_sleeps_and_is_found_when_it_wakes() {
    let mut sleepy = setup();
    sleepy.standby = true;
    let mut rig = Rig::with(0x107, &sleepy);
    rig.amps(0);
    rig.run(Millis(5_000));
    assert_eq!(rig.fake.holding[&258], 0, "may sleep");
    rig.fake.silent = true;
    rig.run(Millis(20_000));
    assert_eq!(rig.report().link, Reachability::Asleep);
    rig.run(Millis(600_000));
    assert_eq!(rig.report().link, Reachability::Asleep);
    assert_eq!(rig.said(&Event::Notice(Notice::Asleep)), 1);
    // A car arrives: the wallbox has forgotten its setpoint and is at its maximum.
    rig.fake.silent = false;
    rig.fake.power_cycle();
    rig.fake.state(4);
    // It may also be awake and mute, so requests come no more often than its watchdog allows.
    rig.run(Millis(45_000));
    assert_eq!(rig.report().link, Reachability::Online);
    assert_eq!(rig.fake.holding[&261], 0);
}

#[test]
fn a_lost_line_is_offline_at_once_and_nothing_is_asked() {
    let mut rig = Rig::charging_at(0x107, 10);
    rig.tell(Input::LineDown);
    assert_eq!(rig.report().link, Reachability::Offline);
    assert_eq!(rig.driver.poll_request(rig.now + Millis(5_000)), None);
    rig.tell(Input::LineUp);
    rig.run(Millis(3_000));
    assert_eq!(rig.report().link, Reachability::Online);
}

#[test]
fn waking_locks_for_ten_seconds_and_unlocks() {
    let mut rig = Rig::charging_at(0x107, 10);
    rig.fake.state(4);
    rig.run(Millis(2_000));
    rig.fake.writes.clear();
    rig.tell(Input::Wake);
    rig.run(Millis(500));
    assert_eq!(rig.fake.holding[&259], 0);
    rig.fake.state(10);
    rig.run(Millis(5_000));
    let report = rig.report();
    assert_eq!((report.waking, report.vehicle, report.fault), (true, Vehicle::Connected, None));
    rig.run(Millis(6_000));
    assert_eq!(rig.fake.holding[&259], 1);
    assert_eq!(rig.said(&Event::WakeUpDone), 1);
    let pulse: Vec<_> = rig.fake.writes.iter().filter(|(_, address, _)| *address == 259).collect();
    assert_eq!(pulse.len(), 2);
    assert!(pulse[1].0.since(pulse[0].0) >= Millis(10_000));
    rig.fake.state(7);
    rig.run(Millis(2_000));
    assert_eq!((rig.report().waking, rig.report().vehicle), (false, Vehicle::Charging));
}

#[test]
fn a_lapse_in_the_middle_of_a_pulse_unlocks_before_the_silence() {
    let mut rig = Rig::charging_at(0x107, 10);
    rig.tell(Input::Wake);
    rig.run(Millis(500));
    assert_eq!(rig.fake.holding[&259], 0);
    rig.tell(Input::Order(Order {
        charger: ID,
        setpoint: Some(Milliamps(10_000)),
        phases: None,
        valid_until: rig.now + Millis(1_000),
    }));
    rig.order = None;
    rig.run(Millis(3_000));
    assert_eq!((rig.fake.holding[&259], rig.fake.holding[&261]), (1, 0));
}

#[test]
fn a_lost_link_in_the_middle_of_a_pulse_unlocks_first_thing_afterwards() {
    let mut rig = Rig::charging_at(0x107, 10);
    rig.tell(Input::Wake);
    rig.run(Millis(500));
    rig.fake.silent = true;
    // Too short for the wallbox to be left alone, in which case a low current would go first.
    rig.run(Millis(25_000));
    rig.fake.silent = false;
    let before = rig.fake.requests.len();
    rig.run(Millis(12_000));
    assert_eq!(rig.fake.requests[before].1, Operation::WriteSingle { addr: 259, value: 1 });
    assert_eq!(rig.said(&Event::WakeUpDone), 1);
}

#[test]
fn a_lock_left_by_a_crash_is_taken_back_first() {
    let mut rig = Rig::new(0x107);
    rig.fake.holding.insert(259, 0);
    rig.tell(Input::Unlock);
    rig.order(None);
    rig.run(Millis(2_000));
    assert_eq!(rig.fake.requests[0].1, Operation::WriteSingle { addr: 259, value: 1 });
    assert_eq!((rig.said(&Event::WakeUpDone), rig.fake.count_writes(259)), (1, 1));
    assert_eq!(rig.report().link, Reachability::Online);
}

#[test]
fn a_wish_to_wake_that_cannot_be_met_is_answered() {
    let mut rig = Rig::new(0x107);
    rig.tell(Input::Wake);
    assert_eq!((rig.said(&Event::WakeUpDone), rig.said(&Event::Notice(Notice::WakeImpossible))), (1, 1));
}

#[test]
fn shutdown_proves_the_safe_current_and_is_silent() {
    let mut rig = Rig::charging_at(0x107, 16);
    rig.tell(Input::Shutdown);
    rig.run(Millis(2_000));
    assert_eq!(rig.said(&Event::ShutDown { proven: true }), 1);
    assert_eq!(rig.fake.holding[&261], 0);
    let asked = rig.fake.requests.len();
    rig.amps(16);
    rig.run(Millis(60_000));
    assert_eq!((rig.fake.requests.len(), rig.fake.holding[&261]), (asked, 0));
}

#[test]
fn shutdown_in_the_middle_of_a_pulse_unlocks_too() {
    let mut rig = Rig::charging_at(0x107, 16);
    rig.tell(Input::Wake);
    rig.run(Millis(500));
    rig.tell(Input::Shutdown);
    rig.run(Millis(2_000));
    assert_eq!((rig.fake.holding[&259], rig.fake.holding[&261]), (1, 0));
    assert_eq!(rig.said(&Event::ShutDown { proven: true }), 1);
}

#[test]
fn shutdown_right_after_the_start_makes_acquaintance_first() {
    let mut rig = Rig::new(0x107);
    rig.tell(Input::Shutdown);
    rig.run(Millis(4_500));
    assert_eq!(rig.said(&Event::ShutDown { proven: true }), 1);
    assert_eq!(rig.fake.holding[&261], 0);
}

#[test]
fn shutdown_that_cannot_be_proven_ends_all_the_same() {
    let spoil: [&dyn Fn(&mut Rig); 4] = [
        &|rig| rig.fake.silent = true,
        &|rig| rig.fake.stubborn = vec![261],
        &|rig| rig.tell(Input::LineDown),
        &|rig| rig.fake.missing = vec![261],
    ];
    for spoil in spoil {
        let mut rig = Rig::charging_at(0x107, 16);
        spoil(&mut rig);
        rig.tell(Input::Shutdown);
        rig.run(Millis(6_000));
        assert_eq!(rig.said(&Event::ShutDown { proven: false }), 1);
        assert!(rig.driver.ended());
    }
}

#[test]
fn a_lock_that_was_written_is_taken_back_even_if_that_is_declined_at_first() {
    let mut rig = Rig::charging_at(0x107, 10);
    rig.tell(Input::Wake);
    rig.run(Millis(500));
    rig.fake.missing = vec![259];
    rig.tell(Input::Unlock);
    rig.run(Millis(5_000));
    assert_eq!((rig.fake.holding[&259], rig.said(&Event::WakeUpDone)), (0, 0));
    rig.fake.missing.clear();
    rig.run(Millis(30_000));
    assert_eq!((rig.fake.holding[&259], rig.said(&Event::WakeUpDone)), (1, 1));
}
