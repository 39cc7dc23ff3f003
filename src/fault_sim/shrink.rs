//! Shortens a scenario that breaks a rule, as long as it still breaks the same one: fewer faults, shorter ones, an earlier end.

use super::judge::Violation;
use super::run::run;
use super::scenario::Scenario;

/// Runs that are spent on one scenario.
const RUNS_MAX: usize = 400;

/// Returns the shortest scenario found, with its violation.
pub(super) fn shrink(scenario: &Scenario, violation: &Violation) -> (Scenario, Violation) {
    let mut best = (scenario.clone(), violation.clone());
    let mut runs = 0;
    let mut is_better = |candidate: &Scenario, best: &mut (Scenario, Violation)| {
        runs += 1;
        let found = if runs > RUNS_MAX { None } else { run(candidate, None).violation };
        let same = found.filter(|found| found.rule == best.1.rule);
        let better = same.is_some();
        if let Some(found) = same {
            *best = (candidate.clone(), found);
        }
        better
    };
    loop {
        let before = best.0.clone();
        for place in (0..best.0.faults.len()).rev() {
            let mut less = best.0.clone();
            less.faults.remove(place);
            is_better(&less, &mut best);
        }
        for place in 0..best.0.faults.len() {
            for _ in 0..12 {
                let mut shorter = best.0.clone();
                let fault = &mut shorter.faults[place];
                let half_s = (fault.until_s - fault.from_s) / 2;
                fault.until_s = fault.from_s + half_s.max(1);
                if half_s == 0 || !is_better(&shorter, &mut best) {
                    break;
                }
            }
        }
        let ends_s = u32::try_from(best.1.at_ms / 1_000).unwrap_or(u32::MAX).saturating_add(2);
        if ends_s < best.0.lasts_s {
            let shorter = Scenario { lasts_s: ends_s, ..best.0.clone() };
            is_better(&shorter, &mut best);
        }
        if best.0 == before {
            return best;
        }
    }
}
