//! A wallbox that is found locked, or stays locked. The lock of a wake-up is handled in `wake_up`.
//!
//! ```text
//! Idle ─met in state F─▶ Read ─locked, or not readable─▶ Free ─▶ Idle
//! ```
//! The remote lock may be left over from another program, so it is opened once, when the wallbox first connects. A lock that is set later,
//! or that persists, is not ours to open: it is reported together with the remedy.

use control::{Fault, Millis, Tick};

use super::cause::Cause;
use super::wake_up::WakeUp;
use super::{Driver, FAILURES_MAX, Notice, Transaction, Trouble};
use crate::charger::codec::Outcome;

/// How long state F is tolerated. A wallbox leaves it within 10 s of its watchdog being fed again or its lock being opened; after this time
/// it counts as locked for good.
const PATIENCE: Millis = Millis::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Read,
    Free,
}

/// What is known about the lock.
#[derive(Debug, Clone, Copy)]
pub(super) struct FoundLocked {
    state: State,
    /// Since when it has been in state F; `None`: not locked.
    since: Option<Tick>,
    said: bool,
    /// Failed requests.
    tries: u8,
    /// Whether its key switch is locked; `None` where that cannot be read.
    external: Option<bool>,
}

impl FoundLocked {
    pub(super) const fn new() -> Self {
        Self { state: State::Idle, since: None, said: false, tries: 0, external: None }
    }

    /// Measurements were read.
    pub(super) fn saw(&mut self, fault: Option<Fault>, external: Option<bool>, now: Tick) {
        self.external = external;
        if fault == Some(Fault::Locked) {
            self.since.get_or_insert(now);
        } else {
            self.since = None;
            self.said = false;
        }
    }

    /// The wallbox has connected for the first time.
    pub(super) fn meet(&mut self, pulse: WakeUp) {
        if self.since.is_some() && pulse == WakeUp::Idle {
            self.state = State::Read;
        }
    }

    /// The remote lock was opened: state F, if present, should end soon.
    pub(super) fn opened(&mut self, now: Tick) {
        self.since = self.since.map(|_| now);
    }

    pub(super) fn deadline(&self) -> Option<Tick> {
        self.since.filter(|_| !self.said).map(|since| since + PATIENCE)
    }
}

impl Driver {
    pub(super) fn found_locked_job(&self) -> Option<Transaction> {
        // Without an order nothing is written.
        self.order?;
        match self.found_locked.state {
            State::Idle => None,
            State::Read if self.profile.lock.register.readable_since <= self.layout => Some(Transaction::ReadLock),
            State::Read | State::Free => Some(Transaction::FreeLock),
        }
    }

    /// Takes the answer to reading or opening the lock.
    pub(super) fn found_locked_answer(&mut self, job: Transaction, outcome: &Outcome, now: Tick) {
        let lock = &self.profile.lock;
        self.found_locked.state = State::Idle;
        match (job, outcome) {
            (Transaction::ReadLock, Outcome::Registers(words)) if *words == [lock.unlocked] => {}
            (Transaction::ReadLock, _) => self.found_locked.state = State::Free,
            (_, Outcome::Written) => {
                self.notice(Notice::Trouble(Trouble::FoundLocked {
                    address: lock.register.address,
                    unlocked: lock.unlocked,
                }));
                self.found_locked.opened(now);
                self.poll_at = now;
            }
            (_, _) => {}
        }
    }

    /// A request has failed. Gives up if it is never answered or is declined; if the lock persists, that is reported later.
    pub(super) fn found_locked_failed(&mut self, cause: Cause) {
        let found = &mut self.found_locked;
        found.tries = found.tries.saturating_add(1);
        if found.tries > FAILURES_MAX || (found.state == State::Free && matches!(cause, Cause::Declined(_))) {
            found.state = State::Idle;
        }
    }

    /// Reports once that the wallbox stays locked.
    pub(super) fn pass_found_locked(&mut self, now: Tick) {
        let long = self.found_locked.deadline().is_some_and(|at| now >= at);
        if !long || self.pulse != WakeUp::Idle || self.stage != super::Stage::Running || self.lapsed {
            return;
        }
        self.found_locked.said = true;
        let lock = &self.profile.lock;
        let key_switch = lock.external.as_ref().zip(self.found_locked.external);
        let key_switch = key_switch.map(|(register, locked)| (register.address, locked));
        self.notice(Notice::Trouble(Trouble::StaysLocked {
            address: lock.register.address,
            unlocked: lock.unlocked,
            key_switch,
        }));
    }
}
