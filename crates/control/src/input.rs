//! What the controller is told: facts, wishes, and what was kept from before a restart. Plain data.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::budget::Spent;
use crate::config::Config;
use crate::facts::{ChargerId, ChargerReport, Mode, Reading};
use crate::units::{Milliamps, Millis};

/// What the controller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A message of one of the sources.
    Reading(Reading),
    /// News of a charger.
    Report(ChargerReport),
    /// A wish of the user.
    Command(Command),
    /// What was kept from before a restart. To be told before the first report.
    Restore(Restore),
    /// The configuration was read again.
    Reconfigure(Config),
    /// What counts towards limits over 24 hours from before a restart. To be told after [`Input::Restore`] and before the first report.
    CarryOver(CarryOver),
}

/// What counts towards limits over 24 hours: taken from one controller with [`crate::Controller::carry_over`], told to the next.
/// Times are given as what is left of them, as ticks do not survive a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarryOver {
    /// What the battery gave to cars in mode `solar`, in place of what is known; `None` leaves that as it is.
    pub drained: Option<Vec<Spent>>,
    /// The chargers. Those not named keep what is known of them.
    pub chargers: BTreeMap<ChargerId, ChargerCarryOver>,
}

/// What counts of one charger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargerCarryOver {
    /// For how much longer each automatic start counts.
    pub starts: Vec<Millis>,
    /// It was charging when it was last known: unless it is found charging, it has stopped no earlier than its first report.
    pub may_run: bool,
}

/// What a charger's state was before a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restore {
    /// Which charger.
    pub charger: ChargerId,
    /// The mode the user had chosen.
    pub mode: Mode,
    /// The current of mode `fixed` the user had chosen.
    pub fixed: Milliamps,
    /// How long ago it was stopped; `None`: long ago, or never.
    pub stopped_ago: Option<Millis>,
}

/// A wish of the user. `charger: None` means every charger.
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
