//! `surplusd simulate`: how much the car would have charged on a day, with this configuration in that house. Virtual time; touches nothing.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use control::Source;
use serde_json::json;

use super::output::is_disk_error;
use super::plain::Plain;
use super::{check, exit};
use crate::charger::profile;
use crate::config::{self, Environment, Files};
use crate::sim::weather::{Day, Weather};
use crate::simulate::{Plot, RowWriter, Setup, Simulation, Totals, Trace, reference};

/// Shows how much the car would have charged, and why, from a trace of solar production and house load.
#[derive(Debug, Clone, PartialEq, clap::Args)]
pub struct Args {
    /// Solar production and house load: CSV or gzipped CSV with the columns `t_s`, `pv_w` and `house_w` (or `load_w`)
    #[arg(long, value_name = "FILE", required_unless_present = "weather", conflicts_with = "weather")]
    pub trace: Option<PathBuf>,
    /// Simulate a generated day in May instead: clear, hazy, broken or overcast
    #[arg(long, value_name = "KIND", value_parser = super::demo::weather)]
    pub weather: Option<Weather>,
    /// Seed of the generated day
    #[arg(long, default_value_t = 1, requires = "weather")]
    pub seed: u64,
    /// Configuration file (without it: the defaults and one three-phase charger in mode solar)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Battery, meters and car, as TOML (without it: a Powerwall read every 30 s and a car that is there all day)
    #[arg(long, value_name = "FILE")]
    pub plant: Option<PathBuf>,
    /// Write every second with the reason for its setpoint, as CSV
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Draw the day with the reasons for its stops, as SVG
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Print the totals as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// An error with its exit code.
struct Failed(u8, anyhow::Error);

fn wrong_input<E: Into<anyhow::Error>>(error: E) -> Failed {
    Failed(exit::CONFIGURATION, error.into())
}

/// Runs the simulation; returns the exit code.
///
/// # Errors
/// If `out` cannot be written to.
pub fn run(args: &Args, environment: &Environment, out: &mut dyn Write) -> io::Result<u8> {
    match simulate(args, environment) {
        Ok(text) => out.write_all(text.as_bytes()).map(|()| exit::OK),
        Err(Failed(code, error)) => {
            let _ = writeln!(Plain(&mut io::stderr()), "surplusd simulate: {error:#}");
            Ok(code)
        }
    }
}

fn simulate(args: &Args, environment: &Environment) -> Result<String, Failed> {
    let setup = args.plant.as_deref().map_or_else(|| Ok(Setup::default()), Setup::read).map_err(wrong_input)?;
    let config = match &args.config {
        Some(file) => configured(file, environment)?,
        None => reference(setup.battery.is_some()).map_err(|error| Failed(exit::BUG, error.into()))?,
    };
    if args.config.is_some() && config.sources.contains_key(&Source::Battery) != setup.battery.is_some() {
        let (has, says) = if setup.battery.is_some() { ("a", "none") } else { ("no", "one") };
        let note = format!("note: the simulated house has {has} home battery, the configuration says {says}");
        let _ = writeln!(Plain(&mut io::stderr()), "{note}");
    }
    let trace = match (&args.trace, args.weather) {
        (Some(file), _) => Trace::read(file).map_err(wrong_input)?,
        (None, kind) => Trace::from_day(&Day::generate(args.seed, kind.unwrap_or(Weather::Clear))),
    };
    for doubt in trace.doubts() {
        let _ = writeln!(Plain(&mut io::stderr()), "note: {doubt}");
    }
    let out = args.out.as_deref();
    let rows = out.map(|file| create(file).and_then(RowWriter::new)).transpose();
    let rows = rows.map_err(|error| unwritable(out, error))?;
    let mut observers = (rows, args.plot.is_some().then(|| Plot::new(&trace)));
    let totals = Simulation::run(&config, &setup, &trace, &mut observers).map_err(|error| unwritable(out, error))?;
    let (rows, plot) = observers;
    rows.map_or(Ok(()), RowWriter::finish).map_err(|error| unwritable(out, error))?;
    if let (Some(plot), Some(file)) = (plot, &args.plot) {
        let written = std::fs::write(file, plot.svg(&name(args), &totals));
        written.map_err(|error| unwritable(Some(file), error))?;
    }
    Ok(if args.json { json_text(&totals) } else { text(&totals, &trace) })
}

/// The controller's configuration from a file; passwords and certificates are not opened.
fn configured(file: &Path, environment: &Environment) -> Result<control::Config, Failed> {
    let known = profile::known();
    let loaded = config::load_with(file, environment, &known, Files::Ignore);
    if let Some(config) = loaded.config {
        return Ok(config.control);
    }
    let mut findings = Vec::new();
    check::write_findings(&loaded, &mut findings, false).map_err(wrong_input)?;
    Err(wrong_input(anyhow!("the configuration is not accepted\n{}", String::from_utf8_lossy(&findings))))
}

/// The title of the picture.
fn name(args: &Args) -> String {
    match (&args.trace, args.weather) {
        (Some(file), _) => {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.trim_end_matches(".gz").trim_end_matches(".csv").to_owned()
        }
        (None, kind) => format!("A {} day, seed {}", kind.unwrap_or(Weather::Clear).name(), args.seed),
    }
}

fn create(file: &Path) -> io::Result<BufWriter<File>> {
    Ok(BufWriter::with_capacity(1 << 16, File::create(file)?))
}

fn unwritable(file: Option<&Path>, error: io::Error) -> Failed {
    if is_disk_error(&error) {
        let text = format!("{}: it cannot be written", file.unwrap_or(Path::new("")).display());
        return Failed(exit::OUTPUT, anyhow::Error::new(error).context(text));
    }
    let code = if error.kind() == io::ErrorKind::PermissionDenied { exit::PERMISSION } else { exit::USAGE };
    let name = file.unwrap_or(Path::new("")).display();
    let text = format!("{name}: it cannot be written; name a file in a folder that exists and is yours");
    Failed(code, anyhow::Error::new(error).context(text))
}

fn kwh(watt_hours: f64) -> f64 {
    // Rounded to a tenth of a watt-hour; more digits would claim too much precision.
    (watt_hours * 10.0).round() / 10_000.0
}

fn json_text(totals: &Totals) -> String {
    let ledger = &totals.ledger;
    let object = json!({
        "charger_kwh": kwh(ledger.car_wh),
        "solar_to_car_kwh": kwh(ledger.solar_to_car_wh),
        "grid_to_car_kwh": kwh(ledger.grid_to_car_wh),
        "battery_to_car_kwh": kwh(ledger.battery_to_car_wh),
        "import_kwh": kwh(ledger.import_wh),
        "export_kwh": kwh(ledger.export_wh),
        "starts": ledger.starts,
        "phase_switches": totals.phase_switches,
        "setpoint_writes": totals.setpoint_writes,
        "minutes_charging": (f64::from(totals.charging_s) / 6.0).round() / 10.0,
    });
    format!("{object:#}\n")
}

fn text(totals: &Totals, trace: &Trace) -> String {
    let ledger = &totals.ledger;
    let hours = f64::from(trace.end_s() - trace.first_s()) / 3_600.0;
    let share = if ledger.car_wh > 0.0 { ledger.solar_to_car_wh / ledger.car_wh * 100.0 } else { 0.0 };
    let line = |name: &str, value: String| format!("{name:<28}{value}\n");
    let energy = |name: &str, watt_hours: f64| line(name, format!("{:>9.2} kWh", watt_hours / 1_000.0));
    let count = |name: &str, count: u32| line(name, format!("{count:>6}"));
    [
        line("simulated", format!("{hours:>8.1}  h")),
        energy("into the car", ledger.car_wh),
        line("  from the sun", format!("{:>9.2} kWh  ({share:.1} %)", ledger.solar_to_car_wh / 1_000.0)),
        energy("  from the grid", ledger.grid_to_car_wh),
        energy("  from the home battery", ledger.battery_to_car_wh),
        energy("produced", ledger.solar_wh),
        energy("used by the house", ledger.house_wh),
        energy("imported", ledger.import_wh),
        energy("exported", ledger.export_wh),
        line("charging", format!("{:>8.1}  min", f64::from(totals.charging_s) / 60.0)),
        count("starts", ledger.starts),
        count("changes of the setpoint", totals.setpoint_writes),
        count("changes of the phases", totals.phase_switches),
        count("requests for fresh samples", totals.refresh_requests),
    ]
    .concat()
}
