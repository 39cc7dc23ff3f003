//! Changing between one phase and three.

use super::*;
use crate::config::PhaseSwitching;
use crate::facts::ChargerReport;

fn switchable() -> Config {
    let mut config = config();
    if let Some(charger) = config.chargers.get_mut(&CAR) {
        charger.switching = Some(PhaseSwitching { pause: Millis::from_secs(90) });
    }
    config
}

/// A wallbox that connects `connected` phases, with a car that uses `carrying` of them.
fn says(bench: &mut Bench, connected: Option<u8>, carrying: u8, deciamps: u32) {
    let current = Milliamps(deciamps * 100);
    let currents = [1, 2, 3].map(|phase| if phase <= carrying { current } else { Milliamps::ZERO });
    let power = i32::try_from(deciamps).unwrap() * 23 * i32::from(carrying);
    let vehicle = if deciamps > 0 { Vehicle::Charging } else { Vehicle::Requesting };
    let told = if bench.setpoint() == u32::MAX { 0 } else { bench.setpoint() };
    let report = ChargerReport { connected, currents: Some(currents), ..report(CAR, bench.now, vehicle, power, told) };
    bench.tell(Input::Report(report));
}

fn ordered(bench: &Bench) -> Option<u8> {
    bench.orders[&CAR].phases
}

/// Keeps the surplus steady for some minutes while the car takes what it may.
fn shine(bench: &mut Bench, surplus: i32, minutes: u64) {
    for _ in 0..minutes * 2 {
        let phases = bench.controller.snapshot().chargers[&CAR].report.and_then(|report| report.connected).unwrap();
        let deciamps = bench.setpoint() / 100;
        let power = i32::try_from(deciamps).unwrap() * 23 * i32::from(phases);
        says(bench, Some(phases), phases, deciamps);
        bench.surplus(surplus, power);
        bench.secs(30);
    }
}

fn on_three() -> Bench {
    let mut bench = Bench::new(switchable());
    says(&mut bench, Some(3), 3, 0);
    shine(&mut bench, 6_000, 3);
    bench.check(8_600, "following");
    bench
}

#[test]
fn less_sun_brings_one_phase_by_the_safe_sequence() {
    let mut bench = on_three();
    let mut waited = 0;
    while bench.reason() != "switching-phases" {
        shine(&mut bench, 2_600, 1);
        waited += 1;
        assert!(waited < 6, "{}", bench.reason());
    }
    bench.check(0, "switching-phases");
    says(&mut bench, Some(3), 3, 60);
    bench.secs(2);
    assert_eq!(ordered(&bench), Some(3), "current still flows");
    says(&mut bench, Some(3), 3, 0);
    bench.secs(2);
    assert_eq!(ordered(&bench), Some(1), "at rest");
    says(&mut bench, None, 3, 0);
    bench.surplus(2_600, 0);
    bench.check(0, "switching-phases");
    says(&mut bench, Some(1), 1, 0);
    bench.check(0, "minimum-off");
    shine(&mut bench, 2_600, 2);
    bench.check(11_300, "following");
    assert_eq!(ordered(&bench), Some(1));
}

#[test]
fn the_pause_counts_from_the_stop() {
    let mut bench = on_three();
    while bench.reason() != "switching-phases" {
        shine(&mut bench, 2_600, 1);
    }
    let stopped = bench.now;
    says(&mut bench, Some(3), 3, 0);
    bench.secs(1);
    says(&mut bench, Some(1), 1, 0);
    while bench.setpoint() == 0 {
        says(&mut bench, Some(1), 1, 0);
        bench.surplus(2_600, 0);
        bench.secs(1);
    }
    // `shine` had already let 30 s pass since the decision.
    assert!((59..=61).contains(&(bench.now.since(stopped).0 / 1_000)), "{:?}", bench.now.since(stopped));
}

#[test]
fn lasting_sun_brings_three_phases_and_a_gap_does_not() {
    let mut bench = Bench::new(switchable());
    says(&mut bench, Some(1), 1, 0);
    shine(&mut bench, 2_500, 3);
    bench.check(10_800, "following");
    shine(&mut bench, 7_000, 1);
    bench.check(16_000, "following");
    shine(&mut bench, 2_500, 3);
    bench.check(10_800, "following");
    let mut minutes = 0;
    while bench.reason() == "following" {
        shine(&mut bench, 7_000, 1);
        minutes += 1;
        assert!(minutes < 12);
    }
    bench.check(0, "switching-phases");
    says(&mut bench, Some(1), 1, 0);
    bench.secs(1);
    assert_eq!(ordered(&bench), Some(3));
}

#[test]
fn from_rest_the_choice_comes_before_the_start() {
    let mut bench = Bench::new(switchable());
    says(&mut bench, Some(3), 3, 0);
    bench.surplus(2_500, 0);
    bench.check(0, "switching-phases");
    assert_eq!(ordered(&bench), Some(3), "not before the car was measured again");
    says(&mut bench, Some(3), 3, 0);
    bench.secs(1);
    assert_eq!(ordered(&bench), Some(1));
    says(&mut bench, Some(1), 1, 0);
    bench.check(10_800, "following");
}

#[test]
fn at_rest_it_does_not_go_back_and_forth() {
    let mut bench = Bench::new(switchable());
    says(&mut bench, Some(3), 3, 0);
    let mut changes = 0;
    let mut connected = 3;
    for step in 0..40 {
        bench.surplus(if step % 2 == 0 { 2_500 } else { 0 }, 0);
        bench.secs(2);
        let order = ordered(&bench).unwrap();
        changes += u32::from(order != connected);
        connected = order;
        bench.secs(28);
        says(&mut bench, Some(connected), connected, 0);
    }
    assert!(changes <= 4, "{changes} changes in 20 min");
}

#[test]
fn a_change_that_is_not_confirmed_is_given_up() {
    let mut bench = Bench::new(switchable());
    says(&mut bench, Some(3), 3, 0);
    for _ in 0..6 {
        bench.surplus(2_500, 0);
        bench.check(0, "switching-phases");
        says(&mut bench, None, 3, 0);
        bench.secs(30);
    }
    says(&mut bench, Some(3), 3, 0);
    bench.surplus(2_500, 0);
    bench.check(0, "too-little-sun");
    bench.surplus(6_000, 0);
    bench.secs(30);
    bench.surplus(6_000, 0);
    bench.check(8_600, "following");
    assert_eq!(ordered(&bench), Some(3), "it goes on with what is connected");
}

#[test]
fn a_car_on_one_phase_is_never_switched() {
    let mut bench = Bench::new(switchable());
    says(&mut bench, Some(3), 3, 0);
    bench.surplus(5_000, 0);
    bench.secs(10);
    for _ in 0..6 {
        says(&mut bench, Some(3), 1, 70);
        bench.secs(1);
    }
    for surplus in [2_500, 1_500, 3_000, 9_000, 2_000] {
        for _ in 0..10 {
            bench.surplus(surplus, 1_610);
            let told = bench.setpoint() / 100;
            says(&mut bench, Some(3), 1, told);
            bench.secs(30);
            assert_ne!(bench.reason(), "switching-phases");
            assert_eq!(ordered(&bench), Some(3));
        }
    }
}

#[test]
fn fast_asks_for_all_phases() {
    let mut bench = Bench::new(switchable());
    says(&mut bench, Some(1), 1, 0);
    bench.mode(Mode::Fast);
    bench.check(0, "switching-phases");
    says(&mut bench, Some(1), 1, 0);
    bench.secs(1);
    assert_eq!(ordered(&bench), Some(3));
    says(&mut bench, Some(3), 3, 0);
    bench.check(16_000, "fast");
}

#[test]
fn a_charger_that_cannot_switch_is_never_told_to() {
    let mut bench = Bench::plugged(config());
    bench.surplus(6_000, 0);
    bench.secs(30);
    bench.surplus(2_000, 0);
    assert_eq!(ordered(&bench), None);
}
