//! The file as written, version 1: tables, keys, defaults.
//!
//! This is the only place that defines the defaults; a test compares the reference file `config/surplusd.toml` with them. Every number is
//! an `f64` and every word a `String`, so that the checks can report a wrong one in the user's words instead of serde's. There is no
//! `flatten` and no `untagged`: both let misspelt keys pass. Values carry no span; [`super::report::Report`] finds the place of a value by
//! its path.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

/// Version of the format.
pub(super) const VERSION: f64 = 1.0;

/// The whole file.
#[expect(clippy::struct_field_names, reason = "fields are named as the keys are")]
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    pub(super) version: Option<f64>,
    pub(super) state_file: String,
    #[serde(deserialize_with = "table")]
    pub(super) mqtt: Mqtt,
    #[serde(deserialize_with = "table")]
    pub(super) inputs: Inputs,
    #[serde(deserialize_with = "table")]
    pub(super) site: Site,
    #[serde(deserialize_with = "table")]
    pub(super) battery: Battery,
    #[serde(deserialize_with = "table")]
    pub(super) solar: Solar,
    #[serde(deserialize_with = "table")]
    pub(super) fail_safe: FailSafe,
    #[serde(deserialize_with = "table")]
    pub(super) sampling: Sampling,
    #[serde(deserialize_with = "tables")]
    pub(super) charger: Vec<Charger>,
    #[serde(deserialize_with = "table")]
    pub(super) home_assistant: HomeAssistant,
    #[serde(deserialize_with = "table")]
    pub(super) publish: Publish,
    #[serde(deserialize_with = "table")]
    pub(super) journal: Journal,
}

impl Default for File {
    fn default() -> Self {
        Self {
            version: None,
            state_file: "/var/lib/surplusd/state.json".to_owned(),
            mqtt: Mqtt::default(),
            inputs: Inputs::default(),
            site: Site::default(),
            battery: Battery::default(),
            solar: Solar::default(),
            fail_safe: FailSafe::default(),
            sampling: Sampling::default(),
            charger: Vec::new(),
            home_assistant: HomeAssistant::default(),
            publish: Publish::default(),
            journal: Journal::default(),
        }
    }
}

/// `[mqtt]`: the broker.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Mqtt {
    pub(super) url: Option<String>,
    pub(super) username: Option<String>,
    pub(super) username_file: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) ca_file: Option<String>,
    pub(super) client_cert_file: Option<String>,
    pub(super) client_key_file: Option<String>,
    /// If absent: the node id.
    pub(super) client_id: Option<String>,
    pub(super) keep_alive_s: f64,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            url: None,
            username: None,
            username_file: None,
            password_file: None,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            client_id: None,
            keep_alive_s: 20.0,
        }
    }
}

/// `[inputs]`: where the site's values come from.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Inputs {
    pub(super) preset: String,
    pub(super) base_topic: String,
    pub(super) site_name: String,
    #[serde(deserialize_with = "some_table")]
    pub(super) grid: Option<Input>,
    #[serde(deserialize_with = "some_table")]
    pub(super) solar: Option<Input>,
    #[serde(deserialize_with = "some_table")]
    pub(super) battery: Option<Input>,
    #[serde(deserialize_with = "some_table")]
    pub(super) load: Option<Input>,
    #[serde(deserialize_with = "some_table")]
    pub(super) battery_soc: Option<Input>,
    #[serde(deserialize_with = "some_table")]
    pub(super) grid_status: Option<Input>,
    #[serde(deserialize_with = "some_table")]
    pub(super) heartbeat: Option<Input>,
}

impl Default for Inputs {
    fn default() -> Self {
        Self {
            preset: "home-assistant-powerwall".to_owned(),
            base_topic: "homeassistant".to_owned(),
            site_name: "my_home".to_owned(),
            grid: None,
            solar: None,
            battery: None,
            load: None,
            battery_soc: None,
            grid_status: None,
            heartbeat: None,
        }
    }
}

/// One source; absent keys come from the preset.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Input {
    pub(super) topic: Option<String>,
    pub(super) pointer: Option<String>,
    pub(super) unit: Option<String>,
    pub(super) positive: Option<String>,
    pub(super) group: Option<String>,
}

/// `[site]`: the house's connection.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Site {
    pub(super) main_fuse_a: f64,
    /// If absent: the main fuse.
    pub(super) charger_limit_a: Option<f64>,
    pub(super) phases: f64,
}

impl Default for Site {
    fn default() -> Self {
        Self { main_fuse_a: 25.0, charger_limit_a: None, phases: 3.0 }
    }
}

/// `[battery]`: how the home battery and the car share solar power.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Battery {
    pub(super) present: bool,
    pub(super) priority_soc: f64,
    pub(super) buffer_soc: f64,
    pub(super) floor_soc: f64,
    pub(super) max_charge_w: f64,
    pub(super) drain_budget_wh: f64,
}

impl Default for Battery {
    fn default() -> Self {
        Self {
            present: true,
            priority_soc: 0.0,
            buffer_soc: 100.0,
            floor_soc: 20.0,
            max_charge_w: 5_000.0,
            drain_budget_wh: 5_500.0,
        }
    }
}

/// `[solar]`: the settings of mode `solar`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Solar {
    pub(super) min_share: f64,
    pub(super) start_cost_wh: f64,
    pub(super) starts_per_day_max: f64,
    pub(super) min_on_s: f64,
    pub(super) min_off_s: f64,
}

impl Default for Solar {
    fn default() -> Self {
        Self { min_share: 0.75, start_cost_wh: 330.0, starts_per_day_max: 50.0, min_on_s: 60.0, min_off_s: 60.0 }
    }
}

/// `[fail-safe]`: what happens when something fails.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FailSafe {
    pub(super) stale_after_s: f64,
    pub(super) stop_after_s: f64,
    pub(super) blind_current_a: f64,
    pub(super) blind_current_slow_a: f64,
    pub(super) blind_current_fast_a: f64,
    pub(super) blind_current_fixed_a: f64,
    pub(super) off_grid_current_a: f64,
    pub(super) charger_watchdog_s: f64,
    pub(super) charger_current_a: f64,
}

impl Default for FailSafe {
    fn default() -> Self {
        Self {
            stale_after_s: 90.0,
            stop_after_s: 300.0,
            blind_current_a: 0.0,
            blind_current_slow_a: 6.0,
            blind_current_fast_a: 16.0,
            blind_current_fixed_a: 16.0,
            off_grid_current_a: 0.0,
            charger_watchdog_s: 30.0,
            charger_current_a: 0.0,
        }
    }
}

/// `[sampling]`: how messages are combined into samples.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Sampling {
    pub(super) settle_ms: f64,
    pub(super) meter_age_ms: f64,
    pub(super) refresh_every_s: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { settle_ms: 200.0, meter_age_ms: 2_000.0, refresh_every_s: 10.0 }
    }
}

/// `[[charger]]`: one wallbox.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Charger {
    pub(super) name: Option<String>,
    pub(super) profile: Option<String>,
    pub(super) link: Option<String>,
    pub(super) unit: f64,
    pub(super) max_current_a: f64,
    pub(super) min_current_a: f64,
    pub(super) phases: f64,
    pub(super) mode: String,
    pub(super) fixed_current_a: f64,
    pub(super) poll_s: f64,
    /// If absent: the profile's.
    pub(super) reply_ms: Option<f64>,
    pub(super) standby: bool,
    pub(super) wake_after_s: f64,
    pub(super) phase_switch: Option<PhaseSwitch>,
    pub(super) phase_switch_pause_s: f64,
}

impl Default for Charger {
    fn default() -> Self {
        Self {
            name: None,
            profile: None,
            link: None,
            unit: 1.0,
            max_current_a: 16.0,
            min_current_a: 6.0,
            phases: 3.0,
            mode: "solar".to_owned(),
            fixed_current_a: 6.0,
            poll_s: 1.0,
            reply_ms: None,
            standby: false,
            wake_after_s: 300.0,
            phase_switch: None,
            phase_switch_pause_s: 60.0,
        }
    }
}

/// `phase-switch`: a word, or a relay and one of its contacts.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PhaseSwitch {
    Word(String),
    Contact { relay: String, contact: f64 },
}

impl<'de> Deserialize<'de> for PhaseSwitch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Contact {
            relay: String,
            contact: f64,
        }

        struct WordOrTable;

        impl<'de> Visitor<'de> for WordOrTable {
            type Value = PhaseSwitch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"charger\" or { relay = …, contact = 1 }")
            }

            fn visit_str<E>(self, word: &str) -> Result<PhaseSwitch, E> {
                Ok(PhaseSwitch::Word(word.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PhaseSwitch, A::Error> {
                let Contact { relay, contact } = Contact::deserialize(MapAccessDeserializer::new(map))?;
                Ok(PhaseSwitch::Contact { relay, contact })
            }
        }

        deserializer.deserialize_any(WordOrTable)
    }
}

/// `[home-assistant]`: our identity there.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct HomeAssistant {
    pub(super) node_id: String,
}

impl Default for HomeAssistant {
    fn default() -> Self {
        Self { node_id: "surplusd".to_owned() }
    }
}

/// `[publish]`: what is published to the broker.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Publish {
    /// If absent: `surplusd/<node-id>`.
    pub(super) base_topic: Option<String>,
    pub(super) charger_power_topic: Option<String>,
    pub(super) state_every_s: f64,
}

impl Default for Publish {
    fn default() -> Self {
        Self { base_topic: None, charger_power_topic: None, state_every_s: 10.0 }
    }
}

/// `[journal]`: the flight recorder.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Journal {
    pub(super) enabled: bool,
    pub(super) file: String,
    pub(super) keep_days: f64,
    pub(super) max_mb: f64,
    pub(super) batch_s: f64,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            enabled: true,
            file: "/var/lib/surplusd/journal.sqlite".to_owned(),
            keep_days: 30.0,
            max_mb: 64.0,
            batch_s: 600.0,
        }
    }
}

/// Deserializes a table. serde's derived structs would also accept a list, with values in the order of the fields and no keys to check.
fn table<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Table::deserialize(deserializer)?.0)
}

/// Deserializes a table that may be absent.
fn some_table<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    table(deserializer).map(Some)
}

/// Deserializes a list of tables.
fn tables<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let tables = Vec::<Table<T>>::deserialize(deserializer)?;
    Ok(tables.into_iter().map(|table| table.0).collect())
}

/// Wraps what [`table`] deserializes.
struct Table<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyTable<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyTable<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(OnlyTable(PhantomData)).map(Self)
    }
}
