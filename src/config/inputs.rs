//! Checks `[inputs]`: the topics of the sources, from a preset and the keys that override it.

use std::collections::BTreeMap;

use control::{GroupId, Source};

use super::domain::{InputConfig, PublishConfig, Unit};
use super::file::{File, Input, Inputs};
use super::names;
use super::report::Report;

/// The group of every source that does not name one.
const DEFAULT_GROUP: &str = "site";

/// What supplies the topics of sources that are not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preset {
    None,
    Powerwall,
}

/// The sources, and the groups of sources whose silence is judged together.
pub(super) struct Sources {
    pub(super) inputs: BTreeMap<Source, InputConfig>,
    pub(super) groups: BTreeMap<Source, GroupId>,
}

/// Checks `[inputs]`. `ours` are the topics that we publish.
pub(super) fn sources(report: &mut Report, file: &File, ours: Option<&PublishConfig>) -> Option<Sources> {
    let inputs = &file.inputs;
    let presets = [("home-assistant-powerwall", Preset::Powerwall), ("none", Preset::None)];
    let preset = report.choice("inputs.preset", &inputs.preset, &presets);
    let base = report.topic_prefix("inputs.base-topic", &inputs.base_topic, 128);
    if !is_slug(&inputs.site_name) {
        let remedy = "use the name as it is in Home Assistant's entity ids: lower-case letters, digits and _";
        report.error("inputs.site-name", "this is not part of an entity id", remedy);
    }
    let (preset, base) = (preset?, base?);
    let mut found = BTreeMap::new();
    let mut group_names = vec![DEFAULT_GROUP.to_owned()];
    let mut groups = BTreeMap::new();
    let mut complete = true;
    for source in Source::ALL {
        let path = format!("inputs.{}", source.name());
        let given = given(inputs, source);
        if !file.battery.present && is_of_battery(source) {
            if given.is_some() {
                let remedy = "leave it out, or `present` in [battery]";
                report.error(&path, "there is no home battery: `present = false` in [battery]", remedy);
            }
            continue;
        }
        let topics = match preset {
            Preset::Powerwall => powerwall_topics(&base, &inputs.site_name, source),
            Preset::None => Vec::new(),
        };
        let none = Input::default();
        let input = given.unwrap_or(&none);
        if topics.is_empty() && input.topic.is_none() {
            complete &= missing(report, file, source, given.is_some());
            continue;
        }
        match resolve(report, source, input, topics, ours) {
            Some(config) => drop(found.insert(source, config)),
            None => complete = false,
        }
        match group(report, &format!("{path}.group"), input.group.as_deref(), &mut group_names) {
            Some(group) => drop(groups.insert(source, group)),
            None => complete = false,
        }
    }
    clashes(report, &found);
    complete.then_some(Sources { inputs: found, groups })
}

fn given(inputs: &Inputs, source: Source) -> Option<&Input> {
    match source {
        Source::Grid => inputs.grid.as_ref(),
        Source::Solar => inputs.solar.as_ref(),
        Source::Battery => inputs.battery.as_ref(),
        Source::Load => inputs.load.as_ref(),
        Source::BatterySoc => inputs.battery_soc.as_ref(),
        Source::GridStatus => inputs.grid_status.as_ref(),
        Source::Heartbeat => inputs.heartbeat.as_ref(),
    }
}

const fn is_of_battery(source: Source) -> bool {
    match source {
        Source::Battery | Source::BatterySoc => true,
        Source::Grid | Source::Solar | Source::Load | Source::GridStatus | Source::Heartbeat => false,
    }
}

/// Whether the name can be part of a Home Assistant entity id.
fn is_slug(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Entity id that `docs/home-assistant/statestream.yaml` gives to the heartbeat.
const HEARTBEAT_ID: &str = "surplusd_heartbeat";

/// Returns the topics of Home Assistant's Powerwall integration as `mqtt_statestream` writes them (`<base>/sensor/<object id>/state`).
/// Installations from before 2024 have `powerwall_site_now`, later ones are named after the site. Only the broker knows which of them are
/// in use, so all are subscribed to.
fn powerwall_topics(base: &str, site_name: &str, source: Source) -> Vec<String> {
    // Tesla calls the grid meter "site".
    let ids = match source {
        Source::Grid => power_ids(site_name, "site"),
        Source::Solar => power_ids(site_name, "solar"),
        Source::Battery => power_ids(site_name, "battery"),
        Source::Load => power_ids(site_name, "load"),
        Source::BatterySoc => vec!["powerwall_charge".to_owned(), format!("{site_name}_charge")],
        Source::GridStatus => vec!["powerwall_grid_status".to_owned(), format!("{site_name}_grid_status")],
        Source::Heartbeat => vec![HEARTBEAT_ID.to_owned()],
    };
    let domain = if source == Source::GridStatus { "binary_sensor" } else { "sensor" };
    let mut topics: Vec<String> = ids.into_iter().map(|id| format!("{base}/{domain}/{id}/state")).collect();
    // A site named `powerwall` gives the same spelling twice, next to each other.
    topics.dedup();
    topics
}

fn power_ids(site_name: &str, meter: &str) -> Vec<String> {
    vec![format!("powerwall_{meter}_now"), format!("powerwall_{meter}_power"), format!("{site_name}_{meter}_power")]
}

/// Reports a source without a topic; returns whether the controller can do without it.
fn missing(report: &mut Report, file: &File, source: Source, mentioned: bool) -> bool {
    let path = format!("inputs.{}", source.name());
    let example = format!("add `{} = {{ topic = \"…\", unit = \"…\" }}`", source.name());
    if mentioned {
        report.error(&path, "the topic is missing, and no preset gives one", example);
        return false;
    }
    match source {
        // Surplus is what the chargers draw minus grid and battery: these two are enough, and both are needed.
        Source::Grid => {
            report.error(&path, "`grid` is missing: without it there is no surplus to follow", example);
            false
        }
        Source::Battery => {
            let remedy = format!("{example}, or `present = false` in [battery] if there is no home battery");
            report.error(&path, "`battery` is missing: the home battery hides surplus", remedy);
            false
        }
        Source::BatterySoc if file.battery.priority_soc > 0.0 || file.battery.buffer_soc < 100.0 => {
            let message = "`battery-soc` is missing, but `priority-soc` or `buffer-soc` needs it";
            report.error(&path, message, example);
            false
        }
        Source::BatterySoc => {
            report.warning(&path, "`battery-soc` is missing: `floor-soc` cannot be kept", example);
            true
        }
        Source::GridStatus | Source::Heartbeat => true,
        Source::Solar | Source::Load => {
            let message = format!("`{}` is missing: wrong signs and topics cannot be noticed", source.name());
            report.warning(&path, message, example);
            true
        }
    }
}

/// Resolves one source: the preset's topics and the keys that override them.
fn resolve(
    report: &mut Report,
    source: Source,
    input: &Input,
    preset: Vec<String>,
    ours: Option<&PublishConfig>,
) -> Option<InputConfig> {
    let path = format!("inputs.{}", source.name());
    let topic_path = format!("{path}.topic");
    let topics = match &input.topic {
        Some(topic) => report.topic(&topic_path, topic).map(|topic| vec![topic]),
        None => Some(preset),
    };
    for topic in topics.iter().flatten() {
        if ours.is_some_and(|ours| is_ours(topic, ours)) {
            report.error(&topic_path, format!("\"{topic}\" is published by surplusd itself"), "name the meter's topic");
        }
    }
    let pointer_path = format!("{path}.pointer");
    if let Some(fault) = input.pointer.as_deref().and_then(names::pointer_fault) {
        report.error(&pointer_path, fault, "write it as \"/grid/power\"");
    }
    let unit = unit(report, source, input, &path);
    let negate = sign(report, source, input.positive.as_deref(), &format!("{path}.positive"));
    Some(InputConfig { topics: topics?, pointer: input.pointer.clone(), unit: unit?, negate: negate? })
}

fn is_ours(topic: &str, ours: &PublishConfig) -> bool {
    names::is_within(topic, &ours.base_topic) || ours.charger_power_topic.as_deref() == Some(topic)
}

fn unit(report: &mut Report, source: Source, input: &Input, path: &str) -> Option<Unit> {
    let unit_path = format!("{path}.unit");
    let choices: &[(&str, Unit)] = match source {
        Source::BatterySoc => &[("%", Unit::Percent)],
        Source::GridStatus => &[("on/off", Unit::OnOff)],
        Source::Heartbeat => &[("any", Unit::Any)],
        Source::Grid | Source::Solar | Source::Battery | Source::Load => &[("kW", Unit::Kilowatt), ("W", Unit::Watt)],
    };
    match (&input.unit, choices) {
        (Some(unit), _) => report.choice(&unit_path, unit, choices),
        (None, [(_, only)]) => Some(*only),
        // No default: being wrong by a factor of a thousand is worse than one more key to write.
        (None, _) if input.topic.is_some() => {
            report.error(
                &unit_path,
                "the unit is missing",
                "add `unit = \"W\"` or `unit = \"kW\"`, as the topic has it",
            );
            None
        }
        // The unit of the preset's topics.
        (None, _) => Some(Unit::Kilowatt),
    }
}

/// Whether the sign is the opposite of ours.
fn sign(report: &mut Report, source: Source, positive: Option<&str>, path: &str) -> Option<bool> {
    let choices = match source {
        Source::Grid => [("import", false), ("export", true)],
        Source::Battery => [("discharging", false), ("charging", true)],
        Source::Solar | Source::Load | Source::BatterySoc | Source::GridStatus | Source::Heartbeat => {
            if positive.is_some() {
                let message = format!("`{}` has no sign: it has no direction", source.name());
                report.error(path, message, "leave `positive` out");
                return None;
            }
            return Some(false);
        }
    };
    positive.map_or(Some(false), |positive| report.choice(path, positive, &choices))
}

/// Returns the group with this name; groups are numbered in the order in which they appear.
fn group(report: &mut Report, path: &str, name: Option<&str>, known: &mut Vec<String>) -> Option<GroupId> {
    let name = name.unwrap_or(DEFAULT_GROUP);
    if !names::is_label(name, 24) {
        report.error(path, "this group name cannot be used", "use 1 to 24 lower-case letters, digits and -");
        return None;
    }
    let index = known.iter().position(|other| other == name).unwrap_or_else(|| {
        known.push(name.to_owned());
        known.len() - 1
    });
    u8::try_from(index).ok().map(GroupId)
}

/// Reports two sources read from the same place.
fn clashes(report: &mut Report, found: &BTreeMap<Source, InputConfig>) {
    let mut places: BTreeMap<&str, Vec<(Source, Option<&str>)>> = BTreeMap::new();
    for (source, input) in found {
        for topic in &input.topics {
            let users = places.entry(topic).or_default();
            let pointer = input.pointer.as_deref();
            // Without a pointer the payload is one value, so it cannot also contain another one.
            let clash = users.iter().find(|(_, other)| *other == pointer || other.is_none() || pointer.is_none());
            if let Some((other, _)) = clash {
                let message = format!("`{}` and `{}` are the same value of \"{topic}\"", other.name(), source.name());
                let named = |source: Source| format!("inputs.{}.topic", source.name());
                let path = if report.given(&named(*source)) { named(*source) } else { named(*other) };
                report.error(&path, message, "give each source its own topic or pointer");
            }
            users.push((*source, pointer));
        }
    }
}
