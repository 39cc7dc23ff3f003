//! The types passed between the session and its driver.

use control::Millis;
use thiserror::Error;

use super::{PAYLOAD_MAX, STATES_MAX};
use crate::mqtt::trouble::Trouble;

/// The topics of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// Topic for `online` on each connection, and `offline` at the end or by the last will; `None` for a guest.
    pub status: Option<String>,
    /// Topics to subscribe on each connection, besides the status.
    pub subscriptions: Vec<String>,
}

impl Topics {
    /// Returns all topics to subscribe. Our own status is among them: if it does not come back, what we publish goes nowhere.
    pub(super) fn all(&self) -> Vec<String> {
        self.subscriptions.iter().chain(&self.status).cloned().collect()
    }
}

/// An event on the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// Whether the broker is within the household's own network, as far as is known.
    Near(bool),
    /// The broker accepted the connection.
    Connected,
    /// The broker answered the subscription; for each topic, whether it was granted.
    Subscribed(Vec<bool>),
    /// The oldest publication not yet reported here was sent under this packet id.
    Sent(u16),
    /// The broker acknowledged this packet id.
    Acked(u16),
    /// Our own `online` came back from the broker.
    Heard,
    /// Another message came.
    Message,
    /// Somebody else wrote to our status.
    Overwritten,
    /// The connection failed or ended.
    Lost(Trouble),
    /// Nothing was read for this long because a subscriber was busy: not the broker's fault.
    Stalled(Millis),
}

/// An action for the driver of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open a new connection.
    Connect,
    /// Subscribe to all of these in one packet, `QoS` 1, in addition to what is already subscribed.
    Subscribe(Vec<String>),
    /// Publish with `QoS` 1.
    Publish {
        /// Topic.
        topic: String,
        /// Payload.
        payload: Vec<u8>,
        /// Whether the broker keeps it.
        retain: bool,
    },
    /// Send DISCONNECT, then close.
    Disconnect,
    /// Drop the connection at once.
    Close,
    /// Pass a notice to subscribers and log.
    Tell(Notice),
}

/// News for the subscribers and the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Connected.
    Up {
        /// How long it had been down.
        outage: Millis,
        /// Attempts made, including the one that succeeded.
        attempts: u32,
        /// Whether to log it: false for a connection that comes and goes ([`Notice::Steady`] follows if it lasts).
        edge: bool,
    },
    /// A connection that was not logged at first has lasted.
    Steady {
        /// As in the [`Notice::Up`] that was not logged.
        outage: Millis,
        /// As in the [`Notice::Up`] that was not logged.
        attempts: u32,
    },
    /// Not connected.
    Down {
        /// Why.
        trouble: Trouble,
        /// Time until the next attempt.
        retry_in: Millis,
        /// Whether to log it: the first failure of an outage, or a reason not logged in it yet.
        edge: bool,
    },
    /// The broker refuses to let us subscribe to these topics; sent when the list changes.
    Refused(Vec<String>),
    /// All subscriptions are granted, after some had been refused.
    Granted,
    /// These topics are not subscribed because each holds a message above the size limit; sent when the list changes.
    LeftOut(Vec<String>),
    /// The broker acknowledges what we publish on this topic, but does not send it back to us. MQTT 3.1.1 has no way to report that a
    /// publication is not allowed: this is how a broker's access list shows.
    Unheard(String),
    /// What we publish comes back again, after [`Notice::Unheard`].
    HeardAgain,
}

/// Why [`super::Session::handle_timeout`] is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// The pause before the next attempt is over.
    Attempt,
    /// An attempt to connect has taken too long.
    Connection,
    /// The broker should have acknowledged by now.
    Acknowledgement,
    /// A connection that was not logged at first has lasted.
    Steady,
    /// What was published on the status topic should have come back.
    Echo,
    /// `online` is to be published again: another client has overwritten it, or nothing has come for long.
    Birth,
    /// The next subscription is to be tried.
    Subscription,
    /// The time limit for a farewell is over.
    End,
}

/// Why something cannot be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PublishError {
    /// The payload has more than [`PAYLOAD_MAX`] bytes.
    #[error("the payload has {0} bytes, more than {PAYLOAD_MAX}")]
    TooLarge(usize),
    /// The topic is empty, too long, or has a wildcard or a control character.
    #[error("not a topic to publish to")]
    Topic,
    /// There are states on [`STATES_MAX`] topics already.
    #[error("states on more than {STATES_MAX} topics")]
    TooMany,
}
