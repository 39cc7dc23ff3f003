//! What the controller shows of its decisions. Plain data; the shell turns it into topics, files and text.

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
    /// When.
    pub at: Tick,
    /// The site as last sampled.
    pub site: SiteView,
    /// The chargers.
    pub chargers: BTreeMap<ChargerId, ChargerView>,
}

/// The site as last sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteView {
    /// + import.
    pub grid: Option<Watts>,
    /// ≥ 0.
    pub solar: Option<Watts>,
    /// + discharging.
    pub battery: Option<Watts>,
    /// Including the chargers.
    pub load: Option<Watts>,
    /// Home battery.
    pub soc: Option<Percent>,
    /// Without the chargers.
    pub house: Option<Watts>,
    /// Solar − house, before any battery policy.
    pub surplus: Option<Watts>,
    /// Age of the last sample.
    pub age: Option<Millis>,
    /// `load − solar − grid − battery` when it has been off for several samples: a sign or a topic is wrong.
    pub imbalance: Option<Watts>,
    /// Age of the state of charge; `None` where only a stored value is known, or none.
    pub soc_age: Option<Millis>,
    /// Power sources of the configuration of which no live value is known.
    pub missing: Sources,
    /// What is doubted of the meters now.
    pub doubt: Option<Doubt>,
    /// The rhythm in which samples come, once it is known.
    pub cadence: Option<Millis>,
    /// The grid is gone: the house runs from the home battery.
    pub off_grid: bool,
}

/// One charger as decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChargerView {
    /// What the user asked for.
    pub mode: Mode,
    /// Current of mode `fixed`.
    pub fixed: Milliamps,
    /// What was decided.
    pub setpoint: Milliamps,
    /// Why.
    pub reason: Reason,
    /// The last report, if any.
    pub report: Option<ChargerReport>,
    /// Phases the car uses.
    pub phases: u8,
    /// How often its contactor has closed in the last 24 h, whoever made it.
    pub starts: u16,
    /// More is drawn than it was told, or was until it was paused for that.
    pub overdrawn: Option<Overdrawn>,
    /// The car was seen to need more than the lowest current.
    pub needs: Option<Needs>,
    /// The wallbox's own maximum, where that is less than the configured one.
    pub box_limit: Option<Milliamps>,
    /// Its power register does not agree with its currents, which count instead.
    pub power_doubted: bool,
}
