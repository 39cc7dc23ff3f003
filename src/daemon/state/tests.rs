//! Moments, versions, and what counts after a restart.

use super::file::{Form, Unreadable, Uptime, parse};
use super::*;

const CAR: ChargerId = ChargerId(0);
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

pub(super) fn state() -> State {
    // Far in the future, because moments in the past are not written.
    let far = Moment(i64::MAX / 2);
    let charger = ChargerState {
        mode: Mode::SlowSolar,
        fixed: Milliamps(8_000),
        meter: EnergyMeter::resume(WattHours(12), Some(WattHours(3_000)), Millis(0)),
        running: true,
        stopped: Some(Moment(12)),
        starts: vec![far],
        locked: true,
        account: Account::new(),
        gone: None,
    };
    State {
        chargers: BTreeMap::from([("carport".to_owned(), charger)]),
        drained: vec![(far, WattHours(300))],
        ..State::new()
    }
}

fn ids() -> Names {
    [(CAR, "carport".to_owned())].into_iter().collect()
}

fn at(boot: &str, now: i64) -> Uptime {
    Uptime { boot: Some(boot.to_owned()), now: Moment(now) }
}

/// Returns the state after writing it in one uptime and reading it in another.
fn through(state: &State, written: &Uptime, read: &Uptime) -> State {
    parse(&Form::new(state, written).text().unwrap(), read).unwrap()
}

/// Counts 200 Wh and two starts at the second hour of a run.
fn after_two_hours() -> State {
    let mut state = state();
    let now = Moment(2 * HOUR);
    let day = Millis(DAY.unsigned_abs());
    let counts = CarryOver {
        drained: Some(vec![Spent { left: day, energy: WattHours(200) }]),
        chargers: BTreeMap::from([(CAR, ChargerCarryOver { starts: vec![Millis(1_000), day], may_run: true })]),
    };
    assert_eq!(state.take(&counts, &ids(), now, WattHours(40)), Store::Soon);
    assert_eq!(state.take(&counts, &ids(), now, WattHours(40)), Store::Never, "the same is not worth storing");
    state.get_mut("carport").unwrap().stopped = Some(Moment(HOUR));
    state
}

#[test]
fn within_one_run_of_the_machine_every_second_of_a_restart_passes() {
    let loaded = through(&after_two_hours(), &at("a", 2 * HOUR), &at("a", 3 * HOUR));
    let told = loaded.carry_over(&ids(), Moment(3 * HOUR), true);
    let left = Millis((DAY - HOUR).unsigned_abs());
    assert_eq!(told.drained, Some(vec![Spent { left, energy: WattHours(200) }]));
    let charger = &told.chargers[&CAR];
    assert_eq!((charger.starts.as_slice(), charger.may_run), ([Millis(0), left].as_slice(), true));
    assert_eq!(loaded.get("carport").unwrap().stopped, Some(Moment(HOUR)));
}

/// A Pi without a battery-backed clock cannot tell how long it was off, so only the time known to have passed counts.
#[test]
fn after_a_reboot_of_unknown_length_nothing_is_forgotten_too_early() {
    let loaded = through(&after_two_hours(), &at("a", 2 * HOUR), &at("b", HOUR / 2));
    let told = loaded.carry_over(&ids(), Moment(HOUR / 2), true);
    let left = Millis((DAY - HOUR / 2).unsigned_abs());
    assert_eq!(told.drained, Some(vec![Spent { left, energy: WattHours(200) }]));
    assert_eq!(told.chargers[&CAR].starts, [Millis(0), left]);
    // One hour before the end of the previous boot, and half an hour of this one.
    let stopped = loaded.get("carport").unwrap().stopped.unwrap();
    assert_eq!(Moment(HOUR / 2).since(stopped), Millis((HOUR + HOUR / 2).unsigned_abs()));
    // An uptime that went back is another boot, whatever its id.
    let back = through(&after_two_hours(), &at("a", 2 * HOUR), &at("a", HOUR));
    assert_eq!(
        back.carry_over(&ids(), Moment(HOUR), true).chargers[&CAR].starts[1],
        Millis((DAY - HOUR).unsigned_abs())
    );
}

#[test]
fn what_the_battery_gives_is_stored_ahead() {
    let mut state = after_two_hours();
    state.get_mut("carport").unwrap().mode = Mode::Solar;
    let mut stored = 0;
    let mut given = 200;
    let mut times = 0;
    for second in 0..3_600 {
        given += second % 2;
        let now = Moment(2 * HOUR + second * 1_000);
        let counts = CarryOver {
            drained: Some(vec![Spent { left: Millis(DAY.unsigned_abs()), energy: WattHours(given) }]),
            chargers: BTreeMap::from([(CAR, ChargerCarryOver { starts: Vec::new(), may_run: true })]),
        };
        if state.take(&counts, &ids(), now, WattHours(40)) > Store::Never {
            times += 1;
            let loaded = through(&state, &at("a", now.0), &at("a", now.0));
            stored = loaded.drained.iter().map(|(_, energy)| energy.0).sum::<i64>();
        }
        assert!(stored >= given && stored <= given + 40, "{stored} of {given}");
    }
    assert!((44..=47).contains(&times), "{times}");
}

fn room(state: &mut State, names: &[&str], now: i64) {
    let new = |name: &&str| ((*name).to_owned(), ChargerState::new(Mode::Solar, Milliamps(6_000), Found::Whole));
    state.make_room(names.iter().map(new).collect(), Moment(now));
}

/// A charger removed from the file and put back keeps its own state for a day, also across restarts.
#[test]
fn a_charger_that_comes_back_within_a_day_has_forgotten_nothing() {
    let mut state = after_two_hours();
    let kept = state.get("carport").unwrap().clone();
    room(&mut state, &["garage"], 3 * HOUR);
    let mut state = through(&state, &at("a", 3 * HOUR), &at("a", 4 * HOUR));
    room(&mut state, &["garage"], 4 * HOUR);
    let mut late = state.clone();
    room(&mut state, &["garage", "carport"], 4 * HOUR + DAY - 1);
    let back = state.get("carport").unwrap();
    assert_eq!((back.mode, back.fixed, back.stopped), (kept.mode, kept.fixed, kept.stopped));
    assert_eq!(back.starts, [*kept.starts.last().unwrap()], "the other one counts no more");
    assert_eq!(state.get("garage").unwrap().mode, Mode::Solar);
    room(&mut late, &["carport"], 4 * HOUR + DAY);
    assert_eq!(late.get("carport").unwrap().mode, Mode::Solar, "a day is over");
}

/// Renaming chargers repeatedly does not fill the file; those removed last are kept.
#[test]
fn of_chargers_that_are_gone_only_so_many_are_kept() {
    let mut state = State::new();
    let names: Vec<String> = (0..100).map(|number| format!("c{number}")).collect();
    for (name, hour) in names.iter().zip(0..) {
        room(&mut state, &[name.as_str()], hour * 1_000);
    }
    assert_eq!(state.chargers.len(), 1 + GONE_MAX);
    for (number, name) in names.iter().enumerate() {
        assert_eq!(state.get(name).is_some(), number + GONE_MAX >= 99, "{name}");
    }
}

/// The file written by the last program with version 1. Do not change it.
#[test]
fn the_golden_file_of_version_1_is_read() {
    let state = parse(include_str!("../../../tests/golden/state-v1.json"), &at("a", 1)).unwrap();
    assert!(state.chargers.values().any(|charger| charger.locked), "{state:?}");
}

#[test]
fn version_1_is_read_for_ever() {
    let text = r#"{"version":1,"chargers":{"carport":{"mode":"slow+solar","fixed-ma":8000,"energy-wh":12,"energy-raw-wh":3000,
        "stopped":{"boot":"a","seconds":3600},"locked":true}}}"#;
    let state = parse(text, &at("a", 2 * HOUR)).unwrap();
    let charger = state.get("carport").unwrap();
    assert_eq!((charger.mode, charger.fixed, charger.locked), (Mode::SlowSolar, Milliamps(8_000), true));
    assert_eq!((charger.meter.total(), charger.meter.base()), (Some(WattHours(12)), Some(WattHours(3_000))));
    assert_eq!(charger.stopped, Some(Moment(HOUR)));
    assert_eq!(parse(text, &at("b", 2 * HOUR)).unwrap().get("carport").unwrap().stopped, Some(Moment(0)));
    let empty = r#"{"version":1,"chargers":{"carport":{"mode":"off","fixed-ma":6000,"energy-wh":0,"energy-raw-wh":null,"stopped":null,"locked":false}}}"#;
    assert_eq!(parse(empty, &at("a", 1)).unwrap().get("carport").unwrap().meter.total(), None);
}

/// The file written by the last program with version 2. Do not change it.
#[test]
fn version_2_is_read_for_ever() {
    let uptime = at("5a8f7a0c-5a8f-4c1d-9d0e-0123456789ab", 2 * HOUR);
    let state = parse(include_str!("../../../tests/golden/state-v2.json"), &uptime).unwrap();
    let charger = state.get("carport").unwrap();
    assert_eq!((charger.mode, charger.running, charger.stopped), (Mode::Solar, true, Some(Moment(HOUR))));
    assert_eq!((charger.starts.len(), charger.meter.base()), (2, Some(WattHours(1_234_625))));
    assert_eq!(state.drained, [(Moment(DAY), WattHours(160)), (Moment(DAY + HOUR), WattHours(40))]);
    assert_eq!(charger.account, Account::new());
}

#[test]
fn version_3_is_read_for_ever_and_written() {
    let golden = include_str!("../../../tests/golden/state-v3.json");
    let uptime = at("5a8f7a0c-5a8f-4c1d-9d0e-0123456789ab", 2 * HOUR);
    let state = parse(golden, &uptime).unwrap();
    assert_eq!(Form::new(&state, &uptime).text().unwrap(), golden.trim_end());
    let account = &state.get("carport").unwrap().account;
    assert_eq!(account.day.unwrap().to_string(), "2026-11-29");
    assert_eq!((account.today.energy(), account.today.sun_percent()), (WattHours(5_000), Some(75)));
    assert_eq!(account.session.unwrap().0, Moment(HOUR));
    let wrong = golden.replace("2026-11-29", "yesterday");
    assert!(matches!(parse(&wrong, &uptime), Err(Unreadable::Damaged(_))));
}

#[test]
fn a_newer_version_is_told_from_damage() {
    assert_eq!(parse(r#"{"version":7,"what":[]}"#, &at("a", 1)), Err(Unreadable::Newer(7)));
    for damage in
        [r#"{"version":0}"#, r#"{"version":2}"#, r#"{"version":-1}"#, "7", r#"{"version":1,"chargers":{"a":{}}}"#]
    {
        assert!(matches!(parse(damage, &at("a", 1)), Err(Unreadable::Damaged(_))), "{damage}");
    }
}

/// What is in the file may come from anybody who can write there, and goes to the log.
#[test]
fn what_is_wrong_with_the_file_is_said_in_short_and_as_text() {
    let long = "\u{1b}[2J\u{202e}\n".repeat(50_000);
    let long = serde_json::to_string(&long).unwrap();
    let good = Form::new(&state(), &at("a", 1)).text().unwrap();
    let day = serde_json::from_str::<serde_json::Value>(&good).unwrap()["chargers"]["carport"]["day"].clone();
    for damage in [
        format!("{{\"version\":3,{long}:1}}"),
        good.replace("\"slow+solar\"", &long),
        good.replace(&format!("\"day\": {day}"), &format!("\"day\": {long}")),
    ] {
        let said = parse(&damage, &at("a", 1)).unwrap_err().to_string();
        assert!(said.chars().count() <= 201 && said.contains("\\u{"), "{said}");
        assert!(!said.contains(crate::config::unseen), "{said}");
    }
}

#[test]
fn numbers_out_of_any_range_do_no_harm() {
    let text = format!(
        r#"{{"version":2,"boot":null,"saved-ms":{min},"drained":[{{"until-ms":{max},"wh":{min}}},{{"until-ms":{min},"wh":{max}}}],
        "chargers":{{"carport":{{"mode":"solar","fixed-ma":4294967295,"energy-wh":{min},"energy-raw-wh":{max},"running":true,
        "stopped-ms":{max},"starts-until-ms":[{min},{max}],"locked":false}}}}}}"#,
        min = i64::MIN,
        max = i64::MAX
    );
    let mut state = parse(&text, &at("a", 1)).unwrap();
    let told = state.carry_over(&ids(), Moment(i64::MIN), true);
    state.take(&told, &ids(), Moment(i64::MAX), WattHours(i64::MAX));
    assert!(Form::new(&state, &at("a", i64::MIN)).text().unwrap().contains("carport"));
}
