//! A setpoint of 0 that is read back and not heeded: current goes on flowing.
//!
//! Then the register proves nothing, and the wallbox is left alone (`left_alone`) until a measurement shows it at rest. A car that ramps
//! down, and a wallbox whose measurements come late, have settled long before [`FLOWS_FOR`]. Where the currents are not known, nothing
//! follows from them.

use control::{Milliamps, Millis, Tick};

use super::Driver;

/// As much on a phase is a current that flows, not a meter's last digits: a third of the least current of a charge (6 A, IEC 61851-1).
const FLOWS: Milliamps = Milliamps(2_000);
/// For so long after 0 was read back it must flow; two measurements that lie further apart are no sign of what was between them.
const FLOWS_FOR: Millis = Millis::from_secs(15);
/// It is measured this often meanwhile, however seldom otherwise.
pub(super) const LOOK_EVERY: Millis = Millis::from_secs(5);
/// In a try it is measured so long after 0 was read back: twice what a car may take to ramp down by IEC 61851-1, and enough for one that goes
/// on to be seen again, as it was at rest by the wallbox's watchdog.
pub(super) const SETTLED: Millis = Millis::from_secs(10);
/// A wallbox that did not heed 0 is on trial for so long.
const TRIAL: Millis = Millis::from_secs(600);

/// What the measurements say of a setpoint of 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    /// At 0, and current has been measured since then …
    since: Option<Tick>,
    /// … last at that time.
    last: Option<Tick>,
    /// The setpoint of 0 is not heeded; until a measurement shows the wallbox at rest.
    unheeded: Option<Milliamps>,
    /// It was last found so.
    found_at: Option<Tick>,
}

impl Flow {
    pub(super) const fn new() -> Self {
        Self { since: None, last: None, unheeded: None, found_at: None }
    }

    /// The current that flows although 0 was read back.
    pub(super) const fn unheeded(&self) -> Option<Milliamps> {
        self.unheeded
    }

    /// Whether current is measured at 0, so that it is worth looking often.
    pub(super) const fn is_watched(&self) -> bool {
        self.since.is_some()
    }

    /// Whether a setpoint of 0 was found unheeded lately.
    pub(super) fn lately(&self, now: Tick) -> bool {
        self.found_at.is_some_and(|at| now.since(at) < TRIAL)
    }

    /// The highest current that was measured; `zero`: whether 0 is wanted and was read back, `None` while that is being read.
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
    /// Compares the currents that were measured with a setpoint of 0.
    pub(super) fn note_flow(&mut self, currents: Option<[Milliamps; 3]>, now: Tick) {
        let Some(current) = currents.and_then(|phases| phases.into_iter().max()) else { return };
        let off = self.profile.set_current.off;
        let wanted = self.order.is_some() && self.target() == Some(off);
        let zero = self.setpoint.known().map(|known| known == off && wanted);
        self.alone.flow.saw(current, if wanted { zero } else { Some(false) }, now);
    }
}
