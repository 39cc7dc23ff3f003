//! Meters, batteries and wallboxes as found in the field: a house in virtual time whose meters publish on change, as Home Assistant does,
//! and a car that follows its setpoint. Each test names the kind of fault; `right` checks what must hold in every example.

use alloc::boxed::Box;

use super::*;
use crate::facts::Source::{Battery, Grid, Load, Solar};
use crate::testing::house::{House, without};

/// A1: an entity shows watts where kilowatts are expected.
#[test]
fn watts_for_kilowatts_never_charge_from_the_grid() {
    for (solar, house, battery) in [(600, 500, -100), (8_000, 500, -3_000), (20, 300, 280), (0, 60, 55), (9, 30, 20)] {
        let mut site = House::new(config(), solar, house);
        site.battery = battery;
        site.lie = Box::new(|_, value, _| Some(value.saturating_mul(1_000)));
        site.secs(1_800);
        assert_eq!((site.bench.setpoint(), site.starts), (0, 0), "{solar} {house} {battery}: {}", site.doubt());
        assert_eq!(site.doubt() == "out-of-range", house > 43, "{solar} {house} {battery}: {}", site.doubt());
    }
}

/// A1: one entity changes its unit or its sign in the middle of a charge; the others stay right.
#[test]
fn one_source_that_changes_its_unit_or_sign_never_raises_the_current() {
    type Change = fn(i32) -> i32;
    let changes: [(&str, Change); 3] =
        [("×1000", |value| value.saturating_mul(1_000)), ("÷1000", |value| value / 1_000), ("−", |value| -value)];
    for source in [Grid, Solar, Battery, Load] {
        for (name, change) in changes {
            let mut site = House::new(config(), 8_000, 900);
            site.battery = -700;
            site.secs(600);
            let before = site.bench.setpoint();
            site.lie =
                Box::new(move |of, value, at| Some(if of == source && at > 600 { change(value) } else { value }));
            site.solar = 5_600;
            site.secs(900);
            let after = site.bench.setpoint();
            assert!(before > 8_000 && after <= 6_900, "{} {name}: {before} → {after}", source.name());
            assert!(site.imported_wh() < 200, "{} {name}: {} Wh", source.name(), site.imported_wh());
        }
    }
}

/// A2: the battery is filled whatever the car does, and the car's power comes from the grid.
#[test]
fn a_battery_that_does_not_give_way_is_no_surplus() {
    for (solar, battery) in [(5_600, -5_000), (3_000, -4_800), (6_500, -3_300), (9_000, -5_000)] {
        let mut site = House::new(config(), solar, 500);
        site.battery = battery;
        site.secs(7_200);
        let true_surplus = solar - 500 + battery;
        let allowed = if true_surplus > 3_000 { 16_000 } else { 0 };
        assert!(site.bench.setpoint() <= allowed, "{solar} {battery}: {}", site.bench.setpoint());
        assert!(site.starts <= 1, "{} starts", site.starts);
        if allowed == 0 {
            assert!(site.imported_wh() < 150, "{solar} {battery}: {} Wh", site.imported_wh());
            assert_eq!(site.doubt(), if site.starts > 0 { "battery-from-grid" } else { "none" });
        }
    }
}

/// A2, the other way: a battery that balances the site gives way, and its charging counts.
#[test]
fn a_battery_that_balances_the_site_gives_way() {
    let mut site = House::new(config(), 6_500, 500);
    for second in 0..1_800 {
        site.battery = (site.base + site.car - site.solar).clamp(-5_000, 5_000);
        site.base = 500 + second % 90 * 3;
        site.secs(1);
    }
    assert!(site.bench.setpoint() >= 8_000, "{}", site.bench.setpoint());
    assert_eq!(site.doubt(), "none");
}

/// A3: a single absurd value.
#[test]
fn one_absurd_sample_starts_nothing() {
    for (source, value) in [(Grid, -12_000), (Grid, -80_000), (Solar, 14_000), (Battery, -9_000), (Load, 0)] {
        let mut site = House::new(config(), 300, 500);
        site.lie = Box::new(move |of, truth, at| Some(if of == source && at == 600 { value } else { truth }));
        for _ in 0..40 {
            site.base = 501 + i32::try_from(site.second / 30 % 2).unwrap();
            site.secs(30);
            assert_eq!(site.bench.setpoint(), 0, "{} {value} at {}", source.name(), site.second);
        }
    }
}

/// A3: where neither solar nor load is known, a jump larger than any roof could produce waits for a second sample.
#[test]
fn a_jump_without_a_witness_waits_for_a_second_sample() {
    let mut bench = Bench::plugged(without(&[Solar, Load, Battery]));
    bench.read(Grid, 400);
    bench.secs(30);
    bench.read(Grid, -12_000);
    bench.secs(1);
    bench.check(0, "jump");
    bench.secs(29);
    bench.read(Grid, 410);
    bench.secs(30);
    assert_eq!(bench.setpoint(), 0);
    bench.read(Grid, -12_000);
    bench.secs(30);
    bench.read(Grid, -12_010);
    bench.secs(1);
    bench.check(16_000, "following");
}

/// A4: samples that arrive less often than the limits of their age allow.
#[test]
fn samples_too_seldom_start_no_more_than_one_charge() {
    for every in [250, 305, 600] {
        let mut site = House::new(config(), 9_000, 500);
        site.every = every;
        for _ in 0..60 {
            site.base = 501 + i32::try_from(site.second / every % 2).unwrap();
            site.secs(every);
        }
        let slow = every > 250;
        assert!(site.starts <= if slow { 1 } else { 2 }, "{} starts every {every} s", site.starts);
        assert_eq!(site.bench.reason() == "slow-samples", slow, "every {every} s: {}", site.bench.reason());
    }
}

/// A5: stored values that arrive as live, again and again: a broker behind a bridge restarts while Home Assistant is dead.
#[test]
fn repeated_values_are_no_sign_of_life() {
    let mut site = House::new(config(), 8_000, 500);
    site.secs(600);
    assert!(site.bench.setpoint() > 10_000);
    let (frozen, died) = (site.said.clone(), site.second);
    site.lie = Box::new(move |source, _, _| frozen.get(&source).copied());
    for step in 1..80 {
        site.said.clear();
        site.secs(51);
        let (dead, setpoint) = (site.second - died, site.bench.setpoint());
        assert!(dead < 91 + 30 || setpoint <= 6_000, "{setpoint} mA after {dead} s");
        assert!(dead < 301 + 30 || setpoint == 0, "{setpoint} mA after {dead} s, step {step}");
    }
    assert_eq!(site.starts, 1);
}

/// E1: the grid and the battery do not change, solar and load do.
#[test]
fn a_live_message_of_the_group_proves_the_values_that_stay_the_same() {
    let mut bench = Bench::eager(config());
    let mut house = 400;
    bench.surplus(5_600, 0);
    bench.mode(Mode::Off);
    bench.secs(600);
    bench.read(Grid, -5_600);
    for step in 0..40 {
        match bench.setpoint() {
            0 => bench.says(Vehicle::Requesting, 0, 0),
            told => bench.tell(Input::Report(ChargerReport {
                power: None,
                ..report(CAR, bench.now, Vehicle::Charging, 0, told)
            })),
        }
        house = 1_000 - house;
        bench.read(Solar, 5_600 + house);
        bench.read(Load, house);
        bench.secs(10);
        if step == 20 {
            bench.mode(Mode::Solar);
        }
    }
    bench.check(8_100, "following");
}

/// E2, A6: after a start, solar and battery are stored and do not change; grid and load send live values.
#[test]
fn stored_values_count_once_live_ones_close_the_balance_with_them() {
    let stored = |source, value| Input::Reading(Reading { source, value: Some(value), retained: true });
    for (solar, starts) in [(8_000, true), (3_000, false)] {
        let mut bench = Bench::plugged(config());
        bench.tell(stored(Solar, 8_000));
        bench.tell(stored(Battery, 0));
        for step in 0..6 {
            bench.read(Grid, 500 + step - solar);
            bench.read(Load, 500 + step);
            bench.secs(10);
            let early = step < 2;
            assert!(!early || bench.setpoint() == 0, "nothing starts on values that are not confirmed");
        }
        assert_eq!(bench.setpoint() > 0, starts, "{}", bench.reason());
    }
}

/// A6: what is missing is named.
#[test]
fn the_missing_source_is_named() {
    let mut bench = Bench::plugged(without(&[Solar, Load]));
    bench.read(Grid, -5_000);
    bench.secs(10);
    let reason = bench.controller.snapshot().chargers[&CAR].reason;
    assert_eq!(format!("{reason}"), "no sample of the site yet: nothing live from battery");
}

/// E3: nothing changes at noon while the car charges. A small step of our own shows whether the meters are alive.
#[test]
fn silence_at_noon_costs_a_little_and_no_saw_tooth() {
    let mut site = House::new(config(), 8_000, 500);
    site.secs(300);
    let before = site.bench.setpoint();
    for _ in 0..1_800 {
        site.secs(1);
        assert!(site.bench.setpoint() + 400 >= before, "{} at {} s", site.bench.setpoint(), site.second);
    }
    assert_eq!(site.starts, 1);
}

/// F4: the wallbox's power register is stuck while its currents are true.
#[test]
fn a_power_register_that_stands_still_is_not_surplus() {
    for stuck in [20_000, 0] {
        let mut bench = Bench::plugged(config());
        let mut amps = 0;
        for step in 0..60 {
            bench.surplus(4_500 + step % 2, amps * 690);
            bench.secs(15);
            amps = i32::try_from(bench.setpoint() / 1_000).unwrap();
            let currents = Some([Milliamps(u32::try_from(amps * 1_000).unwrap()); 3]);
            let vehicle = if amps > 0 { Vehicle::Charging } else { Vehicle::Connected };
            for _ in 0..15 {
                let told = bench.setpoint();
                let report = report(CAR, bench.now, vehicle, stuck, told);
                bench.tell(Input::Report(ChargerReport { currents, ..report }));
                bench.secs(1);
            }
        }
        assert!((6_000..=6_500).contains(&bench.setpoint()), "{} at a register of {stuck} W", bench.setpoint());
    }
}

/// F4: surplus is never more than solar production.
#[test]
fn surplus_is_bounded_by_production() {
    let mut bench = Bench::plugged(config());
    for step in 0..20 {
        bench.says(Vehicle::Charging, 10_000, 16_000);
        bench.read(Solar, 0);
        bench.read(Battery, 0);
        bench.read(Grid, -450 - step % 2);
        bench.read(Load, -450 - step % 2);
        bench.secs(30);
    }
    assert_eq!(bench.setpoint(), 0);
    assert!(bench.controller.snapshot().site.surplus.unwrap() <= Watts(0));
    assert_eq!(bench.controller.doubt().map(Doubt::code), Some("house-produces"));
}

/// Meters that do not see the charger, or show it with the wrong sign.
#[test]
fn meters_that_do_not_follow_the_charger_end_the_charge() {
    type Seen = fn(i32, i32) -> i32;
    let lies: [(&str, Seen); 2] =
        [("not seen", |value, car| value - car), ("wrong sign", |value, car| value - 2 * car)];
    for (name, lie) in lies {
        for sources in [&[][..], &[Load][..]] {
            let mut site = House::new(without(sources), 5_500, 500);
            for second in 0..3_600 {
                let car = site.car;
                site.lie = Box::new(move |source, value, _| {
                    Some(if matches!(source, Grid | Load) { lie(value, car) } else { value })
                });
                site.base = 500 + second % 60;
                site.secs(1);
            }
            assert!(site.starts <= 1 && site.bench.setpoint() == 0, "{name}: {} starts", site.starts);
            assert!(site.imported_wh() < 60, "{name}: {} Wh", site.imported_wh());
        }
    }
}

/// The meters are right and fast, and the wallbox is read seldom: a change that they show before it is read is no contradiction.
#[test]
fn a_wallbox_that_is_read_seldom_raises_no_doubt() {
    for polled in [1, 2, 5, 10, 20] {
        for every in [1, 5, 10, 30] {
            let mut site = House::new(config(), 6_000, 500);
            site.polled = polled;
            site.every = every;
            for second in 0..3_600 {
                // The sun goes away now and then, so that it stops and starts.
                site.solar = if second % 900 < 600 { 6_000 } else { 300 };
                site.base = 500 + second % 60;
                site.secs(1);
                assert!(
                    !matches!(site.doubt(), "car-not-seen" | "wrong-sign"),
                    "{polled} s, {every} s, second {second}"
                );
            }
            assert!(site.starts >= 3, "{polled} s, {every} s: {} starts", site.starts);
        }
    }
}

/// While the meters are silent the car stops and somebody cooks: they need not show the one without the other afterwards.
#[test]
fn a_long_silence_proves_nothing_about_the_meters() {
    let mut site = House::new(config(), 6_000, 500);
    site.secs(900);
    assert!(site.car > 0);
    site.every = 10_000;
    site.secs(600);
    assert_eq!(site.car, 0);
    site.base = 5_000;
    site.every = 30;
    for _ in 0..300 {
        site.secs(1);
        assert!(!matches!(site.doubt(), "car-not-seen" | "wrong-sign"), "{}", site.doubt());
    }
    for second in 0..900 {
        site.base = 500 + second % 60;
        site.secs(1);
    }
    assert!(site.car > 0);
}

/// A bridged broker repeats what the meters showed while the car charged, after it has stopped: that is no meter that missed the stop.
#[test]
fn repeated_values_do_not_prove_that_the_meters_missed_a_stop() {
    let mut site = House::new(config(), 6_000, 500);
    site.secs(900);
    assert!(site.car > 0);
    site.every = 10_000;
    for second in 0..900 {
        site.secs(1);
        if second % 66 == 0 {
            site.repeat();
        }
        assert!(!matches!(site.doubt(), "car-not-seen" | "wrong-sign"), "{}", site.doubt());
    }
    assert_eq!(site.car, 0);
    site.every = 30;
    for second in 0..900 {
        site.base = 500 + second % 60;
        site.secs(1);
    }
    assert!(site.car > 0);
}

/// B7: the house is off-grid.
#[test]
fn off_the_grid_nothing_is_drawn_unless_it_is_allowed() {
    for (limit, mode, expected) in
        [(0, Mode::Fast, 0), (0, Mode::Solar, 0), (8_000, Mode::Fast, 8_000), (16_000, Mode::Solar, 8_600)]
    {
        let mut config = config();
        config.fail_safe.off_grid = Milliamps(limit);
        let mut bench = Bench::plugged(config);
        bench.mode(mode);
        bench.tell(Input::Reading(Reading { source: Source::GridStatus, value: Some(0), retained: true }));
        bench.read(Solar, 7_500);
        bench.read(Battery, -7_000);
        bench.read(Grid, 0);
        bench.read(Load, 500);
        bench.secs(1);
        assert_eq!(bench.setpoint(), expected, "{limit} {mode}");
        bench.tell(Input::Reading(Reading { source: Source::GridStatus, value: None, retained: false }));
        bench.secs(1);
        assert_eq!(bench.setpoint(), expected, "{limit} {mode}: unavailable is not back");
        bench.tell(Input::Reading(Reading { source: Source::GridStatus, value: Some(1), retained: false }));
        bench.secs(120);
        assert_ne!(bench.reason(), "off-grid");
    }
}

/// The state of the grid may be sent only when it changes: a new configuration does not forget it.
#[test]
fn off_the_grid_a_new_configuration_changes_nothing() {
    let mut config = config();
    let mut bench = Bench::plugged(config.clone());
    bench.mode(Mode::Fast);
    bench.surplus(7_500, 0);
    bench.secs(1);
    assert_eq!(bench.setpoint(), 16_000);
    bench.tell(Input::Reading(Reading { source: Source::GridStatus, value: Some(0), retained: false }));
    config.sampling.settle = Millis(300);
    bench.tell(Input::Reconfigure(config.clone()));
    bench.secs(61);
    bench.surplus(7_500, 0);
    bench.secs(1);
    assert_eq!((bench.setpoint(), bench.reason()), (0, "off-grid"));
    config.sources.remove(&Source::GridStatus);
    bench.tell(Input::Reconfigure(config));
    bench.secs(1);
    assert_ne!(bench.reason(), "off-grid", "nobody says so any more");
}

/// E4: times are reported in seconds and count down; a source that became unavailable is reported at once.
#[test]
fn reasons_tell_the_time_that_is_left() {
    let mut bench = Bench::plugged(config());
    bench.surplus(9_000, 0);
    bench.secs(30);
    bench.says(Vehicle::Charging, 8_970, 13_000);
    bench.secs(3);
    bench.surplus(0, 8_970);
    let text = |bench: &Bench| format!("{}", bench.controller.snapshot().chargers[&CAR].reason);
    assert_eq!(text(&bench), "too little surplus, too soon to stop: minimum on-time for 30 s more");
    bench.secs(15);
    assert_eq!(text(&bench), "too little surplus, too soon to stop: minimum on-time for 20 s more");
    for source in [Grid, Solar, Battery, Load] {
        bench.tell(Input::Reading(Reading { source, value: None, retained: false }));
    }
    bench.secs(1);
    assert_eq!(
        text(&bench),
        "some sources give nothing live, the last sample is 20 s old: nothing rises until they do"
    );
}
