extern crate std;

use std::format;
use std::vec::Vec;

use super::*;
use crate::config::SolarPolicy;
use crate::facts::{Fault, Reachability, Vehicle};
use crate::testing::{Bench, CAR, config, report};
use crate::units::Percent;
use crate::units::{Milliamps, Permille, Volts, WattHours};

mod battery;
mod cars;
mod doubts;
mod phases;
mod samples;
mod several;
mod trials;

/// Drives the whole controller with a series of surplus values and compares setpoint, mean and volatility with the golden day, row by row.
fn follows_the_golden_day(rows: &[(u64, i32, u32, i64, i64)], sigma: u16, cost: i64) {
    let mut config = config();
    config.battery.drain_budget = WattHours(1_000_000);
    config.solar = SolarPolicy {
        min_share: Permille(sigma),
        start_cost: WattHours(cost),
        starts_per_day_max: 200,
        ..config.solar
    };
    let mut bench = Bench::eager(config);
    let mut now = 1_000;
    for (at, surplus, deciamps, mean, volatility) in rows {
        let due = (*at + 10) * 1_000;
        bench.run(Millis(due - now));
        now = due;
        bench.surplus(*surplus, 0);
        let got = (bench.setpoint() / 100, bench.controller.trend_memory().unwrap());
        assert_eq!(got, (*deciamps, (*mean, *volatility)), "at {at} s, surplus {surplus} W");
    }
}

/// Returns the columns of a golden day from `first` on: time, surplus, setpoint; then mean and volatility.
fn row(line: &str, first: usize, last: usize) -> (u64, i32, u32, i64, i64) {
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    let tail = (cells[last].parse().unwrap(), cells[last + 1].parse().unwrap());
    (
        cells[first].parse().unwrap(),
        cells[first + 1].parse().unwrap(),
        cells[first + 2].parse().unwrap(),
        tail.0,
        tail.1,
    )
}

#[test]
fn golden_days_of_an_independent_implementation() {
    for (case, (sigma, cost)) in [(750, 100), (500, 100), (900, 300), (1_000, 20)].into_iter().enumerate() {
        let own = format!("{case},");
        let lines = include_str!("golden.csv").lines().filter(|line| line.starts_with(&own));
        let rows: Vec<_> = lines.map(|line| row(line, 1, 4)).collect();
        assert!(rows.len() > 1_000 && rows.iter().any(|row| row.2 > 140));
        follows_the_golden_day(&rows, sigma, cost);
    }
}

#[test]
fn nothing_is_ordered_before_the_box_was_read() {
    let mut bench = Bench::new(config());
    bench.mode(Mode::Fast);
    bench.secs(3);
    assert_eq!(bench.orders[&CAR].setpoint, None, "leave the box as it is");
    bench.says(Vehicle::Connected, 0, 0);
    bench.check(16_000, "fast");
}

#[test]
fn solar_starts_follows_holds_and_stops() {
    let mut bench = Bench::plugged(config());
    bench.surplus(1_000, 0);
    bench.check(0, "too-little-sun");
    bench.secs(30);
    bench.surplus(6_900, 0);
    bench.check(10_000, "following");
    bench.secs(30);
    bench.says(Vehicle::Charging, 6_900, 10_000);
    bench.secs(3);
    bench.surplus(5_520, 6_900);
    bench.check(8_000, "following");
    bench.secs(30);
    bench.says(Vehicle::Charging, 5_520, 8_000);
    bench.secs(3);
    bench.surplus(3_800, 5_520);
    bench.check(6_000, "holding");
    bench.secs(30);
    bench.says(Vehicle::Charging, 4_140, 6_000);
    bench.secs(3);
    bench.surplus(200, 4_140);
    bench.check(0, "sun-gone");
    bench.says(Vehicle::Connected, 0, 0);
    bench.secs(30);
    bench.surplus(9_000, 0);
    bench.check(0, "minimum-off");
    bench.secs(31);
    bench.check(0, "minimum-off");
    bench.surplus(9_000, 0);
    bench.check(13_000, "following");
}

#[test]
fn minimum_on_holds_against_a_cloud() {
    let mut bench = Bench::plugged(config());
    bench.surplus(9_000, 0);
    bench.check(13_000, "following");
    bench.secs(30);
    bench.says(Vehicle::Charging, 8_970, 13_000);
    bench.secs(3);
    bench.surplus(0, 8_970);
    bench.check(6_000, "minimum-on");
    bench.secs(30);
    bench.surplus(0, 8_970);
    bench.check(0, "sun-gone");
}

/// The grid reading is old and the charger's power is new: the charger's power *at that time* counts, so the controller does not chase
/// itself.
#[test]
fn the_car_is_counted_at_the_samples_time() {
    let mut bench = Bench::plugged(config());
    bench.says(Vehicle::Charging, 4_140, 6_000);
    bench.secs(10);
    bench.says(Vehicle::Charging, 11_040, 16_000);
    bench.secs(1);
    bench.surplus(5_000, 4_140);
    assert_eq!(bench.controller.snapshot().site.surplus, Some(Watts(5_000)));
    assert_eq!(bench.controller.snapshot().site.house, Some(Watts(500)));
}

/// The car starts while the meters are read: what it drew then is anything between nothing and everything; the house's power shows it.
#[test]
fn while_the_car_moves_the_house_tells_what_it_drew() {
    for drew in [0, 4_140, 6_900] {
        let mut bench = Bench::plugged(config());
        bench.surplus(6_900, 0);
        bench.secs(27);
        bench.says(Vehicle::Charging, 4_140, 10_000);
        bench.secs(1);
        bench.says(Vehicle::Charging, 6_900, 10_000);
        bench.surplus(6_500, drew);
        let site = bench.controller.snapshot().site;
        assert_eq!((site.surplus, site.house), (Some(Watts(6_500)), Some(Watts(500))), "it drew {drew}");
    }
}

#[test]
fn one_burst_is_one_sample() {
    let mut bench = Bench::plugged(config());
    bench.surplus(1_000, 0);
    let memory = bench.controller.trend_memory();
    bench.read(Source::BatterySoc, 50);
    bench.run(Millis(150));
    bench.read(Source::BatterySoc, 50);
    bench.run(Millis(250));
    assert_eq!(bench.controller.trend_memory(), memory, "a second value of the same poll is no second sample");
    bench.secs(30);
    bench.read(Source::Solar, 2_500);
    bench.read(Source::Grid, -2_000);
    assert_eq!(bench.controller.trend_memory(), memory, "the battery may still speak");
    bench.run(Millis(200));
    assert_eq!(bench.controller.snapshot().site.surplus, Some(Watts(2_000)), "it did not: the burst has had its time");
}

#[test]
fn other_modes_go_on_blind_at_their_limit() {
    for (mode, sighted, blind, reason) in [
        (Mode::Slow, 6_000, 6_000, "slow"),
        (Mode::SlowSolar, 6_000, 6_000, "no-data"),
        (Mode::Fast, 16_000, 10_000, "blind"),
        (Mode::Fixed, 8_000, 8_000, "fixed"),
        (Mode::Solar, 0, 0, "no-data"),
    ] {
        let mut bench = Bench::eager(config());
        bench.mode(mode);
        bench.secs(10);
        assert_eq!(bench.setpoint(), sighted, "{mode}");
        bench.secs(300);
        bench.check(blind, reason);
    }
}

#[test]
fn slow_solar_rises_with_the_sun_and_never_stops() {
    let mut bench = Bench::eager(config());
    bench.mode(Mode::SlowSolar);
    bench.surplus(500, 0);
    bench.check(6_000, "slow-solar");
    bench.secs(30);
    bench.surplus(7_000, 0);
    bench.check(10_100, "following");
    bench.secs(30);
    bench.surplus(-3_000, 0);
    bench.check(6_000, "slow-solar");
    bench.secs(400);
    bench.check(6_000, "stale");
}

#[test]
fn off_is_off_at_once_and_back_only_after_minimum_off() {
    let mut bench = Bench::plugged(config());
    bench.mode(Mode::Fast);
    bench.check(16_000, "fast");
    bench.secs(5);
    bench.mode(Mode::Off);
    bench.check(0, "off");
    bench.secs(5);
    bench.mode(Mode::Fast);
    bench.check(0, "minimum-off");
    bench.secs(56);
    bench.check(16_000, "fast");
}

#[test]
fn the_minimum_off_time_survives_a_restart() {
    let mut bench = Bench::new(config());
    bench.now = Tick(100_000);
    bench.tell(Input::Restore(Restore {
        charger: CAR,
        mode: Mode::Fixed,
        fixed: Milliamps(10_000),
        stopped_ago: Some(Millis::from_secs(20)),
    }));
    bench.says(Vehicle::Connected, 0, 0);
    bench.check(0, "minimum-off");
    bench.secs(41);
    bench.check(10_000, "fixed");
}

#[test]
fn a_running_charge_is_adopted_without_a_jump() {
    let mut bench = Bench::new(config());
    bench.says(Vehicle::Charging, 6_900, 10_000);
    bench.check(10_000, "adopted");
    bench.secs(29);
    bench.check(10_000, "adopted");
    bench.surplus(6_900, 6_900);
    bench.check(10_000, "following");
    let snapshot = bench.controller.snapshot();
    assert_eq!(snapshot.chargers[&CAR].starts, 0, "it was not started here");
}

#[test]
fn an_adopted_charge_without_data_ends_like_any_other() {
    let mut bench = Bench::new(config());
    bench.says(Vehicle::Charging, 6_900, 10_000);
    bench.eager = true;
    bench.secs(91);
    bench.check(6_000, "stale");
    bench.secs(210);
    bench.check(0, "no-data");
}

#[test]
fn a_retained_value_never_steers() {
    let retained = |source, value| Input::Reading(Reading { source, value: Some(value), retained: true });
    let mut bench = Bench::eager(config());
    bench.tell(retained(Source::Grid, -9_000));
    bench.tell(retained(Source::Battery, 0));
    bench.secs(10);
    bench.check(0, "no-data");
    bench.read(Source::Grid, -9_000);
    bench.secs(1);
    bench.check(0, "no-data");
    bench.read(Source::Battery, 0);
    bench.read(Source::Grid, -9_000);
    bench.secs(1);
    bench.check(13_000, "following");
    bench.tell(retained(Source::Battery, 0));
    bench.secs(30);
    bench.read(Source::Grid, -9_700);
    bench.secs(1);
    bench.check(14_000, "following");
    bench.tell(retained(Source::Battery, -100));
    bench.read(Source::Grid, -1_000);
    bench.secs(1);
    bench.check(14_000, "data-lost");
    assert_eq!(bench.controller.snapshot().site.battery, None, "something was missed: unknown until it speaks");
}

#[test]
fn no_data_is_not_zero_and_others_stand_in() {
    let mut bench = Bench::eager(config());
    bench.surplus(9_000, 0);
    bench.check(13_000, "following");
    bench.tell(Input::Reading(Reading { source: Source::Grid, value: None, retained: false }));
    bench.secs(30);
    bench.read(Source::Solar, 7_000);
    bench.read(Source::Load, 500);
    bench.secs(1);
    bench.check(9_400, "following");
    assert_eq!(bench.controller.snapshot().site.grid, None);
}

#[test]
fn meters_that_disagree_for_long_are_believed_where_they_leave_less() {
    let mut bench = Bench::plugged(config());
    for round in 0..4 {
        bench.read(Source::Solar, 3_000);
        bench.read(Source::Load, 500);
        bench.read(Source::Battery, 0);
        bench.read(Source::Grid, -9_000);
        bench.secs(61);
        let snapshot = bench.controller.snapshot();
        assert_eq!(snapshot.site.imbalance.is_some(), round >= 2, "round {round}");
    }
    assert_eq!(bench.controller.snapshot().site.surplus, Some(Watts(2_500)));
}

#[test]
fn faults_and_absence_stop_at_once() {
    for (change, reason) in [
        (ChargerReport { fault: Some(Fault::Locked), ..report(CAR, Tick(9), Vehicle::Unknown, 0, 16_000) }, "fault"),
        (ChargerReport { fault: Some(Fault::Error), ..report(CAR, Tick(9), Vehicle::Unknown, 0, 16_000) }, "fault"),
        (report(CAR, Tick(9), Vehicle::Absent, 0, 16_000), "no-vehicle"),
        (
            ChargerReport { link: Reachability::ReadOnly, ..report(CAR, Tick(9), Vehicle::Charging, 0, 16_000) },
            "read-only",
        ),
        (ChargerReport::silent(CAR, Tick(9), Reachability::Asleep), "asleep"),
    ] {
        let mut bench = Bench::plugged(config());
        bench.mode(Mode::Fast);
        bench.check(16_000, "fast");
        bench.tell(Input::Report(change));
        bench.check(0, reason);
    }
}

#[test]
fn a_short_silence_of_the_charger_costs_no_stop() {
    let mut bench = Bench::plugged(config());
    bench.mode(Mode::Fast);
    let silent = ChargerReport::silent(CAR, bench.now, Reachability::Offline);
    bench.tell(Input::Report(silent));
    bench.check(16_000, "offline");
    bench.secs(299);
    bench.check(16_000, "offline");
    bench.secs(2);
    bench.check(0, "offline");
}

#[test]
fn never_above_what_box_and_site_allow() {
    let mut small = config();
    small.site_limit = Milliamps(12_000);
    let mut bench = Bench::plugged(small);
    bench.mode(Mode::Fast);
    bench.check(12_000, "site-limit");
    let limited =
        ChargerReport { box_max: Some(Milliamps(10_000)), ..report(CAR, bench.now, Vehicle::Charging, 0, 12_000) };
    bench.tell(Input::Report(limited));
    bench.check(10_000, "fast");
}

#[test]
fn chargers_share_sun_and_fuse() {
    let mut two = config();
    two.chargers.insert(ChargerId(1), two.chargers[&CAR]);
    two.site_limit = Milliamps(20_000);
    let mut bench = Bench::new(two);
    bench.eager = true;
    for id in [CAR, ChargerId(1)] {
        let heard = report(id, bench.now, Vehicle::Connected, 0, 0);
        bench.tell(Input::Report(heard));
    }
    let setpoints = |bench: &Bench| [CAR, ChargerId(1)].map(|id| bench.orders[&id].setpoint.unwrap().0);
    bench.surplus(9_000, 0);
    assert_eq!(setpoints(&bench), [13_000, 0], "the first takes what there is");
    bench.secs(30);
    bench.surplus(16_500, 0);
    assert_eq!(setpoints(&bench), [16_000, 0], "the fuse leaves 4 A: too little");
    bench.mode(Mode::Off);
    bench.secs(61);
    bench.tell(Input::Command(Command::Mode { charger: Some(ChargerId(1)), mode: Mode::Fast }));
    bench.secs(2);
    bench.tell(Input::Command(Command::Mode { charger: Some(CAR), mode: Mode::Fast }));
    assert_eq!(setpoints(&bench), [0, 16_000]);
}

#[test]
fn a_car_on_one_phase_is_noticed_by_its_currents() {
    let mut bench = Bench::plugged(config());
    bench.surplus(5_000, 0);
    bench.check(7_200, "following");
    for _ in 0..6 {
        bench.secs(1);
        let one = [7_200, 0, 0].map(Milliamps);
        let said = ChargerReport { currents: Some(one), ..report(CAR, bench.now, Vehicle::Charging, 1_656, 7_200) };
        bench.tell(Input::Report(said));
    }
    assert_eq!(bench.controller.snapshot().chargers[&CAR].phases, 1);
    bench.surplus(3_000, 1_656);
    bench.check(13_000, "following");
}

#[test]
fn voltage_counts_as_measured() {
    let mut bench = Bench::new(config());
    let said = ChargerReport {
        voltages: Some([Volts(240), Volts(240), Volts(8)]),
        ..report(CAR, bench.now, Vehicle::Connected, 0, 0)
    };
    bench.tell(Input::Report(said));
    bench.surplus(7_200, 0);
    bench.check(10_000, "following");
}

#[test]
fn a_sleeping_car_is_woken_twice_at_most_and_a_full_one_never() {
    let mut bench = Bench::plugged(config());
    bench.mode(Mode::Slow);
    for _ in 0..1_300 {
        bench.secs(1);
        bench.says(Vehicle::Connected, 0, 6_000);
    }
    let wakes = |bench: &Bench| bench.others.iter().filter(|action| matches!(action, Action::Wake(_))).count();
    assert_eq!(wakes(&bench), 2);

    let mut bench = Bench::plugged(config());
    bench.mode(Mode::Slow);
    bench.secs(10);
    bench.says(Vehicle::Charging, 4_140, 6_000);
    for _ in 0..1_300 {
        bench.secs(1);
        bench.says(Vehicle::Connected, 0, 6_000);
    }
    assert_eq!(wakes(&bench), 0, "it has charged since the start: it is full");
}

#[test]
fn fresh_samples_are_asked_for_when_they_matter() {
    let refreshes = |bench: &Bench| bench.others.iter().filter(|action| **action == Action::Refresh).count();
    let mut bench = Bench::plugged(config());
    bench.surplus(-400, 0);
    bench.secs(60);
    assert_eq!(refreshes(&bench), 0, "night: nothing to win");
    bench.surplus(3_000, 0);
    bench.secs(60);
    assert!((5..=6).contains(&refreshes(&bench)), "near the line: every 10 s");
}

#[test]
fn starts_of_a_day_are_limited() {
    let mut few = config();
    few.solar.starts_per_day_max = 2;
    let mut bench = Bench::plugged(few);
    let mut seen = Vec::new();
    for _ in 0..3 {
        bench.surplus(9_000, 0);
        seen.push(bench.reason());
        if bench.setpoint() > 0 {
            bench.says(Vehicle::Charging, 8_970, 13_000);
        }
        bench.secs(70);
        bench.surplus(-9_000, 8_970);
        bench.says(Vehicle::Connected, 0, 0);
        bench.secs(70);
    }
    assert_eq!(seen, ["following", "following", "starts-used"]);
    bench.mode(Mode::Slow);
    bench.check(6_000, "slow");
}

#[test]
fn a_reload_keeps_mode_and_charge() {
    let mut bench = Bench::plugged(config());
    bench.mode(Mode::Fast);
    let mut lower = config();
    if let Some(charger) = lower.chargers.get_mut(&CAR) {
        charger.max = Milliamps(10_000);
        charger.mode = Mode::Off;
    }
    bench.tell(Input::Reconfigure(lower));
    bench.check(10_000, "fast");
}
