use std::collections::BTreeMap;

use control::{ChargerId, Controller, Reachability, WattHours};

use super::*;
use crate::config::{Environment, Files};

const HOUR_MS: u64 = 3_600_000;

/// A site with these powers in watts, and cars that draw the given powers.
fn snapshot(solar: i32, house: i32, battery: Option<i32>, cars: &[i32]) -> Snapshot {
    let text = include_str!("../../../config/surplusd.toml");
    let known = crate::charger::profile::known();
    let loaded = crate::config::parse(text, "surplusd.toml".as_ref(), &Environment::default(), &known, Files::Ignore);
    let mut snapshot = Controller::new(loaded.config.unwrap().control, Tick(1)).snapshot();
    snapshot.site.solar = Some(Watts(solar));
    snapshot.site.house = Some(Watts(house));
    snapshot.site.battery = battery.map(Watts);
    snapshot.site.age = Some(Millis(5_000));
    snapshot.site.missing = control::Sources::NONE;
    let view = snapshot.chargers[&ChargerId(0)];
    let one = |(id, power): (u8, &i32)| {
        let id = ChargerId(id);
        let vehicle = if *power > 0 { Vehicle::Charging } else { Vehicle::Connected };
        let report = ChargerReport { vehicle, power: Some(Watts(*power)), ..silent(id) };
        (id, ChargerView { report: Some(report), ..view })
    };
    snapshot.chargers = (0..).zip(cars).map(one).collect::<BTreeMap<_, _>>();
    snapshot
}

const fn silent(id: ChargerId) -> ChargerReport {
    ChargerReport::silent(id, Tick(1), Reachability::Online)
}

fn date(day: i8) -> Date {
    Date::new(2026, 11, day).unwrap()
}

/// A look one second after the last, on this day of the month, when the daemon has run for `running_s`.
fn look(origin: Option<Origin>, day: i8, running_s: u64) -> Look {
    let moment = Moment::now();
    Look { span: Millis(1_000), origin, moment, day: Some(date(day)), running: Millis::from_secs(running_s) }
}

fn hour(account: &mut Account, snapshot: &Snapshot, day: i8, running_s: u64) {
    let origin = Origin::of(snapshot);
    for _ in 0..HOUR_MS / 1_000 {
        account.look(&snapshot.chargers[&ChargerId(0)], &look(origin, day, running_s));
    }
}

#[test]
fn the_sun_serves_the_house_first_then_the_cars_then_the_battery_then_the_grid() {
    for (solar, house, battery, car, want) in [
        (7_000, 1_000, None, 4_000, (4_000, 0, 0)),
        (4_000, 1_000, None, 4_000, (3_000, 0, 1_000)),
        (4_000, 1_000, Some(400), 4_000, (3_000, 400, 600)),
        // The battery serves the house before the car.
        (0, 1_000, Some(3_000), 4_000, (0, 2_000, 2_000)),
        (0, 1_000, Some(500), 4_000, (0, 0, 4_000)),
        (4_000, 1_000, Some(-2_000), 4_000, (3_000, 0, 1_000)),
    ] {
        let mut account = Account::new();
        hour(&mut account, &snapshot(solar, house, battery, &[car]), 29, 0);
        let today = account.today;
        assert_eq!((today.solar().0, today.battery().0, today.grid().0), want, "{solar} {house} {battery:?}");
        assert_eq!(today.energy(), WattHours(4_000));
    }
}

#[test]
fn several_cars_share_the_sun_by_what_they_draw() {
    let site = snapshot(4_000, 1_000, None, &[4_000, 2_000]);
    let mut account = Account::new();
    hour(&mut account, &site, 29, 0);
    assert_eq!((account.today.solar(), account.today.grid()), (WattHours(2_000), WattHours(2_000)));
    assert_eq!(account.today.sun_percent(), Some(50));
}

#[test]
fn what_is_not_known_is_no_sun_and_no_grid() {
    let mut site = snapshot(4_000, 1_000, None, &[3_000]);
    let mut account = Account::new();
    site.site.age = Some(Millis::from_secs(600));
    hour(&mut account, &site, 29, 0);
    assert_eq!((account.today.energy(), account.today.sun_percent()), (WattHours(3_000), None));
    site.site.age = Some(Millis(5_000));
    hour(&mut account, &site, 29, 0);
    assert_eq!((account.today.energy(), account.today.sun_percent()), (WattHours(6_000), Some(100)));
    // A battery that is silent may be what the cars draw from.
    let mut silent_battery = site.clone();
    silent_battery.site.missing.add(Source::Battery);
    assert_eq!((Origin::of(&site).is_some(), Origin::of(&silent_battery)), (true, None));
    // A loop that was held up for an hour does not know what happened meanwhile.
    let origin = Origin::of(&site);
    let held = Look { span: Millis(HOUR_MS), ..look(origin, 29, 0) };
    account.look(&site.chargers[&ChargerId(0)], &held);
    assert_eq!(account.today.energy(), WattHours(6_025));
}

#[test]
fn midnight_begins_anew_and_a_clock_that_is_not_set_yet_does_not() {
    let site = snapshot(9_000, 1_000, None, &[3_000]);
    let mut account = Account::new();
    hour(&mut account, &site, 28, 0);
    hour(&mut account, &site, 29, 86_400);
    assert_eq!(account.today.energy(), WattHours(3_000));
    assert_eq!(account.session.unwrap().1.energy(), WattHours(6_000), "the car is still the same");
    // After a restart the clock shows an old day until the time is known.
    let mut account = Account::resume(account.day, account.today, account.session);
    hour(&mut account, &site, 3, 10);
    assert_eq!(account.today.energy(), WattHours(6_000));
    // A clock that keeps showing an earlier day was wrong before.
    hour(&mut account, &site, 3, 901);
    assert_eq!((account.today.energy(), account.day), (WattHours(3_000), Some(date(3))));
}

#[test]
fn a_session_begins_and_ends_with_the_plug_and_starts_are_counted() {
    let mut account = Account::new();
    let now = look(None, 29, 0);
    let charging = snapshot(9_000, 1_000, None, &[3_000]).chargers[&ChargerId(0)];
    let waiting = snapshot(9_000, 1_000, None, &[0]).chargers[&ChargerId(0)];
    let absent =
        ChargerView { report: Some(ChargerReport { vehicle: Vehicle::Absent, ..silent(ChargerId(0)) }), ..waiting };
    let unknown = ChargerView { report: Some(silent(ChargerId(0))), ..waiting };
    account.look(&charging, &now);
    assert_eq!(account.today.starts, 0, "it ran before");
    for view in [&waiting, &charging, &unknown, &charging, &waiting, &charging] {
        account.look(view, &now);
    }
    assert_eq!((account.today.starts, account.session.unwrap().1.starts), (2, 2));
    account.look(&absent, &now);
    assert_eq!((account.today.starts, account.session), (2, None));
    account.look(&waiting, &now);
    assert_eq!(account.session.unwrap().1, Tally::ZERO);
}
