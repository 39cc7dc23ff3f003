//! Pico W relays as the gateway sees them: the requests made to them, and their results.
//!
//! ```text
//! charger::bus (a line through a relay) ──RelayCall──▶ bounded channel ──▶ daemon::relays (a task): Relays ◀──frames──▶ mqtt::link
//! ```
//! `client` is the conversation with one relay as a pure state machine (session, one request at a time, nothing done twice); [`Relays`]
//! holds all of them with their topics. A frame that cannot be sent at once is never sent later: its effect was meant for that moment.

mod client;
mod relays;
pub mod uf2;

use control::Millis;
use relay_link::message::Refusal;
use relay_link::{ContactState, ExchangeFailure, LeaseRefusal, Status};
use tokio::sync::oneshot;

pub use client::{Client, Due};
pub use relays::Relays;

/// Capacity of the request channel to the main loop; senders wait when it is full.
pub const ASKS: usize = 16;

/// A request to a relay.
#[derive(Debug)]
pub struct RelayCall {
    /// The relay's id.
    pub relay: String,
    /// The request.
    pub what: RelayRequest,
    /// How long the answer is of use.
    pub within: Millis,
    /// Receives the answer, once.
    pub reply: oneshot::Sender<Result<RelayResponse, Failure>>,
}

/// A request that a relay understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayRequest {
    /// Send bytes on its RS-485 line and return the answer.
    Exchange {
        /// The request, at most 256 bytes.
        bytes: Vec<u8>,
        /// Time for the answer to begin, in milliseconds.
        reply_timeout_ms: u16,
        /// Length of the answer in bytes; 0 if it ends with silence.
        expected: u16,
    },
    /// Close a contact for a limited time.
    Lease {
        /// The contact, counted from 1.
        contact: u8,
        /// Duration in seconds; 0 opens the contact.
        seconds: u16,
    },
    /// Keep a closed contact closed for a limited time; an open one stays open.
    Renew {
        /// The contact, counted from 1.
        contact: u8,
        /// Duration from now, in seconds.
        seconds: u16,
    },
    /// Report the relay's status.
    Status,
    /// Flash the LED.
    Identify {
        /// Duration in seconds.
        seconds: u8,
    },
}

/// A relay's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayResponse {
    /// The answer on its RS-485 line.
    Bytes(Vec<u8>),
    /// The state of the contact now.
    Contact(ContactState),
    /// The relay's status.
    Status(Status),
    /// The LED is flashing.
    Identifying,
}

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The relay or the gateway is not connected to the broker.
    #[error("the relay is not connected: does it have power, Wi-Fi and the right broker address?")]
    Away,
    /// The relay is connected but did not answer in time.
    #[error("the relay did not answer in time")]
    Silent,
    /// The exchange on its RS-485 line failed.
    #[error("{}", line(*.0))]
    Line(ExchangeFailure),
    /// The relay refused to close the contact.
    #[error("{}", lease(*.0))]
    Lease(LeaseRefusal),
    /// The relay refused the request.
    #[error("{}", refusal(*.0))]
    Refused(Refusal),
    /// The relay's answer does not match the request.
    #[error("the relay's answer does not match the request: its firmware does not fit this version of surplusd")]
    Nonsense,
}

const fn line(failure: ExchangeFailure) -> &'static str {
    match failure {
        ExchangeFailure::Timeout => "nothing answered on the relay's RS-485 line",
        ExchangeFailure::Garbage => {
            "the bytes on the relay's RS-485 line were damaged: check A, B and the resistors at both ends"
        }
        ExchangeFailure::Overrun => "more bytes came on the relay's RS-485 line than an answer can have",
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
        LeaseRefusal::NotClosed => "the contact opened before its lease was renewed",
        LeaseRefusal::Other(_) => "the relay does not close the contact, for a reason unknown to this surplusd",
    }
}

const fn refusal(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::UnknownSession => "the relay has restarted",
        Refusal::UnknownKind => "the relay's firmware is too old for that",
        Refusal::Malformed | Refusal::Other(_) => "the relay does not understand this surplusd",
    }
}
