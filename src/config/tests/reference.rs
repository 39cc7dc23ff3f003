//! The reference file and the examples are complete and correct.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, Visitor, value::Error};

use super::{PROFILES, good, lines};
use crate::config::file::{
    Battery, Charger, FailSafe, File, HomeAssistant, Input, Inputs, Journal, Mqtt, Publish, Sampling, Site, Solar,
};
use crate::config::{Environment, Files, load_with};

const REFERENCE: &str = include_str!("../../../config/surplusd.toml");

/// A deserializer that gives no values and records which fields were requested.
struct Asked<'a>(&'a mut Vec<&'static str>);

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(serde::de::Error::custom("not a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.0.extend(fields);
        Err(serde::de::Error::custom("that was all"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq
        tuple tuple_struct map enum identifier ignored_any
    }
}

fn fields<T: for<'de> Deserialize<'de>>() -> Vec<&'static str> {
    let mut fields = Vec::new();
    assert!(T::deserialize(Asked(&mut fields)).is_err());
    assert!(!fields.is_empty());
    fields
}

/// Returns the reference file with the keys added that are absent by default.
fn all_keys() -> String {
    let is_key =
        |line: &str| line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
    REFERENCE
        .lines()
        .map(|line| if is_key(line) { &line[1..] } else { line })
        .fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn every_key_is_in_the_reference() {
    let table: toml::Table = all_keys().parse().expect("TOML");
    let mut expected: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    expected.insert("mqtt", fields::<Mqtt>());
    expected.insert("inputs", fields::<Inputs>());
    expected.insert("site", fields::<Site>());
    expected.insert("battery", fields::<Battery>());
    expected.insert("solar", fields::<Solar>());
    expected.insert("fail-safe", fields::<FailSafe>());
    expected.insert("sampling", fields::<Sampling>());
    expected.insert("home-assistant", fields::<HomeAssistant>());
    expected.insert("publish", fields::<Publish>());
    expected.insert("journal", fields::<Journal>());
    for name in fields::<File>() {
        assert!(table.contains_key(name), "{name} is not in the reference");
        let known = ["version", "state-file", "charger"].contains(&name) || expected.contains_key(name);
        assert!(known, "[{name}] is not looked at by this test");
    }
    for (name, fields) in &expected {
        for field in fields {
            assert!(table[*name].get(field).is_some(), "{name}.{field} is not in the reference");
        }
    }
    for field in fields::<Charger>() {
        assert!(table["charger"][0].get(field).is_some(), "charger.{field} is not in the reference");
    }
    for field in fields::<Input>() {
        assert!(REFERENCE.contains(&format!("\n#   {field} ")), "the reference does not explain {field} of an input");
    }
    // And the other way round: every entry in the file is a known key.
    toml::from_str::<File>(&all_keys()).expect("only known keys");
}

#[test]
fn the_reference_shows_the_defaults() {
    let mut file: File = toml::from_str(REFERENCE).expect("a valid file");
    // Keys without a default have an example value.
    assert_eq!(file.version.take(), Some(1.0));
    assert!(file.mqtt.url.take().is_some());
    let mut charger = file.charger.remove(0);
    assert!(charger.name.take().is_some() && charger.profile.take().is_some() && charger.link.take().is_some());
    assert_eq!(charger, Charger::default());
    assert_eq!(file, File::default());
}

#[test]
fn the_defaults_that_follow_from_others() {
    let config = good(REFERENCE);
    let only = |key: &str| {
        let line = REFERENCE.lines().find(|line| line.starts_with(&format!("#{key} = "))).expect(key);
        REFERENCE.replacen(line, &line[1..], 1)
    };
    assert_eq!(good(&only("base-topic")), config);
    assert_eq!(good(&only("client-id")), config);
    assert_eq!(good(&only("charger-power-topic")).publish.charger_power_topic.as_deref(), Some("home/charger/power"));
}

#[test]
fn every_file_in_the_tree_passes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let files: Vec<PathBuf> = fs::read_dir(root.join("examples"))
        .expect("examples")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    assert!(files.len() >= 5);
    // There is no default login, which is warned about.
    good(REFERENCE);
    for file in files {
        let loaded = load_with(&file, &Environment::default(), &PROFILES, Files::Ignore);
        assert_eq!(lines(&loaded.findings), "", "{}", file.display());
        assert!(loaded.config.is_some());
    }
}

/// Returns the keys that must accompany a key so that it is valid.
fn companions(key: &str) -> &'static str {
    match key {
        "mqtt.password-file" => "mqtt.username = \"u\"",
        "mqtt.client-cert-file" | "mqtt.client-key-file" => {
            "mqtt.client-cert-file = \"a\"\nmqtt.client-key-file = \"b\""
        }
        "charger.max-current-a" => "fail-safe.blind-current-fast-a = 6\nfail-safe.blind-current-fixed-a = 6",
        "charger.min-current-a" => "charger.fixed-current-a = 8\nfail-safe.blind-current-slow-a = 8",
        "charger.phase-switch" => "charger.profile = \"amperfied-connect\"",
        "charger.phase-switch-pause-s" => "charger.profile = \"amperfied-connect\"\ncharger.phase-switch = \"charger\"",
        "inputs.preset" => {
            "inputs.grid = { topic = \"g\", unit = \"W\", positive = \"import\" }\nbattery.present = false\n\
             inputs.solar = { topic = \"s\", unit = \"W\" }"
        }
        _ => "",
    }
}

/// A different value for each key. A key missing here fails the test below.
const OTHERWISE: &str = r#"
state-file = "/elsewhere/state.json"
mqtt.url = "mqtts://other:1234"
mqtt.username = "u"
mqtt.username-file = "u"
mqtt.password-file = "p"
mqtt.ca-file = "a"
mqtt.client-cert-file = "c"
mqtt.client-key-file = "c"
mqtt.client-id = "other"
mqtt.keep-alive-s = 30
inputs.preset = "none"
inputs.base-topic = "other"
inputs.site-name = "other"
inputs.grid = { positive = "export" }
inputs.solar = { unit = "W", topic = "t" }
inputs.battery = { positive = "charging" }
inputs.load = { group = "other" }
inputs.battery-soc = { topic = "t", unit = "%", pointer = "/soc" }
inputs.grid-status = { topic = "t" }
inputs.heartbeat = { topic = "t" }
fail-safe.off-grid-current-a = 8
charger.min-current-a = 8
charger.reply-ms = 700
site.main-fuse-a = 35
site.charger-limit-a = 20
site.phases = 1
battery.present = false
battery.priority-soc = 30
battery.buffer-soc = 90
battery.floor-soc = 10
battery.max-charge-w = 3000
battery.drain-budget-wh = 1000
solar.min-share = 0.9
solar.start-cost-wh = 200
solar.starts-per-day-max = 10
solar.min-on-s = 120
solar.min-off-s = 120
fail-safe.stale-after-s = 60
fail-safe.stop-after-s = 200
fail-safe.blind-current-a = 6
fail-safe.blind-current-slow-a = 0
fail-safe.blind-current-fast-a = 6
fail-safe.blind-current-fixed-a = 6
fail-safe.charger-watchdog-s = 20
fail-safe.charger-current-a = 6
sampling.settle-ms = 100
sampling.meter-age-ms = 1000
sampling.refresh-every-s = 20
charger.name = "garage"
charger.profile = "amperfied-connect"
charger.link = "tcp://wallbox:502"
charger.unit = 2
charger.max-current-a = 10
charger.phases = 1
charger.mode = "slow"
charger.fixed-current-a = 8
charger.poll-s = 2
charger.standby = true
charger.wake-after-s = 0
charger.phase-switch = "charger"
charger.phase-switch-pause-s = 90
home-assistant.node-id = "other"
publish.base-topic = "other"
publish.charger-power-topic = "t"
publish.state-every-s = 20
journal.enabled = false
journal.file = "/elsewhere/journal.sqlite"
journal.keep-days = 10
journal.max-mb = 10
journal.batch-s = 60
"#;

/// Sets keys given as `table.key = value` in the file's tables; `charger` stands for `[[charger]]`.
fn set(file: &mut toml::Table, lines: &str) {
    for (path, value) in lines.lines().filter_map(|line| line.split_once(" = ")) {
        let value = format!("x = {value}").parse::<toml::Table>().expect("a value").remove("x").expect("a value");
        let Some((table, key)) = path.split_once('.') else {
            file.insert(path.to_owned(), value);
            continue;
        };
        let mut table = file.get_mut(table).expect(table);
        if table.is_array() {
            table = &mut table[0];
        }
        table.as_table_mut().expect("a table").insert(key.to_owned(), value);
    }
}

/// Every key changes the resulting configuration. `tests/tidy` checks that the program uses all of that.
#[test]
fn every_key_has_an_effect() {
    let all: toml::Table = all_keys().parse().expect("TOML");
    let mut keys = Vec::new();
    for (name, value) in &all {
        let table = value.as_array().map_or(value, |tables| &tables[0]);
        match table.as_table() {
            Some(table) => keys.extend(table.keys().map(|key| format!("{name}.{key}"))),
            None => keys.push(name.clone()),
        }
    }
    assert!(keys.len() > 60, "{keys:?}");
    let mut wrong = Vec::new();
    for key in keys.iter().filter(|key| *key != "version") {
        let Some(change) = OTHERWISE.lines().find(|line| line.split(" = ").next() == Some(key)) else {
            wrong.push(format!("{key} needs another value in this test"));
            continue;
        };
        let config = |lines: &str| {
            let mut file: toml::Table = REFERENCE.parse().expect("TOML");
            set(&mut file, companions(key));
            set(&mut file, lines);
            let loaded = super::read(&toml::to_string(&file).expect("TOML"));
            // Its effect is that a contradicting file is refused.
            if *key == "site.phases" && loaded.config.is_none() {
                return Ok(None);
            }
            loaded.config.map(Some).ok_or_else(|| format!("{key}: {}", self::lines(&loaded.findings)))
        };
        match (config(change), config("")) {
            (Ok(changed), Ok(usual)) if changed != usual => {}
            (Ok(_), Ok(_)) => wrong.push(format!("{key} has no effect")),
            (Err(error), _) | (_, Err(error)) => wrong.push(error),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
