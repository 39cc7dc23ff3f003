//! A setpoint of 0 that is read back but not obeyed: current keeps flowing.
//!
//! The register then proves nothing, and the wallbox is left alone (`left_alone`) until a measurement shows it at rest. A car that ramps
//! down, or a wallbox whose measurements lag, has settled long before [`FLOWS_FOR`]. Unknown currents lead to no conclusion.

use control::{Milliamps, Millis, Tick};

use super::Driver;

/// A phase counts as carrying current from here upwards, well above meter noise: one third of the 6 A minimum (IEC 61851-1).
const FLOWS: Milliamps = Milliamps(2_000);
/// How long current must flow after 0 was read back. Two measurements further apart than this say nothing about the time between them.
const FLOWS_FOR: Millis = Millis::from_secs(15);
/// How often currents are measured meanwhile, even if the normal poll interval is longer.
pub(super) const LOOK_EVERY: Millis = Millis::from_secs(5);
/// In a try, the delay from reading back 0 to the measurement: twice the ramp-down time that IEC 61851-1 allows a car, and long enough to
/// see a car charging again that the watchdog had stopped.
pub(super) const SETTLED: Millis = Millis::from_secs(10);
/// How long a wallbox that did not obey 0 stays on trial.
const TRIAL: Millis = Millis::from_secs(600);

/// What the measurements say about a setpoint of 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    /// Since when current has been measured although the setpoint is 0.
    since: Option<Tick>,
    /// When current was last measured.
    last: Option<Tick>,
    /// The current that flows because a setpoint of 0 is not obeyed; cleared when a measurement shows the wallbox at rest.
    unheeded: Option<Milliamps>,
    /// When a setpoint of 0 was last found not to be obeyed.
    found_at: Option<Tick>,
}

impl Flow {
    pub(super) const fn new() -> Self {
        Self { since: None, last: None, unheeded: None, found_at: None }
    }

    /// Returns the current that flows although 0 was read back.
    pub(super) const fn unheeded(&self) -> Option<Milliamps> {
        self.unheeded
    }

    /// Returns whether current flows at a setpoint of 0, so that frequent measurements are worthwhile.
    pub(super) const fn is_watched(&self) -> bool {
        self.since.is_some()
    }

    /// Returns whether a setpoint of 0 was recently found not to be obeyed.
    pub(super) fn lately(&self, now: Tick) -> bool {
        self.found_at.is_some_and(|at| now.since(at) < TRIAL)
    }

    /// Takes the highest measured phase current; `zero`: whether 0 is wanted and was read back, `None` until it has been read.
    fn saw(&mut self, current: Milliamps, zero: Option<bool>, now: Tick) {
        if current < FLOWS {
            (self.since, self.unheeded) = (None, None);
            return;
        }
        let gap = self.last.replace(now).is_none_or(|last| now.since(last) > FLOWS_FOR);
        match zero {
            Some(true) if gap => self.since = Some(now),
            Some(true) => {
                let since = *self.since.get_or_insert(now);
                if now.since(since) >= FLOWS_FOR {
                    self.unheeded = Some(current);
                    self.found_at = Some(now);
                }
            }
            Some(false) => self.since = None,
            None => {}
        }
    }
}

impl Driver {
    /// Compares the measured currents with a setpoint of 0.
    pub(super) fn note_flow(&mut self, currents: Option<[Milliamps; 3]>, now: Tick) {
        let Some(current) = currents.and_then(|phases| phases.into_iter().max()) else { return };
        let off = self.profile.set_current.off;
        let wanted = self.order.is_some() && self.target() == Some(off);
        let zero = self.setpoint.known().map(|known| known == off && wanted);
        self.alone.flow.saw(current, if wanted { zero } else { Some(false) }, now);
    }
}
