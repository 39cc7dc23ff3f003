//! A wallbox in standby: it answers nothing until a car is plugged in.
//!
//! Standby is assumed only if it explains everything that is known: the configuration allows it and the profile has it, the wallbox has
//! connected before and its setpoint was read, it was last seen without a car, the line is open, and nothing at all comes back. Any sign of
//! life ends it: an answer (even late or wrong) or an exception. While the line is down nothing is known; the first request that fails
//! after that decides.
//!
//! Standby says nothing about the current: a wallbox wakes up with its highest setpoint. So a low setpoint is written blindly, followed by
//! silence, again and again, as for any wallbox that cannot be read (`left_alone`). Only the pauses do not grow, as a car may be plugged
//! in at any time.

use super::Driver;
use crate::charger::codec::{Failure, Flaw, Outcome};

/// Modbus exception 11: a gateway reports that the wallbox behind it does not answer (Modbus application protocol 1.1b3, section 7).
const TARGET_SILENT: u8 = 11;

/// Returns the outcome as far as the wallbox itself is concerned: a gateway's exception on its behalf is no answer.
pub(super) fn its_own(outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Exception(TARGET_SILENT) => Outcome::Failed(Failure::Timeout),
        Outcome::Registers(_) | Outcome::Written | Outcome::Exception(_) | Outcome::Failed(_) => outcome.clone(),
    }
}

/// Returns whether nothing came from the wallbox. A line without bias produces noise of its own, and frames of other units and masters do
/// not count.
pub(super) const fn is_silence(failure: Failure) -> bool {
    match failure {
        Failure::Timeout | Failure::EchoOnly | Failure::Noise(_) | Failure::Gone => true,
        Failure::Malformed(flaw) => matches!(flaw, Flaw::Unit(_) | Flaw::Master),
        Failure::Late { .. } => false,
    }
}

impl Driver {
    /// Returns whether standby can explain why the wallbox does not answer.
    pub(super) fn may_sleep(&self) -> bool {
        self.standby_allowed && self.profile.standby.is_some() && self.met && self.alone.was_read() && self.without_car
    }

    /// Notes the outcome of a request while not connected: once the wallbox is awake, what was last known of a car is out of date.
    pub(super) const fn note_life(&mut self, outcome: &Outcome) {
        if !matches!(outcome, Outcome::Failed(failure) if is_silence(*failure)) {
            self.without_car = false;
        }
    }
}
