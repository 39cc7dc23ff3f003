//! The controller's configuration, passed in at the start and again on reload. Whoever builds it checks the ranges (`surplusd`'s `config`
//! module reports findings with file and line); the controller clamps again where safety depends on it.

use alloc::collections::BTreeMap;

use crate::units::{Milliamps, Millis, Percent, Permille, WattHours, Watts};
use crate::{ChargerId, Mode, Source};

/// Everything the controller needs to know about the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Which sources exist, and the freshness group each belongs to: any live message of a group proves the whole group alive.
    pub sources: BTreeMap<Source, GroupId>,
    /// How messages are combined into samples.
    pub sampling: Sampling,
    /// Policy for the home battery.
    pub battery: BatteryPolicy,
    /// Policy for solar charging.
    pub solar: SolarPolicy,
    /// Limits that apply when data stops arriving.
    pub fail_safe: FailSafe,
    /// Limit per phase for all chargers together.
    pub site_limit: Milliamps,
    /// Capacity of the house's connection: main fuse × phases × 230 V. Values far beyond it are not believed.
    pub connection: Watts,
    /// The chargers, in the order in which surplus is allocated.
    pub chargers: BTreeMap<ChargerId, ChargerConfig>,
}

/// Sources whose silence is judged together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u8);

/// Settings for combining single messages into samples of the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// How long to wait for the rest of a burst of messages while not both grid and battery have sent a value.
    pub settle: Millis,
    /// How old the meters' values are on arrival: the charger's power is taken from its history at that age.
    pub meter_age: Millis,
    /// Shortest time between two requests for fresh samples; `None`: no requests.
    pub refresh_every: Option<Millis>,
}

/// Policy for sharing the surplus between home battery and car.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatteryPolicy {
    /// Below this the battery is filled first: its charging power is not surplus.
    pub priority_soc: Percent,
    /// At or above this the battery may carry the car through a cloud.
    pub buffer_soc: Percent,
    /// At or below this not even a small share may come from the battery.
    pub floor_soc: Percent,
    /// The battery's highest charging power; reserved for it below `priority_soc`.
    pub max_charge: Watts,
    /// Energy the battery may give to the cars in `solar` within any 24 hours; with 0 nothing is deliberately taken from it.
    pub drain_budget: WattHours,
}

/// User settings for mode `solar`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SolarPolicy {
    /// Break-even solar share of the power drawn, 500 … 1000.
    pub min_share: Permille,
    /// Cost of one more start of the charger.
    pub start_cost: WattHours,
    /// Automatic starts allowed in any 24 h.
    pub starts_per_day_max: u16,
    /// A charge that was started runs at least this long (safety stops excepted).
    pub min_on: Millis,
    /// A charge that was stopped stays stopped at least this long (without exception).
    pub min_off: Millis,
}

/// Limits that apply when site data stops arriving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailSafe {
    /// With data older than this, the current is never raised and goes down to the minimum.
    pub stale_after: Millis,
    /// With data older than this, the `blind_*` limits apply.
    pub stop_after: Millis,
    /// Limit for `solar` without data.
    pub blind_solar: Milliamps,
    /// Limit for `slow` and `slow+solar` without data.
    pub blind_slow: Milliamps,
    /// Limit for `fast` without data.
    pub blind_fast: Milliamps,
    /// Limit for `fixed` without data.
    pub blind_fixed: Milliamps,
    /// Limit of every mode while the grid is gone.
    pub off_grid: Milliamps,
}

/// One charger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChargerConfig {
    /// Highest current allowed (the lowest of cable, configuration and profile; the wallbox's own limit comes with its reports).
    pub max: Milliamps,
    /// Lowest current other than 0, at least [`Milliamps::PILOT_MIN`].
    pub min: Milliamps,
    /// Current the wallbox falls back to by itself when communication stops.
    pub safe: Milliamps,
    /// Resolution of the setpoint.
    pub step: Milliamps,
    /// Phases the car is assumed to use until its currents show otherwise, 1 … 3.
    pub phases: u8,
    /// Mode before any command.
    pub mode: Mode,
    /// Current of mode `fixed` before any command.
    pub fixed: Milliamps,
    /// Wake a car that has not asked for current this long after being offered some; `None`: never.
    pub wake_after: Option<Millis>,
    /// Switching between one and three phases, where the wallbox or a relay can do it; `None`: the phases are as wired.
    pub switching: Option<PhaseSwitching>,
}

/// Settings for switching the number of connected phases. It happens only at 0 A and with the car measured at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhaseSwitching {
    /// Shortest time without current, from the stop before the switch to the start after it.
    pub pause: Millis,
}
