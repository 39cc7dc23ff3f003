mod silence;

use std::collections::BTreeMap;

use control::{Reading, Source, Tick};
use proptest::prelude::*;

use super::{Inputs, MAX_PAYLOAD, Rejection, Text};
use crate::config::{InputConfig, Unit};

use Rejection as R;

const NOW: Tick = Tick(1_000);

fn config(topics: &[&str], pointer: Option<&str>, unit: Unit) -> InputConfig {
    InputConfig {
        topics: topics.iter().map(ToString::to_string).collect(),
        pointer: pointer.map(str::to_owned),
        unit,
        negate: false,
    }
}

fn one(source: Source, config: InputConfig) -> Inputs {
    Inputs::new(&BTreeMap::from([(source, config)]))
}

fn check(source: Source, unit: Unit, pointer: Option<&str>, payload: &[u8], want: Result<i32, Rejection>) {
    let config = config(&["t"], pointer, unit);
    let shown = String::from_utf8_lossy(payload.get(..60).unwrap_or(payload)).into_owned();
    assert_eq!(super::value(&config, source, &Text::of(payload)), want, "{source:?} {shown:?}");
    let got = one(source, config).message("t", payload, false, NOW);
    assert_eq!(got, [Reading { source, value: want.ok(), retained: false }], "{source:?} {shown:?}");
}

#[test]
fn bare_payloads_in_kilowatts() {
    let table: &[(&[u8], Result<i32, R>)] = &[
        (b"1", Ok(1000)),
        (b"1.2", Ok(1200)),
        (b"3.025", Ok(3025)),
        (b"-1.002", Ok(-1002)),
        (b"-0.0004", Ok(0)),
        (b"-0.0005", Ok(-1)),
        (b"0.0005", Ok(1)),
        (b"0", Ok(0)),
        (b"0.0", Ok(0)),
        (b"-0", Ok(0)),
        (b"-0.0", Ok(0)),
        (b"-4.2", Ok(-4200)),
        (b"0.001", Ok(1)),
        (b"1.001", Ok(1001)),
        (b"4.35", Ok(4350)),
        (b"8.115", Ok(8115)),
        (b"1e-3", Ok(1)),
        (b"1.5E1", Ok(15_000)),
        (b"-2.5e-1", Ok(-250)),
        (b" 1.2 ", Ok(1200)),
        (b"1.2\n", Ok(1200)),
        (b"\t1.2\r\n", Ok(1200)),
        (b"\"1.2\"", Ok(1200)),
        (b" \" 1.2 \" ", Ok(1200)),
        (b"+1.2", Ok(1200)),
        (b"100", Ok(100_000)),
        (b"-100.0004", Ok(-100_000)),
        (b"100.001", Ok(100_001)),
        (b"1000000.001", Err(R::OutOfRange)),
        (b"-1000000.001", Err(R::OutOfRange)),
        (b"1e9", Err(R::OutOfRange)),
        (b"99999999999999999999", Err(R::OutOfRange)),
        (b"1e999999999999", Err(R::OutOfRange)),
        (b"unavailable", Err(R::Unavailable)),
        (b"\"unavailable\"", Err(R::Unavailable)),
        (b"Unavailable", Err(R::Unavailable)),
        (b"unknown", Err(R::Unknown)),
        (b"none", Err(R::Unknown)),
        (b"None", Err(R::Unknown)),
        (b"null", Err(R::Unknown)),
        (b"", Err(R::Empty)),
        (b"  ", Err(R::Empty)),
        (b"\"\"", Err(R::Empty)),
        (b"nan", Err(R::NotFinite)),
        (b"NaN", Err(R::NotFinite)),
        (b"inf", Err(R::NotFinite)),
        (b"-Infinity", Err(R::NotFinite)),
        (b"1.2 kW", Err(R::NotANumber)),
        (b"1.2kW", Err(R::NotANumber)),
        (b"1,2", Err(R::NotANumber)),
        (b"1.234,5", Err(R::NotANumber)),
        (b"1'200", Err(R::NotANumber)),
        (b"1 200", Err(R::NotANumber)),
        (b"0x10", Err(R::NotANumber)),
        (b"on", Err(R::NotANumber)),
        (b"true", Err(R::NotANumber)),
        (b"--1", Err(R::NotANumber)),
        (b"1.2.3", Err(R::NotANumber)),
        (b"1e", Err(R::NotANumber)),
        (b"\"1.2", Err(R::NotANumber)),
        (b"\"", Err(R::NotANumber)),
        (b"{\"power\": 1.2}", Err(R::NotANumber)),
        ("\u{ff11}".as_bytes(), Err(R::NotANumber)),
        ("\u{2212}1.2".as_bytes(), Err(R::NotANumber)),
        (b"\xff\xfe1.2", Err(R::NotText)),
        (b"1\0", Err(R::NotANumber)),
    ];
    for (payload, want) in table {
        check(Source::Grid, Unit::Kilowatt, None, payload, *want);
    }
}

#[test]
fn ranges_of_the_sources() {
    for source in [Source::Solar, Source::Load] {
        check(source, Unit::Watt, None, b"-100", Ok(0));
        check(source, Unit::Watt, None, b"-0.6", Ok(0));
        check(source, Unit::Watt, None, b"-101", Err(R::OutOfRange));
        check(source, Unit::Kilowatt, None, b"-0.003", Ok(0));
        check(source, Unit::Watt, None, b"999999999", Ok(999_999_999));
        check(source, Unit::Watt, None, b"1000000001", Err(R::OutOfRange));
    }
    check(Source::Battery, Unit::Watt, None, b"-101", Ok(-101));
    check(Source::BatterySoc, Unit::Percent, None, b"55.0", Ok(55));
    check(Source::BatterySoc, Unit::Percent, None, b"54.5", Ok(55));
    check(Source::BatterySoc, Unit::Percent, None, b"0", Ok(0));
    check(Source::BatterySoc, Unit::Percent, None, b"100", Ok(100));
    check(Source::BatterySoc, Unit::Percent, None, b"101", Err(R::OutOfRange));
    check(Source::BatterySoc, Unit::Percent, None, b"-1", Err(R::OutOfRange));
    check(Source::BatterySoc, Unit::Percent, None, b"55 %", Err(R::NotANumber));
}

#[test]
fn large_payloads_are_not_looked_into() {
    let mut payload = b"1.2".to_vec();
    payload.resize(1024 * 1024, b' ');
    check(Source::Grid, Unit::Kilowatt, None, &payload, Err(R::TooLong));
    check(Source::Grid, Unit::Kilowatt, Some("/a"), &payload, Err(R::TooLong));
    payload.truncate(MAX_PAYLOAD);
    check(Source::Grid, Unit::Kilowatt, None, &payload, Ok(1200));
    check(Source::Grid, Unit::Kilowatt, None, &vec![b'1'; MAX_PAYLOAD], Err(R::NotANumber));
    check(Source::Grid, Unit::Watt, Some("/a"), "[".repeat(60_000).as_bytes(), Err(R::NotJson));
}

#[test]
fn json_pointers() {
    let table: &[(&[u8], Result<i32, R>)] = &[
        (br#"{"grid":{"power":3025}}"#, Ok(3025)),
        (br#"{"grid":{"power":-1002.5}}"#, Ok(-1003)),
        (br#"{"grid":{"power":0.49}}"#, Ok(0)),
        (br#"{"grid":{"power":1.5e3}}"#, Ok(1500)),
        (br#"{"grid":{"power":"1200"}}"#, Ok(1200)),
        (br#"{"grid":{"power":" 1200 "}}"#, Ok(1200)),
        (br#"{"grid":{"power":1e300}}"#, Err(R::OutOfRange)),
        (br#"{"grid":{"power":"unavailable"}}"#, Err(R::Unavailable)),
        (br#"{"grid":{"power":""}}"#, Err(R::Empty)),
        (br#"{"grid":{"power":null}}"#, Err(R::Unknown)),
        (br#"{"grid":{"power":true}}"#, Err(R::WrongType)),
        (br#"{"grid":{"power":[1]}}"#, Err(R::WrongType)),
        (br#"{"grid":{"power":{}}}"#, Err(R::WrongType)),
        (br#"{"grid":{}}"#, Err(R::Missing)),
        (br"1200", Err(R::Missing)),
        (br#"{"grid":{"power":NaN}}"#, Err(R::NotJson)),
        (br#"{"grid":{"power":1200}"#, Err(R::NotJson)),
        (b"unavailable", Err(R::Unavailable)),
        (b"", Err(R::Empty)),
        (b"hello", Err(R::NotJson)),
    ];
    for (payload, want) in table {
        check(Source::Grid, Unit::Watt, Some("/grid/power"), payload, *want);
    }
    check(Source::Grid, Unit::Kilowatt, Some("/p"), br#"{"p":3.025}"#, Ok(3025));
    check(Source::Grid, Unit::Kilowatt, Some(""), b"3.025", Ok(3025));
}

#[test]
fn one_topic_feeds_several_sources() {
    let mut inputs = Inputs::new(&BTreeMap::from([
        (Source::Grid, config(&["energy/now"], Some("/grid"), Unit::Watt)),
        (Source::Solar, config(&["energy/now"], Some("/pv"), Unit::Watt)),
        (Source::Load, config(&["other"], None, Unit::Watt)),
    ]));
    assert_eq!(inputs.topics().collect::<Vec<_>>(), ["energy/now", "other"]);
    let readings = inputs.message("energy/now", br#"{"grid":-5,"pv":"unknown"}"#, false, NOW);
    assert_eq!(
        readings,
        [
            Reading { source: Source::Grid, value: Some(-5), retained: false },
            Reading { source: Source::Solar, value: None, retained: false },
        ]
    );
    assert!(inputs.message("energy/now/", b"1", false, NOW).is_empty(), "not our topic");
}

#[test]
fn signs_are_turned_before_the_range_is_judged() {
    let mut grid = config(&["t"], None, Unit::Kilowatt);
    grid.negate = true;
    assert_eq!(one(Source::Grid, grid.clone()).message("t", b"-1.002", false, NOW)[0].value, Some(1002));
    assert_eq!(one(Source::Solar, grid).message("t", b"-1.002", false, NOW)[0].value, Some(1002));
}

#[test]
fn retained_values_of_renamed_entities_are_ignored() {
    let mut inputs = one(Source::Grid, config(&["old", "new"], None, Unit::Watt));
    let value = |readings: Vec<Reading>| readings.first().map(|reading| (reading.value, reading.retained));
    assert_eq!(value(inputs.message("old", b"1", true, NOW)), Some((Some(1), true)), "nobody has spoken live");
    assert_eq!(value(inputs.message("new", b"1", true, NOW)), Some((Some(1), true)), "both say the same");
    assert_eq!(value(inputs.message("new", b"2", true, NOW)), Some((None, true)), "which one is the left-over?");
    assert_eq!(inputs.warnings(NOW).len(), 1);
    assert!(inputs.warnings(NOW)[0].contains("another topic"), "{:?}", inputs.warnings(NOW));
    assert_eq!(value(inputs.message("old", b"unavailable", false, NOW)), Some((None, false)));
    assert_eq!(value(inputs.message("new", b"2", true, NOW)), Some((Some(2), true)), "the other says nothing any more");
    assert_eq!(value(inputs.message("new", b"3", false, NOW)), Some((Some(3), false)));
    assert_eq!(value(inputs.message("old", b"1", true, NOW)), None, "the other topic is the live one");
    assert_eq!(value(inputs.message("new", b"4", true, NOW)), Some((Some(4), true)), "after a reconnection");
    assert_eq!(
        value(inputs.message("old", b"unavailable", false, NOW)),
        None,
        "a dead entity says nothing of the source"
    );
    assert_eq!(value(inputs.message("new", b"unavailable", false, NOW)), Some((None, false)));
    assert_eq!(value(inputs.message("old", b"5", false, NOW)), Some((Some(5), false)), "the live topic may change");
    assert_eq!(value(inputs.message("new", b"4", true, NOW)), None);
}

fn in_range(reading: &Reading) -> bool {
    match (reading.source, reading.value) {
        (_, None) | (Source::GridStatus | Source::Heartbeat, Some(_)) => true,
        (Source::Grid | Source::Battery, Some(watts)) => watts.abs() <= 1_000_000_000,
        (Source::Solar | Source::Load, Some(watts)) => (0..=1_000_000_000).contains(&watts),
        (Source::BatterySoc, Some(percent)) => (0..=100).contains(&percent),
    }
}

proptest! {
    #[test]
    fn no_payload_panics_or_leaves_the_range(
        payload in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "[-+0-9.eE]{0,20}".prop_map(String::into_bytes),
            "\\{\"a\":[-+0-9.eEntf\"\\[\\]]{0,20}\\}".prop_map(String::into_bytes),
        ],
        retained: bool,
        negate: bool,
        pointer: bool,
        kilowatt: bool,
    ) {
        let unit = if kilowatt { Unit::Kilowatt } else { Unit::Watt };
        let mut input = config(&["t"], pointer.then_some("/a"), unit);
        input.negate = negate;
        let mut inputs = Inputs::new(&Source::ALL.into_iter().map(|source| (source, input.clone())).collect());
        let readings = inputs.message("t", &payload, retained, NOW);
        prop_assert_eq!(readings.len(), Source::ALL.len());
        prop_assert!(readings.iter().all(in_range), "{:?}", readings);
    }
}

#[test]
fn words_of_the_grid_status_and_any_heartbeat() {
    let mut grid = one(Source::GridStatus, config(&["t"], None, Unit::OnOff));
    let values = ["on", "OFF", "\"on\"", "0", "true", "unavailable", "maybe"];
    let values = values.map(|payload| grid.message("t", payload.as_bytes(), false, Tick(0))[0].value);
    assert_eq!(values, [Some(1), Some(0), Some(1), Some(0), Some(1), None, None]);
    let mut heart = one(Source::Heartbeat, config(&["t"], None, Unit::Any));
    let mut beat = |payload: &str| heart.message("t", payload.as_bytes(), false, Tick(0))[0].value;
    assert_ne!(beat("1732838400"), beat("1732838460"));
    assert_eq!(beat("2026-11-28T12:00:00"), beat("2026-11-28T12:00:00"));
    assert_eq!(beat("unknown"), None);
}
