//! What the broker sends: packets, payloads of the site's sources, commands.
#![expect(clippy::missing_panics_doc, reason = "a target reports by a panic")]

use std::collections::BTreeMap;

use bytes::BytesMut;
use control::{ChargerId, Milliamps, Reading, Source, Tick};
use rumqttc::{MqttState, Packet, Publish, QoS, Request};

use super::pieces::{Pieces, assert_showable};
use crate::config::{InputConfig, Unit};
use crate::model::Names;
use crate::model::request::{Refusal, Setting, Value};
use crate::mqtt::command::Commands;
use crate::mqtt::input::Inputs;

const START: Tick = Tick(1_000_000);
/// Both topics of every source.
const TOPICS: (&str, &str) = ("site/new", "site/old");
/// Longest text about a payload: two excerpts of 64 characters, each at most ten bytes when escaped, with the words around them.
const TEXT_MAX: usize = 2_000;
/// Largest packet that is read here; the daemon's own limit only matters for memory.
const PACKET_MAX: usize = 1 << 20;
/// How many publications may be on their way; half as many are.
const INFLIGHT: u16 = 8;

/// The MQTT library's decoder, and what it does with packets: the broker may send anything, also acknowledgements of what was not sent.
pub fn packet(bytes: &[u8]) {
    let mut state = MqttState::new(INFLIGHT, false);
    for _ in 0..INFLIGHT / 2 {
        let publish = Publish::new("surplusd/state", QoS::AtLeastOnce, "{}");
        assert!(state.handle_outgoing_packet(Request::Publish(publish)).is_ok());
    }
    let mut stream = BytesMut::from(bytes);
    while let Ok(packet) = Packet::read(&mut stream, PACKET_MAX) {
        if state.handle_incoming_packet(packet).is_err() {
            break;
        }
    }
    state.clean();
}

/// A payload that is the value itself.
pub fn payload(bytes: &[u8]) {
    let readings = check(None, bytes);
    let text = std::str::from_utf8(bytes).unwrap_or_default().trim();
    let text = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).map_or(text, str::trim);
    let number: Option<f64> = text.parse().ok();
    for Reading { source, value, .. } in readings {
        let scaled = match source {
            Source::Grid | Source::BatterySoc => number,
            Source::Solar | Source::Load => number.map(|number| number * 1_000.0),
            Source::Battery => number.map(|number| -number),
            Source::GridStatus | Source::Heartbeat => continue,
        };
        let slightly_negative = scaled.is_some_and(|number| (-101.0..0.0).contains(&number));
        if let Some(value) = value {
            // The standard library reads the same number, except for rounding and for what is slightly below zero.
            let near = scaled.is_some_and(|number| (number - f64::from(value)).abs() <= 0.501);
            assert!(near || value == 0 && slightly_negative, "{source:?}: {text:?} is read as {value}");
        } else {
            let plain = text.len() <= 64 && text.bytes().all(|byte| b"+-.eE0123456789".contains(&byte));
            let in_range = source == Source::Grid && scaled.is_some_and(|number| number.abs() < 999_999_999.0);
            assert!(!(plain && in_range), "{text:?} is a number of watts, and refused");
        }
    }
}

/// A JSON pointer in the first line, and a JSON document.
pub fn json(bytes: &[u8]) {
    let mut pieces = Pieces(bytes);
    let pointer = String::from_utf8_lossy(pieces.line()).into_owned();
    check(Some(&pointer), pieces.0);
}

/// A sequence of messages and of what else happens to the sources.
pub fn inputs(bytes: &[u8]) {
    let mut pieces = Pieces(bytes);
    let mut inputs = new_inputs(None);
    let mut now = START;
    while !pieces.is_empty() {
        let what = pieces.byte();
        let topic = if what & 8 == 0 { TOPICS.0 } else { TOPICS.1 };
        match what & 7 {
            0 => now = Tick(now.0 + u64::from(pieces.word()) * 100),
            1 => inputs.link(what & 8 != 0, now),
            2 => inputs.refused(&[topic.to_owned()]),
            _ => {
                let retained = what & 16 != 0;
                let readings = inputs.message(topic, pieces.piece(), retained, now);
                assert!(readings.len() <= Source::ALL.len());
                assert_plausible(&readings, retained);
            }
        }
        inputs.handle_timeout(now);
    }
    assert_told(&mut inputs, now);
}

/// The last levels of a command's topic in the first line, and its payload.
pub fn command(bytes: &[u8]) {
    let mut pieces = Pieces(bytes);
    let topic = format!("surplusd/set/{}", String::from_utf8_lossy(pieces.line()));
    let payload = pieces.0;
    let commands = Commands::new("surplusd");
    let stored = commands.message(&topic, payload, true);
    assert!(matches!(stored, None | Some(Err(Refusal::Retained { .. }))), "a retained command counts");
    match commands.message(&topic, payload, false) {
        None => assert!(payload.is_empty()),
        Some(Err(refusal)) => assert_refusal(&refusal),
        Some(Ok(setting)) => assert_setting(&setting),
    }
}

/// A setting means the same when it is written as it was understood.
fn assert_setting(setting: &Setting) {
    let (key, text) = match setting.value {
        Value::Mode(mode) => ("mode", mode.name().to_owned()),
        Value::Current(current) => {
            assert!((Milliamps(6_000)..=Milliamps(32_000)).contains(&current) && current.0 % 100 == 0, "{current:?}");
            ("current", format!("{}.{:03}", current.0 / 1_000, current.0 % 1_000))
        }
    };
    assert_eq!(Setting::parse(setting.charger.as_deref(), key, text.as_bytes()).as_ref(), Ok(setting));
    let names: Names = [(ChargerId(0), "carport".to_owned())].into_iter().collect();
    let known = setting.charger.as_ref().is_none_or(|name| name == "carport");
    let command = setting.command(&names);
    assert_eq!(command.is_ok(), known);
    if let Err(refusal) = command {
        assert_refusal(&refusal);
    }
}

fn assert_refusal(refusal: &Refusal) {
    assert_showable(&refusal.to_string(), TEXT_MAX);
}

/// Reads a payload as every kind of source does; returns the readings.
fn check(pointer: Option<&str>, payload: &[u8]) -> Vec<Reading> {
    let (topic, other) = TOPICS;
    let mut inputs = new_inputs(pointer);
    let readings = inputs.message(topic, payload, false, START);
    assert_eq!(readings.len(), Source::ALL.len());
    assert_plausible(&readings, false);
    assert_eq!(inputs.message(topic, payload, false, START), readings, "it is read differently the second time");
    // The same payload, stored on a topic that is no longer in use, says nothing of a source that has a live value.
    for reading in inputs.message(other, payload, true, START) {
        assert!(reading.retained && reading.value.is_none(), "{reading:?}");
    }
    let stored = new_inputs(pointer).message(topic, payload, true, START);
    let live = readings.iter().map(|reading| Reading { retained: true, ..*reading });
    assert_eq!(stored, live.collect::<Vec<_>>());
    assert_told(&mut inputs, START);
    readings
}

fn assert_plausible(readings: &[Reading], retained: bool) {
    for reading in readings {
        let range = match reading.source {
            Source::Grid | Source::Battery => -1_000_000_000..=1_000_000_000,
            Source::Solar | Source::Load => 0..=1_000_000_000,
            Source::BatterySoc => 0..=100,
            Source::GridStatus => 0..=1,
            Source::Heartbeat => i32::MIN..=i32::MAX,
        };
        assert!(
            reading.retained == retained && reading.value.is_none_or(|value| range.contains(&value)),
            "{reading:?}"
        );
    }
}

fn assert_told(inputs: &mut Inputs, now: Tick) {
    for news in inputs.take_news() {
        assert_showable(&news.to_string(), 2 * TEXT_MAX);
    }
    for warning in inputs.warnings(now) {
        assert_showable(&warning, Source::ALL.len() * TEXT_MAX);
    }
    assert_eq!(inputs.statuses(now).len(), Source::ALL.len());
}

fn new_inputs(pointer: Option<&str>) -> Inputs {
    let config = |source: Source| {
        let unit = match source {
            Source::Grid | Source::Battery => Unit::Watt,
            Source::Solar | Source::Load => Unit::Kilowatt,
            Source::BatterySoc => Unit::Percent,
            Source::GridStatus => Unit::OnOff,
            Source::Heartbeat => Unit::Any,
        };
        let topics = vec![TOPICS.0.to_owned(), TOPICS.1.to_owned()];
        InputConfig { topics, pointer: pointer.map(str::to_owned), unit, negate: source == Source::Battery }
    };
    Inputs::new(&Source::ALL.into_iter().map(|source| (source, config(source))).collect::<BTreeMap<_, _>>())
}
