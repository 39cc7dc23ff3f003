//! The days to measure: traces in folders, or days of the seeded generator; and the rival's results on them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use surplusd::sim::weather::{Day, Weather};
use surplusd::simulate::{Scenario, Trace};

use crate::bound;

/// Days of the year for generated days, each with all four kinds of weather.
const SEASONS: [u16; 4] = [80, 135, 172, 250];

/// A day to measure.
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) trace: Trace,
    /// The bound U* on three phases, in kWh.
    three: f64,
    /// The bound U* on one or three phases, in kWh.
    either: f64,
}

impl Measured {
    fn new(name: String, trace: Trace) -> Self {
        let surplus_w: Vec<f64> =
            trace.seconds().map(|second| f64::from(second.solar_w) - f64::from(second.house_w)).collect();
        Self { name, three: bound::three_phases(&surplus_w), either: bound::one_or_three_phases(&surplus_w), trace }
    }

    pub(crate) fn bound(&self, scenario: Scenario) -> f64 {
        if scenario == Scenario::Phases13 { self.either } else { self.three }
    }
}

/// The source of a day.
pub(crate) enum Origin {
    File(PathBuf),
    Generated { seed: u64, kind: Weather, day_of_year: u16 },
}

impl Origin {
    /// All traces in the folders, or sixteen generated days if no folder is given.
    pub(crate) fn all(folders: &[PathBuf]) -> anyhow::Result<Vec<Self>> {
        if folders.is_empty() {
            let rounds = (1_u64..).zip(SEASONS);
            let day = |(seed, day_of_year)| Weather::ALL.map(|kind| Self::Generated { seed, kind, day_of_year });
            return Ok(rounds.flat_map(day).collect());
        }
        let mut files = Vec::new();
        for folder in folders {
            traces(folder, &mut files).with_context(|| folder.display().to_string())?;
        }
        ensure!(!files.is_empty(), "no traces (.csv, .csv.gz) with t_s, pv_w and load_w in the folders named");
        files.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
        Ok(files.into_iter().map(Self::File).collect())
    }

    pub(crate) fn load(&self) -> anyhow::Result<Measured> {
        match self {
            Self::File(file) => Ok(Measured::new(stem(file), Trace::read(file)?)),
            Self::Generated { seed, kind, day_of_year } => {
                let day = Day::generate_on(*seed, *kind, *day_of_year);
                Ok(Measured::new(format!("{}-{seed}-day{day_of_year}", kind.name()), Trace::from_day(&day)))
            }
        }
    }
}

/// The name without its extensions.
fn stem(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.trim_end_matches(".gz").trim_end_matches(".csv").to_owned()
}

/// Collects the files below a folder whose header has the columns of a trace: other tables may lie beside them.
fn traces(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.to_string_lossy();
        if path.is_dir() {
            traces(&path, files)?;
        } else if name.ends_with(".csv.gz") || name.ends_with(".csv") && is_trace(&path)? {
            files.push(path);
        }
    }
    Ok(())
}

fn is_trace(file: &Path) -> anyhow::Result<bool> {
    let text = fs::read_to_string(file)?;
    let header: Vec<&str> = text.lines().next().unwrap_or_default().split(',').collect();
    Ok(["t_s", "pv_w"].iter().all(|name| header.contains(name))
        && (header.contains(&"load_w") || header.contains(&"house_w")))
}

/// The rival's value by day and scenario, in kWh.
pub(crate) type Rival = BTreeMap<(String, String), f64>;

/// Reads `baseline-open.csv` in the folders or up to two levels above them; empty if there is none.
pub(crate) fn rival(folders: &[PathBuf]) -> anyhow::Result<Rival> {
    let mut rival = Rival::new();
    let places = folders.iter().flat_map(|folder| {
        let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.clone());
        folder.ancestors().take(3).map(Path::to_owned).collect::<Vec<_>>()
    });
    let Some(file) = places.map(|place| place.join("baseline-open.csv")).find(|file| file.is_file()) else {
        return Ok(rival);
    };
    let mut reader = csv::Reader::from_path(&file)?;
    for row in reader.deserialize::<BTreeMap<String, String>>() {
        let row = row?;
        let field = |name: &str| row.get(name).with_context(|| format!("{}: no column {name}", file.display()));
        rival.insert((field("file")?.clone(), field("scenario")?.clone()), field("u")?.parse()?);
    }
    Ok(rival)
}

/// The most similar scenario of the rival: it was measured with meters every 30 s, and live without a battery.
pub(crate) const fn rival_scenario(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::Powerwall30s
        | Scenario::Powerwall10s
        | Scenario::PowerwallLive
        | Scenario::Realistic
        | Scenario::PowerwallRefresh => "powerwall-30s",
        Scenario::NoBattery30s | Scenario::Phases13 | Scenario::GridOnly => "no-battery-30s",
        Scenario::NoBatteryLive => "no-battery-live",
    }
}
