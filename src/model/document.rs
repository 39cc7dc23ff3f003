//! The status as one JSON document: the payload of the MQTT topic `state` and the answer on the local socket. Keys are sorted and their
//! names include the unit; unknown values are `null`, never 0.

use std::fmt::Write as _;

use control::{ChargerReport, ChargerView, Milliamps, SiteView, Source, Tick, Watts};
use serde_json::{Map, Value, json};

use super::status::{BrokerState, ChargerStatus, InputStatus, Session, Status, Tally};
use crate::config::unseen;
use crate::wording;

/// Version of the JSON document. It stays the same when a key is added, and rises when a key is removed or changes its meaning.
pub const VERSION: u32 = 1;

/// Builds the document.
pub fn document(status: &Status) -> Value {
    let SiteView { grid, solar, battery, load, soc, house, surplus, age, imbalance, .. } = status.site;
    let SiteView { soc_age, missing, doubt, cadence, off_grid, .. } = status.site;
    let missing: Vec<_> =
        Source::ALL.into_iter().filter(|source| missing.contains(*source)).map(Source::name).collect();
    let watts = |power: Option<Watts>| power.map(|power| power.0);
    let chargers: Map<String, Value> =
        status.chargers.iter().map(|one| (one.name.clone(), charger(one, status.at))).collect();
    let inputs: Map<String, Value> = status.inputs.iter().map(input).collect();
    json!({
        "version": VERSION,
        "grid_w": watts(grid),
        "solar_w": watts(solar),
        "battery_w": watts(battery),
        "load_w": watts(load),
        "house_w": watts(house),
        "surplus_w": watts(surplus),
        "imbalance_w": watts(imbalance),
        "battery_soc_percent": soc.map(|soc| soc.0),
        "battery_soc_age_s": soc_age.map(|age| age.0 / 1_000),
        "age_s": age.map(|age| age.0 / 1_000),
        "sample_every_s": cadence.map(|every| every.0 / 1_000),
        "sources_missing": missing,
        "doubt": doubt.map(|doubt| json!({ "code": doubt.code(), "text": doubt.to_string() })),
        "off_grid": off_grid,
        "charger_w": watts(status.charger_power()),
        "chargers": chargers,
        "inputs": inputs,
        "broker": broker(status),
        "warnings": status.warnings,
    })
}

/// Formats a JSON value on one line in which every character is seen as itself. JSON demands codes for control characters of ASCII only,
/// and `serde_json` leaves it at that.
pub fn json_text(value: &Value) -> String {
    let mut shown = String::new();
    for c in value.to_string().chars() {
        if unseen(c) {
            // It stands within a string: there are none between them.
            let _ = c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(shown, "\\u{unit:04x}"));
        } else {
            shown.push(c);
        }
    }
    shown
}

fn input(input: &InputStatus) -> (String, Value) {
    let value = json!({ "state": input.state.name(), "age_s": input.age.map(|age| age.0 / 1_000) });
    (input.source.name().to_owned(), value)
}

fn broker(status: &Status) -> Value {
    let (why, next_try) = match &status.broker.state {
        BrokerState::Disconnected { why, next_try } => (Some(why), Some(next_try)),
        BrokerState::Connecting | BrokerState::Connected => (None, None),
    };
    json!({
        "state": status.broker.state.name(),
        "since_s": status.at.since(status.broker.since).0 / 1_000,
        "why": why,
        "next_try_in_s": next_try.map(|at| at.since(status.at).0.div_ceil(1_000)),
    })
}

fn charger(charger: &ChargerStatus, at: Tick) -> Value {
    let ChargerStatus { id: _, name: _, view, link, energy, today, session } = charger;
    let ChargerView {
        mode,
        fixed,
        setpoint,
        reason,
        report,
        phases,
        starts,
        overdrawn,
        needs,
        box_limit: _,
        power_doubted,
    } = view;
    let mut value = json!({
        "mode": mode.name(),
        "fixed_a": amps(*fixed),
        "setpoint_a": amps(*setpoint),
        "reason": { "code": reason.code(), "text": reason.to_string() },
        "decision": wording::decision(*setpoint, *mode, reason),
        "phases": phases,
        "starts_24h": starts,
        "power_doubted": power_doubted,
        "overdrawn_a": overdrawn.map(|seen| amps(seen.drawn)),
        "takes_from_a": needs.map(|needs| amps(needs.takes_from)),
        "energy_wh": energy.map(|energy| energy.0),
        "today": tally(today),
        "session": session.as_ref().map(session_value),
        "link_since_s": at.since(link.since).0 / 1_000,
        "link_why": link.why,
        "link_next_try_in_s": link.next_try.map(|next| next.since(at).0.div_ceil(1_000)),
    });
    if let Value::Object(map) = &mut value {
        map.extend(report_values(report.as_ref(), at));
    }
    value
}

fn session_value(session: &Session) -> Value {
    let mut value = tally(&session.tally);
    if let Value::Object(map) = &mut value {
        map.insert("since_s".to_owned(), (session.lasts.0 / 1_000).into());
    }
    value
}

fn tally(tally: &Tally) -> Value {
    json!({
        "energy_wh": tally.energy().0,
        "solar_wh": tally.solar().0,
        "battery_wh": tally.battery().0,
        "grid_wh": tally.grid().0,
        "sun_percent": tally.sun_percent(),
        "starts": tally.starts,
    })
}

/// The values reported by the wallbox itself; the same keys if it has not reported.
fn report_values(report: Option<&ChargerReport>, at: Tick) -> Map<String, Value> {
    let current = |current: Option<Milliamps>| current.map(amps);
    let value = json!({
        "link": report.map_or("starting", |r| r.link.name()),
        "vehicle": report.map_or("unknown", |r| r.vehicle.name()),
        "fault": report.and_then(|r| r.fault).map(control::Fault::name),
        "derated": report.map(|r| r.derated),
        "waking": report.map(|r| r.waking),
        "report_age_s": report.map(|r| at.since(r.at).0 / 1_000),
        "power_w": report.and_then(|r| r.power).map(|power| power.0),
        "currents_a": report.and_then(|r| r.currents).map(|phases| phases.map(amps)),
        "voltages_v": report.and_then(|r| r.voltages).map(|phases| phases.map(|volts| volts.0)),
        "box_setpoint_a": current(report.and_then(|r| r.setpoint)),
        "phases_connected": report.and_then(|r| r.connected),
        "box_max_a": current(report.and_then(|r| r.box_max)),
        "box_min_a": current(report.and_then(|r| r.box_min)),
        "box_energy_wh": report.and_then(|r| r.energy).map(|energy| energy.0),
    });
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// Amperes, rounded down to one decimal.
fn amps(current: Milliamps) -> f64 {
    f64::from(current.deciamps_floor()) / 10.0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use control::{Controller, Millis};

    use super::*;
    use crate::config::{Environment, Files};
    use crate::model::status::{InputState, Session, Tally};

    fn keys(value: &Value, out: &mut BTreeSet<String>) {
        for (key, value) in value.as_object().into_iter().flatten() {
            out.insert(key.clone());
            keys(value, out);
        }
    }

    #[test]
    fn no_character_of_the_json_is_unseen() {
        let value = json!({ "why": "a\u{1b}\u{7f}\u{9b}\u{202e}\u{e0041}\né" });
        let text = json_text(&value);
        assert_eq!(text, r#"{"why":"a\u001b\u007f\u009b\u202e\udb40\udc41\né"}"#);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    /// Checks that each key is documented and each documented key exists.
    #[test]
    fn the_document_is_as_documented() {
        let text = include_str!("../../config/surplusd.toml");
        let known = crate::charger::profile::known();
        let loaded = crate::config::parse(text, "x.toml".as_ref(), &Environment::default(), &known, Files::Ignore);
        let mut status = Status::of(Controller::new(loaded.config.unwrap().control, Tick(1)).snapshot());
        status.inputs = vec![InputStatus { source: Source::Grid, state: InputState::Never, age: None }];
        status.site.doubt = Some(control::Doubt::WrongSign);
        status.chargers[0].session = Some(Session { lasts: Millis(0), tally: Tally::ZERO });
        let mut there = BTreeSet::new();
        keys(&document(&status), &mut there);
        let (charger, source) = (there.take("carport"), there.take("grid"));
        assert!(charger.is_some() && source.is_some());
        let page = include_str!("../../docs/state.md");
        let tables = page.split("## The local socket").next().unwrap().lines().filter(|line| line.starts_with("| `"));
        let values =
            ["starting", "online", "read-only", "asleep", "offline", "absent", "connected", "requesting", "charging"];
        let values =
            values.into_iter().chain(["unknown", "locked", "error", "refused", "phases", "unusable", "null", "live"]);
        let values: BTreeSet<_> = values.chain(["stored", "never", "connecting", "disconnected"]).collect();
        let words = tables.flat_map(|line| line.split('`').skip(1).step_by(2));
        let told: BTreeSet<String> = words.filter(|word| !values.contains(word)).map(str::to_owned).collect();
        there.remove("phases");
        assert_eq!(there.difference(&told).collect::<Vec<_>>(), Vec::<&String>::new(), "not documented");
        assert_eq!(told.difference(&there).collect::<Vec<_>>(), Vec::<&String>::new(), "not there");
    }
}
