//! The power the home battery takes while it comes first; that much of the surplus is kept for it.

use crate::config::Config;
use crate::facts::Source;
use crate::sample::Sample;
use crate::units::{Millis, Percent, Tick, Watts};

/// Exporting more than this means the battery takes all it can.
const EXPORTING: Watts = Watts(-100);
/// The learned charge limit holds this long, and grows by [`GROWS`] in each further period of this length.
const HOLDS: Millis = Millis::from_secs(600);
const GROWS: Watts = Watts(500);
/// Number of points the state of charge must fall below a threshold before the threshold counts as crossed back.
const SOC_HYSTERESIS: u8 = 2;

/// The battery's charge limit as learned from samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatteryChargeLimit {
    learned: Option<(Watts, Tick)>,
    /// Whether the last sample showed export.
    exporting: bool,
    /// Whether it has been filled to `priority-soc` and is at most a little below it.
    filled: bool,
}

impl BatteryChargeLimit {
    pub(crate) const fn new() -> Self {
        Self { learned: None, exporting: false, filled: false }
    }

    /// Takes a sample: a battery that leaves power for export takes all it can. One that is still ramping takes less than it could, so only
    /// the second such sample in a row counts.
    pub(crate) fn sample(&mut self, sample: &Sample) {
        let exporting = sample.grid.is_some_and(|grid| grid < EXPORTING);
        if exporting && self.exporting {
            self.learned = Some(((-sample.battery).positive(), sample.at));
        }
        self.exporting = exporting;
    }

    /// Returns the power kept for the battery while it comes first: what it can take, as far as that is known.
    pub(crate) fn reserve(&mut self, soc: Option<Percent>, config: &Config, now: Tick) -> Watts {
        let line = config.battery.priority_soc.0;
        if line == 0 || !config.sources.contains_key(&Source::Battery) {
            return Watts::ZERO;
        }
        let needed = if self.filled { line.saturating_sub(SOC_HYSTERESIS) } else { line };
        self.filled = soc.is_some_and(|soc| soc.0 >= needed);
        if self.filled {
            return Watts::ZERO;
        }
        // A car that takes all the surplus leaves no export to learn from. If the reserve jumped back, it would stop that car.
        let learned = self.learned.map(|(battery_charge_limit, at)| {
            let beyond = now.since(at).0.saturating_sub(HOLDS.0);
            let grown = beyond.saturating_mul(u64::from(GROWS.0.unsigned_abs())) / HOLDS.0;
            battery_charge_limit + Watts(i32::try_from(grown).unwrap_or(i32::MAX))
        });
        learned.map_or(config.battery.max_charge, |battery_charge_limit| {
            battery_charge_limit.min(config.battery.max_charge)
        })
    }
}
