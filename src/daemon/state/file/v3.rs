//! Version 3, the newest: adds the energy each car got today and since it was plugged in.

use std::collections::BTreeMap;

use control::{Milliamps, Millis, WattHours};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::super::{ChargerState, State};
use super::{DOWN, Unreadable, Uptime, VERSION};
use crate::daemon::account::Account;
use crate::daemon::energy::EnergyMeter;
use crate::daemon::moment::Moment;
use crate::model::status::Tally;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct File {
    pub(super) version: u32,
    /// The boot of the machine in which it was written; all times belong to this boot.
    pub(super) boot: Option<String>,
    /// When it was written.
    pub(super) saved_ms: i64,
    pub(super) drained: Vec<Drained>,
    pub(super) chargers: BTreeMap<String, Charger>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Drained {
    pub(super) until_ms: i64,
    pub(super) wh: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Charger {
    pub(super) mode: String,
    pub(super) fixed_ma: u32,
    pub(super) energy_wh: i64,
    pub(super) energy_raw_wh: Option<i64>,
    pub(super) running: bool,
    pub(super) stopped_ms: Option<i64>,
    pub(super) starts_until_ms: Vec<i64>,
    pub(super) locked: bool,
    /// The local day of `today`, such as `2026-11-29`.
    pub(super) day: Option<String>,
    pub(super) today: Energy,
    pub(super) session: Option<Session>,
}

/// See [`Tally`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Energy {
    solar_mj: u64,
    battery_mj: u64,
    grid_mj: u64,
    unknown_mj: u64,
    starts: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Session {
    since_ms: i64,
    energy: Energy,
}

impl File {
    pub(super) fn write(state: &State, uptime: &Uptime) -> Self {
        let counts = |until: &Moment| *until > uptime.now;
        let charger = |(name, state): (&String, &ChargerState)| {
            let stored = Charger {
                mode: state.mode.name().to_owned(),
                fixed_ma: state.fixed.0,
                energy_wh: state.meter.total().unwrap_or(WattHours(0)).0,
                energy_raw_wh: state.meter.base().map(|base| base.0),
                running: state.running,
                stopped_ms: state.stopped.map(|at| at.0),
                starts_until_ms: state.starts.iter().filter(|until| counts(until)).map(|until| until.0).collect(),
                locked: state.locked,
                day: state.account.day.map(|day| day.to_string()),
                today: Energy::write(&state.account.today),
                session: state
                    .account
                    .session
                    .map(|(since, tally)| Session { since_ms: since.0, energy: Energy::write(&tally) }),
            };
            (name.clone(), stored)
        };
        let drained = state.drained.iter().chain(&state.ahead).filter(|(until, _)| counts(until));
        Self {
            version: VERSION,
            boot: uptime.boot.clone(),
            saved_ms: uptime.now.0,
            drained: drained.map(|(until, energy)| Drained { until_ms: until.0, wh: energy.0 }).collect(),
            chargers: state.chargers.iter().map(charger).collect(),
        }
    }

    /// A copy with another time of writing.
    pub(super) fn written_at(&self, saved_ms: i64) -> Self {
        Self { saved_ms, ..self.clone() }
    }

    pub(super) fn read(self, uptime: &Uptime) -> Result<State, Unreadable> {
        let this_run = self.boot.is_some() && self.boot == uptime.boot && self.saved_ms <= uptime.now.0;
        // After a reboot, the time between writing and the start of the machine is unknown. Assuming none is the safe side.
        let shift = if this_run { 0 } else { self.saved_ms };
        let moment = |ms: i64| Moment(ms.saturating_sub(shift));
        let away = if this_run { uptime.now.since(Moment(self.saved_ms)) } else { DOWN };
        let mut state = State::new();
        state.drained =
            self.drained.iter().map(|drained| (moment(drained.until_ms), WattHours(drained.wh.max(0)))).collect();
        for (name, charger) in self.chargers {
            state.chargers.insert(name, charger.read(moment, away)?);
        }
        Ok(state)
    }
}

impl Charger {
    fn read(self, moment: impl Fn(i64) -> Moment, away: Millis) -> Result<ChargerState, Unreadable> {
        let day = self.day.as_deref().map(str::parse::<Date>).transpose();
        let day = day.map_err(|_| Unreadable::Damaged(format!("{:?} is not a day", self.day.unwrap_or_default())))?;
        let session = self.session.map(|session| (moment(session.since_ms), session.energy.read()));
        Ok(ChargerState {
            mode: super::mode(&self.mode)?,
            fixed: Milliamps(self.fixed_ma),
            meter: EnergyMeter::resume(WattHours(self.energy_wh), self.energy_raw_wh.map(WattHours), away),
            running: self.running,
            stopped: self.stopped_ms.map(&moment),
            starts: self.starts_until_ms.into_iter().map(moment).collect(),
            locked: self.locked,
            account: Account::resume(day, self.today.read(), session),
            gone: None,
        })
    }
}

impl Energy {
    /// No energy.
    pub(super) const ZERO: Self = Self::write(&Tally::ZERO);

    const fn write(tally: &Tally) -> Self {
        let Tally { solar_mj, battery_mj, grid_mj, unknown_mj, starts } = *tally;
        Self { solar_mj, battery_mj, grid_mj, unknown_mj, starts }
    }

    const fn read(&self) -> Tally {
        let Self { solar_mj, battery_mj, grid_mj, unknown_mj, starts } = *self;
        Tally { solar_mj, battery_mj, grid_mj, unknown_mj, starts }
    }
}
