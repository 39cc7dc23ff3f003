//! What other settings would have done: the recorded sun, house, car and user, simulated with the original settings and with the new ones.
//!
//! Both are simulated, so that they differ in nothing but the settings; what was really measured is shown beside them and tells how far to
//! trust the simulation. Left out: why the meters were silent at times, and all chargers but the first.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use control::{Config, Milliamps, Source};

use super::past::{Happened, Measured, Past};
use crate::charger::profile;
use crate::cli::when::local;
use crate::config::{self, Environment, Files};
use crate::journal::reader::{Reader, Run};
use crate::sim::plant::BatteryOptions;
use crate::simulate::{MetersOptions, Setup, Simulation, Totals};

/// Number of reasons listed; the rest account for minutes only.
const REASONS_MAX: usize = 8;

/// The result of one simulation.
struct Course {
    totals: Totals,
    /// Seconds by reason, separately for charging and not charging.
    reasons: BTreeMap<(bool, &'static str), u32>,
}

/// Replays the runs with both settings and shows the differences.
///
/// # Errors
/// If the configuration is not accepted, the journal cannot be read, or nothing in it can be replayed.
pub(super) fn show(
    reader: &Reader,
    runs: &[Run],
    file: &Path,
    environment: &Environment,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let other = configured(file, environment)?;
    let mut shown = false;
    for run in runs {
        let Some(past) = Past::read(reader, run)? else { continue };
        shown = true;
        let new = course(&past, other.clone());
        let old = course(&past, past.config.clone());
        let hours = f64::from(past.trace.end_s() - past.trace.first_s()) / 3_600.0;
        writeln!(
            out,
            "run {}, {}, {hours:.1} h with the recorded sun, house, car and user:",
            run.id,
            local(run.began_ms)
        )?;
        table(&past.measured, &old, &new, out)?;
        reasons(&old, &new, out)?;
        caveats(&past, out)?;
    }
    anyhow::ensure!(shown, "there is nothing to try it on: no run has two samples of the site and a charger");
    Ok(())
}

fn configured(file: &Path, environment: &Environment) -> anyhow::Result<Config> {
    let loaded = config::load_with(file, environment, &profile::known(), Files::Ignore);
    loaded.config.map(|config| config.control).with_context(|| {
        let findings: Vec<String> = loaded.findings.iter().map(ToString::to_string).collect();
        format!("the configuration is not accepted\n{}", findings.join("\n"))
    })
}

fn course(past: &Past, mut config: Config) -> Course {
    if let (Some(new), Some(then)) = (config.chargers.values_mut().next(), past.config.chargers.get(&past.charger)) {
        new.mode = then.mode;
        new.fixed = then.fixed;
    }
    let default = Setup::default();
    let battery = past.config.sources.contains_key(&Source::Battery).then(|| BatteryOptions {
        soc: past.soc.map_or(BatteryOptions::POWERWALL.soc, |soc| f64::from(soc) / 100.0),
        ..BatteryOptions::POWERWALL
    });
    let mut car = default.car;
    car.wants_wh = past.wants_wh;
    car.phases = past.config.chargers.get(&past.charger).map_or(car.phases, |charger| charger.phases);
    let meters = MetersOptions { period_s: past.period_s, ..default.meters };
    let mut simulation = Simulation::new(&config, &Setup { battery, car, meters, ..default }, past.trace.first_s());
    let mut happened = past.happened.iter().peekable();
    let mut reasons = BTreeMap::new();
    for row in past.trace.seconds() {
        while let Some((_, what)) = happened.next_if(|(at_s, _)| *at_s <= row.from_s) {
            match what {
                Happened::Plugged(plugged) => simulation.plug(*plugged),
                Happened::Told(command) => simulation.command(*command, row.from_s),
            }
        }
        let second = simulation.step(row);
        *reasons.entry((second.setpoint > Milliamps::ZERO, second.reason().code())).or_insert(0) += 1;
    }
    Course { totals: simulation.totals(), reasons }
}

fn table(measured: &Measured, old: &Course, new: &Course, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "  {:<26}{:>12}{:>14}{:>14}", "", "measured", "settings then", "settings new")?;
    let mut line = |name: &str, unit: &str, measured: Option<f64>, value: &dyn Fn(&Totals) -> f64, digits: usize| {
        let measured = measured.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"));
        let (old, new) = (value(&old.totals), value(&new.totals));
        writeln!(out, "  {name:<22}{unit:<4}{measured:>12}{old:>14.digits$}{new:>14.digits$}")
    };
    line("into the car", "kWh", Some(measured.car_wh / 1e3), &|totals| totals.ledger.car_wh / 1e3, 2)?;
    line("  from the sun", "kWh", None, &|totals| totals.ledger.solar_to_car_wh / 1e3, 2)?;
    line("  from the grid", "kWh", None, &|totals| totals.ledger.grid_to_car_wh / 1e3, 2)?;
    line("  from the battery", "kWh", None, &|totals| totals.ledger.battery_to_car_wh / 1e3, 2)?;
    line("charging", "min", Some(measured.charging_s / 60.0), &|totals| f64::from(totals.charging_s) / 60.0, 0)?;
    line("starts", "", Some(f64::from(measured.starts)), &|totals| f64::from(totals.ledger.starts), 0)?;
    line("changes of phases", "", None, &|totals| f64::from(totals.phase_switches), 0)
}

fn reasons(old: &Course, new: &Course, out: &mut dyn Write) -> io::Result<()> {
    for (on, title) in [(true, "charging, by reason"), (false, "not charging, by reason")] {
        let of = |course: &Course, code| f64::from(course.reasons.get(&(on, code)).copied().unwrap_or(0)) / 60.0;
        let mut codes: Vec<&str> = [old, new]
            .iter()
            .flat_map(|course| course.reasons.keys())
            .filter(|key| key.0 == on)
            .map(|key| key.1)
            .collect();
        codes.sort_unstable();
        codes.dedup();
        codes.sort_by(|a, b| of(new, b).max(of(old, b)).total_cmp(&of(new, a).max(of(old, a))));
        if !codes.is_empty() {
            writeln!(out, "  {title}")?;
        }
        for code in codes.into_iter().take(REASONS_MAX) {
            let words = code.replace('-', " ");
            writeln!(out, "    {words:<20}{:<4}{:>10}{:>14.0}{:>14.0}", "min", "", of(old, code), of(new, code))?;
        }
    }
    Ok(())
}

/// Prints what the numbers leave out.
fn caveats(past: &Past, out: &mut dyn Write) -> io::Result<()> {
    if past.config.sources.contains_key(&Source::Battery) {
        writeln!(out, "  The home battery is taken as one of 13.5 kWh and 5 kW.")?;
    }
    if past.chargers > 1 {
        writeln!(out, "  Only the first charger is played; what the others drew counts as the house's.")?;
    }
    if past.reconfigured {
        writeln!(out, "  The settings were changed meanwhile; those of the beginning are shown.")?;
    }
    if past.unreadable > 0 {
        writeln!(out, "  {} batch(es) cannot be read: their content is missing.", past.unreadable)?;
    }
    writeln!(out, "  Samples every {} s, as was usual.", past.period_s)
}
