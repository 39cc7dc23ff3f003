//! What the site's meters say at one moment.

use crate::facts::Sources;
use crate::units::{Tick, Watts};

/// The net draw of house and cars on everything that is not solar, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// When its first message came.
    pub(crate) at: Tick,
    /// `grid + battery`: what is drawn beyond solar production; negative is surplus going elsewhere.
    pub(crate) net: Watts,
    /// Battery power: metered, or what the balance leaves for it; 0 where there is no battery.
    pub(crate) battery: Watts,
    /// The most that the battery may be giving: what it says, or what the balance leaves for it where that is more or it says nothing.
    pub(crate) battery_most: Watts,
    /// Grid power, where known.
    pub(crate) grid: Option<Watts>,
    /// Production, where known.
    pub(crate) solar: Option<Watts>,
    /// Load, where known.
    pub(crate) load: Option<Watts>,
    /// Whether `grid` and `battery` were both metered.
    pub(crate) direct: bool,
    /// Sources of which only an unconfirmed stored value took part.
    pub(crate) unconfirmed: Sources,
    /// Whether it is a sign of life, or only repeats what is known.
    pub(crate) alive: bool,
}
