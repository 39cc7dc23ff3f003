//! What is under way on the present connection.

use std::collections::{BTreeMap, VecDeque};

use control::{Millis, Tick};

use super::contract::Action;

/// Another client that keeps writing our status is answered at most this often.
const BIRTH_EVERY: Millis = Millis::from_secs(10);

#[derive(Debug)]
pub(super) struct Live {
    pub(super) since: Tick,
    /// The last sign that the broker keeps up, or when there was first something to acknowledge.
    pub(super) progress: Tick,
    /// The log has no line about this connection yet: how long it had been down before, and attempts made.
    pub(super) unlogged: Option<(Millis, u32)>,
    pub(super) subscribing: bool,
    pub(super) echo: Echo,
    /// Our own `online` is to have come back by then.
    pub(super) echo_by: Option<Tick>,
    pub(super) birth_said: bool,
    pub(super) birth_at: Tick,
    /// Our own status was overwritten, and is said again then.
    pub(super) birth_again: Option<Tick>,
    pub(super) farewell_said: bool,
    /// Published, packet id not known yet.
    pub(super) queued: VecDeque<What>,
    /// Published, not acknowledged.
    pub(super) inflight: BTreeMap<u16, What>,
    /// Events below this id went out on this connection.
    pub(super) events_said: u64,
}

/// Whether our own `online` comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Echo {
    /// The broker has not granted us our own status.
    Barred,
    /// It should.
    Awaited,
    /// It did.
    Came,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Birth,
    /// Of this topic.
    State(String),
    /// Deletes the state of this topic.
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

    /// Somebody else wrote to our status: it is said again, but not in a quarrel of two.
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
