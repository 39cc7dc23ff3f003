//! The stored form of the state: JSON, versioned. Each version has its own structs and is read for ever; the newest is written.
//!
//! | version | what came with it |
//! |---|---|
//! | 1 | modes, energy counters, the last stop, the lock |
//! | 2 | starts, what the battery gave, whether it charges; times in milliseconds of one uptime |

use std::fs;

use control::{Milliamps, Millis, Mode, WattHours};
use serde::Deserialize;

use super::{ChargerState, Moment, State};
use crate::daemon::energy::EnergyMeter;

/// What passed at most while the machine was down for an unknown time: bounds what an energy counter may have advanced meanwhile.
const DOWN: Millis = Millis::from_secs(86_400);

/// Why a file is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// Not JSON, or not what is expected of this version.
    #[error("{0}")]
    Damaged(String),
    /// Written by a later version of this program.
    #[error("it is of version {0}, and this program knows versions up to {VERSION}")]
    Newer(u32),
}

/// The version that is written.
const VERSION: u32 = 2;

/// The run of the machine to which moments belong, and the present moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Uptime {
    /// Differs after each start of the machine; `None` where the kernel does not tell.
    pub(super) boot: Option<String>,
    /// The present.
    pub(super) now: Moment,
}

impl Uptime {
    /// The present run.
    pub(super) fn read() -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        Self { boot: boot.map(|boot| boot.trim().to_owned()), now: Moment::now() }
    }
}

/// Only what tells the versions apart; everything else is looked at later.
#[derive(Debug, Deserialize)]
struct Versioned {
    version: u32,
}

/// Reads any version.
pub(super) fn parse(text: &str, uptime: &Uptime) -> Result<State, Unreadable> {
    let damaged = |error: serde_json::Error| Unreadable::Damaged(error.to_string());
    let Versioned { version } = serde_json::from_str(text).map_err(damaged)?;
    match version {
        1 => serde_json::from_str::<v1::File>(text).map_err(damaged)?.read(uptime),
        2 => serde_json::from_str::<v2::File>(text).map_err(damaged)?.read(uptime),
        0 => Err(Unreadable::Damaged("there is no version 0".to_owned())),
        newer => Err(Unreadable::Newer(newer)),
    }
}

/// The state in the form of the newest version.
#[derive(Debug, Clone)]
pub(super) struct Form(v2::File);

impl Form {
    /// The state as it is to be stored now.
    pub(super) fn new(state: &State, uptime: &Uptime) -> Self {
        Self(v2::File::write(state, uptime))
    }

    /// Whether it says the same as another one, whenever that was written.
    pub(super) fn says_the_same_as(&self, other: &Self) -> bool {
        self.0 == other.0.written_at(self.0.saved_ms)
    }

    /// The text of the file.
    ///
    /// # Errors
    /// If it cannot be serialised. The caller keeps the old file then: an empty one would say that no wallbox is locked.
    pub(super) fn text(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(&self.0)
    }
}

fn mode(name: &str) -> Result<Mode, Unreadable> {
    Mode::from_name(name).ok_or_else(|| Unreadable::Damaged(format!("mode {name:?} is not known")))
}

mod v1 {
    use std::collections::BTreeMap;

    use super::{
        ChargerState, DOWN, Deserialize, EnergyMeter, Milliamps, Moment, State, Unreadable, Uptime, WattHours,
    };

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
                // In another run: before the start of this one.
                Moment(if this_run { i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000) } else { 0 })
            };
            Ok(ChargerState {
                mode: super::mode(&self.mode)?,
                fixed: Milliamps(self.fixed_ma),
                meter: EnergyMeter::resume(WattHours(self.energy_wh), self.energy_raw_wh.map(WattHours), DOWN),
                // Not told.
                running: true,
                stopped: self.stopped.map(stopped),
                starts: Vec::new(),
                locked: self.locked,
                gone: None,
            })
        }
    }
}

mod v2 {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    use super::{
        ChargerState, DOWN, EnergyMeter, Milliamps, Millis, Moment, State, Unreadable, Uptime, VERSION, WattHours,
    };

    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    pub(super) struct File {
        version: u32,
        /// The run of the machine in which it was written; all times are of this run.
        boot: Option<String>,
        /// When it was written.
        pub(super) saved_ms: i64,
        drained: Vec<Drained>,
        chargers: BTreeMap<String, Charger>,
    }

    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    struct Drained {
        until_ms: i64,
        wh: i64,
    }

    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

        /// The same, as if written at another time.
        pub(super) fn written_at(&self, saved_ms: i64) -> Self {
            Self { saved_ms, ..self.clone() }
        }

        pub(super) fn read(self, uptime: &Uptime) -> Result<State, Unreadable> {
            let this_run = self.boot.is_some() && self.boot == uptime.boot && self.saved_ms <= uptime.now.0;
            // After a reboot the time between writing and the start of the machine is not known: none, to be on the safe side.
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
            Ok(ChargerState {
                mode: super::mode(&self.mode)?,
                fixed: Milliamps(self.fixed_ma),
                meter: EnergyMeter::resume(WattHours(self.energy_wh), self.energy_raw_wh.map(WattHours), away),
                running: self.running,
                stopped: self.stopped_ms.map(&moment),
                starts: self.starts_until_ms.into_iter().map(moment).collect(),
                locked: self.locked,
                gone: None,
            })
        }
    }
}
