//! Whether a home battery at its floor would still give power to the car.

use crate::config::Config;
use crate::units::{Percent, Watts};

/// Power above this is more than the meters' noise.
const GIVES: Watts = Watts(100);
/// A battery that fell to its floor counts as there until it is this many points above it: a charge that it helps to hold would otherwise
/// empty it again within minutes, and start and stop with it.
const LEFT_AT: u8 = 5;

/// State of the battery around `floor-soc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Floor {
    /// The battery was at its floor, and has not risen [`LEFT_AT`] points above it since.
    near: bool,
    /// The battery stayed idle at its floor while power was imported: it enforces the reserve itself.
    enforced: bool,
}

impl Floor {
    pub(crate) const fn new() -> Self {
        Self { near: false, enforced: false }
    }

    /// Takes a live state of charge, in percent.
    pub(crate) fn charge(&mut self, soc: i32, config: &Config) {
        let left_at = if self.near { LEFT_AT } else { 1 };
        self.near = soc < i32::from(config.battery.floor_soc.0) + i32::from(left_at);
    }

    /// Takes a sample, which itself shows whether a battery at its floor gives power when some is needed.
    pub(crate) fn sample(&mut self, soc: Option<Percent>, battery: Watts, grid: Option<Watts>, config: &Config) {
        if !at_floor(soc, config) || battery > GIVES {
            self.enforced = false;
        } else if grid.is_some_and(|grid| grid > GIVES) {
            self.enforced = true;
        }
    }

    /// Whether the battery is near its floor and would still give power.
    pub(crate) fn closes(self, soc: Option<Percent>, config: &Config) -> bool {
        if at_floor(soc, config) { !self.enforced } else { self.near }
    }
}

fn at_floor(soc: Option<Percent>, config: &Config) -> bool {
    soc.is_some_and(|soc| soc <= config.battery.floor_soc)
}
