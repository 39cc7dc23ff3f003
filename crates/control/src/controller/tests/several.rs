//! Several chargers: what each leaves of the surplus and of the fuse to the others.

use super::*;

fn second(config: &mut Config) -> ChargerId {
    let other = ChargerId(1);
    config.chargers.insert(other, config.chargers[&CAR]);
    other
}

/// Another wallbox, on another bus, has not taken the stop yet.
#[test]
fn a_charger_that_was_told_to_stop_counts_until_its_box_has_stopped() {
    let mut config = config();
    let other = second(&mut config);
    let mut bench = Bench::plugged(config);
    bench.tell(Input::Report(report(other, bench.now, Vehicle::Connected, 0, 0)));
    bench.mode(Mode::Fast);
    bench.check(16_000, "fast");
    bench.says(Vehicle::Charging, 11_040, 16_000);
    bench.secs(70);
    bench.says(Vehicle::Charging, 11_040, 16_000);
    bench.tell(Input::Command(Command::Mode { charger: Some(CAR), mode: Mode::Off }));
    bench.secs(2);
    let sum = 16_000 + bench.orders[&other].setpoint.unwrap().0;
    assert!(sum <= 25_000, "{sum} mA while the first box still has 16 A");
    bench.says(Vehicle::Connected, 0, 0);
    bench.secs(2);
    assert_eq!(bench.orders[&other].setpoint, Some(Milliamps(16_000)));
}

#[test]
fn a_box_that_falls_silent_before_it_stops_counts_until_its_watchdog_has_acted() {
    let mut config = config();
    let other = second(&mut config);
    let mut bench = Bench::plugged(config);
    bench.tell(Input::Report(report(other, bench.now, Vehicle::Connected, 0, 0)));
    bench.tell(Input::Command(Command::Mode { charger: Some(CAR), mode: Mode::Fast }));
    bench.says(Vehicle::Charging, 11_040, 16_000);
    bench.secs(1);
    bench.mode(Mode::Off);
    bench.tell(Input::Report(ChargerReport::silent(CAR, bench.now, Reachability::Offline)));
    bench.tell(Input::Command(Command::Mode { charger: Some(other), mode: Mode::Fast }));
    // It is unknown whether requests that it does not answer still reach it: they would feed its watchdog.
    bench.secs(250);
    assert_eq!(bench.orders[&other].setpoint, Some(Milliamps(9_000)));
    bench.tell(Input::Report(report(other, bench.now, Vehicle::Connected, 0, 9_000)));
    let silent = ChargerReport::silent(CAR, bench.now, Reachability::Offline);
    bench.tell(Input::Report(ChargerReport { released: true, ..silent }));
    assert_eq!(bench.orders[&other].setpoint, Some(Milliamps(16_000)));
    // Requests are sent to it again: it may come back.
    bench.tell(Input::Report(silent));
    assert_eq!(bench.orders[&other].setpoint, Some(Milliamps(9_000)));
    bench.says(Vehicle::Connected, 0, 0);
    bench.secs(1);
    assert_eq!(bench.orders[&other].setpoint, Some(Milliamps(16_000)));
}

/// Two cars charge while the daemon is restarted, and meters send before the second wallbox answers: its car is none of the house's load,
/// neither for itself nor for the other.
#[test]
fn a_charge_found_after_a_sample_costs_the_other_nothing() {
    let mut config = config();
    config.solar.min_on = Millis(0);
    let other = second(&mut config);
    let mut bench = Bench::new(config);
    bench.says(Vehicle::Charging, 6_900, 10_000);
    bench.surplus(13_800, 13_800);
    bench.check(10_000, "following");
    bench.secs(1);
    for _ in 0..28 {
        bench.says(Vehicle::Charging, 6_900, 10_000);
        bench.tell(Input::Report(report(other, bench.now, Vehicle::Charging, 6_900, 10_000)));
        bench.secs(1);
        bench.check(10_000, "following");
        assert_eq!(bench.orders[&other].setpoint, Some(Milliamps(10_000)));
    }
}

/// One falls silent at 16 A on a fuse of 20 A. Whatever the other asks for, the two never exceed 20 A together, even if the silent one was
/// being raised at the moment it fell silent.
#[test]
fn the_share_of_a_mute_wallbox_stays_reserved() {
    for raised in [false, true] {
        let mut config = config();
        config.site_limit = Milliamps(20_000);
        let other = second(&mut config);
        let mut bench = Bench::plugged(config);
        bench.tell(Input::Report(report(other, bench.now, Vehicle::Connected, 0, 0)));
        bench.tell(Input::Command(Command::Mode { charger: Some(CAR), mode: Mode::Fast }));
        let seen = if raised { 6_000 } else { 16_000 };
        bench.says(Vehicle::Charging, 11_040, seen);
        bench.secs(1);
        assert_eq!(bench.orders[&CAR].setpoint, Some(Milliamps(16_000)));
        bench.tell(Input::Report(ChargerReport::silent(CAR, bench.now, Reachability::Offline)));
        bench.tell(Input::Command(Command::Mode { charger: Some(other), mode: Mode::Fast }));
        for second in 0..900 {
            bench.secs(1);
            if second % 60 == 0 {
                bench.surplus(0, 0);
            }
            bench.tell(Input::Report(report(other, bench.now, Vehicle::Connected, 0, 0)));
            let sum = 16_000 + bench.orders[&other].setpoint.unwrap().0;
            assert!(sum <= 20_000, "{sum} mA");
        }
        let silent = ChargerReport::silent(CAR, bench.now, Reachability::Offline);
        bench.tell(Input::Report(ChargerReport { released: true, ..silent }));
        bench.secs(1);
        assert_eq!(bench.orders[&other].setpoint, Some(Milliamps(16_000)));
    }
}

/// A read-only wallbox draws what it likes.
#[test]
fn a_box_that_can_only_be_watched_counts_with_all_it_may_draw() {
    let mut config = config();
    let other = second(&mut config);
    let mut bench = Bench::new(config);
    let watched = |bench: &mut Bench, vehicle, power| {
        let seen = report(CAR, bench.now, vehicle, power, 0);
        bench.tell(Input::Report(ChargerReport { link: Reachability::ReadOnly, setpoint: None, ..seen }));
    };
    watched(&mut bench, Vehicle::Charging, 11_040);
    bench.tell(Input::Report(report(other, bench.now, Vehicle::Connected, 0, 0)));
    bench.secs(3);
    bench.surplus(5_000, 11_040);
    assert_eq!(bench.orders[&other].setpoint, Some(Milliamps(0)), "the sun is used up");
    bench.tell(Input::Command(Command::Mode { charger: Some(other), mode: Mode::Fast }));
    assert_eq!(bench.orders[&other].setpoint, Some(Milliamps(9_000)), "25 A less the 16 A of the other box");
    watched(&mut bench, Vehicle::Absent, 0);
    bench.secs(2);
    assert_eq!(bench.orders[&other].setpoint, Some(Milliamps(16_000)));
}

/// After a restart both wallboxes may be charging; the first to answer must not take what the other one still draws.
#[test]
fn nobody_rises_while_another_box_may_still_run() {
    let mut config = config();
    let other = second(&mut config);
    let mut bench = Bench::new(config);
    bench.mode(Mode::Fast);
    bench.says(Vehicle::Charging, 8_280, 12_000);
    bench.check(12_000, "site-limit");
    bench.secs(2);
    bench.check(12_000, "site-limit");
    let mut alone = bench.controller.clone();
    alone.handle_timeout(Tick(70_000));
    assert_eq!(
        alone.snapshot().chargers[&CAR].setpoint,
        Milliamps(9_000),
        "room is made for all that the other box may have"
    );
    let silent = ChargerReport::silent(other, bench.now, Reachability::Offline);
    alone.handle(Input::Report(ChargerReport { released: true, ..silent }), Tick(71_000));
    assert_eq!(alone.snapshot().chargers[&CAR].setpoint, Milliamps(16_000), "the other box has fallen back");
    bench.tell(Input::Report(report(other, bench.now, Vehicle::Charging, 8_280, 12_000)));
    bench.check(13_000, "site-limit");
    assert_eq!(bench.orders[&other].setpoint, Some(Milliamps(12_000)));
}

#[test]
fn a_box_whose_setpoint_cannot_be_read_is_at_fault_not_starting() {
    let mut bench = Bench::new(config());
    let refused = report(CAR, bench.now, Vehicle::Connected, 0, 0);
    bench.tell(Input::Report(ChargerReport { setpoint: None, fault: Some(Fault::Refused), ..refused }));
    assert_eq!(bench.reason(), "fault");
}

/// A full car keeps the minimum it is offered, and leaves the rest of the fuse to the other.
#[test]
fn a_full_car_leaves_its_share_to_the_other() {
    let mut two = config();
    two.chargers.insert(ChargerId(1), two.chargers[&CAR]);
    two.site_limit = Milliamps(16_000);
    let mut bench = Bench::new(two);
    let hear = |bench: &mut Bench, setpoints: [u32; 2]| {
        for (id, setpoint) in [CAR, ChargerId(1)].into_iter().zip(setpoints) {
            let heard = report(id, bench.now, Vehicle::Connected, 0, setpoint);
            bench.tell(Input::Report(heard));
        }
    };
    hear(&mut bench, [0, 0]);
    bench.mode(Mode::Fast);
    let setpoints = |bench: &Bench| [CAR, ChargerId(1)].map(|id| bench.orders[&id].setpoint.unwrap().0);
    for _ in 0..299 {
        bench.secs(1);
        let now = setpoints(&bench);
        hear(&mut bench, now);
    }
    assert_eq!(setpoints(&bench), [16_000, 0]);
    for _ in 0..5 {
        bench.secs(1);
        let now = setpoints(&bench);
        hear(&mut bench, now);
    }
    assert_eq!(setpoints(&bench), [6_000, 10_000]);
    assert_eq!(bench.controller.snapshot().chargers[&CAR].starts, 0, "its contactor never closed");
}

/// A bus that hangs reports nothing, not even that it hangs.
#[test]
fn a_charger_whose_reports_stop_does_not_answer() {
    let mut bench = Bench::eager(config());
    bench.polled = false;
    bench.mode(Mode::Fast);
    bench.eager = false;
    bench.secs(75);
    bench.check(16_000, "fast");
    bench.secs(2);
    bench.check(16_000, "offline");
    bench.secs(300);
    bench.check(0, "offline");
}
