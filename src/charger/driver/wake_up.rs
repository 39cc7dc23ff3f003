//! Waking a car that has gone to sleep: lock the wallbox, wait, unlock it. The car sees state F and then a fresh pilot signal.
//!
//! ```text
//! Idle ─Wake─▶ Lock ─written─▶ Held ─time, lapse, shutdown─▶ Unlock ─written─▶ Settling ─not locked, time─▶ Idle
//!                └─failed, link lost───────────────────────────▲ ◀── Input::Unlock after a crash
//! ```
//! Once the lock may have been written, only a written unlock ends it. A wallbox that answers everything else is not held up by that: after
//! a few failed attempts it is operated as usual, its state is reported as read, and the unlock is retried at a slow pace. A wallbox that
//! answers nothing has not declined: the unlock is the first request when it comes back.

use control::{Fault, Millis, Tick, Vehicle};

use super::{Driver, Event, Notice, Stage, Trouble};
use crate::charger::codec::Outcome;

/// Failed unlocks of a wallbox that otherwise answers, after which it is operated as usual.
const TRIES_MAX: u8 = 3;
/// How often the unlock is retried from then on.
const UNLOCK_EVERY: Millis = Millis::from_secs(30);

/// How long the wake-up may explain state F: the wallbox needs about 10 s to leave it.
const SETTLE_MAX: Millis = Millis::from_secs(20);

/// State of the wake-up pulse. `before`: state of the car when the pulse began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WakeUp {
    Idle,
    Lock { before: Vehicle },
    Held { before: Vehicle, until: Tick },
    Unlock(Unlock),
    Settling { before: Vehicle, until: Tick },
}

/// An unlock that must be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unlock {
    before: Option<Vehicle>,
    /// The lock was echoed, so the register is there.
    locked: bool,
    /// Failed attempts although the wallbox otherwise answers.
    tries: u8,
    /// The last attempt failed, and nothing else has been answered since.
    unclear: bool,
    /// Earliest time for the next attempt.
    at: Tick,
}

impl Unlock {
    const fn new(before: Option<Vehicle>, locked: bool) -> Self {
        Self { before, locked, tries: 0, unclear: false, at: Tick(0) }
    }

    const fn gave_up(self) -> bool {
        self.tries >= TRIES_MAX
    }

    fn is_due(self, now: Tick) -> bool {
        !self.unclear && now >= self.at
    }
}

impl WakeUp {
    pub(super) const fn wants_lock(self) -> bool {
        matches!(self, Self::Lock { .. })
    }

    /// Returns whether an unlock is due even before the wallbox has connected.
    pub(super) fn must_unlock(self, now: Tick) -> bool {
        matches!(self, Self::Unlock(unlock) if unlock.is_due(now))
    }

    /// Returns whether other steps have to wait until the wake-up is over.
    pub(super) const fn is_under_way(self) -> bool {
        match self {
            Self::Idle => false,
            Self::Unlock(unlock) => !unlock.gave_up(),
            Self::Lock { .. } | Self::Held { .. } | Self::Settling { .. } => true,
        }
    }

    /// Returns whether an unlock is due; `halted`: there will be no later opportunity.
    pub(super) fn wants_unlock(self, now: Tick, halted: bool) -> bool {
        match self {
            Self::Unlock(unlock) if halted => !unlock.gave_up(),
            Self::Unlock(unlock) => unlock.is_due(now),
            Self::Held { until, .. } => halted || now >= until,
            Self::Idle | Self::Lock { .. } | Self::Settling { .. } => false,
        }
    }

    pub(super) const fn deadline(self) -> Option<Tick> {
        match self {
            Self::Held { until, .. } | Self::Settling { until, .. } => Some(until),
            Self::Unlock(unlock) => Some(unlock.at),
            Self::Idle | Self::Lock { .. } => None,
        }
    }

    /// Returns the car's state before the pulse, while the pulse distorts the reported one.
    pub(super) const fn before(self) -> Option<Vehicle> {
        match self {
            Self::Held { before, .. } | Self::Settling { before, .. } => Some(before),
            Self::Unlock(unlock) if !unlock.gave_up() => unlock.before,
            Self::Unlock(_) | Self::Idle | Self::Lock { .. } => None,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Tick) {
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

    /// Requests an unlock as soon as possible. What is known about a pulse in progress is kept.
    pub(super) const fn unlock(&mut self) {
        *self = Self::Unlock(match *self {
            Self::Held { before, .. } => Unlock::new(Some(before), true),
            Self::Lock { before } => Unlock::new(Some(before), false),
            Self::Idle | Self::Settling { .. } => Unlock::new(None, false),
            Self::Unlock(unlock) => unlock,
        });
    }

    /// Another request failed: the wallbox is silent altogether, which says nothing about the unlock.
    pub(super) const fn fell_silent(&mut self) {
        if let Self::Unlock(unlock) = self {
            unlock.unclear = false;
        }
    }

    /// The program ends: allows one more attempt if the unlock was given up.
    pub(super) const fn end(&mut self) {
        if let Self::Unlock(unlock) = self
            && unlock.gave_up()
        {
            unlock.tries = TRIES_MAX - 1;
        }
    }

    /// The link was lost: it is unknown whether the lock arrived and whether the wallbox still holds it.
    pub(super) const fn link_lost(&mut self) {
        match *self {
            Self::Lock { .. } | Self::Held { .. } => self.unlock(),
            Self::Settling { .. } => *self = Self::Idle,
            Self::Idle | Self::Unlock(_) => {}
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
            (WakeUp::Idle, Some(measured)) if able => self.pulse = WakeUp::Lock { before: measured.vehicle },
            (WakeUp::Idle, _) => self.cancel_pulse(),
            // One pulse at a time; the one in progress serves.
            (WakeUp::Lock { .. } | WakeUp::Held { .. } | WakeUp::Unlock(_) | WakeUp::Settling { .. }, _) => {}
        }
    }

    /// Nothing was locked, and nothing will be.
    pub(super) fn cancel_pulse(&mut self) {
        self.pulse = WakeUp::Idle;
        self.notice(Notice::WakeImpossible);
        self.say(Event::WakeUpDone);
    }

    pub(super) fn lock_answer(&mut self, outcome: &Outcome, now: Tick) {
        let WakeUp::Lock { before } = self.pulse else { return };
        match outcome {
            Outcome::Written => {
                self.pulse = WakeUp::Held { before, until: now + self.profile.lock.hold };
                self.poll_at = now;
                self.notice(Notice::WakeStarted);
            }
            Outcome::Exception(_) | Outcome::Registers(_) => self.cancel_pulse(),
            Outcome::Failed(_) => self.pulse = WakeUp::Unlock(Unlock::new(Some(before), false)),
        }
    }

    /// Takes the answer to an unlock; returns false if it must be tried again.
    pub(super) fn unlock_answer(&mut self, outcome: &Outcome, now: Tick) -> bool {
        self.pulse.unlock();
        let WakeUp::Unlock(unlock) = &mut self.pulse else { return true };
        match outcome {
            Outcome::Written => {
                let before = unlock.before;
                self.pulse = before.map_or(WakeUp::Idle, |before| WakeUp::Settling { before, until: now + SETTLE_MAX });
                self.poll_at = now;
                self.found_locked.opened(now);
                self.notice(if before.is_some() { Notice::WakeEnded } else { Notice::Unlocked });
                self.say(Event::WakeUpDone);
                true
            }
            // Illegal function, address or value, or a device failure: a wallbox that cannot write this register cannot be locked through
            // it. (5 and 6 mean busy, which passes.)
            Outcome::Exception(1..=4) if !unlock.locked => {
                self.pulse = WakeUp::Idle;
                self.say(Event::WakeUpDone);
                true
            }
            Outcome::Exception(_) | Outcome::Registers(_) | Outcome::Failed(_) => {
                unlock.unclear = true;
                if self.is_halted() {
                    // No other request follows that could show whether the wallbox answers.
                    self.passed_over(now);
                }
                false
            }
        }
    }

    /// The wallbox has answered another request, or no more may follow: now a failed unlock counts as a failed attempt.
    pub(super) fn passed_over(&mut self, now: Tick) {
        let WakeUp::Unlock(unlock) = &mut self.pulse else { return };
        if !std::mem::replace(&mut unlock.unclear, false) {
            return;
        }
        let before = unlock.gave_up();
        unlock.tries = unlock.tries.saturating_add(1);
        if !unlock.gave_up() {
            return;
        }
        unlock.at = now + UNLOCK_EVERY;
        if !before {
            self.poll_at = now;
            let lock = &self.profile.lock;
            self.notice(Notice::Trouble(Trouble::NotUnlocked {
                address: lock.register.address,
                unlocked: lock.unlocked,
                every: UNLOCK_EVERY,
            }));
        }
    }
}
