//! Topics of a relay. Every topic carries the relay's id, so any number of relays can share a broker.

use core::fmt;

/// The longest relay id.
pub const ID_MAX: usize = 32;
/// The prefix of every topic of a relay.
pub const PREFIX: &str = "surplusd-relay";

/// One of the topics of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Gateway to relay: requests.
    To,
    /// Relay to gateway: replies.
    From,
    /// Retained `online`, or `offline` by last will.
    Online,
}

impl Side {
    /// Returns the last level of the topic.
    pub const fn name(self) -> &'static str {
        match self {
            Self::To => "to",
            Self::From => "from",
            Self::Online => "online",
        }
    }
}

/// A topic, to be formatted: `surplusd-relay/<id>/<side>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic<'a> {
    /// The relay's id.
    pub id: &'a str,
    /// Which of the relay's topics.
    pub side: Side,
}

impl fmt::Display for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}/{}/{}", self.id, self.side.name())
    }
}

impl<'a> Topic<'a> {
    /// Parses a topic; `None` if it is not a relay's.
    pub fn parse(topic: &'a str) -> Option<Self> {
        let (id, side) = topic.strip_prefix(PREFIX)?.strip_prefix('/')?.split_once('/')?;
        let side = [Side::To, Side::From, Side::Online].into_iter().find(|known| known.name() == side)?;
        is_id(id).then_some(Self { id, side })
    }
}

/// Returns whether a text can be a relay's id: 1 … 32 lower-case letters, digits and hyphens.
pub fn is_id(id: &str) -> bool {
    (1..=ID_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;

    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let topic = Topic { id: "pico-carport", side: Side::Online };
        assert_eq!(topic.to_string(), "surplusd-relay/pico-carport/online");
        assert_eq!(Topic::parse("surplusd-relay/pico-carport/online"), Some(topic));
    }

    #[test]
    fn other_topics_are_none_of_a_relay() {
        for topic in
            ["", "surplusd-relay/", "surplusd-relay//to", "surplusd-relay/a/b/to", "surplusd-relay/A/to", "x/a/to"]
        {
            assert_eq!(Topic::parse(topic), None, "{topic}");
        }
    }
}
