//! The state of the current connection.

use std::collections::{BTreeMap, VecDeque};

use control::{Millis, Tick};

use super::contract::Action;

/// Shortest interval between our answers to another client that keeps overwriting our status.
const BIRTH_EVERY: Millis = Millis::from_secs(10);
/// Silence after which our own status is published again, to see whether it still comes back. Home Assistant's Powerwall integration
/// publishes every 30 s, so that this is rare.
const SILENCE: Millis = Millis::from_secs(60);

#[derive(Debug)]
pub(super) struct Live {
    pub(super) since: Tick,
    /// The last sign that the broker keeps up, or the time when something first became due for acknowledgement.
    pub(super) progress: Tick,
    /// Set while the log has no line about this connection: the length of the outage before it, and the attempts made.
    pub(super) unlogged: Option<(Millis, u32)>,
    pub(super) subscribing: bool,
    pub(super) echo: Echo,
    /// When a message last came.
    pub(super) heard_at: Tick,
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
            heard_at: now,
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

    /// Notes that our own `online` came back.
    pub(super) const fn came_back(&mut self, now: Tick) {
        self.echo = Echo::Came;
        self.heard_at = now;
    }

    /// Notes that somebody else wrote to our status: it is published again, but not so often that two clients quarrel.
    pub(super) fn overwritten(&mut self, now: Tick) {
        self.heard_at = now;
        if self.birth_said && !self.farewell_said {
            self.birth_again = Some(self.birth_at + BIRTH_EVERY);
        }
    }

    /// Returns when to publish our own status again to see whether it still comes back: the broker may have got a stricter access list
    /// meanwhile, which shows in nothing but silence.
    pub(super) fn probe_at(&self) -> Option<Tick> {
        let is_idle = self.birth_said && !self.farewell_said && self.echo_by.is_none();
        match self.echo {
            Echo::Came if is_idle => Some(self.heard_at + SILENCE),
            // Other topics may be readable while this one is not.
            Echo::Awaited if is_idle => Some(self.birth_at + SILENCE),
            Echo::Barred | Echo::Awaited | Echo::Came => None,
        }
    }

    /// Publishes our own status again, and expects it back.
    pub(super) const fn probe(&mut self) {
        self.echo = Echo::Awaited;
        self.birth_said = false;
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
