//! Formats the status as a page of text. Pure: JSON in, lines out.

use control::{Millis, Source};
use serde_json::Value;

#[cfg(test)]
mod tests;

/// The page mentions the age of a status older than this: the loop publishes one every few seconds.
const OLD_S: u64 = 15;
/// The width of the first column.
const NAME: usize = 10;

/// Formats a document of [`crate::model::document`] that is this old.
pub(crate) fn page(document: &Value, age_s: u64) -> Vec<String> {
    let mut lines = Vec::new();
    if age_s > OLD_S {
        lines.push(row("WARNING", &format!("the daemon has decided nothing for {}: it may hang", span(age_s))));
    }
    for warning in at(document, "warnings").as_array().into_iter().flatten().filter_map(Value::as_str) {
        lines.push(row("WARNING", warning));
    }
    if let Some(doubt) = at(at(document, "doubt"), "text").as_str() {
        lines.push(row("WARNING", &format!("the meters are not believed: {doubt}")));
    }
    for (name, charger) in at(document, "chargers").as_object().into_iter().flatten() {
        lines.extend(charger_rows(name, charger));
    }
    lines.push(row("site", &site(document)));
    lines.push(row("data", &inputs(document)));
    lines.push(row("broker", &broker(at(document, "broker"))));
    lines
}

fn charger_rows(name: &str, charger: &Value) -> Vec<String> {
    let text = |key: &str| at(charger, key).as_str().unwrap_or("unknown");
    let mut lines = vec![row(name, text("decision"))];
    let plural = |phases: u64| if phases == 1 { "phase" } else { "phases" };
    let power = at(charger, "power_w").as_i64().map(|watts| format!(", draws {watts} W"));
    let phases = at(charger, "phases_connected").as_u64().map(|count| format!(" on {count} {}", plural(count)));
    let link = format!("; wallbox {} for {}", text("link"), since(at(charger, "link_since_s")));
    let age = at(charger, "report_age_s").as_u64().filter(|age| *age > OLD_S);
    let age = age.map(|age| format!(", last report {} ago", span(age)));
    let fault = at(charger, "fault").as_str().map(|fault| format!(", fault: {fault}"));
    let next = at(charger, "link_next_try_in_s").as_u64().map(|seconds| format!(", asked again in {}", span(seconds)));
    let parts = [Some(format!("car {}", text("vehicle"))), power, phases, Some(link), age, fault, next];
    let now: String = parts.into_iter().flatten().collect();
    lines.push(row("", &now));
    if let Some(why) = at(charger, "link_why").as_str() {
        lines.push(row("", why));
    }
    lines.push(row("", &format!("today {}", tally(at(charger, "today"), ""))));
    let session = at(charger, "session");
    if session.is_object() {
        let time = format!(" in {}", since(at(session, "since_s")));
        lines.push(row("", &format!("this car {}", tally(session, &time))));
    }
    lines
}

/// Formats `5.2 kWh in 70 min, 94 % from the sun, 3 starts`.
fn tally(tally: &Value, time: &str) -> String {
    let energy = format!("{} kWh{time}", tenths(at(tally, "energy_wh").as_i64().unwrap_or(0)));
    let sun = at(tally, "sun_percent").as_u64().map(|percent| format!("{percent} % from the sun"));
    let starts = at(tally, "starts").as_u64().unwrap_or(0);
    let starts = format!("{starts} {}", if starts == 1 { "start" } else { "starts" });
    [Some(energy), sun, Some(starts)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Formats watt-hours as kilowatt-hours with one decimal, rounded down.
fn tenths(watt_hours: i64) -> String {
    let (sign, watt_hours) = (if watt_hours <= -100 { "-" } else { "" }, watt_hours.unsigned_abs());
    format!("{sign}{}.{}", watt_hours / 1_000, watt_hours % 1_000 / 100)
}

fn site(document: &Value) -> String {
    let power = |key: &str| at(document, key).as_i64();
    let directed = |name: &str, key: &str, positive: &str, negative: &str| {
        power(key).map(|watts| match watts {
            0 => format!("{name} 0 W"),
            1.. => format!("{name} {watts} W {positive}"),
            ..0 => format!("{name} {} W {negative}", watts.unsigned_abs()),
        })
    };
    let battery = directed("battery", "battery_w", "discharging", "charging").map(|text| {
        let soc = at(document, "battery_soc_percent").as_u64();
        text + &soc.map_or_else(String::new, |soc| format!(" at {soc} %"))
    });
    let parts = [
        power("solar_w").map(|watts| format!("solar {watts} W")),
        power("house_w").map(|watts| format!("house {watts} W")),
        directed("grid", "grid_w", "import", "export"),
        battery,
        power("surplus_w").map(|watts| format!("surplus {watts} W")),
        at(document, "off_grid").as_bool().filter(|off_grid| *off_grid).map(|_| "off the grid".to_owned()),
    ];
    let known: Vec<_> = parts.into_iter().flatten().collect();
    if known.is_empty() { "nothing is known yet".to_owned() } else { known.join(", ") }
}

/// How old the values are. Sources that not every house has are left out until they have sent a value.
fn inputs(document: &Value) -> String {
    let is_optional = |name: &str| [Source::GridStatus, Source::Heartbeat].iter().any(|source| source.name() == name);
    let one = |(name, input): (&String, &Value)| match (at(input, "state").as_str(), at(input, "age_s").as_u64()) {
        (Some("live"), Some(age)) => Some(format!("{name} {} old", span(age))),
        (Some("stored"), _) => Some(format!("{name} only stored by the broker")),
        (Some("unusable"), Some(age)) => Some(format!("{name} unusable for {}", span(age))),
        (Some("unusable"), None) => Some(format!("{name} unusable")),
        (_, _) => (!is_optional(name)).then(|| format!("{name} never received")),
    };
    let parts: Vec<_> = at(document, "inputs").as_object().into_iter().flatten().filter_map(one).collect();
    if parts.is_empty() { "no source is configured".to_owned() } else { parts.join(", ") }
}

fn broker(broker: &Value) -> String {
    let text = |key: &str| at(broker, key).as_str();
    let state = format!("{} for {}", text("state").unwrap_or("unknown"), since(at(broker, "since_s")));
    let next = at(broker, "next_try_in_s").as_u64().map(|seconds| format!(", next attempt in {}", span(seconds)));
    let why = text("why").map(|why| format!(": {why}"));
    [Some(state), next, why].into_iter().flatten().collect()
}

/// The value of a key; null if it is missing.
fn at<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.get(key).unwrap_or(&Value::Null)
}

fn since(seconds: &Value) -> String {
    seconds.as_u64().map_or_else(|| "an unknown time".to_owned(), span)
}

fn span(seconds: u64) -> String {
    Millis::from_secs(seconds).to_string()
}

fn row(name: &str, text: &str) -> String {
    format!("{name:<NAME$} {text}")
}
