//! Turns the status into retained topics. Pure. Unknown values are `null` in JSON and `unknown` as a single value, never 0.
//!
//! | topic under the base | payload |
//! |---|---|
//! | `state` | everything, one JSON document, `"version": 1`, keys sorted, units in the keys |
//! | `state/grid`, `solar`, `battery`, `house`, `surplus`, `charger` | W; `charger` is the sum of all chargers |
//! | `state/soc` | % |
//! | `reason/<charger>` | why the charger has its setpoint, one sentence |
//! | `state/<charger>/mode`, `setpoint` (A, one decimal), `vehicle`, `charger` (W) | of that charger |
//! | `reason`, `state/mode`, `setpoint`, `vehicle` | the same, if there is only one charger |
//!
//! `setpoint` is the one in force: for a charger that does not answer or cannot be controlled, the one last read back. In the document
//! `setpoint_a` is what was decided, and `box_setpoint_a` what the charger's last report read back.

use control::{Milliamps, SiteView, Watts};

use crate::model::document::{document, json_text};
use crate::model::status::{ChargerStatus, Status};
use crate::wording::in_force;

#[cfg(test)]
mod tests;

/// Returns all state messages for a status as (topic, payload), all to be retained.
pub fn messages(base: &str, status: &Status) -> Vec<(String, String)> {
    let mut out = vec![(format!("{base}/state"), json_text(&document(status)))];
    site_values(base, status, &mut out);
    if let [charger] = status.chargers.as_slice() {
        out.push((format!("{base}/reason"), charger.view.reason.to_string()));
        charger_values(&format!("{base}/state"), charger, &mut out);
    }
    for charger in &status.chargers {
        let name = &charger.name;
        out.push((format!("{base}/reason/{name}"), charger.view.reason.to_string()));
        charger_values(&format!("{base}/state/{name}"), charger, &mut out);
        out.push((format!("{base}/state/{name}/charger"), whole(charger.power())));
    }
    out
}

/// Formats the payload of the original controller's `home/charger/power`.
pub fn charger_power(power: Watts) -> String {
    format!("{{\"chargeP\": {}, \"unit\": \"W\"}}", power.0)
}

fn site_values(base: &str, status: &Status, out: &mut Vec<(String, String)>) {
    let SiteView { grid, solar, battery, soc, house, surplus, .. } = status.site;
    for (leaf, value) in [
        ("grid", whole(grid)),
        ("solar", whole(solar)),
        ("battery", whole(battery)),
        ("house", whole(house)),
        ("surplus", whole(surplus)),
        ("soc", soc.map_or_else(unknown, |soc| soc.0.to_string())),
        ("charger", whole(status.charger_power())),
    ] {
        out.push((format!("{base}/state/{leaf}"), value));
    }
}

fn charger_values(prefix: &str, charger: &ChargerStatus, out: &mut Vec<(String, String)>) {
    let view = &charger.view;
    let vehicle = view.report.as_ref().map_or("unknown", |report| report.vehicle.name());
    out.push((format!("{prefix}/mode"), view.mode.name().to_owned()));
    out.push((format!("{prefix}/setpoint"), in_force(view).map_or_else(unknown, amps)));
    out.push((format!("{prefix}/vehicle"), vehicle.to_owned()));
}

fn whole(power: Option<Watts>) -> String {
    power.map_or_else(unknown, |power| power.0.to_string())
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// Formats a current in amperes, rounded down to one decimal.
fn amps(current: Milliamps) -> String {
    let deciamps = current.deciamps_floor();
    format!("{}.{}", deciamps / 10, deciamps % 10)
}
