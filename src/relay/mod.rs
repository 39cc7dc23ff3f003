//! Pico W relays as the gateway sees them: who may ask what of them, and what became of it.
//!
//! ```text
//! charger::bus (a line through a relay) ──Ask──▶ bounded channel ──▶ daemon's loop: Relays ◀──frames──▶ mqtt::link
//! ```
//! `client` is one relay's conversation as a pure state machine (session, one request at a time, nothing twice); [`Relays`] is all of
//! them with the topics. A frame that cannot be sent at once is never sent later: what it would do belongs to then.

mod client;
mod relays;
pub mod uf2;

use control::Millis;
use relay_link::message::Refusal;
use relay_link::{ContactState, ExchangeFailure, LeaseRefusal, Status};
use tokio::sync::oneshot;

pub use client::Client;
pub use relays::Relays;

/// What waits for the loop; beyond it whoever asks waits.
pub const ASKS: usize = 16;

/// Somebody asks something of a relay.
#[derive(Debug)]
pub struct RelayCall {
    /// The relay's id.
    pub relay: String,
    /// What.
    pub what: RelayRequest,
    /// An answer after that is of no use.
    pub within: Millis,
    /// Gets the answer, once.
    pub reply: oneshot::Sender<Result<RelayResponse, Failure>>,
}

/// What can be asked of a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayRequest {
    /// Send bytes on its RS-485 line and bring back what answers.
    Exchange {
        /// At most 256.
        bytes: Vec<u8>,
        /// How long an answer may take to begin.
        reply_timeout_ms: u16,
        /// Bytes of the answer; 0: it ends with silence.
        expected: u16,
    },
    /// A contact closed for so long.
    Lease {
        /// Counted from 1.
        contact: u8,
        /// 0 opens it.
        seconds: u16,
    },
    /// A contact that is closed kept closed for so long; one that is open stays open.
    Renew {
        /// Counted from 1.
        contact: u8,
        /// From now.
        seconds: u16,
    },
    /// How are you?
    Status,
    /// Blink.
    Identify {
        /// For so long.
        seconds: u8,
    },
}

/// What a relay answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayResponse {
    /// What came over its RS-485 line.
    Bytes(Vec<u8>),
    /// The contact is like this now.
    Contact(ContactState),
    /// How it is.
    Status(Status),
    /// It blinks.
    Identifying,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The relay is not at the broker, or the gateway is not.
    #[error("the relay is not connected: has it power, Wi-Fi and the broker's address?")]
    Away,
    /// It is connected and did not answer in time.
    #[error("the relay did not answer in time")]
    Silent,
    /// Its RS-485 line brought nothing of use.
    #[error("{}", line(*.0))]
    Line(ExchangeFailure),
    /// It does not close the contact.
    #[error("{}", lease(*.0))]
    Lease(LeaseRefusal),
    /// It does not do that.
    #[error("{}", refusal(*.0))]
    Refused(Refusal),
    /// It answered something that is no answer to this.
    #[error("the relay answered something else than was asked: its firmware does not fit this surplusd")]
    Nonsense,
}

const fn line(failure: ExchangeFailure) -> &'static str {
    match failure {
        ExchangeFailure::Timeout => "nothing answered on the relay's RS-485 line",
        ExchangeFailure::Garbage => {
            "what came on the relay's RS-485 line was damaged: check A, B and the resistors at both ends"
        }
        ExchangeFailure::Overrun => "more came on the relay's RS-485 line than an answer can be",
        ExchangeFailure::NoBus => "the relay has no working RS-485 line",
    }
}

const fn lease(refusal: LeaseRefusal) -> &'static str {
    match refusal {
        LeaseRefusal::NoSuchContact => "the relay has no such contact; there are 1 and 2",
        LeaseRefusal::Interlocked => "the relay's other contact is closed",
        LeaseRefusal::Welded => {
            "a contact of the relay did not open when it should have: switch off the mains and have the contactor replaced"
        }
        LeaseRefusal::NotClosed => "the contact has fallen open before its lease was renewed",
        LeaseRefusal::Other(_) => "the relay does not close the contact, for a reason that this surplusd does not know",
    }
}

const fn refusal(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::UnknownSession => "the relay has begun anew",
        Refusal::UnknownKind => "the relay's firmware is too old for that",
        Refusal::Malformed | Refusal::Other(_) => "the relay does not understand this surplusd",
    }
}
