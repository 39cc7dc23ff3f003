//! The state of the current connection.

use std::collections::{BTreeMap, VecDeque};

use control::{Millis, Tick};

use super::contract::Action;

/// Shortest interval between our answers to another client that keeps overwriting our status.
const BIRTH_EVERY: Millis = Millis::from_secs(10);

#[derive(Debug)]
pub(super) struct Live {
    pub(super) since: Tick,
    /// The last sign that the broker keeps up, or the time when something first became due for acknowledgement.
    pub(super) progress: Tick,
    /// Set while the log has no line about this connection: the length of the outage before it, and the attempts made.
    pub(super) unlogged: Option<(Millis, u32)>,
    pub(super) subscribing: bool,
    pub(super) echo: Echo,
    /// When our own `online` must have come back.
    pub(super) echo_by: Option<Tick>,
    pub(super) birth_said: bool,
    pub(super) birth_at: Tick,
    /// When to publish our own status again, after somebody overwrote it.
    pub(super) birth_again: Option<Tick>,
    pub(super) farewell_said: bool,
    /// Published, packet id not known yet.
    pub(super) queued: VecDeque<What>,
    /// Published, not acknowledged.
    pub(super) inflight: BTreeMap<u16, What>,
    /// Events below this id have been published on this connection.
    pub(super) events_said: u64,
}

/// Tells whether our own `online` comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Echo {
    /// Not expected: the broker has not granted us our own status topic.
    Barred,
    /// Expected, but not back yet.
    Awaited,
    /// Came back.
    Came,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Birth,
    /// The state of this topic.
    State(String),
    /// Deletion of the state of this topic.
    Clear(String),
    Event(u64),
    Farewell,
}

impl Live {
    pub(super) const fn new(now: Tick, unlogged: Option<(Millis, u32)>) -> Self {
        Self {
            since: now,
            progress: now,
            unlogged,
            subscribing: false,
            echo: Echo::Barred,
            echo_by: None,
            birth_said: false,
            birth_at: now,
            birth_again: None,
            farewell_said: false,
            queued: VecDeque::new(),
            inflight: BTreeMap::new(),
            events_said: 0,
        }
    }

    /// Notes that somebody else wrote to our status: it is published again, but not so often that two clients quarrel.
    pub(super) fn overwritten(&mut self) {
        if self.birth_said && !self.farewell_said {
            self.birth_again = Some(self.birth_at + BIRTH_EVERY);
        }
    }

    pub(super) fn unacknowledged(&self) -> usize {
        self.queued.len() + self.inflight.len()
    }

    pub(super) fn events_unacknowledged(&self) -> usize {
        self.queued.iter().chain(self.inflight.values()).filter(|what| matches!(what, What::Event(_))).count()
    }

    pub(super) fn waits(&self) -> bool {
        self.subscribing || self.unacknowledged() > 0
    }

    pub(super) fn say(&mut self, what: What, topic: &str, payload: Vec<u8>, retain: bool) -> Action {
        self.queued.push_back(what);
        Action::Publish { topic: topic.to_owned(), payload, retain }
    }
}
