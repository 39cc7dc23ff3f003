//! Why a request failed.

use crate::charger::codec::{Failure, Outcome};

/// The reason for a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// There is no usable answer.
    Failure(Failure),
    /// The wallbox declined with this exception code.
    Declined(u8),
    /// The answer lacks the required content.
    Nonsense,
}

impl Cause {
    pub(super) const fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Failed(failure) => Self::Failure(*failure),
            Outcome::Exception(code) => Self::Declined(*code),
            Outcome::Registers(_) | Outcome::Written => Self::Nonsense,
        }
    }
}
