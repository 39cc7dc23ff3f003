//! Waking a car that has gone to sleep: lock the box, wait, unlock it. The car sees state F and then a fresh pilot signal.
//!
//! ```text
//! Idle ─Wake─▶ Lock ─written─▶ Held ─time, lapse, shutdown─▶ Unlock ─written─▶ Settling ─not locked, time─▶ Idle
//!                └─failed, link lost───────────────────────────▲ ◀── Input::Unlock after a crash
//! ```
//! Once the lock may have been written, only a written unlock ends it.

use control::{Fault, Millis, Tick, Vehicle};

use super::{Driver, Event, Notice, Stage};
use crate::charger::codec::Outcome;

/// The box needs about 10 s to leave state F; after this the pulse no longer excuses it.
const SETTLE_MAX: Millis = Millis::from_secs(20);

/// `before`: what the box said of the car when the pulse began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pulse {
    Idle,
    Lock {
        before: Vehicle,
    },
    Held {
        before: Vehicle,
        until: Tick,
    },
    /// `locked`: the lock was echoed, so the register is there.
    Unlock {
        before: Option<Vehicle>,
        locked: bool,
    },
    Settling {
        before: Vehicle,
        until: Tick,
    },
}

impl Pulse {
    pub(super) const fn wants_lock(self) -> bool {
        matches!(self, Self::Lock { .. })
    }

    pub(super) const fn must_unlock(self) -> bool {
        matches!(self, Self::Unlock { .. })
    }

    /// `halted`: nobody will come back to unlock later.
    pub(super) fn wants_unlock(self, now: Tick, halted: bool) -> bool {
        match self {
            Self::Unlock { .. } => true,
            Self::Held { until, .. } => halted || now >= until,
            Self::Idle | Self::Lock { .. } | Self::Settling { .. } => false,
        }
    }

    pub(super) const fn deadline(self) -> Option<Tick> {
        match self {
            Self::Held { until, .. } | Self::Settling { until, .. } => Some(until),
            Self::Idle | Self::Lock { .. } | Self::Unlock { .. } => None,
        }
    }

    /// What the box said before, while the pulse makes it say something else.
    pub(super) const fn before(self) -> Option<Vehicle> {
        match self {
            Self::Held { before, .. } | Self::Settling { before, .. } => Some(before),
            Self::Unlock { before, .. } => before,
            Self::Idle | Self::Lock { .. } => None,
        }
    }

    pub(super) fn pass_time(&mut self, now: Tick) {
        if matches!(*self, Self::Settling { until, .. } if now >= until) {
            *self = Self::Idle;
        }
    }

    /// A state was read.
    pub(super) fn saw(&mut self, fault: Option<Fault>) {
        if matches!(*self, Self::Settling { .. }) && fault != Some(Fault::Locked) {
            *self = Self::Idle;
        }
    }

    /// Unlock as soon as possible. What is known of a pulse under way stays known.
    pub(super) const fn unlock(&mut self) {
        *self = match *self {
            Self::Held { before, .. } => Self::Unlock { before: Some(before), locked: true },
            Self::Lock { before } => Self::Unlock { before: Some(before), locked: false },
            Self::Idle | Self::Settling { .. } => Self::Unlock { before: None, locked: false },
            Self::Unlock { .. } => return,
        };
    }

    /// The link was lost: whether the lock has arrived is not known, and neither is whether the box still has it.
    pub(super) const fn link_lost(&mut self) {
        match *self {
            Self::Lock { .. } | Self::Held { .. } => self.unlock(),
            Self::Settling { .. } => *self = Self::Idle,
            Self::Idle | Self::Unlock { .. } => {}
        }
    }
}

impl Driver {
    pub(super) fn start_pulse(&mut self) {
        let able = self.stage == Stage::Running
            && self.order.is_some()
            && !self.lapsed
            && self.ending.is_none()
            && !self.phases.changing()
            && self.layout >= self.profile.lock.register.since;
        match (self.pulse, &self.measured) {
            (Pulse::Idle, Some(measured)) if able => self.pulse = Pulse::Lock { before: measured.vehicle },
            (Pulse::Idle, _) => self.cancel_pulse(),
            // One at a time; the one under way serves.
            (Pulse::Lock { .. } | Pulse::Held { .. } | Pulse::Unlock { .. } | Pulse::Settling { .. }, _) => {}
        }
    }

    /// Nothing was locked, and nothing will be.
    pub(super) fn cancel_pulse(&mut self) {
        self.pulse = Pulse::Idle;
        self.notice(Notice::WakeImpossible);
        self.say(Event::Woken);
    }

    pub(super) fn lock_answer(&mut self, outcome: &Outcome, now: Tick) {
        let Pulse::Lock { before } = self.pulse else { return };
        match outcome {
            Outcome::Written => {
                self.pulse = Pulse::Held { before, until: now + self.profile.lock.hold };
                self.poll_at = now;
                self.notice(Notice::WakeStarted);
            }
            Outcome::Exception(_) | Outcome::Registers(_) => self.cancel_pulse(),
            Outcome::Failed(_) => self.pulse = Pulse::Unlock { before: Some(before), locked: false },
        }
    }

    /// False if it has to be tried again.
    pub(super) fn unlock_answer(&mut self, outcome: &Outcome, now: Tick) -> bool {
        let before = self.pulse.before();
        let locked = matches!(self.pulse, Pulse::Held { .. } | Pulse::Unlock { locked: true, .. });
        match outcome {
            Outcome::Written => {
                self.pulse = before.map_or(Pulse::Idle, |before| Pulse::Settling { before, until: now + SETTLE_MAX });
                self.poll_at = now;
                self.notice(if before.is_some() { Notice::WakeEnded } else { Notice::Unlocked });
                self.say(Event::Woken);
                true
            }
            // Illegal function, address or value, or a failure: a wallbox that cannot write that register cannot be locked by it. (5 and 6,
            // busy, pass.)
            Outcome::Exception(1..=4) if !locked => {
                self.pulse = Pulse::Idle;
                self.say(Event::Woken);
                true
            }
            Outcome::Exception(_) | Outcome::Registers(_) | Outcome::Failed(_) => {
                self.pulse = Pulse::Unlock { before, locked };
                false
            }
        }
    }
}
