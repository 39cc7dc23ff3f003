//! How much of the possible value the controller achieves: value, bound and score of each day, in every scenario, beside the rival's.
//!
//! The value of a day is `U = solar − 3·(grid + battery) − 0.1·starts` in kWh into the car; the score is `ΣU / ΣU*` with the clairvoyant
//! bound `U*`. Asserts nothing.
#![expect(clippy::print_stdout, reason = "it prints a table")]
#![expect(clippy::indexing_slicing, reason = "the bound indexes what it has just sized")]

mod bound;
mod days;
mod frontier;
mod table;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use clap::Parser;
use control::{Doubt, Permille, WattHours};
use surplusd::simulate::{Observer, Scenario, Second, Simulation, Totals};

use days::{Measured, Origin, Rival};

/// Scores the controller on days of sun and house load.
#[derive(Debug, Parser)]
#[command(name = "scripts/score")]
struct Args {
    /// Folders of traces, searched recursively (without them: sixteen days of the seeded generator)
    folders: Vec<PathBuf>,
    /// Only this scenario (may be given several times)
    #[arg(long, value_name = "NAME", value_parser = scenario)]
    scenario: Vec<Scenario>,
    /// Use this instead of the default of `solar.start-cost-wh`
    #[arg(long, value_name = "WH")]
    start_cost_wh: Option<u16>,
    /// Use this instead of the default of `solar.min-share`
    #[arg(long, value_name = "SHARE", value_parser = clap::value_parser!(f64))]
    min_share: Option<f64>,
    /// Use this instead of the default of `solar.starts-per-day-max`
    #[arg(long, value_name = "N")]
    starts_per_day: Option<u16>,
    /// Leave out the rows of single days
    #[arg(long)]
    summary: bool,
    /// Print everything as one JSON object
    #[arg(long)]
    json: bool,
    /// Draw the benefit and cost of the two dials of `[solar]`, as SVG, instead of the scores
    #[arg(long, value_name = "FILE")]
    frontier: Option<PathBuf>,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn scenario(name: &str) -> Result<Scenario, String> {
    Scenario::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Scenario::ALL.into_iter().map(Scenario::name).collect();
        format!("there are {}", names.join(", "))
    })
}

/// The result of a day in a scenario.
struct Row {
    day: String,
    totals: Totals,
    doubts: Doubts,
    bound: f64,
    /// The rival's value, if known.
    rival: Option<f64>,
}

/// Doubts about the meters, although all of them are right: how often each doubt began, and for how many seconds there was one.
#[derive(Debug, Default)]
struct Doubts {
    now: Option<&'static str>,
    began: BTreeMap<&'static str, u32>,
    seconds: u32,
}

impl Observer for Doubts {
    type Error = Infallible;

    fn second(&mut self, second: &Second<'_>) -> Result<(), Infallible> {
        let doubt = second.doubt().map(Doubt::code);
        self.seconds += u32::from(doubt.is_some());
        if let Some(code) = doubt.filter(|_| doubt != self.now) {
            *self.began.entry(code).or_default() += 1;
        }
        self.now = doubt;
        Ok(())
    }
}

/// The results of all days in a scenario.
struct Table {
    scenario: Scenario,
    rows: Vec<Row>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let origins = Origin::all(&args.folders)?;
    let rival = days::rival(&args.folders)?;
    let days = side_by_side(&origins, Origin::load).into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    if let Some(file) = &args.frontier {
        return draw_frontier(file, &days, &args);
    }
    let scenarios = if args.scenario.is_empty() { Scenario::ALL.to_vec() } else { args.scenario.clone() };
    let mut tables = Vec::new();
    for scenario in scenarios {
        tables.push(score(scenario, &days, &rival, &args)?);
    }
    if args.json {
        println!("{:#}", table::json(&tables));
    } else {
        print!("{}", table::text(&tables, !args.summary));
    }
    Ok(())
}

fn draw_frontier(file: &Path, days: &[Measured], args: &Args) -> anyhow::Result<()> {
    let scenario = args.scenario.first().copied().unwrap_or(Scenario::Powerwall30s);
    let solar = scenario.config()?.solar;
    let curves = frontier::measure(days, scenario)?;
    let which = if args.folders.is_empty() { "generated" } else { "measured" };
    let what = format!("{} {which} days, scenario {}", days.len(), scenario.name());
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    let defaults = [f64::from(solar.min_share.0) / 1e3, solar.start_cost.0 as f64];
    std::fs::write(file, frontier::svg(&curves, defaults, &what))?;
    print!("{}", frontier::text(&curves));
    Ok(())
}

fn score(scenario: Scenario, days: &[Measured], rival: &Rival, args: &Args) -> anyhow::Result<Table> {
    let mut config = scenario.config()?;
    if let Some(cost) = args.start_cost_wh {
        config.solar.start_cost = WattHours(i64::from(cost));
    }
    if let Some(starts) = args.starts_per_day {
        config.solar.starts_per_day_max = starts;
    }
    if let Some(share) = args.min_share {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to thousandths")]
        let permille = (share.clamp(0.5, 1.0) * 1_000.0).round() as u16;
        config.solar.min_share = Permille(permille);
    }
    let setup = scenario.setup();
    let rows = side_by_side(days, |day| {
        let mut doubts = Doubts::default();
        let Ok(totals) = Simulation::run(&config, &setup, &day.trace, &mut doubts);
        let beside = (day.name.clone(), days::rival_scenario(scenario).to_owned());
        Row { day: day.name.clone(), totals, doubts, bound: day.bound(scenario), rival: rival.get(&beside).copied() }
    });
    Ok(Table { scenario, rows })
}

/// Does `work` for every item, on all cores; returns results in the order of the items.
fn side_by_side<I: Sync, R: Send>(items: &[I], work: impl Fn(&I) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores.min(items.len()) {
            scope.spawn(|| {
                while let Some((at, item)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, items.get(at)?)))
                {
                    let result = work(item);
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
