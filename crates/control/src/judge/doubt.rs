//! Doubts about the meters, as data and as a sentence.

use core::fmt;

use crate::facts::{Source, Sources};
use crate::units::Watts;

/// Why the site's meters are not believed. [`fmt::Display`] gives a sentence that says what to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// A source reported more than the house's connection can carry.
    OutOfRange {
        /// Which source.
        source: Source,
        /// The value it reported.
        value: Watts,
    },
    /// Load is not solar + grid + battery.
    Imbalance {
        /// `load − solar − grid − battery`.
        off: Watts,
    },
    /// More power leaves the house than solar produces.
    HouseProduces {
        /// The power the house would draw; negative.
        house: Watts,
    },
    /// The home battery is charged from the grid and does not give way to the car.
    BatteryFromGrid {
        /// Grid power, + import.
        grid: Watts,
        /// Battery power, − charging.
        battery: Watts,
    },
    /// The charger's current changed and the meters did not.
    CarNotSeen,
    /// The charger's current changed and the meters changed the other way.
    WrongSign,
    /// A large rise that no second meter confirms.
    Jump {
        /// The surplus after the jump.
        surplus: Watts,
    },
    /// Only values stored by the broker are known of these sources, and live ones have not confirmed them yet.
    Unconfirmed {
        /// Which sources.
        sources: Sources,
    },
}

impl Doubt {
    /// Returns the most surplus that this doubt may be withholding.
    pub(crate) fn withholds(self) -> Watts {
        match self {
            Self::Imbalance { off } => Watts(off.0.saturating_abs()),
            Self::HouseProduces { house } => -house,
            Self::BatteryFromGrid { battery, .. } => -battery,
            Self::OutOfRange { .. }
            | Self::CarNotSeen
            | Self::WrongSign
            | Self::Jump { .. }
            | Self::Unconfirmed { .. } => Watts::ZERO,
        }
    }

    /// Returns a stable word for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::OutOfRange { .. } => "out-of-range",
            Self::Imbalance { .. } => "meters-disagree",
            Self::HouseProduces { .. } => "house-produces",
            Self::BatteryFromGrid { .. } => "battery-from-grid",
            Self::CarNotSeen => "car-not-seen",
            Self::WrongSign => "wrong-sign",
            Self::Jump { .. } => "jump",
            Self::Unconfirmed { .. } => "unconfirmed",
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OutOfRange { source, value } => {
                let name = source.name();
                write!(f, "{name} says {value}, more than the house's connection can carry: ")?;
                write!(f, "if it repeats, check the unit of its entity (watts for kilowatts?) and inputs.{name}.unit")
            }
            Self::Imbalance { off } => write!(
                f,
                "load differs from solar + grid + battery by {off}: check topics, units and signs of these four; the lower surplus counts"
            ),
            Self::HouseProduces { house } => write!(
                f,
                "by its meters the house produces {}: check the signs and inputs.solar (is there a second inverter?)",
                -house
            ),
            Self::BatteryFromGrid { grid, battery } => {
                write!(f, "the home battery charges with {} ", -battery)?;
                if grid > Watts::ZERO {
                    write!(f, "while {grid} come from the grid")?;
                } else {
                    f.write_str("and did not give way to the car")?;
                }
                f.write_str(" (Storm Watch, raised reserve or time-based control?): its charging power is not surplus")
            }
            Self::CarNotSeen => f.write_str(
                "the charging current changed and the meters did not: check that grid and load include the charger, and their units",
            ),
            Self::WrongSign => f.write_str(
                "the meters moved against the charging current: check `positive` of inputs.grid and inputs.battery",
            ),
            Self::Jump { surplus } => write!(f, "a jump to {surplus} of surplus waits for a second sample"),
            Self::Unconfirmed { sources } => {
                write!(f, "only a stored value is known of {sources}; waiting until live values confirm it")
            }
        }
    }
}
