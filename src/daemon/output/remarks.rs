//! What a household should know about its car and its wallbox: logs each finding once, and its end if it ends.

use std::collections::BTreeMap;

use control::{ChargerId, ChargerView, Milliamps, Needs};
use tracing::{info, warn};

/// What was logged about one charger.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    overdrawn: bool,
    power_doubted: bool,
    needs: Option<Needs>,
    box_limit: Option<Milliamps>,
}

/// Logs findings and remembers which were logged.
#[derive(Debug)]
pub(super) struct Remarks {
    said: BTreeMap<ChargerId, Said>,
}

impl Remarks {
    pub(super) const fn new() -> Self {
        Self { said: BTreeMap::new() }
    }

    /// Logs what is new about a charger.
    pub(super) fn look(&mut self, id: ChargerId, name: &str, view: &ChargerView) {
        let said = self.said.entry(id).or_default();
        if view.overdrawn.is_some() != said.overdrawn {
            said.overdrawn = view.overdrawn.is_some();
            if let Some(seen) = view.overdrawn {
                let consequence = if seen.told == Milliamps(0) {
                    "the wallbox does not switch off: switch it off at its circuit breaker, and have it looked at"
                } else {
                    "if it lasts the charge is paused; if it comes back have the wallbox looked at"
                };
                warn!(
                    charger = name,
                    told_ma = seen.told.0,
                    drawn_ma = seen.drawn.0,
                    "{name}: the car draws {} although it was told {}; {consequence}",
                    seen.drawn,
                    seen.told
                );
            } else {
                info!(charger = name, "{name}: the car keeps to its current again");
            }
        }
        if std::mem::replace(&mut said.power_doubted, view.power_doubted) != view.power_doubted {
            if view.power_doubted {
                warn!(
                    charger = name,
                    "{name}: the wallbox's power register does not match its currents, so its currents are used; if this lasts, have the \
                     wallbox's meter checked"
                );
            } else {
                info!(charger = name, "{name}: the wallbox's power register matches its currents again");
            }
        }
        if let Some(needs) = view.needs.filter(|needs| said.needs != Some(*needs)) {
            said.needs = Some(needs);
            warn!(
                charger = name,
                nothing_at_ma = needs.nothing_at.0,
                takes_from_ma = needs.takes_from.0,
                "{name}: the car takes nothing at {} but did at {}: {}",
                needs.nothing_at,
                needs.takes_from,
                remedy(needs)
            );
        }
        if let Some(limit) = view.box_limit.filter(|limit| said.box_limit != Some(*limit)) {
            said.box_limit = Some(limit);
            warn!(
                charger = name,
                box_max_ma = limit.0,
                "{name}: the wallbox itself is set to {limit} at most, less than max-current-a: set max-current-a to that, or the switch in \
                 the wallbox (an electrician's work)"
            );
        }
    }
}

/// What to set: the exact current if it is known well enough, otherwise an upper bound.
fn remedy(needs: Needs) -> String {
    let from = f64::from(needs.takes_from.0) / 1_000.0;
    if needs.takes_from.0.saturating_sub(needs.nothing_at.0) <= 2_000 {
        format!("set min-current-a = {from}")
    } else {
        format!("set min-current-a, to {from} at most")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_is_as_exact_as_what_was_seen() {
        let needs =
            |nothing_at, takes_from| Needs { nothing_at: Milliamps(nothing_at), takes_from: Milliamps(takes_from) };
        assert_eq!(remedy(needs(6_000, 8_000)), "set min-current-a = 8");
        assert_eq!(remedy(needs(6_000, 16_000)), "set min-current-a, to 16 at most");
    }
}
