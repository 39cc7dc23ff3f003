//! Checks whether load, solar, grid and battery agree.

use crate::units::{Millis, Tick, Watts};

/// Meters that disagree by no more than this (plus a twentieth of the largest) agree.
const TOLERANCE: Watts = Watts(300);
/// A disagreement is lasting from this many samples in a row: a single one may come from meters read at different moments.
pub(super) const LASTING: u8 = 3;
/// How long a lasting disagreement is remembered once one of the two ways is no longer known.
pub(super) const REMEMBERED: Millis = Millis::from_secs(3_600);
/// The same for a disagreement that had not lasted.
const REMEMBERED_ONCE: Millis = Millis::from_secs(300);

/// Returns how far three powers may differ and still agree.
pub(crate) fn tolerance(one: Watts, two: Watts, three: Watts) -> Watts {
    let largest = [one, two, three].iter().map(|power| power.0.saturating_abs()).max().unwrap_or(0);
    Watts(TOLERANCE.0 + largest / 20)
}

/// The balance over the last samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Balance {
    off: Option<Watts>,
    times: u8,
    /// When both ways were last known.
    seen_at: Tick,
}

impl Balance {
    pub(crate) const fn new() -> Self {
        Self { off: None, times: 0, seen_at: Tick(0) }
    }

    /// Takes the difference of the two ways to the net draw and its tolerance, where both are known; returns a difference that is too
    /// large. A meter that falls silent does not end a disagreement.
    pub(crate) fn sample(&mut self, difference: Option<(Watts, Watts)>, now: Tick) -> Option<Watts> {
        match difference {
            Some((off, tolerance)) if off.0.saturating_abs() > tolerance.0 => {
                *self = Self { off: Some(off), times: self.times.saturating_add(1), seen_at: now };
            }
            None if now.since(self.seen_at) < self.remembered() => {}
            Some(_) | None => *self = Self::new(),
        }
        self.off
    }

    const fn remembered(&self) -> Millis {
        if self.times >= LASTING { REMEMBERED } else { REMEMBERED_ONCE }
    }

    /// Returns the difference, once it has lasted.
    pub(crate) const fn lasting(&self) -> Option<Watts> {
        if self.times >= LASTING { self.off } else { None }
    }
}
