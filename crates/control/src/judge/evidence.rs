//! The evidence that the rules judge by: the values of one sample beside what the cars did.

use crate::facts::Sources;
use crate::sample::Sample;
use crate::units::{Millis, Tick, Watts};

/// Cars whose power changes by no more than this do not spoil a comparison: it is well below a conclusive change.
pub(crate) const STILL: Watts = Watts(1_500);

/// The meters' values and the cars' power at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) at: Tick,
    pub(crate) grid: Option<Watts>,
    pub(crate) solar: Option<Watts>,
    pub(crate) battery: Option<Watts>,
    pub(crate) load: Option<Watts>,
    /// `grid + battery`, or what stands in for it.
    pub(crate) net: Watts,
    /// Sources that contributed a stored value not confirmed yet.
    pub(crate) unconfirmed: Sources,
    /// Power the cars drew when the meters were read.
    pub(crate) cars: Watts,
    /// The least they may have drawn then.
    pub(crate) cars_least: Watts,
    /// How certain `cars` is, and by how much it changed recently: meters not read at the same moment disagree by that much.
    pub(crate) moved: Moved,
    pub(crate) clear_since: Tick,
    /// Whether the cars' power was what it was taken for at the sample that waits for this ([`super::Judge::waits_since`]); `None` until
    /// they have been measured again.
    pub(crate) held: Option<bool>,
    pub(crate) spread: Watts,
    /// Surplus of the previous sample.
    pub(crate) before: Option<Watts>,
}

impl Evidence {
    /// Combines a sample with what is known of the cars.
    pub(crate) fn new(sample: &Sample, cars: &CarsThen, before: Option<Watts>) -> Self {
        let CarsThen { drew: cars, least: cars_least, moved, clear_since, held, spread } = *cars;
        Self {
            at: sample.at,
            grid: sample.grid.filter(|_| sample.direct),
            solar: sample.solar,
            battery: sample.direct.then_some(sample.battery),
            load: sample.load,
            net: sample.net,
            unconfirmed: sample.unconfirmed,
            cars,
            cars_least,
            moved,
            clear_since,
            held,
            spread,
            before,
        }
    }
}

/// Power the cars drew when the meters were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CarsThen {
    pub(crate) drew: Watts,
    /// The least they may have drawn.
    pub(crate) least: Watts,
    pub(crate) moved: Moved,
    /// Since when the power of all cars is known as it is: earlier changes need not show.
    pub(crate) clear_since: Tick,
    /// See [`Evidence::held`].
    pub(crate) held: Option<bool>,
    /// By how much their power changed around then.
    pub(crate) spread: Watts,
}

/// When the cars' power last changed, as far as the meters can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// So recently that the meters may not show it.
    Lately,
    /// The meters should show it, as far as their delay is known.
    Seen,
    /// The meters must show it, however late they are.
    Long,
}

impl Moved {
    /// Judges by what the cars drew each second before a sample: whether that changed within `soon`, or at all.
    pub(crate) fn by(trail: &[Watts], soon: Millis) -> Self {
        if spread(trail, trail.len()) <= STILL {
            Self::Long
        } else if spread(trail, seconds(soon)) <= STILL {
            Self::Seen
        } else {
            Self::Lately
        }
    }
}

/// Returns by how much the cars' power changed within the newest seconds of a trail.
pub(crate) fn spread(trail: &[Watts], seconds: usize) -> Watts {
    let window = trail.iter().take(seconds);
    let (low, high) = window.fold((i32::MAX, i32::MIN), |(low, high), x| (low.min(x.0), high.max(x.0)));
    Watts(high.saturating_sub(low).max(0))
}

/// Returns the number of places of a trail that cover a span.
pub(crate) fn seconds(span: Millis) -> usize {
    usize::try_from(span.0 / 1_000 + 1).unwrap_or(usize::MAX)
}

/// Whether both are so, as far as that is known.
pub(crate) const fn both(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        (None, _) | (_, None) => None,
    }
}
