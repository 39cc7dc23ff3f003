//! `surplusd why`: explains in plain words what decided the setpoint at a given time, with the numbers that went in. Reads only the
//! journal, which the daemon writes in batches, so every answer is in the past tense.

mod story;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use control::{ChargerId, ChargerReport, Milliamps, Millis, Mode, Tick, Watts};

use self::story::{Place, Story, tell};
use super::exit;
use super::when::{At, local, time_of_day};
use crate::charger::profile;
use crate::clock::wall_ms;
use crate::config::{self, Environment, Files, visible};
use crate::journal::reader::Reader;
use crate::journal::{Decided, Sample};
use crate::wording::is_out_of_reach;

/// Decisions are stored within this time: `batch-s` is at most an hour, and the next record closes the batch.
const BATCH_MAX: Millis = Millis::from_secs(3_600 + 300);

/// Arguments of `why`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// Time to explain: 14:05 (the last one) or 2026-11-24T14:05 (without it: the end of the journal)
    #[arg(long, value_name = "TIME", value_parser = At::parse)]
    pub at: Option<At>,
    /// Only this charger (without it: all)
    #[arg(long, value_name = "NAME")]
    pub charger: Option<String>,
    /// Journal file (without it: the one named in the configuration)
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/surplusd/surplusd.toml")]
    pub config: PathBuf,
}

/// Explains the setpoint of each charger.
///
/// # Errors
/// If the journal cannot be read or has nothing for that time, or `out` cannot be written to.
pub fn run(args: &Args, environment: &Environment, out: &mut dyn Write) -> anyhow::Result<u8> {
    at_time(args, environment, wall_ms(), out)
}

fn at_time(args: &Args, environment: &Environment, now_ms: i64, out: &mut dyn Write) -> anyhow::Result<u8> {
    let file = match &args.journal {
        Some(file) => file.clone(),
        None => configured(&args.config, environment)?,
    };
    let reader = Reader::open(&file)?;
    let earliest_ms = reader.earliest_ms()?.context("nothing has been recorded yet: the first batch takes minutes")?;
    let wanted_ms = args.at.map(|at| at.wall_ms(now_ms).context("there is no such time")).transpose()?;
    let story = tell(&reader, wanted_ms)?.with_context(|| format!("the journal begins at {}", local(earliest_ms)))?;
    write_notes(&story, now_ms, out)?;
    let wanted =
        |id: &ChargerId| args.charger.as_deref().is_none_or(|name| story.head.names.get(id).is_some_and(|n| n == name));
    let chargers: Vec<_> = story.head.decided.keys().copied().filter(wanted).collect();
    if chargers.is_empty() {
        let names = story.head.names.values().map(|name| visible(name)).collect::<Vec<_>>().join(", ");
        anyhow::bail!("there was no such charger then; there was {names}");
    }
    for charger in chargers {
        one(&story, charger, out)?;
    }
    Ok(exit::OK)
}

fn configured(path: &Path, environment: &Environment) -> anyhow::Result<PathBuf> {
    let known = profile::known();
    let loaded = config::load_with(path, environment, &known, Files::Ignore);
    let Some(config) = loaded.config else {
        anyhow::bail!("{} cannot be used; name the journal with --journal FILE", path.display());
    };
    let journal = config.journal.with_context(|| format!("{} switches the journal off", path.display()))?;
    Ok(journal.file)
}

/// Notes what the reader should know about the answer: that it is not current, or for another time than requested.
fn write_notes(story: &Story, now_ms: i64, out: &mut dyn Write) -> std::io::Result<()> {
    let told_ms = story.head.wall_ms;
    let told = local(told_ms);
    match story.place {
        Place::Exact => Ok(()),
        Place::Gap(next_ms) => writeln!(
            out,
            "Nothing is recorded between {told} and {}: surplusd did not run, or could not write. Before that:",
            local(next_ms)
        ),
        Place::ClockSet(next_ms) => writeln!(
            out,
            "Nothing is recorded of that time: after {told} the clock was set, and the next record is of {}. Before that:",
            local(next_ms)
        ),
        Place::End if told_ms > now_ms => {
            writeln!(out, "The journal goes until {told}, by a clock that was ahead of this one:")
        }
        Place::End => {
            let age = Millis(told_ms.abs_diff(now_ms));
            let rest = if age > BATCH_MAX {
                "surplusd has not run since then, or could not write"
            } else {
                "newer decisions are not stored yet, `journalctl -u surplusd` shows them"
            };
            writeln!(out, "The journal goes until {told}, {} ago; {rest}. At that time:", span(age))
        }
    }
}

fn one(story: &Story, charger: ChargerId, out: &mut dyn Write) -> std::io::Result<()> {
    let head = &story.head;
    let Some(decided) = head.decided.get(&charger) else { return Ok(()) };
    let name = head.names.get(&charger).map_or_else(|| "the charger".to_owned(), |name| visible(name));
    let told = story.chargers.get(&charger);
    let since = told.and_then(|told| told.since).map_or_else(String::new, |tick| {
        format!(", since {} ({})", time_of_day(story.wall_ms(tick)), span(head.tick.since(tick)))
    });
    writeln!(out, "{name} at {}: {}{since}", local(head.wall_ms), setpoint(decided))?;
    writeln!(out, "  because   {}", decided.reason)?;
    writeln!(out, "  mode      {}", mode(decided))?;
    match &head.sample {
        Some(sample) => writeln!(out, "  the house {}", site(sample, head.tick))?,
        None => writeln!(out, "  the house had not been measured yet")?,
    }
    match head.reports.get(&charger) {
        Some(report) => writeln!(out, "  wallbox   {}", charger_said(report, head.tick))?,
        None => writeln!(out, "  wallbox   had not reported anything yet")?,
    }
    writeln!(out, "  the car   on {} phase(s), {} start(s) in 24 h", decided.phases, decided.starts)?;
    let events = told.map(|told| told.events.as_slice()).unwrap_or_default();
    for (number, event) in events.iter().enumerate() {
        let title = if number == 0 { "before" } else { "" };
        writeln!(out, "  {title:<9} {}  {}", time_of_day(story.wall_ms(event.at)), event.text)?;
    }
    Ok(())
}

fn setpoint(decided: &Decided) -> String {
    if is_out_of_reach(&decided.reason) {
        format!("could not be controlled ({} wanted)", decided.setpoint)
    } else if decided.setpoint == Milliamps::ZERO {
        "was not to charge (0 A)".to_owned()
    } else {
        format!("was allowed {}", decided.setpoint)
    }
}

fn mode(decided: &Decided) -> String {
    if decided.mode == Mode::Fixed { format!("fixed at {}", decided.fixed) } else { decided.mode.to_string() }
}

/// The numbers of a sample, with their signs in words.
fn site(sample: &Sample, now: Tick) -> String {
    let signed = |power: Option<Watts>, plus: &str, minus: &str, unknown: &str| match power {
        Some(Watts(power)) if power < 0 => format!("{} W {minus}", power.unsigned_abs()),
        Some(power) => format!("{power} {plus}"),
        None => format!("{unknown} not known"),
    };
    let soc = sample.soc.map(|soc| format!(" (at {soc})")).unwrap_or_default();
    let mut parts = vec![
        signed(sample.grid, "from the grid", "to the grid", "grid"),
        signed(sample.solar, "of sun", "of sun", "sun"),
    ];
    if sample.battery.is_some() || sample.soc.is_some() {
        parts.push(signed(sample.battery, "from the battery", "into the battery", "battery") + &soc);
    }
    parts.push(signed(sample.house, "for the house without the car", "for the house without the car", "house"));
    parts.push(signed(sample.surplus, "surplus", "missing", "surplus"));
    let doubt = sample.doubt.map(|doubt| format!("; doubted: {doubt}")).unwrap_or_default();
    format!("{}; measured {} before{doubt}", parts.join(", "), span(now.since(sample.at)))
}

fn charger_said(report: &ChargerReport, now: Tick) -> String {
    let mut parts = vec![report.link.name().to_owned(), format!("car {}", report.vehicle.name())];
    parts.extend(report.fault.map(|fault| format!("fault: {}", fault.name())));
    parts.extend(report.derated.then(|| "derated by its temperature".to_owned()));
    parts.extend(report.power.map(|power| format!("{power} drawn")));
    parts.extend(report.currents.map(|[one, two, three]| format!("{one} / {two} / {three}")));
    parts.extend(report.setpoint.map(|setpoint| format!("setpoint read back {setpoint}")));
    format!("{}; reported {} before", parts.join(", "), span(now.since(report.at)))
}

/// Formats a duration for people.
fn span(span: Millis) -> String {
    let seconds = span.0 / 1_000;
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests;
