//! What came of a request that failed.

use crate::charger::codec::{Failure, Outcome};

/// Why a request has come to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// There is no usable answer.
    Failure(Failure),
    /// It was declined with that exception code.
    Declined(u8),
    /// The answer does not hold what it must.
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
