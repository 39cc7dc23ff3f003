//! Version 2: adds starts, energy from the battery, and whether it is charging; times in milliseconds of one uptime. Read only: it is
//! upgraded to version 3.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::VERSION;
use super::v3;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct File {
    #[serde(rename = "version")]
    _version: u32,
    boot: Option<String>,
    saved_ms: i64,
    drained: Vec<Drained>,
    chargers: BTreeMap<String, Charger>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Drained {
    until_ms: i64,
    wh: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Charger {
    mode: String,
    fixed_ma: u32,
    energy_wh: i64,
    energy_raw_wh: Option<i64>,
    running: bool,
    stopped_ms: Option<i64>,
    starts_until_ms: Vec<i64>,
    locked: bool,
}

impl File {
    /// Converts it to version 3, without any energies of the cars, which are unknown.
    pub(super) fn upgrade(self) -> v3::File {
        let Self { _version: _, boot, saved_ms, drained, chargers } = self;
        let drained = drained.into_iter().map(|Drained { until_ms, wh }| v3::Drained { until_ms, wh });
        let chargers = chargers.into_iter().map(|(name, charger)| (name, charger.upgrade()));
        v3::File { version: VERSION, boot, saved_ms, drained: drained.collect(), chargers: chargers.collect() }
    }
}

impl Charger {
    fn upgrade(self) -> v3::Charger {
        let Self { mode, fixed_ma, energy_wh, energy_raw_wh, running, stopped_ms, starts_until_ms, locked } = self;
        let (day, today, session) = (None, v3::Energy::ZERO, None);
        v3::Charger {
            mode,
            fixed_ma,
            energy_wh,
            energy_raw_wh,
            running,
            stopped_ms,
            starts_until_ms,
            locked,
            day,
            today,
            session,
        }
    }
}
