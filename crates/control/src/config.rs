//! What the controller is told once (and again on reload). Ranges are checked by whoever builds it
//! (`surplusd`'s `config` module reports findings with file and line); the controller clamps again where safety hangs on it.

use alloc::collections::BTreeMap;

use crate::units::{Milliamps, Millis, Percent, Permille, WattHours, Watts};
use crate::{ChargerId, Mode, Source};

/// Everything the controller needs to know about the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Which sources exist, and the freshness group each belongs to: any live message of a group proves the whole group alive.
    pub sources: BTreeMap<Source, GroupId>,
    /// How samples are put together.
    pub sampling: Sampling,
    /// Policy for the home battery.
    pub battery: BatteryPolicy,
    /// Policy for charging from the sun.
    pub solar: SolarPolicy,
    /// What happens when data stops coming.
    pub fail_safe: FailSafe,
    /// The most that all chargers together may draw per phase.
    pub site_limit: Milliamps,
    /// What the house's connection can carry: main fuse × phases × 230 V. Values far beyond it are not believed.
    pub connection: Watts,
    /// The chargers, in the order in which surplus is given out.
    pub chargers: BTreeMap<ChargerId, ChargerConfig>,
}

/// Sources whose silence is judged together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u8);

/// How single messages become one sample of the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// How long to wait for the rest of a burst of messages when grid and battery have not both spoken.
    pub settle: Millis,
    /// How old the meters' values are on arrival: the charger's power is taken from its history at that age.
    pub meter_age: Millis,
    /// Shortest time between two requests for fresh samples; `None` never asks.
    pub refresh_every: Option<Millis>,
}

/// How the home battery and the car share the sun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatteryPolicy {
    /// Below this the battery is filled first: its charging power is not surplus.
    pub priority_soc: Percent,
    /// At or above this the battery may carry the car through a cloud.
    pub buffer_soc: Percent,
    /// At or below this not even a small share may come from the battery.
    pub floor_soc: Percent,
    /// What the battery can take; reserved for it below `priority_soc`.
    pub max_charge: Watts,
    /// Energy the battery may give to the cars in `solar` within any 24 hours; 0 takes nothing on purpose.
    pub drain_budget: WattHours,
}

/// The user's dials of `solar`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SolarPolicy {
    /// Break-even share of sun in the power drawn, 500 … 1000.
    pub min_share: Permille,
    /// What one more start of the charger is worth.
    pub start_cost: WattHours,
    /// Automatic starts allowed in any 24 h.
    pub starts_per_day_max: u16,
    /// A charge that was started runs at least this long (safety stops excepted).
    pub min_on: Millis,
    /// A charge that was stopped stays stopped at least this long (nothing excepted).
    pub min_off: Millis,
}

/// What happens when site data stops coming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailSafe {
    /// Older than this: the current is never raised, and goes down to the minimum.
    pub stale_after: Millis,
    /// Older than this: `blind_*`.
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
    /// Highest current allowed (the least of cable, configuration and profile; the box's own limit comes with its reports).
    pub max: Milliamps,
    /// Lowest current other than 0, at least [`Milliamps::PILOT_MIN`].
    pub min: Milliamps,
    /// What the box falls to by itself when it hears nothing.
    pub safe: Milliamps,
    /// Resolution of the setpoint.
    pub step: Milliamps,
    /// Phases the car uses until its currents tell otherwise, 1 … 3.
    pub phases: u8,
    /// Mode before any command.
    pub mode: Mode,
    /// Current of mode `fixed` before any command.
    pub fixed: Milliamps,
    /// Wake a car that does not ask for current this long after it was offered some; `None` never.
    pub wake_after: Option<Millis>,
    /// Changing between one and three phases, where the box or a relay can; `None`: the phases are as wired.
    pub switching: Option<PhaseSwitching>,
}

/// Changing the number of phases that a box connects. It happens only at 0 A and with the car measured at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhaseSwitching {
    /// Without current for at least this long from the stop before the change to the start after it.
    pub pause: Millis,
}
