//! The words between the session and whoever carries it out.

use control::Millis;
use thiserror::Error;

use super::{PAYLOAD_MAX, STATES_MAX};
use crate::mqtt::trouble::Trouble;

/// What the session is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// Gets `online` at each connection, and `offline` at the end or from the last will; `None` for a guest.
    pub status: Option<String>,
    /// Subscribed at each connection, besides the status.
    pub subscriptions: Vec<String>,
}

impl Topics {
    /// All that is subscribed. Our own status is among it: if it does not come back, what we publish goes nowhere.
    pub(super) fn all(&self) -> Vec<String> {
        self.subscriptions.iter().chain(&self.status).cloned().collect()
    }
}

/// What happened on the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// Whether the broker is within the household's own network, as far as is known.
    Near(bool),
    /// The broker accepted the connection.
    Connected,
    /// The broker answered the subscription: for each topic whether it granted it.
    Subscribed(Vec<bool>),
    /// The oldest publication not yet reported here went out under this packet id.
    Sent(u16),
    /// The broker acknowledged this packet id.
    Acked(u16),
    /// Our own `online` came back from the broker.
    Heard,
    /// Somebody else wrote to our status.
    Overwritten,
    /// The connection failed or ended.
    Lost(Trouble),
    /// Nothing was read for this long because the consumer was busy: not the broker's fault.
    Stalled(Millis),
    /// Time has passed.
    Time,
}

/// What to do on the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open a new connection.
    Connect,
    /// Subscribe to all of these in one packet, `QoS` 1, besides what is subscribed already.
    Subscribe(Vec<String>),
    /// Publish with `QoS` 1.
    Publish {
        /// Where.
        topic: String,
        /// What.
        payload: Vec<u8>,
        /// To be kept by the broker.
        retain: bool,
    },
    /// Say good-bye, then close.
    Disconnect,
    /// Drop the connection at once.
    Close,
    /// Tell the consumer.
    Tell(Notice),
}

/// News for the consumer and the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Connected.
    Up {
        /// How long it had been down, and attempts made.
        outage: Millis,
        /// Including the one that succeeded.
        attempts: u32,
        /// Worth a line in the log: not the next turn of a connection that comes and goes ([`Notice::Steady`] follows if it stays).
        edge: bool,
    },
    /// A connection that came without a line in the log has lasted.
    Steady {
        /// As in the [`Notice::Up`] that went without.
        outage: Millis,
        /// Likewise.
        attempts: u32,
    },
    /// Not connected.
    Down {
        /// Why.
        trouble: Trouble,
        /// Until the next attempt.
        retry_in: Millis,
        /// Worth a line in the log: the first of an outage, or another reason than before.
        edge: bool,
    },
    /// The broker does not let us subscribe to these; said when the list changes.
    Refused(Vec<String>),
    /// All subscriptions are granted, after some had been refused.
    Granted,
    /// These topics are not subscribed: a message larger than any that is taken lies on each. Said when the list changes.
    LeftOut(Vec<String>),
    /// The broker acknowledges what we publish on this topic, but does not pass it on to us. MQTT 3.1.1 has no way to say that it is not
    /// allowed: this is how a broker's access list shows.
    Unheard(String),
    /// What we publish arrives, after [`Notice::Unheard`].
    HeardAgain,
}

/// Why something will not be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PublishError {
    /// The payload has more than [`PAYLOAD_MAX`] bytes.
    #[error("the payload has {0} bytes, more than {PAYLOAD_MAX}")]
    TooLarge(usize),
    /// Empty, too long, or with a wildcard or a control character.
    #[error("not a topic to publish to")]
    Topic,
    /// There are states on [`STATES_MAX`] topics already.
    #[error("states on more than {STATES_MAX} topics")]
    TooMany,
}
