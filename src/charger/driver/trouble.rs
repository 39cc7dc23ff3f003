//! Notices about a wallbox that answers badly, cannot be controlled, or is locked.

use std::fmt;

use control::{Milliamps, Millis};

use super::{Level, Subject};
use crate::charger::codec::Failure;

/// Problems of a wallbox that does not behave as it should, and their ends. Edges, like all notices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It answers, but declines an indispensable request or answers nonsense.
    Useless {
        /// The request.
        asked: String,
        /// The Modbus exception code; `None` where the answer makes no sense.
        exception: Option<u8>,
    },
    /// No setpoint as low as wanted can be read back, or none that lasts: a low one is written blindly, and the wallbox is left alone.
    LeftAlone {
        /// Why.
        doubt: Doubt,
        /// The setpoint that is written.
        told: Milliamps,
        /// The shortest silence before each further try.
        silence: Millis,
        /// The current to which its own watchdog lowers it; `None` if watchdog and fail-safe current were never read back.
        falls_to: Option<Milliamps>,
    },
    /// A wallbox that was left alone can be controlled again.
    TakenBack {
        /// How long it could not be controlled.
        after: Millis,
    },
    /// Many requests fail, but not enough in a row to count as a lost link.
    Unreliable {
        /// Number of recent requests that failed.
        failed: u32,
        /// Number of recent requests considered.
        asked: u32,
    },
    /// It answers almost everything again.
    Reliable,
    /// It was in state F when it first connected, and its remote lock was opened.
    FoundLocked {
        /// Register of the remote lock.
        address: u16,
        /// The value that was written.
        unlocked: u16,
    },
    /// Its remote lock, which this program may have locked, does not open: the request is unanswered or declined.
    NotUnlocked {
        /// Register of the remote lock.
        address: u16,
        /// Its value when open.
        unlocked: u16,
        /// Time between further attempts.
        every: Millis,
    },
    /// It stays in state F although this program does not lock it.
    StaysLocked {
        /// Register of the remote lock.
        address: u16,
        /// Its value when open.
        unlocked: u16,
        /// Register of the key switch and whether it is locked, if that can be read.
        key_switch: Option<(u16, bool)>,
    },
}

/// Why a wallbox is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// Its setpoint rises by itself after it was read back.
    Rises {
        /// Register of the setpoint.
        address: u16,
    },
    /// Its setpoint is read back as 0, yet current flows.
    Unheeded {
        /// Register of the setpoint.
        address: u16,
        /// The measured current.
        current: Milliamps,
    },
    /// It declines an indispensable request.
    Declined {
        /// The request.
        asked: String,
        /// The Modbus exception code.
        exception: u8,
    },
    /// It does not accept a lower setpoint.
    Keeps {
        /// Register of the setpoint.
        address: u16,
        /// The current that it holds.
        found: Milliamps,
    },
    /// Its answer makes no sense.
    Nonsense {
        /// The request.
        asked: String,
    },
    /// There is no usable answer.
    Silent {
        /// How the last request ended.
        failure: Failure,
    },
    /// Its setpoint was not read back in time, without a single reason.
    Unconfirmed {
        /// Register of the setpoint.
        address: u16,
    },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rises { address } => write!(
                f,
                "something else writes its setpoint (register {address}), or the wallbox does not keep it: look for another master on the \
                 line"
            ),
            Self::Unheeded { address, current } => write!(
                f,
                "ignores its setpoint: 0 A is read back (register {address}), yet {current} keeps flowing. Switch the wallbox off and \
                 on at its breaker; if that does not help, leave it off and have it repaired"
            ),
            Self::Declined { asked, exception } => write!(f, "declines to {asked} (Modbus exception {exception})"),
            Self::Keeps { address, found } => {
                write!(f, "does not take a lower setpoint: register {address} stays at {found}")
            }
            Self::Nonsense { asked } => write!(f, "its answer to \"{asked}\" makes no sense"),
            Self::Silent { failure } => write!(f, "does not answer: {failure}"),
            Self::Unconfirmed { address } => write!(f, "its setpoint (register {address}) was not read back in time"),
        }
    }
}

impl Trouble {
    /// Returns the subject.
    pub const fn subject(&self) -> Subject {
        match self {
            Self::Useless { .. } | Self::LeftAlone { .. } | Self::TakenBack { .. } => Subject::Reachability,
            Self::Unreliable { .. } | Self::Reliable => Subject::Reliability,
            Self::FoundLocked { .. } | Self::NotUnlocked { .. } | Self::StaysLocked { .. } => Subject::Lock,
        }
    }

    /// Returns how much the notice matters.
    pub const fn level(&self) -> Level {
        match self {
            Self::TakenBack { .. } | Self::Reliable => Level::Info,
            Self::Useless { .. }
            | Self::LeftAlone { .. }
            | Self::Unreliable { .. }
            | Self::FoundLocked { .. }
            | Self::NotUnlocked { .. }
            | Self::StaysLocked { .. } => Level::Warn,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Useless { asked, exception } => {
                match exception {
                    Some(code) => write!(f, "answers, but declines to {asked} (Modbus exception {code})")?,
                    None => write!(f, "answers, but its answer to \"{asked}\" makes no sense")?,
                }
                f.write_str(": check `profile` and `unit`, and read it with `surplusd probe`")
            }
            Self::LeftAlone { doubt, told, silence, falls_to } => {
                doubt.fmt(f)?;
                write!(
                    f,
                    ". A setpoint of {told} is written anyway, then the wallbox is left in silence for at least {silence} before each \
                     further try, so that its own watchdog "
                )?;
                match falls_to {
                    Some(current) => write!(f, "lowers it to {current}"),
                    None => f.write_str(
                        "can act; its watchdog was never confirmed: check at the wallbox whether it is charging",
                    ),
                }
            }
            Self::TakenBack { after } => write!(f, "can be controlled again after {after}"),
            Self::Unreliable { failed, asked } => write!(
                f,
                "does not answer reliably: {failed} of the last {asked} requests failed; check wiring, termination and other masters"
            ),
            Self::Reliable => f.write_str("answers reliably again"),
            Self::FoundLocked { address, unlocked } => write!(
                f,
                "found in state F (locked or not ready): its remote lock was opened once (register {address} = {unlocked})"
            ),
            Self::NotUnlocked { address, unlocked, every } => write!(
                f,
                "may still be locked by a wake-up: it answers, but does not accept {unlocked} in register {address} (remote lock). This is \
                 retried every {every} and holds up nothing else; if the wallbox stays in state F (locked), switch it off and on, or \
                 stop surplusd and write {unlocked} to register {address} with another Modbus program"
            ),
            Self::StaysLocked { key_switch: Some((address, true)), .. } => write!(
                f,
                "stays locked (state F) by its key switch (register {address} = 0): open the external lock at the wallbox"
            ),
            Self::StaysLocked { address, unlocked, .. } => write!(
                f,
                "stays locked (state F): if another program locks it, write {unlocked} to register {address}; otherwise check its external \
                 lock input, and switch it off and on"
            ),
        }
    }
}
