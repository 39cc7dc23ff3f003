//! The site's meter values at one moment.

use crate::facts::Sources;
use crate::units::{Tick, Watts};

/// The net draw of house and cars from everything that is not solar, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// When its first message arrived.
    pub(crate) at: Tick,
    /// `grid + battery`: what is drawn beyond solar production; negative is surplus going elsewhere.
    pub(crate) net: Watts,
    /// Battery power: metered, or derived from the balance; 0 where there is no battery.
    pub(crate) battery: Watts,
    /// Upper bound on the power the battery gives: as metered, or as derived from the balance if that is more or it is not metered.
    pub(crate) battery_most: Watts,
    /// Grid power, where known.
    pub(crate) grid: Option<Watts>,
    /// Production, where known.
    pub(crate) solar: Option<Watts>,
    /// Load, where known.
    pub(crate) load: Option<Watts>,
    /// Whether `grid` and `battery` were both metered.
    pub(crate) direct: bool,
    /// Sources that contributed only an unconfirmed stored value.
    pub(crate) unconfirmed: Sources,
    /// Whether it shows that the meters are alive, or only repeats known values.
    pub(crate) alive: bool,
}
