//! A decision to retained topics. Pure. What is not known is `null` in JSON and `unknown` as a single value, never 0.
//!
//! | topic under the base | payload |
//! |---|---|
//! | `state` | everything, one JSON document, `"version": 1`, keys sorted, units in the keys |
//! | `reason` | why the (first) charger has its setpoint, one sentence; `reason/<name>` where there are several |
//! | `state/grid`, `solar`, `battery`, `house`, `surplus`, `charger` | W; `charger` is the sum of all chargers |
//! | `state/soc` | % |
//! | `state/mode`, `setpoint` (A, one decimal), `vehicle` | of the (first) charger |
//! | `state/<name>/mode`, `setpoint`, `vehicle`, `charger` | of each, where there are several |
//!
//! `setpoint` is what is in force: of a charger that does not answer or cannot be controlled, what was read back last. In the document
//! `setpoint_a` is what was decided, and `box_setpoint_a` what the charger's last report read back.

use std::collections::BTreeMap;

use control::{ChargerId, ChargerReport, ChargerView, Milliamps, SiteView, Snapshot, Source, Tick, WattHours, Watts};
use serde_json::{Map, Value, json};

use crate::wording::in_force;

#[cfg(test)]
mod tests;

/// Version of the JSON document. Keys are added without a new one; it rises when one changes its meaning or goes.
const VERSION: u32 = 1;

/// What is known of the connection to Home Assistant, for the document.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Health {
    /// Of each source: `state` and `age_s`.
    pub inputs: Value,
    /// What is wrong for the time being, in sentences.
    pub warnings: Vec<String>,
}

/// All state messages for a snapshot, as (topic, payload), all to be retained. `names` are the chargers of the configuration,
/// `energies` their counters that never step down.
pub fn messages(
    base: &str,
    names: &BTreeMap<ChargerId, String>,
    snapshot: &Snapshot,
    energies: &BTreeMap<ChargerId, WattHours>,
    health: &Health,
) -> Vec<(String, String)> {
    let mut out = vec![(format!("{base}/state"), document(names, snapshot, energies, health).to_string())];
    site_values(base, snapshot, &mut out);
    let several = snapshot.chargers.len() > 1;
    for (at, (id, view)) in snapshot.chargers.iter().enumerate() {
        if at == 0 {
            out.push((format!("{base}/reason"), view.reason.to_string()));
            charger_values(&format!("{base}/state"), view, &mut out);
        }
        if several {
            let name = name_of(names, *id);
            out.push((format!("{base}/reason/{name}"), view.reason.to_string()));
            charger_values(&format!("{base}/state/{name}"), view, &mut out);
            out.push((format!("{base}/state/{name}/charger"), whole(power(view))));
        }
    }
    out
}

/// The payload of the original controller's `home/charger/power`.
pub fn charger_power(power: Watts) -> String {
    format!("{{\"chargeP\": {}, \"unit\": \"W\"}}", power.0)
}

fn site_values(base: &str, snapshot: &Snapshot, out: &mut Vec<(String, String)>) {
    let SiteView { grid, solar, battery, soc, house, surplus, .. } = snapshot.site;
    for (leaf, value) in [
        ("grid", whole(grid)),
        ("solar", whole(solar)),
        ("battery", whole(battery)),
        ("house", whole(house)),
        ("surplus", whole(surplus)),
        ("soc", soc.map_or_else(unknown, |soc| soc.0.to_string())),
        ("charger", whole(total_power(snapshot))),
    ] {
        out.push((format!("{base}/state/{leaf}"), value));
    }
}

fn charger_values(prefix: &str, view: &ChargerView, out: &mut Vec<(String, String)>) {
    let vehicle = view.report.as_ref().map_or("unknown", |report| report.vehicle.name());
    out.push((format!("{prefix}/mode"), view.mode.name().to_owned()));
    out.push((format!("{prefix}/setpoint"), in_force(view).map_or_else(unknown, amps)));
    out.push((format!("{prefix}/vehicle"), vehicle.to_owned()));
}

fn document(
    names: &BTreeMap<ChargerId, String>,
    snapshot: &Snapshot,
    energies: &BTreeMap<ChargerId, WattHours>,
    health: &Health,
) -> Value {
    let SiteView { grid, solar, battery, load, soc, house, surplus, age, imbalance, .. } = snapshot.site;
    let SiteView { soc_age, missing, doubt, cadence, off_grid, .. } = snapshot.site;
    let missing: Vec<_> =
        Source::ALL.into_iter().filter(|source| missing.contains(*source)).map(Source::name).collect();
    let watts = |power: Option<Watts>| power.map(|power| power.0);
    let chargers: Map<String, Value> = snapshot
        .chargers
        .iter()
        .map(|(id, view)| (name_of(names, *id), charger(view, energies.get(id).copied(), snapshot.at)))
        .collect();
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
        "charger_w": watts(total_power(snapshot)),
        "chargers": chargers,
        "inputs": health.inputs,
        "warnings": health.warnings,
    })
}

fn charger(view: &ChargerView, energy: Option<WattHours>, at: Tick) -> Value {
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
        "fixed_a": amps_number(*fixed),
        "setpoint_a": amps_number(*setpoint),
        "reason": { "code": reason.code(), "text": reason.to_string() },
        "phases": phases,
        "starts_24h": starts,
        "power_doubted": power_doubted,
        "overdrawn_a": overdrawn.map(|seen| amps_number(seen.drawn)),
        "takes_from_a": needs.map(|needs| amps_number(needs.takes_from)),
        "energy_wh": energy.map(|energy| energy.0),
    });
    if let Value::Object(map) = &mut value {
        map.extend(report_values(report.as_ref(), at));
    }
    value
}

/// The part that comes from the box itself; the same keys where it has not reported.
fn report_values(report: Option<&ChargerReport>, at: Tick) -> Map<String, Value> {
    let current = |current: Option<Milliamps>| current.map(amps_number);
    let value = json!({
        "link": report.map_or("starting", |r| r.link.name()),
        "vehicle": report.map_or("unknown", |r| r.vehicle.name()),
        "fault": report.and_then(|r| r.fault).map(control::Fault::name),
        "derated": report.map(|r| r.derated),
        "waking": report.map(|r| r.waking),
        "report_age_s": report.map(|r| at.since(r.at).0 / 1_000),
        "power_w": report.and_then(|r| r.power).map(|power| power.0),
        "currents_a": report.and_then(|r| r.currents).map(|phases| phases.map(amps_number)),
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

fn name_of(names: &BTreeMap<ChargerId, String>, id: ChargerId) -> String {
    names.get(&id).cloned().unwrap_or_else(|| format!("charger-{}", id.0))
}

fn power(view: &ChargerView) -> Option<Watts> {
    view.report.as_ref().and_then(|report| report.power)
}

/// Known only when each charger's power is.
fn total_power(snapshot: &Snapshot) -> Option<Watts> {
    snapshot.chargers.values().map(power).sum()
}

fn whole(power: Option<Watts>) -> String {
    power.map_or_else(unknown, |power| power.0.to_string())
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// Amperes rounded down to one decimal.
fn amps(current: Milliamps) -> String {
    let deciamps = current.deciamps_floor();
    format!("{}.{}", deciamps / 10, deciamps % 10)
}

fn amps_number(current: Milliamps) -> f64 {
    f64::from(current.deciamps_floor()) / 10.0
}
