//! The controller's visible state and decisions. Plain data; the shell turns it into topics, files and text.

use alloc::collections::BTreeMap;

use crate::facts::{ChargerId, ChargerReport, Mode, Sources};
use crate::judge::doubt::Doubt;
use crate::overdraw::Overdrawn;
use crate::reason::Reason;
use crate::units::{Milliamps, Millis, Percent, Tick, Watts};
use crate::uptake::Needs;

/// Everything worth showing, after a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Tick,
    /// The site as last sampled.
    pub site: SiteView,
    /// The chargers.
    pub chargers: BTreeMap<ChargerId, ChargerView>,
}

/// The site as last sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteView {
    /// Grid power, + import.
    pub grid: Option<Watts>,
    /// Solar production, ≥ 0.
    pub solar: Option<Watts>,
    /// Battery power, + discharging.
    pub battery: Option<Watts>,
    /// Load, including the chargers.
    pub load: Option<Watts>,
    /// State of charge of the home battery.
    pub soc: Option<Percent>,
    /// Load without the chargers.
    pub house: Option<Watts>,
    /// Solar − house, before any battery policy.
    pub surplus: Option<Watts>,
    /// Age of the last sample.
    pub age: Option<Millis>,
    /// `load − solar − grid − battery` if it has been off for several samples: a sign or a topic is wrong.
    pub imbalance: Option<Watts>,
    /// Age of the state of charge; `None` if only a stored value is known, or none.
    pub soc_age: Option<Millis>,
    /// Configured power sources without a live value.
    pub missing: Sources,
    /// The present doubt about the meters.
    pub doubt: Option<Doubt>,
    /// The interval at which samples arrive, once it is known.
    pub cadence: Option<Millis>,
    /// Whether the grid is gone and the house runs from the home battery.
    pub off_grid: bool,
}

/// One charger and what was decided for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChargerView {
    /// The mode chosen by the user.
    pub mode: Mode,
    /// Current of mode `fixed`.
    pub fixed: Milliamps,
    /// The setpoint decided.
    pub setpoint: Milliamps,
    /// The reason for the setpoint.
    pub reason: Reason,
    /// The last report, if any.
    pub report: Option<ChargerReport>,
    /// Phases the car uses.
    pub phases: u8,
    /// How often its contactor has closed in the last 24 h, whatever the cause.
    pub starts: u16,
    /// A draw above the setpoint, now or until the charge was paused for it.
    pub overdrawn: Option<Overdrawn>,
    /// The current the car needs, where it was found to need more than the lowest.
    pub needs: Option<Needs>,
    /// The wallbox's own maximum, where that is less than the configured one.
    pub box_limit: Option<Milliamps>,
    /// Whether its power register disagrees with its currents, which are used instead.
    pub power_doubted: bool,
}
