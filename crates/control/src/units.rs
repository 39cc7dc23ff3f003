//! Quantities. Integers with the unit in the type; operators only where physics allows.
//! No `Default`: an absent reading is `Option::None`, never a believable zero.

use core::fmt;
use core::ops::{Add, Mul, Neg, Sub};

/// Active power in watts. The sign convention belongs to the quantity measured:
/// grid + import, battery + discharging, solar, load and charger ≥ 0, surplus signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watts(pub i32);

/// Current per phase in milliamperes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Milliamps(pub u32);

/// Voltage, phase to neutral, in volts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Volts(pub u16);

/// Energy in watt-hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WattHours(pub i64);

/// A share in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permille(pub u16);

/// State of charge in percent, 0 … 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(pub u8);

/// A point in time: milliseconds on a monotonic clock with an arbitrary start. Never the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

/// A span of time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Watts {
    /// No power.
    pub const ZERO: Self = Self(0);
    /// The larger of this and zero.
    #[must_use]
    pub const fn positive(self) -> Self {
        if self.0 < 0 { Self(0) } else { self }
    }
}

impl Milliamps {
    /// No current: the charger must not charge.
    pub const ZERO: Self = Self(0);
    /// The lowest current the pilot signal of IEC 61851-1 can offer to a car (10 % duty cycle).
    pub const PILOT_MIN: Self = Self(6_000);
    /// Returns the current in deciamperes, rounded down.
    #[must_use]
    pub const fn deciamps_floor(self) -> u32 {
        self.0 / 100
    }
    /// `self` rounded down to a multiple of `step`; unchanged where `step` is zero.
    #[must_use]
    pub const fn floor_to(self, step: Self) -> Self {
        if step.0 == 0 {
            return self;
        }
        Self(self.0 - self.0 % step.0)
    }
}

impl Millis {
    /// A number of whole seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000))
    }
}

impl Tick {
    /// Time passed since `earlier`; zero if `earlier` lies in the future.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
    /// The tick `span` before this one, not below the clock's start.
    #[must_use]
    pub const fn before(self, span: Millis) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Add<Millis> for Tick {
    type Output = Self;
    fn add(self, span: Millis) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Add for Millis {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Zero where the other span is longer.
impl Sub for Millis {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Mul<u64> for Millis {
    type Output = Self;
    fn mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl Add for Milliamps {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Zero where the other current is higher: no current is negative here.
impl Sub for Milliamps {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Mul<u32> for Milliamps {
    type Output = Self;
    fn mul(self, times: u32) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl Add for Watts {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Watts {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Neg for Watts {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl core::iter::Sum for Watts {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Watts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} W", self.0)
    }
}

impl fmt::Display for Milliamps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} A", self.0 / 1_000, self.0 % 1_000 / 100)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

impl fmt::Display for WattHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} Wh", self.0)
    }
}

/// Seconds, rounded up; minutes from two minutes on, hours from two hours on.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.div_ceil(1_000);
        match secs {
            0..120 => write!(f, "{secs} s"),
            120..7_200 if secs.is_multiple_of(60) => write!(f, "{} min", secs / 60),
            120..7_200 => write!(f, "{} min {} s", secs / 60, secs % 60),
            _ => write!(f, "{} h {} min", secs / 3_600, secs % 3_600 / 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No operator wraps or panics: what leaves the range stays at its end.
    #[test]
    fn operators_stay_within_their_range() {
        assert_eq!(Milliamps(6_000) - Milliamps(16_000), Milliamps::ZERO);
        assert_eq!(
            (Milliamps(u32::MAX) + Milliamps(1), Milliamps(u32::MAX) * 2),
            (Milliamps(u32::MAX), Milliamps(u32::MAX))
        );
        assert_eq!((Millis(1) - Millis(2), Millis(u64::MAX) * 2), (Millis(0), Millis(u64::MAX)));
        assert_eq!((Tick(u64::MAX) + Millis(1), Tick(5).since(Tick(9))), (Tick(u64::MAX), Millis(0)));
        assert_eq!((Watts(i32::MIN) - Watts(1), -Watts(i32::MIN)), (Watts(i32::MIN), Watts(i32::MAX)));
    }
}
