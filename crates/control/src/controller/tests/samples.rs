//! What is a sample of the site, and what follows from it for the home battery.

use super::*;

/// The battery's charge, or a PV inverter of its own, speaks between two polls of the meters: nothing is known that was not known before.
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

/// Home Assistant sends the meters of one poll one after another, in whatever order.
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
                    Battery | Source::BatterySoc => 0,
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
