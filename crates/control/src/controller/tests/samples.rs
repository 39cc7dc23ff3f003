//! What counts as a sample of the site, and what follows from it for the home battery.

use super::*;

/// The battery's state of charge, or a separate PV inverter, sends a value between two polls of the meters: it adds nothing new.
#[test]
fn what_says_nothing_of_the_net_draw_is_no_sample_of_it() {
    for (source, value) in [(Source::BatterySoc, 51), (Source::Solar, 7_450), (Source::Load, 600)] {
        let mut bench = Bench::plugged(config());
        bench.surplus(6_900, 0);
        bench.check(10_000, "following");
        bench.secs(15);
        bench.says(Vehicle::Charging, 6_900, 10_000);
        bench.secs(5);
        bench.says(Vehicle::Charging, 6_900, 10_000);
        bench.read(source, value);
        bench.secs(1);
        let site = bench.controller.snapshot().site;
        assert_eq!((site.surplus, bench.setpoint()), (Some(Watts(6_900)), 10_000), "{source:?}");
    }
}

/// Home Assistant sends the meters of one poll one after another, in any order.
#[test]
fn meters_of_one_poll_are_held_against_each_other_not_against_the_last_poll() {
    use Source::{Battery, Grid, Load, Solar};
    for order in [[Grid, Battery, Load, Solar], [Solar, Battery, Grid, Load], [Load, Solar, Grid, Battery]] {
        let mut bench = Bench::plugged(config());
        for solar in [1_000, 1_800, 2_600, 3_400, 2_000, 700] {
            for source in order {
                let value = match source {
                    Grid => 500 - solar,
                    Solar => solar,
                    Load => 500,
                    Battery | Source::BatterySoc | Source::GridStatus | Source::Heartbeat => 0,
                };
                bench.read(source, value);
            }
            bench.secs(30);
            let site = bench.controller.snapshot().site;
            assert_eq!((site.imbalance, site.house), (None, Some(Watts(500))), "{order:?} at {solar} W");
        }
    }
}

#[test]
fn a_closed_battery_gives_nothing_for_long() {
    let mut bench = Bench::plugged(config());
    bench.read(Source::BatterySoc, 15);
    bench.surplus(8_000, 0);
    bench.secs(70);
    for _ in 0..20 {
        bench.says(Vehicle::Charging, 4_140, 6_000);
        bench.secs(3);
        bench.read(Source::BatterySoc, 15);
        bench.read(Source::Battery, 300);
        bench.read(Source::Grid, 0);
        bench.secs(27);
    }
    assert_eq!(bench.setpoint(), 0, "the battery is below its floor and gives the car 300 W");
}

/// The grid comes back after an hour: what the battery did before that hour is not what it does now.
#[test]
fn what_was_said_before_a_long_silence_is_forgotten() {
    let mut bench = Bench::plugged(config());
    bench.read(Source::Battery, -5_000);
    bench.read(Source::Grid, 0);
    bench.secs(1);
    assert_eq!(bench.controller.snapshot().site.surplus, Some(Watts(5_000)));
    bench.secs(3_600);
    bench.read(Source::Grid, -100);
    bench.secs(1);
    assert_eq!(bench.controller.snapshot().site.battery, None);
    assert_eq!(bench.setpoint(), 0);
}

/// After a start no live state of charge may arrive for hours, as it does not change; the value stored by the broker may close the battery.
#[test]
fn a_stored_charge_at_the_floor_closes_the_battery() {
    for (stored, reason) in [(12, "sun-gone"), (60, "holding")] {
        let mut bench = Bench::plugged(config());
        bench.tell(Input::Reading(Reading { source: Source::BatterySoc, value: Some(stored), retained: true }));
        bench.surplus(8_000, 0);
        bench.secs(70);
        bench.says(Vehicle::Charging, 7_935, 11_500);
        bench.secs(5);
        // The battery supplies what solar does not.
        bench.read(Source::Solar, 4_100);
        bench.read(Source::Battery, 4_335);
        bench.read(Source::Grid, 0);
        bench.read(Source::Load, 8_435);
        assert_eq!(bench.reason(), reason, "stored {stored} %");
    }
}

/// A battery that keeps its own reserve and leaves the rest to the grid cannot be drained: then the grid's share is up to the user.
#[test]
fn a_battery_that_gives_nothing_at_its_floor_does_not_end_the_holding() {
    let mut bench = Bench::plugged(config());
    let sample = |bench: &mut Bench, surplus: i32, cars: i32, battery: i32| {
        bench.read(Source::BatterySoc, 20);
        bench.read(Source::Solar, surplus + 500);
        bench.read(Source::Battery, battery);
        bench.read(Source::Grid, cars - surplus - battery);
        bench.read(Source::Load, 500 + cars);
    };
    sample(&mut bench, -500, 0, 0);
    bench.secs(30);
    sample(&mut bench, 8_000, 0, 0);
    bench.secs(70);
    bench.says(Vehicle::Charging, 7_935, 11_500);
    bench.secs(5);
    sample(&mut bench, 3_600, 7_935, 0);
    bench.check(6_000, "holding");
    bench.secs(30);
    bench.says(Vehicle::Charging, 4_140, 6_000);
    bench.secs(5);
    sample(&mut bench, 3_600, 4_140, 540);
    bench.check(0, "sun-gone");
}

#[test]
fn stale_data_goes_down_to_the_minimum_and_then_to_nothing() {
    let mut bench = Bench::eager(config());
    bench.surplus(9_000, 0);
    bench.says(Vehicle::Charging, 8_970, 13_000);
    bench.secs(60);
    bench.check(13_000, "following");
    bench.secs(30);
    bench.check(12_600, "asking");
    bench.secs(1);
    bench.check(6_000, "stale");
    bench.secs(208);
    bench.check(6_000, "stale");
    bench.secs(2);
    bench.check(0, "blind");
    bench.says(Vehicle::Connected, 0, 0);
    bench.secs(100);
    bench.surplus(9_000, 0);
    bench.check(0, "slow-samples");
    bench.secs(30);
    bench.surplus(9_000, 0);
    bench.check(13_000, "following");
}
