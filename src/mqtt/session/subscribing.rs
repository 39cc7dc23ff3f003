//! What is subscribed, and when: as a rule all topics in one packet.
//!
//! A message larger than any that is taken ends the connection, and nothing tells which topic it lies on. The next connection looks for
//! it: it subscribes to one topic after the other, each a second after the broker's answer to the one before, as a stored message comes
//! with that answer. The topic at which the connection ends is suspected, and is the first on the connection after it. If that one ends
//! while nothing else is subscribed, the topic is left out, and tried again every hour.

use std::collections::{BTreeMap, VecDeque};

use control::{Millis, Tick};

/// A stored message has begun to arrive within this after the broker's answer: its size is seen with its first bytes.
const QUIET: Millis = Millis::from_secs(1);
/// A topic that is left out is tried again after this.
const AGAIN: Millis = Millis::from_secs(3_600);

/// The subscriptions of one connection after the other.
#[derive(Debug)]
pub(super) struct Subscribing {
    topics: Vec<String>,
    /// Topics with a message that is too large, and when they were tried last.
    left_out: BTreeMap<String, Tick>,
    /// A message that was too large ended a connection, and its topic is not known yet.
    searching: bool,
    /// The topic at which it came last.
    suspect: Option<String>,
    /// The topics of the latest packet on this connection.
    asked: Vec<String>,
    /// One topic that is watched by itself.
    step: Option<Step>,
    /// To be subscribed next on this connection, one by one.
    waiting: VecDeque<String>,
    /// What the broker refused on this connection.
    refused: Vec<String>,
}

#[derive(Debug)]
struct Step {
    topic: String,
    /// Nothing else is subscribed on this connection.
    alone: bool,
    /// Known once the broker has answered.
    over_at: Option<Tick>,
}

impl Subscribing {
    pub(super) const fn new(topics: Vec<String>) -> Self {
        Self {
            topics,
            left_out: BTreeMap::new(),
            searching: false,
            suspect: None,
            asked: Vec::new(),
            step: None,
            waiting: VecDeque::new(),
            refused: Vec::new(),
        }
    }

    /// The first packet on a new connection; empty if there is nothing to subscribe to.
    pub(super) fn connected(&mut self) -> Vec<String> {
        self.refused.clear();
        self.step = None;
        let mut wanted: VecDeque<String> =
            self.topics.iter().filter(|topic| !self.left_out.contains_key(*topic)).cloned().collect();
        if !self.searching {
            self.waiting.clear();
            self.asked = wanted.into();
            return self.asked.clone();
        }
        if let Some(at) = self.suspect.take().and_then(|suspect| wanted.iter().position(|topic| *topic == suspect)) {
            wanted.swap(0, at);
        }
        self.waiting = wanted;
        self.next(true)
    }

    /// The broker answered the latest packet. Returns what it refused on this connection, once all is answered.
    pub(super) fn answered(&mut self, granted: &[bool], now: Tick) -> Option<Vec<String>> {
        let is_refused = |at: usize| !granted.get(at).copied().unwrap_or(false);
        let refused = self.asked.iter().enumerate().filter(|(at, _)| is_refused(*at)).map(|(_, topic)| topic.clone());
        self.refused.extend(refused);
        if let Some(step) = &mut self.step {
            step.over_at = Some(now + QUIET);
        }
        self.waiting.is_empty().then(|| self.refused.clone())
    }

    /// The latest packet asked for this topic together with all others, and the broker granted it.
    pub(super) fn is_granted_at_once(&self, topic: &String) -> bool {
        self.step.is_none() && self.asked.contains(topic) && !self.refused.contains(topic)
    }

    /// When [`Self::time`] has something to do.
    pub(super) fn due(&self) -> Option<Tick> {
        match &self.step {
            Some(step) => step.over_at,
            None => self.left_out.values().min().map(|tried| *tried + AGAIN),
        }
    }

    /// The next packet, if one is due; empty otherwise.
    pub(super) fn handle_timeout(&mut self, now: Tick) -> Vec<String> {
        if let Some(step) = self.step.take_if(|step| step.over_at.is_some_and(|at| at <= now)) {
            self.left_out.remove(&step.topic);
            let next = self.next(false);
            self.searching &= !next.is_empty();
            return next;
        }
        let again = |(_, tried): &(&String, &mut Tick)| **tried + AGAIN <= now;
        if self.step.is_none()
            && let Some((topic, tried)) = self.left_out.iter_mut().find(again)
        {
            *tried = now;
            self.waiting.push_back(topic.clone());
            return self.next(false);
        }
        Vec::new()
    }

    /// The connection ended, because of a message that is too large or for another reason.
    pub(super) fn lost(&mut self, too_large: bool, now: Tick) {
        let step = self.step.take();
        self.waiting.clear();
        if !too_large {
            return;
        }
        match step {
            Some(step) if step.alone || self.left_out.contains_key(&step.topic) => {
                self.left_out.insert(step.topic, now);
            }
            Some(step) => {
                self.searching = true;
                self.suspect = Some(step.topic);
            }
            None => self.searching = true,
        }
    }

    /// The topics that are left out.
    pub(super) fn left_out(&self) -> Vec<String> {
        self.left_out.keys().cloned().collect()
    }

    fn next(&mut self, alone: bool) -> Vec<String> {
        let Some(topic) = self.waiting.pop_front() else { return Vec::new() };
        self.asked = vec![topic.clone()];
        self.step = Some(Step { topic, alone, over_at: None });
        self.asked.clone()
    }
}
