//! Version 1: modes, energy counters, the last stop, the lock. Read only.

use std::collections::BTreeMap;

use control::{Milliamps, WattHours};
use serde::Deserialize;

use super::super::{ChargerState, State};
use super::{DOWN, Unreadable, Uptime};
use crate::daemon::account::Account;
use crate::daemon::energy::EnergyMeter;
use crate::daemon::moment::Moment;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct File {
    #[serde(rename = "version")]
    _version: u32,
    chargers: BTreeMap<String, Charger>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Charger {
    mode: String,
    fixed_ma: u32,
    energy_wh: i64,
    energy_raw_wh: Option<i64>,
    stopped: Option<Stopped>,
    locked: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Stopped {
    boot: String,
    seconds: u64,
}

impl File {
    pub(super) fn read(self, uptime: &Uptime) -> Result<State, Unreadable> {
        let mut state = State::new();
        for (name, charger) in self.chargers {
            state.chargers.insert(name, charger.read(uptime)?);
        }
        Ok(state)
    }
}

impl Charger {
    fn read(self, uptime: &Uptime) -> Result<ChargerState, Unreadable> {
        let stopped = |Stopped { boot, seconds }: Stopped| {
            let this_run = uptime.boot.as_ref() == Some(&boot);
            // From another boot, so before the start of this one.
            Moment(if this_run { i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000) } else { 0 })
        };
        Ok(ChargerState {
            mode: super::mode(&self.mode)?,
            fixed: Milliamps(self.fixed_ma),
            meter: EnergyMeter::resume(WattHours(self.energy_wh), self.energy_raw_wh.map(WattHours), DOWN),
            // Not recorded in this version: it may be charging.
            running: true,
            stopped: self.stopped.map(stopped),
            starts: Vec::new(),
            locked: self.locked,
            account: Account::new(),
            gone: None,
        })
    }
}
