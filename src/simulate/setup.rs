//! Reads the plant's description from a file, and supplies the controller's configuration if there is none.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::meters::{LATE_MAX_S, MetersOptions};
use crate::config::{self, Environment, Files, KnownProfile};
use crate::regular;
use crate::sim::plant::{BatteryOptions, CarOptions};

/// The largest file, in bytes.
const FILE_MAX: u64 = 64 * 1024;

/// Everything around the controller except the weather. The default is the scenario `powerwall-30s`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setup {
    /// `None`: no home battery.
    pub battery: Option<BatteryOptions>,
    /// The car; its timetable counts from midnight of the first day.
    pub car: CarOptions,
    /// The meters.
    pub meters: MetersOptions,
    /// Seed of all random values.
    pub seed: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            battery: Some(BatteryOptions::POWERWALL),
            car: CarOptions::ALL_DAY,
            meters: MetersOptions { period_s: 30, realistic: false, delay_s: 0, skew_s: 0, refresh_delay_s: None },
            seed: 1,
        }
    }
}

/// Why there is no setup, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file cannot be read.
    #[error("{}: it cannot be read: {what}; name a TOML file", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The cause.
        what: String,
    },
    /// A line of the file is wrong.
    #[error("{}:{line}: {what}; {remedy}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// Line number, counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// The built-in configuration is rejected: a bug.
    #[error("the built-in configuration is not accepted: {0}")]
    Reference(String),
}

/// The format of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    battery: Option<bool>,
    battery_soc_pct: Option<Spanned<f64>>,
    meter_period_s: Option<Spanned<u32>>,
    realistic: Option<bool>,
    phases: Option<Spanned<u8>>,
    car_arrives_s: Option<u32>,
    car_leaves_s: Option<Spanned<u32>>,
    car_wants_kwh: Option<Spanned<f64>>,
    car_max_a: Option<Spanned<f64>>,
    seed: Option<u64>,
    refresh_delay_s: Option<Spanned<u32>>,
    meter_delay_s: Option<Spanned<u32>>,
    meter_skew_s: Option<Spanned<u32>>,
}

const KEYS: &str = "the keys are battery, battery-soc-pct, meter-period-s, realistic, phases, car-arrives-s, car-leaves-s, \
    car-wants-kwh, car-max-a, seed, refresh-delay-s, meter-delay-s and meter-skew-s";

impl Setup {
    /// Reads a file.
    pub fn read(file: &Path) -> Result<Self, SetupError> {
        let text = regular::read_text(file, FILE_MAX)
            .map_err(|error| SetupError::Unreadable { file: file.to_owned(), what: error.to_string() })?;
        Self::parse(&text, file)
    }

    /// Parses TOML; `file` names it in errors.
    pub fn parse(text: &str, file: &Path) -> Result<Self, SetupError> {
        let at = |offset: usize| text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        let wrong = |offset: usize, what: String, remedy: &str| SetupError::Line {
            file: file.to_owned(),
            line: at(offset),
            what,
            remedy: remedy.to_owned(),
        };
        let read: File = toml::from_str(text).map_err(|error| {
            wrong(error.span().map_or(0, |span| span.start), error.message().trim().replace('\n', ", "), KEYS)
        })?;
        let check = Check { wrong: &wrong };
        let default = Self::default();
        let soc = check.within("battery-soc-pct", read.battery_soc_pct, 0.0..=100.0)?;
        let wants_kwh = check.within("car-wants-kwh", read.car_wants_kwh, 0.0..=1_000.0)?;
        let max_amps = check.within("car-max-a", read.car_max_a, 6.0..=63.0)?;
        let late = 0..=LATE_MAX_S;
        if let (Some(arrives_s), Some(leaves_s)) = (read.car_arrives_s, &read.car_leaves_s)
            && *leaves_s.get_ref() <= arrives_s
        {
            let what = format!("car-leaves-s is {}, car-arrives-s {arrives_s}", leaves_s.get_ref());
            return Err(wrong(leaves_s.span().start, what, "let it leave after it has come"));
        }
        let battery = read.battery.unwrap_or(true).then(|| BatteryOptions {
            soc: soc.map_or(BatteryOptions::POWERWALL.soc, |percent| percent / 100.0),
            ..BatteryOptions::POWERWALL
        });
        Ok(Self {
            battery,
            car: CarOptions {
                phases: check.phases(read.phases)?.unwrap_or(default.car.phases),
                arrives_s: read.car_arrives_s,
                leaves_s: read.car_leaves_s.map(Spanned::into_inner),
                wants_wh: wants_kwh.map(|kwh| kwh * 1_000.0),
                max_amps: max_amps.unwrap_or(default.car.max_amps),
                ..default.car
            },
            meters: MetersOptions {
                period_s: check
                    .within("meter-period-s", read.meter_period_s, 0..=3_600)?
                    .unwrap_or(default.meters.period_s),
                realistic: read.realistic.unwrap_or(false),
                delay_s: check.within("meter-delay-s", read.meter_delay_s, late.clone())?.unwrap_or(0),
                skew_s: check.within("meter-skew-s", read.meter_skew_s, late.clone())?.unwrap_or(0),
                refresh_delay_s: check.within("refresh-delay-s", read.refresh_delay_s, late)?,
            },
            seed: read.seed.unwrap_or(default.seed),
        })
    }

    /// The car with its timetable counted from the second at which the simulation starts.
    pub fn car_from(&self, began_s: u32) -> CarOptions {
        let from = |at_s: u32| at_s.saturating_sub(began_s);
        CarOptions { arrives_s: self.car.arrives_s.map(from), leaves_s: self.car.leaves_s.map(from), ..self.car }
    }
}

/// Checks ranges and reports the place of a value outside.
struct Check<'a> {
    wrong: &'a dyn Fn(usize, String, &str) -> SetupError,
}

impl Check<'_> {
    fn within<T: PartialOrd + std::fmt::Display>(
        &self,
        key: &str,
        value: Option<Spanned<T>>,
        range: std::ops::RangeInclusive<T>,
    ) -> Result<Option<T>, SetupError> {
        let Some(value) = value else { return Ok(None) };
        let offset = value.span().start;
        let value = value.into_inner();
        if range.contains(&value) {
            return Ok(Some(value));
        }
        let remedy = format!("give {} to {}", range.start(), range.end());
        Err((self.wrong)(offset, format!("{key} is {value}"), &remedy))
    }

    fn phases(&self, value: Option<Spanned<u8>>) -> Result<Option<u8>, SetupError> {
        let two = value.as_ref().filter(|phases| *phases.get_ref() == 2).map(|phases| phases.span().start);
        match two {
            Some(offset) => Err((self.wrong)(offset, "phases is 2".to_owned(), "give 1 or 3")),
            None => self.within("phases", value, 1..=3),
        }
    }
}

/// The reference configuration: one three-phase charger in mode `solar`, in a house with or without a battery.
pub fn reference(battery: bool) -> Result<control::Config, SetupError> {
    const PROFILE: &str = "heidelberg-energy-control";
    // Broker and line are required by the format but not used.
    let text = format!(
        "version = 1\n[mqtt]\nurl = \"mqtts://localhost\"\n[battery]\npresent = {battery}\n\
         [[charger]]\nname = \"car\"\nprofile = \"{PROFILE}\"\nlink = \"serial:///dev/null\"\n"
    );
    let profile = KnownProfile { name: PROFILE, switches_phases: false, max: control::Milliamps(16_000) };
    let loaded = config::parse(&text, Path::new("built-in"), &Environment::default(), &[profile], Files::Ignore);
    let findings = || loaded.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    loaded.config.as_ref().map(|config| config.control.clone()).ok_or_else(|| SetupError::Reference(findings()))
}

#[cfg(test)]
mod tests;
