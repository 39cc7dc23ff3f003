//! `surplusd replay`: feeds a recorded run to a fresh controller, which must give the same results; or replays it with other settings.

mod engine;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod otherwise;
mod past;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use control::{Action, ChargerId, Command, Input, Order};

use self::engine::{Counts, Difference, Replay, WARM_UP};
use super::exit;
use super::when::local;
use crate::config::{Environment, visible};
use crate::journal::FORMAT;
use crate::journal::reader::{ReadError, Reader, Run};
use crate::journal::{Damaged, Decided, Record};

/// At most this many unreadable batches are listed; the rest are only counted.
const UNREADABLE_MAX: usize = 5;

/// Arguments of `replay`.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// Journal file, as named by `file` under `journal` in the configuration
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Only this run (without it: all)
    #[arg(long, value_name = "N", conflicts_with = "last")]
    pub run: Option<i64>,
    /// Only the last run
    #[arg(long)]
    pub last: bool,
    /// Show instead what these settings would have done: kWh, starts and reasons
    #[arg(long, value_name = "NEW.toml")]
    pub config: Option<PathBuf>,
}

/// Replays and prints the result; returns [`exit::OK`], or [`exit::DIFFERENT`] if anything differed.
///
/// # Errors
/// If the journal cannot be read, or `out` cannot be written to.
pub fn run(args: &Args, environment: &Environment, out: &mut dyn Write) -> anyhow::Result<u8> {
    let reader = Reader::open(&args.file)?;
    if let Some(file) = &args.config {
        otherwise::show(&reader, &chosen(&reader, args)?, file, environment, out)?;
        return Ok(exit::OK);
    }
    let mut code = exit::OK;
    for run in chosen(&reader, args)? {
        if one(&reader, &run, out)? {
            code = exit::DIFFERENT;
        }
    }
    Ok(code)
}

/// The runs selected by the arguments.
fn chosen(reader: &Reader, args: &Args) -> anyhow::Result<Vec<Run>> {
    let mut runs = reader.runs()?;
    anyhow::ensure!(!runs.is_empty(), "nothing has been recorded yet: the first batch is stored after some minutes");
    if args.last {
        runs = runs.split_off(runs.len().saturating_sub(1));
    }
    if let Some(number) = args.run {
        let known = runs.iter().map(|run| run.id.to_string()).collect::<Vec<_>>().join(", ");
        runs.retain(|run| run.id == number);
        anyhow::ensure!(!runs.is_empty(), "there is no run {number}; the journal has {known}");
    }
    Ok(runs)
}

/// Replays one run; returns whether there was a difference.
fn one(reader: &Reader, run: &Run, out: &mut dyn Write) -> anyhow::Result<bool> {
    let mut replay = Replay::new();
    let mut difference = None;
    let mut unreadable = Vec::new();
    for id in reader.batches(run.id)? {
        let read =
            reader.batch(id).and_then(|batch| replay.batch(&batch).map_err(|source| ReadError::Damaged { id, source }));
        match read {
            Ok(found) => difference = found,
            Err(error @ ReadError::Damaged { source: Damaged::Newer(_), .. }) => return Err(error.into()),
            Err(error @ ReadError::Damaged { .. }) => {
                unreadable.push(error);
                replay.skip();
            }
            Err(error) => return Err(error.into()),
        }
        if difference.is_some() {
            break;
        }
    }
    difference = difference.or_else(|| replay.end());
    let until = replay.wall_ms().map(|ms| format!(" to {}", local(ms))).unwrap_or_default();
    let Counts { facts, answers, .. } = replay.counts;
    if facts == 0
        && let Some(error) = unreadable.pop()
    {
        anyhow::bail!("nothing of run {} can be replayed: {error}", run.id);
    }
    write!(out, "run {} of surplusd {}, {}{until}: ", run.id, visible(&run.version), local(run.began_ms))?;
    match &difference {
        None => writeln!(out, "{facts} inputs, {answers} actions and reasons: all the same")?,
        Some(_) => writeln!(out, "{facts} inputs, {answers} actions and reasons: then a difference")?,
    }
    caveats(&replay.counts, out)?;
    for error in unreadable.iter().take(UNREADABLE_MAX) {
        writeln!(out, "  {error}")?;
    }
    if let Some(more) = unreadable.len().checked_sub(UNREADABLE_MAX).filter(|more| *more > 0) {
        writeln!(out, "  and {more} more batches cannot be read")?;
    }
    other_version(run, replay.format, difference.is_some(), out)?;
    if let Some(difference) = &difference {
        show(difference, out)?;
    }
    Ok(difference.is_some())
}

/// Prints what limits the result.
fn caveats(counts: &Counts, out: &mut dyn Write) -> std::io::Result<()> {
    if counts.dropped > 0 {
        writeln!(out, "  {} records are missing, as the disk was too slow, full or broken", counts.dropped)?;
    }
    if counts.warm_ups > 0 {
        let hours = WARM_UP.0 / 3_600_000;
        let minutes = counts.not_compared.0 / 60_000;
        writeln!(
            out,
            "  it does not begin with the start of the daemon, or has gaps: the {hours} h and more after that only warm up the controller ({minutes} min in all), and are not compared"
        )?;
    }
    Ok(())
}

/// Notes if the journal was written by another version: decisions may have changed since, which is not a fault.
fn other_version(run: &Run, format: u64, differs: bool, out: &mut dyn Write) -> std::io::Result<()> {
    let here = env!("CARGO_PKG_VERSION");
    if run.version == here && format == FORMAT {
        return Ok(());
    }
    write!(
        out,
        "  the journal was written by another version, surplusd {} (format {format}); this is {here} (format {FORMAT})",
        visible(&run.version)
    )?;
    let hint = if differs { ", which may decide otherwise: the first difference is no proof of a fault" } else { "" };
    writeln!(out, "{hint}")
}

fn show(difference: &Difference, out: &mut dyn Write) -> std::io::Result<()> {
    let names = &difference.names;
    writeln!(out, "  at {} the controller's input was: {}", local(difference.wall_ms), fact(&difference.fact, names))?;
    let text = |record: &Option<Record>| record.as_ref().map_or_else(|| "nothing more".to_owned(), |r| fact(r, names));
    writeln!(out, "    recorded: {}", text(&difference.recorded))?;
    writeln!(out, "    now:      {}", text(&difference.now))?;
    for (recorded, now) in &difference.decided {
        let Some(charger) = recorded.or(*now).map(|decided| decided.charger) else { continue };
        let text = |decided: &Option<Decided>| {
            let text = |d: &Decided| format!("{} ({}): {}, {} start(s)", d.setpoint, d.mode, d.reason, d.starts);
            decided.as_ref().map_or_else(|| "not there".to_owned(), text)
        };
        writeln!(out, "    {} then: {}", name(charger, names), text(recorded))?;
        writeln!(out, "    {} now:  {}", name(charger, names), text(now))?;
    }
    Ok(())
}

fn name(charger: ChargerId, names: &BTreeMap<ChargerId, String>) -> String {
    names.get(&charger).map_or_else(|| format!("charger {}", charger.0), |name| visible(name))
}

/// Describes a record in words.
fn fact(record: &Record, names: &BTreeMap<ChargerId, String>) -> String {
    let whose = |charger: Option<ChargerId>| charger.map_or_else(|| "all chargers".to_owned(), |id| name(id, names));
    match record {
        Record::Timeout => "that time has passed".to_owned(),
        Record::Input(Input::Reading(reading)) => {
            let unit = if reading.source == control::Source::BatterySoc { "%" } else { "W" };
            let value = reading.value.map_or_else(|| "no data".to_owned(), |value| format!("{value} {unit}"));
            format!("{} is {value}{}", reading.source.name(), if reading.retained { ", retained" } else { "" })
        }
        Record::Input(Input::Report(report)) => {
            let power = report.power.map(|power| format!(", {power}")).unwrap_or_default();
            let (link, vehicle) = (report.link.name(), report.vehicle.name());
            format!("{} is {link}, car {vehicle}{power}", name(report.charger, names))
        }
        Record::Input(Input::Command(Command::Mode { charger, mode })) => {
            format!("mode {mode} for {}", whose(*charger))
        }
        Record::Input(Input::Command(Command::FixedCurrent { charger, current })) => {
            format!("fixed current {current} for {}", whose(*charger))
        }
        Record::Input(Input::Restore(restore)) => {
            format!("restored state of {}: mode {}", name(restore.charger, names), restore.mode)
        }
        Record::Input(Input::Reconfigure(_)) => "the configuration".to_owned(),
        Record::Input(Input::CarryOver(_)) => "history of the last 24 hours".to_owned(),
        Record::Action(Action::Order(Order { charger, setpoint, phases, valid_until })) => {
            let setpoint = setpoint.map_or_else(|| "leave it as it is".to_owned(), |setpoint| setpoint.to_string());
            let phases = phases.map(|phases| format!(" on {phases} phase(s)")).unwrap_or_default();
            format!("order to {}: {setpoint}{phases}, until tick {}", name(*charger, names), valid_until.0)
        }
        Record::Action(Action::Wake(charger)) => format!("wake the car at {}", name(*charger, names)),
        Record::Action(Action::Refresh) => "ask for fresh samples".to_owned(),
        Record::Decided(decided) => {
            let Decided { charger, setpoint, reason, .. } = decided;
            format!("{} for {}: {reason}", setpoint, name(*charger, names))
        }
        Record::Sample(_) => "a sample".to_owned(),
        Record::Wall(_) => "the wall clock".to_owned(),
        Record::Names(_) => "the chargers' names".to_owned(),
    }
}

#[cfg(test)]
mod tests;
