//! How the home battery and the car share the surplus.

use super::*;

#[test]
fn the_battery_takes_no_sun_from_the_car_unless_it_comes_first() {
    let sample = |bench: &mut Bench, grid, battery, soc| {
        bench.read(Source::BatterySoc, soc);
        bench.read(Source::Battery, battery);
        bench.read(Source::Grid, grid);
        bench.run(Millis(300));
    };
    let mut bench = Bench::eager(config());
    sample(&mut bench, 0, -4_800, 30);
    bench.check(6_900, "following");

    let mut first = config();
    first.battery.priority_soc = Percent(40);
    let mut bench = Bench::eager(first.clone());
    sample(&mut bench, 0, -4_800, 30);
    bench.check(0, "battery-first");
    bench.secs(30);
    sample(&mut bench, -6_000, -500, 30);
    bench.check(0, "battery-first");
    bench.secs(30);
    sample(&mut bench, -6_000, -4_900, 30);
    bench.check(8_600, "following");

    let mut bench = Bench::eager(first);
    sample(&mut bench, 0, -4_800, 40);
    bench.check(6_900, "following");
    bench.secs(120);
    sample(&mut bench, 0, -4_800, 39);
    bench.check(6_900, "following");
    bench.secs(60);
    sample(&mut bench, 0, -4_800, 37);
    bench.check(0, "battery-first");
}

#[test]
fn a_full_battery_carries_the_car_through_a_cloud() {
    let mut carry = config();
    carry.battery.buffer_soc = Percent(90);
    for (soc, setpoint, reason) in [(95, 6_000, "battery-carries"), (89, 0, "sun-gone"), (20, 0, "sun-gone")] {
        let mut bench = Bench::plugged(carry.clone());
        bench.read(Source::BatterySoc, soc);
        bench.surplus(8_000, 0);
        bench.secs(70);
        bench.says(Vehicle::Charging, 7_935, 11_500);
        bench.secs(3);
        bench.surplus(100, 7_935);
        bench.check(setpoint, reason);
    }
}

#[test]
fn the_battery_gives_no_more_than_its_budget() {
    let mut bench = Bench::plugged(config());
    let mut power = 900;
    let mut draw = |bench: &mut Bench| {
        if bench.setpoint() > 0 {
            bench.says(Vehicle::Charging, 4_140, 6_000);
        } else {
            bench.says(Vehicle::Requesting, 0, 0);
        }
        bench.secs(3);
        power = 1_801 - power;
        bench.read(Source::Battery, if bench.setpoint() > 0 { power } else { power - 4_140 });
        bench.read(Source::Grid, 0);
        bench.secs(27);
    };
    bench.surplus(8_000, 0);
    for _ in 0..2 * 60 {
        draw(&mut bench);
    }
    bench.check(6_000, "holding");
    for _ in 0..3 * 2 * 60 {
        draw(&mut bench);
    }
    bench.check(0, "too-little-sun");
}
