//! The conversation with the broker as a pure state machine: what to subscribe, what to publish again, when to reconnect. No sockets, no
//! client, no clock: `link` (or a simulator) carries out its [`Action`]s and reports [`Signal`]s.
//!
//! ```text
//!            ┌────────── back-off over ──────────┐
//!            ▼                                   │
//!  Waiting ─▶ Connecting ── Lost / too slow ──▶ Waiting
//!                 │ Connected                    ▲
//!                 ▼                              │
//!                Up ─── Lost / no acknowledgement┘
//!                 │ end()
//!                 ▼
//!               Ended (farewell acknowledged or not)
//! ```
//!
//! Everything is published with `QoS` 1 and counts towards one window. A state is the latest payload of a retained topic: newer payloads
//! replace older ones, and all states are published again on each new connection. An event waits in a bounded queue until acknowledged and
//! may arrive twice. Nothing relies on what the client or the broker remembers of earlier connections.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use control::{Millis, Tick};

use super::trouble::{DownKind, Trouble};

mod access;
mod backoff;
mod contract;
mod live;
mod subscribing;
#[cfg(test)]
mod tests;

use access::Access;
use backoff::{Backoff, STABLE};
pub use contract::{Action, Due, Notice, PublishError, Signal, Topics};
use live::{Echo, Live, What};
use subscribing::Subscribing;

/// Publications that may be unacknowledged at a time; brokers allow at least 20 (Mosquitto's `max_inflight_messages`).
pub const WINDOW: usize = 16;
/// The share of [`WINDOW`] that events may use, so that a flood of events cannot hold up states.
const EVENT_WINDOW: usize = WINDOW / 2;
/// Events kept while there is no connection; beyond this the oldest is dropped and counted.
pub const EVENTS_MAX: usize = 256;
/// Limit on the number of topics with a state; more are refused.
pub const STATES_MAX: usize = 512;
/// Largest payload; the rest of the 256 KiB packet limit is left for topic and header.
pub const PAYLOAD_MAX: usize = 256 * 1024 - 1024;
/// Longest topic in bytes, well below the room left beside the largest payload.
const TOPIC_MAX: usize = 512;
/// How long to wait for any acknowledgement while some are due, before the connection is given up.
const ACK_LIMIT: Millis = Millis::from_secs(10);
/// How long our own `online` may take to come back from the broker; after that, what we publish is taken to be lost.
const ECHO_LIMIT: Millis = Millis::from_secs(10);
/// How long a connection may take to be accepted. Longer than the limits of the connection itself, which can tell the reason.
const CONNECT_LIMIT: Millis = Millis::from_secs(60);

/// The session. See the module.
#[derive(Debug)]
pub struct Session {
    topics: Topics,
    phase: Phase,
    states: BTreeMap<String, State>,
    /// Topics whose state has to be published, each once, in the order in which they changed.
    dirty: VecDeque<String>,
    events: VecDeque<Queued>,
    next_event: u64,
    dropped: u64,
    actions: VecDeque<Action>,
    backoff: Backoff,
    /// The broker is within the household's network.
    near: bool,
    outage: Outage,
    access: Access,
    subscribing: Subscribing,
    /// Topics whose state was deleted at the broker since [`Self::take_cleared`] was last called.
    cleared: Vec<String>,
    /// Deadline for the farewell, once the session is ending.
    end_by: Option<Tick>,
}

#[derive(Debug)]
struct State {
    payload: Vec<u8>,
    dirty: bool,
    /// Set if the topic is to be deleted at the broker and then forgotten.
    gone: bool,
}

#[derive(Debug)]
struct Queued {
    id: u64,
    /// Set if the event is useless on the next connection.
    fleeting: bool,
    topic: String,
    payload: Vec<u8>,
}

#[derive(Debug)]
enum Phase {
    Waiting { until: Tick },
    Connecting { until: Tick },
    Up(Live),
    Ended { acknowledged: bool },
}

#[derive(Debug)]
struct Outage {
    since: Tick,
    attempts: u32,
    /// The reasons already logged for this outage.
    told: BTreeSet<DownKind>,
}

impl Session {
    /// Creates a session that wants to connect at once. `random` provides the jitter of the back-off.
    pub fn new(topics: Topics, random: fastrand::Rng, now: Tick) -> Self {
        Self {
            subscribing: Subscribing::new(topics.all()),
            topics,
            phase: Phase::Waiting { until: now },
            states: BTreeMap::new(),
            dirty: VecDeque::new(),
            events: VecDeque::new(),
            next_event: 0,
            dropped: 0,
            actions: VecDeque::new(),
            backoff: Backoff::new(random),
            near: false,
            outage: Outage { since: now, attempts: 0, told: BTreeSet::new() },
            access: Access::default(),
            cleared: Vec::new(),
            end_by: None,
        }
    }

    /// Sets the payload of a retained topic. It replaces an older one not published yet; a payload already published on this connection is
    /// not published again.
    pub fn set_state(&mut self, topic: &str, payload: Vec<u8>) -> Result<(), PublishError> {
        check(topic, &payload)?;
        if let Some(state) = self.states.get_mut(topic) {
            state.gone = false;
            // Published already, or still queued; a new connection publishes everything again.
            if state.payload == payload {
                return Ok(());
            }
            state.payload = payload;
            if !std::mem::replace(&mut state.dirty, true) {
                self.dirty.push_back(topic.to_owned());
            }
            return Ok(());
        }
        if self.states.len() >= STATES_MAX {
            return Err(PublishError::TooMany);
        }
        self.states.insert(topic.to_owned(), State { payload, dirty: true, gone: false });
        self.dirty.push_back(topic.to_owned());
        Ok(())
    }

    /// Deletes one of our retained topics at the broker. [`Self::take_cleared`] reports when that is done.
    pub fn clear_state(&mut self, topic: &str) -> Result<(), PublishError> {
        self.set_state(topic, Vec::new())?;
        if let Some(state) = self.states.get_mut(topic) {
            state.gone = true;
        }
        Ok(())
    }

    /// Returns the topics deleted at the broker since the last call.
    pub fn take_cleared(&mut self) -> Vec<String> {
        std::mem::take(&mut self.cleared)
    }

    /// Queues an event. If the queue is full, the oldest event is dropped and counted.
    pub fn publish(&mut self, topic: &str, payload: Vec<u8>) -> Result<(), PublishError> {
        self.queue(topic, payload, false)
    }

    /// Publishes an event on this connection or not at all.
    pub fn publish_now(&mut self, topic: &str, payload: Vec<u8>) -> Result<(), PublishError> {
        if self.is_up() { self.queue(topic, payload, true) } else { check(topic, &payload) }
    }

    fn queue(&mut self, topic: &str, payload: Vec<u8>, fleeting: bool) -> Result<(), PublishError> {
        check(topic, &payload)?;
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
            self.dropped = self.dropped.saturating_add(1);
        }
        self.events.push_back(Queued { id: self.next_event, fleeting, topic: topic.to_owned(), payload });
        self.next_event = self.next_event.saturating_add(1);
        Ok(())
    }

    /// Number of events dropped since the start because the queue was full.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Returns whether the broker has accepted the connection.
    pub const fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up(_))
    }

    /// Ends the session: publishes what is pending and then `offline`, and waits at most `limit` for its acknowledgement.
    pub fn end(&mut self, limit: Millis, now: Tick) {
        match self.phase {
            Phase::Up(_) => self.end_by = Some(now + limit),
            Phase::Waiting { .. } => self.phase = Phase::Ended { acknowledged: false },
            Phase::Connecting { .. } => {
                self.actions.push_back(Action::Close);
                self.phase = Phase::Ended { acknowledged: false };
            }
            Phase::Ended { .. } => {}
        }
    }

    /// Returns whether [`Self::end`] was called.
    pub const fn is_ending(&self) -> bool {
        self.end_by.is_some() || matches!(self.phase, Phase::Ended { .. })
    }

    /// Returns whether the broker acknowledged the farewell; `None` before the end.
    pub const fn ended(&self) -> Option<bool> {
        match self.phase {
            Phase::Ended { acknowledged } => Some(acknowledged),
            Phase::Waiting { .. } | Phase::Connecting { .. } | Phase::Up(_) => None,
        }
    }

    /// Handles a signal. Call [`Self::poll_action`] afterwards until it returns `None`.
    pub fn handle(&mut self, signal: Signal, now: Tick) {
        match signal {
            Signal::Near(near) => self.near = near,
            Signal::Connected => self.connected(now),
            Signal::Subscribed(granted) => self.subscribed(&granted, now),
            Signal::Sent(packet) => {
                if let Phase::Up(live) = &mut self.phase
                    && let Some(what) = live.queued.pop_front()
                {
                    live.inflight.insert(packet, what);
                }
            }
            Signal::Acked(packet) => self.acked(packet, now),
            Signal::Heard => {
                if let Phase::Up(live) = &mut self.phase {
                    live.came_back(now);
                    self.actions.extend(self.access.heard().map(Action::Tell));
                }
            }
            Signal::Message => {
                if let Phase::Up(live) = &mut self.phase {
                    live.heard_at = now;
                }
            }
            Signal::Overwritten => {
                if let Phase::Up(live) = &mut self.phase {
                    live.overwritten(now);
                }
            }
            Signal::Lost(trouble) => self.lost(trouble, now),
            Signal::Stalled(span) => {
                if let Phase::Up(live) = &mut self.phase {
                    live.progress = (live.progress + span).min(now);
                }
            }
        }
    }

    /// Returns when [`Self::handle_timeout`] is due, and why.
    pub fn poll_timeout(&self) -> Option<(Tick, Due)> {
        let due = |at: Option<Tick>, why| at.map(|at| (at, why));
        match &self.phase {
            Phase::Waiting { until } => Some((*until, Due::Attempt)),
            Phase::Connecting { until } => Some((*until, Due::Connection)),
            Phase::Up(live) => {
                let ack = live.waits().then(|| live.progress + ACK_LIMIT);
                let steady = live.unlogged.map(|_| live.since + STABLE);
                // One packet at a time: an answer is matched to the latest.
                let next = self.subscribing.due().filter(|_| !live.subscribing);
                let times = [
                    due(ack, Due::Acknowledgement),
                    due(steady, Due::Steady),
                    due(live.echo_by, Due::Echo),
                    due(live.birth_again, Due::Birth),
                    due(live.probe_at(), Due::Birth),
                    due(next, Due::Subscription),
                    due(self.end_by, Due::End),
                ];
                times.into_iter().flatten().min_by_key(|(at, _)| *at)
            }
            Phase::Ended { .. } => None,
        }
    }

    /// Returns the next action.
    pub fn poll_action(&mut self, now: Tick) -> Option<Action> {
        self.actions.pop_front().or_else(|| self.next_publication(now))
    }

    fn connected(&mut self, now: Tick) {
        if !matches!(self.phase, Phase::Connecting { .. }) {
            return;
        }
        for (topic, state) in &mut self.states {
            if !std::mem::replace(&mut state.dirty, true) {
                self.dirty.push_back(topic.clone());
            }
        }
        let (outage, attempts) = (now.since(self.outage.since), self.outage.attempts);
        let edge = !self.backoff.is_flapping();
        self.phase = Phase::Up(Live::new(now, (!edge).then_some((outage, attempts))));
        let first = self.subscribing.connected();
        self.subscribe(first, now);
        self.actions.push_back(Action::Tell(Notice::Up { outage, attempts, edge }));
    }

    fn subscribe(&mut self, topics: Vec<String>, now: Tick) {
        let Phase::Up(live) = &mut self.phase else { return };
        if topics.is_empty() {
            return;
        }
        if !live.waits() {
            live.progress = now;
        }
        live.subscribing = true;
        self.actions.push_back(Action::Subscribe(topics));
    }

    /// Handles the answer to a subscription. Only the first answer to each packet counts.
    fn subscribed(&mut self, granted: &[bool], now: Tick) {
        let Phase::Up(live) = &mut self.phase else { return };
        if !std::mem::take(&mut live.subscribing) {
            return;
        }
        live.progress = now;
        let refused = self.subscribing.answered(granted, now);
        let is_granted = |status| self.subscribing.is_granted_at_once(status);
        if live.echo == Echo::Barred && self.topics.status.as_ref().is_some_and(is_granted) {
            live.echo = Echo::Awaited;
        }
        let notice = refused.and_then(|refused| self.access.answered(refused));
        self.actions.extend(notice.map(Action::Tell));
    }

    fn acked(&mut self, packet: u16, now: Tick) {
        let Phase::Up(live) = &mut self.phase else { return };
        let Some(what) = live.inflight.remove(&packet) else { return };
        live.progress = now;
        match what {
            What::Birth => live.echo_by = Some(now + ECHO_LIMIT),
            What::State(_) => {}
            What::Clear(topic) => self.forget_cleared(topic),
            What::Event(id) => {
                if let Ok(at) = self.events.binary_search_by_key(&id, |event| event.id) {
                    self.events.remove(at);
                }
            }
            What::Farewell => {
                self.actions.push_back(Action::Disconnect);
                let acknowledged = !self.access.is_unheard();
                self.phase = Phase::Ended { acknowledged };
            }
        }
    }

    fn forget_cleared(&mut self, topic: String) {
        if self.states.get(&topic).is_some_and(|state| state.gone && !state.dirty) {
            self.states.remove(&topic);
            self.cleared.push(topic);
        }
    }

    fn lost(&mut self, trouble: Trouble, now: Tick) {
        match &self.phase {
            Phase::Waiting { .. } | Phase::Ended { .. } => return,
            Phase::Connecting { .. } => {}
            Phase::Up(live) => {
                self.backoff.lasted(now.since(live.since));
                let told =
                    if live.unlogged.is_some() { std::mem::take(&mut self.outage.told) } else { BTreeSet::new() };
                self.outage = Outage { since: now, attempts: 0, told };
            }
        }
        self.subscribing.lost(trouble.kind == DownKind::TooLarge, now);
        let left_out = self.access.left_out(self.subscribing.left_out());
        self.actions.extend(left_out.map(Action::Tell));
        self.events.retain(|event| !event.fleeting);
        if self.end_by.is_some() {
            self.phase = Phase::Ended { acknowledged: false };
            return;
        }
        let retry_in = self.backoff.next(trouble.kind, self.near);
        // Each reason is logged once per outage: reasons that alternate are not news.
        let edge = self.outage.told.insert(trouble.kind);
        self.phase = Phase::Waiting { until: now + retry_in };
        self.actions.push_back(Action::Tell(Notice::Down { trouble, retry_in, edge }));
    }

    /// Takes the passing of time.
    pub fn handle_timeout(&mut self, now: Tick) {
        if let Phase::Up(live) = &mut self.phase
            && live.since + STABLE <= now
            && let Some((outage, attempts)) = live.unlogged.take()
        {
            self.actions.push_back(Action::Tell(Notice::Steady { outage, attempts }));
        }
        if let Phase::Up(live) = &mut self.phase
            && live.echo_by.take_if(|by| *by <= now).is_some()
            && live.echo == Echo::Awaited
        {
            let notice = self.topics.status.clone().and_then(|status| self.access.unheard(status));
            self.actions.extend(notice.map(Action::Tell));
        }
        if let Phase::Up(live) = &mut self.phase {
            live.birth_said &= live.birth_again.take_if(|at| *at <= now).is_none();
            if live.probe_at().is_some_and(|at| at <= now) {
                live.probe();
            }
            let next = if live.subscribing { Vec::new() } else { self.subscribing.handle_timeout(now) };
            self.subscribe(next, now);
            let left_out = self.access.left_out(self.subscribing.left_out());
            self.actions.extend(left_out.map(Action::Tell));
        }
        match &self.phase {
            Phase::Waiting { until } if *until <= now => {
                self.outage.attempts = self.outage.attempts.saturating_add(1);
                self.phase = Phase::Connecting { until: now + CONNECT_LIMIT };
                self.actions.push_back(Action::Connect);
            }
            Phase::Connecting { until } if *until <= now => self.give_up(DownKind::TimedOut, now),
            Phase::Up(_) if self.end_by.is_some_and(|by| by <= now) => {
                self.actions.push_back(Action::Close);
                self.phase = Phase::Ended { acknowledged: false };
            }
            Phase::Up(live) if live.waits() && live.progress + ACK_LIMIT <= now => self.give_up(DownKind::NoAck, now),
            Phase::Waiting { .. } | Phase::Connecting { .. } | Phase::Up(_) | Phase::Ended { .. } => {}
        }
    }

    fn give_up(&mut self, kind: DownKind, now: Tick) {
        self.actions.push_back(Action::Close);
        self.lost(Trouble::plain(kind), now);
    }

    /// Returns the next publication: birth first, then events within their share of the window, then states in the order in which they
    /// changed, and the farewell last.
    fn next_publication(&mut self, now: Tick) -> Option<Action> {
        let Phase::Up(live) = &mut self.phase else { return None };
        if live.unacknowledged() >= WINDOW || live.farewell_said {
            return None;
        }
        if !live.waits() {
            live.progress = now;
        }
        if !std::mem::replace(&mut live.birth_said, true)
            && let Some(status) = &self.topics.status
        {
            live.birth_at = now;
            return Some(live.say(What::Birth, status, b"online".to_vec(), true));
        }
        if live.events_unacknowledged() < EVENT_WINDOW {
            let at = self.events.partition_point(|event| event.id < live.events_said);
            if let Some(event) = self.events.get(at) {
                live.events_said = event.id.saturating_add(1);
                return Some(live.say(What::Event(event.id), &event.topic, event.payload.clone(), false));
            }
        }
        while let Some(topic) = self.dirty.pop_front() {
            if let Some(state) = self.states.get_mut(&topic) {
                state.dirty = false;
                let what = if state.gone { What::Clear(topic.clone()) } else { What::State(topic.clone()) };
                return Some(live.say(what, &topic, state.payload.clone(), true));
            }
        }
        // The farewell waits for everything else, so that nothing of ours arrives after `offline`.
        if self.end_by.is_some() && live.unacknowledged() == 0 {
            live.farewell_said = true;
            let Some(status) = &self.topics.status else {
                self.phase = Phase::Ended { acknowledged: true };
                return Some(Action::Disconnect);
            };
            return Some(live.say(What::Farewell, status, b"offline".to_vec(), true));
        }
        None
    }
}

fn check(topic: &str, payload: &[u8]) -> Result<(), PublishError> {
    if payload.len() > PAYLOAD_MAX {
        return Err(PublishError::TooLarge(payload.len()));
    }
    let bad = |c: char| matches!(c, '+' | '#') || c.is_control();
    if topic.is_empty() || topic.len() > TOPIC_MAX || topic.contains(bad) {
        return Err(PublishError::Topic);
    }
    Ok(())
}
