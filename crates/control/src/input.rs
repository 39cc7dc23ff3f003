//! Inputs of the controller: facts, user commands, and state carried over a restart. Plain data.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::budget::Spent;
use crate::config::Config;
use crate::facts::{ChargerId, ChargerReport, Mode, Reading};
use crate::units::{Milliamps, Millis};

/// An input of the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A message from one of the sources.
    Reading(Reading),
    /// A report from a charger.
    Report(ChargerReport),
    /// A command from the user.
    Command(Command),
    /// A charger's state from before a restart. Must come before the first report.
    Restore(Restore),
    /// The configuration was read again.
    Reconfigure(Config),
    /// Counts from before a restart towards the 24-hour limits. Must come after [`Input::Restore`] and before the first report.
    CarryOver(CarryOver),
}

/// Counts towards the 24-hour limits, taken from one controller with [`crate::Controller::carry_over`] and passed to the next. Times are
/// the time remaining, because ticks do not survive a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarryOver {
    /// Energy the battery gave to cars in mode `solar`, replacing what is known; `None` leaves that as it is.
    pub drained: Option<Vec<Spent>>,
    /// The counts of each charger. Chargers not listed keep theirs.
    pub chargers: BTreeMap<ChargerId, ChargerCarryOver>,
}

/// One charger's counts towards the 24-hour limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargerCarryOver {
    /// Remaining time for which each automatic start counts.
    pub starts: Vec<Millis>,
    /// Whether it was charging when last known. Unless it is found charging, it counts as stopped at its first report.
    pub may_run: bool,
}

/// A charger's state before a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restore {
    /// Which charger.
    pub charger: ChargerId,
    /// The mode the user had chosen.
    pub mode: Mode,
    /// The current of mode `fixed` the user had chosen.
    pub fixed: Milliamps,
    /// How long ago it was stopped; `None` if long ago or never.
    pub stopped_ago: Option<Millis>,
}

/// A command from the user. `charger: None` means every charger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Change the mode.
    Mode {
        /// Which charger.
        charger: Option<ChargerId>,
        /// Its new mode.
        mode: Mode,
    },
    /// Change the current of mode `fixed`.
    FixedCurrent {
        /// Which charger.
        charger: Option<ChargerId>,
        /// Its new current.
        current: Milliamps,
    },
}
