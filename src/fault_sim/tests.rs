//! Many scenarios, one by one or over a number of hours.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::draw;
use super::judge::{Figures, Violation};
use super::run::run;
use super::scenario::Scenario;
use super::shrink::shrink;

/// Hours without optimization, as `cargo test` builds; `scripts/test` runs more of them with it.
const HOURS: u64 = 40;

pub(super) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number: {text}")))
}

type Broken = Option<(Scenario, Violation)>;

fn lock(broken: &Mutex<Broken>) -> std::sync::MutexGuard<'_, Broken> {
    broken.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs seeds from `first` on, on all cores, until so many hours have been simulated or a rule is broken.
fn soak(first: u64, hours: u64) -> Result<String, Box<(Scenario, Violation)>> {
    let seconds = AtomicU64::new(0);
    let next = AtomicU64::new(first);
    let worst = Mutex::new(Figures::default());
    let broken = Mutex::new(Broken::None);
    let work = || {
        while seconds.load(Ordering::Relaxed) < hours * 3_600 && lock(&broken).is_none() {
            let scenario = draw::scenario(next.fetch_add(1, Ordering::Relaxed));
            let verdict = run(&scenario, None);
            seconds.fetch_add(scenario.lasts_s.into(), Ordering::Relaxed);
            worst.lock().unwrap_or_else(PoisonError::into_inner).join(&verdict.figures);
            if let Some(violation) = verdict.violation {
                let mut broken = lock(&broken);
                // The lowest seed, so that the same run reports the same one.
                if broken.as_ref().is_none_or(|(before, _)| scenario.seed < before.seed) {
                    *broken = Some((scenario, violation));
                }
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    if let Some(found) = broken.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(Box::new(found));
    }
    let seeds = next.load(Ordering::Relaxed) - first;
    let hours = seconds.load(Ordering::Relaxed) / 3_600;
    let Figures { idle_s, used: [lines, starts, energy], .. } = *worst.lock().unwrap_or_else(PoisonError::into_inner);
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    Ok(format!(
        "{hours} hours in {seeds} scenarios from seed {first}; longest wait for a charge: {idle_s} s; used of what is allowed, at most: \
         {} of the lines, {} of the closings, {} of the energy from grid and battery",
        percent(lines),
        percent(starts),
        percent(energy)
    ))
}

/// The report on a broken rule.
fn report(scenario: &Scenario, violation: &Violation) -> String {
    let (short, found) = shrink(scenario, violation);
    let faults = short.faults.iter().fold(String::new(), |all, fault| all + &format!("    {fault}\n"));
    format!(
        "seed {} breaks a rule: {violation}\n  once more, with its story: scripts/soak --seed {}\n  shortened: {found}\n    {:?}\n{faults}",
        scenario.seed, scenario.seed, short.house
    )
}

#[test]
fn whatever_fails_the_rules_hold() {
    let first = number("SURPLUSD_SOAK_FROM").unwrap_or(1);
    let hours = number("SURPLUSD_SOAK_HOURS").unwrap_or(HOURS);
    match soak(first, hours) {
        Ok(done) => println!("{done}"),
        Err(found) => panic!("{}", report(&found.0, &found.1)),
    }
}

/// Tells the story of the seed in `SURPLUSD_SOAK_SEED`.
#[test]
#[ignore = "scripts/soak --seed"]
fn one_seed() {
    let seed = number("SURPLUSD_SOAK_SEED").expect("SURPLUSD_SOAK_SEED");
    let scenario = draw::scenario(seed);
    let story = Arc::new(Mutex::new(String::new()));
    let verdict = run(&scenario, Some(Arc::clone(&story)));
    println!("{}", story.lock().expect("no panic"));
    println!("{:?}", scenario.house);
    scenario.faults.iter().for_each(|fault| println!("{fault}"));
    println!("{:?}", verdict.figures);
    if let Some(violation) = verdict.violation {
        panic!("{}", report(&scenario, &violation));
    }
}

/// The same seed gives the same course, step by step.
#[test]
fn a_seed_repeats_itself() {
    for seed in [1, 2, 3] {
        let scenario = draw::scenario(seed);
        let (one, other) = (run(&scenario, None), run(&scenario, None));
        assert_eq!((one.steps, one.figures), (other.steps, other.figures));
    }
}
