//! The reference file and the examples hold what they promise.

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

/// Gives nothing but tells which fields were asked for.
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

/// The reference with the keys that are absent by default put in.
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
    // And the other way round: what is in it is a key.
    toml::from_str::<File>(&all_keys()).expect("only known keys");
}

#[test]
fn the_reference_shows_the_defaults() {
    let mut file: File = toml::from_str(REFERENCE).expect("a valid file");
    // What has no default is an example.
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
    let mut files: Vec<PathBuf> = fs::read_dir(root.join("examples"))
        .expect("examples")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    assert!(files.len() >= 5);
    files.push(root.join("surplusd.toml"));
    for file in files {
        let loaded = load_with(&file, &Environment::default(), &PROFILES, Files::Ignore);
        assert_eq!(lines(&loaded.findings), "", "{}", file.display());
        assert!(loaded.config.is_some());
    }
}
