//! Why a wallbox is left alone: picks the most telling of all the evidence against it.

use super::cause::Cause;
use super::connect::Step;
use super::{Doubt, Driver, Notice, Setting, Transaction, Trouble};

/// The last relevant request that failed since the setpoint was last proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InVain {
    asked: String,
    cause: Cause,
    /// Whether it concerned the setpoint.
    setpoint: bool,
}

impl InVain {
    /// Returns whether this is the most telling failure of all: the setpoint itself was declined.
    const fn tells_most(&self) -> bool {
        self.setpoint && matches!(self.cause, Cause::Declined(_))
    }
}

impl Driver {
    /// Notes a request that failed.
    pub(super) fn note_in_vain(&mut self, job: Transaction, cause: Cause) {
        let setpoint = match job {
            Transaction::Connect(Step::Setpoint)
            | Transaction::Read(Setting::Setpoint)
            | Transaction::Write(Setting::Setpoint, _) => true,
            Transaction::Connect(Step::Standby | Step::Phases | Step::Serial)
            | Transaction::WriteStandby(..)
            | Transaction::Phases(_)
            | Transaction::Lock
            | Transaction::Unlock
            | Transaction::ReadLock
            | Transaction::FreeLock => return,
            Transaction::Connect(_) | Transaction::Measure | Transaction::Read(_) | Transaction::Write(..) => false,
        };
        let new = InVain { asked: self.operation(job).to_string(), cause, setpoint };
        if new.tells_most() || !self.in_vain.as_ref().is_some_and(InVain::tells_most) {
            self.in_vain = Some(new);
        }
    }

    /// Returns the evidence against the wallbox; `rises`: its setpoint keeps rising by itself.
    pub(super) fn doubt(&self, rises: bool) -> Doubt {
        let address = self.profile.set_current.register.address;
        let wanted = self.target();
        let high = self.setpoint.known().filter(|known| wanted.is_some_and(|wanted| *known > wanted));
        let told = self.in_vain.as_ref().filter(|one| high.is_none() || one.tells_most());
        if rises {
            return Doubt::Rises { address };
        }
        if let Some(current) = self.alone.flow.unheeded() {
            return Doubt::Unheeded { address, current };
        }
        match (told, high) {
            (Some(InVain { asked, cause: Cause::Declined(exception), .. }), _) => {
                Doubt::Declined { asked: asked.clone(), exception: *exception }
            }
            (Some(InVain { asked, cause: Cause::Nonsense, .. }), _) => Doubt::Nonsense { asked: asked.clone() },
            (Some(InVain { cause: Cause::Failure(failure), .. }), _) => Doubt::Silent { failure: *failure },
            (None, Some(found)) => Doubt::Keeps { address, found: self.profile.decode_current(found) },
            (None, None) => Doubt::Unconfirmed { address },
        }
    }

    /// Reports once that the wallbox is left alone, and why.
    pub(super) fn say_left_alone(&mut self, doubt: Doubt) {
        if std::mem::replace(&mut self.alone.said, true) {
            return;
        }
        self.notice(Notice::Trouble(Trouble::LeftAlone {
            doubt,
            told: self.profile.decode_current(self.certainly_not_too_high()),
            silence: self.silence(),
            falls_to: self.falls_back().then_some(self.safe_current),
        }));
    }
}
