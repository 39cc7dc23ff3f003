//! A wallbox in standby: it answers nothing until a car is plugged in.
//!
//! Standby is believed only where it explains everything that is known: the configuration allows it and the profile has it, the wallbox has
//! been met and its setpoint read, it was last seen without a car, the line is open, and nothing at all comes back. Any sign of life ends
//! it: an answer, a late or wrong one, an exception. While the line is down nothing is known, and the first request in vain after that
//! tells.
//!
//! Nothing follows from it for the current: a wallbox comes back from standby with its highest setpoint. So it is told a low one blindly
//! and then left in silence, again and again, as any wallbox that cannot be read (`left_alone`); only the pauses do not grow, as a car may
//! be plugged in at any time.

use super::Driver;
use crate::charger::codec::{Failure, Flaw, Outcome};

/// Modbus exception 11: the gateway says that the wallbox behind it does not answer (Modbus application protocol 1.1b3, section 7).
const TARGET_SILENT: u8 = 11;

/// What became of a request to the wallbox itself: what a gateway says in its stead is no answer.
pub(super) fn its_own(outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Exception(TARGET_SILENT) => Outcome::Failed(Failure::Timeout),
        Outcome::Registers(_) | Outcome::Written | Outcome::Exception(_) | Outcome::Failed(_) => outcome.clone(),
    }
}

/// Whether nothing has come from the wallbox. A line without bias makes noise of its own, and what other units and masters say is not its
/// word.
pub(super) const fn is_silence(failure: Failure) -> bool {
    match failure {
        Failure::Timeout | Failure::EchoOnly | Failure::Noise(_) | Failure::Gone => true,
        Failure::Malformed(flaw) => matches!(flaw, Flaw::Unit(_) | Flaw::Master),
        Failure::Late { .. } => false,
    }
}

impl Driver {
    /// Whether standby explains that it does not answer.
    pub(super) fn may_sleep(&self) -> bool {
        self.standby_allowed && self.profile.standby.is_some() && self.met && self.alone.was_read() && self.without_car
    }

    /// A request has ended while the wallbox was not connected: what it said of a car is out of date once it is awake.
    pub(super) const fn note_life(&mut self, outcome: &Outcome) {
        if !matches!(outcome, Outcome::Failed(failure) if is_silence(*failure)) {
            self.without_car = false;
        }
    }
}
