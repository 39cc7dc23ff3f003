//! Decides which topics are subscribed, and when: as a rule all in one packet.
//!
//! A message above the size limit ends the connection, without any sign of which topic holds it. The next connection searches for it: it
//! subscribes to the topics one by one, each a second after the broker's answer to the one before, as a stored message arrives with that
//! answer. The topic at which the connection ends is the suspect, and comes first on the next connection. If that one ends as well while
//! nothing else is subscribed, the topic is left out, and tried again every hour.

use std::collections::{BTreeMap, VecDeque};

use control::{Millis, Tick};

/// A stored message begins to arrive within this time after the broker's answer; its first bytes tell its size.
const QUIET: Millis = Millis::from_secs(1);
/// Interval at which a left-out topic is tried again.
const AGAIN: Millis = Millis::from_secs(3_600);

/// Manages the subscriptions of one connection after another.
#[derive(Debug)]
pub(super) struct Subscribing {
    topics: Vec<String>,
    /// Topics holding a message that is too large, and when each was last tried.
    left_out: BTreeMap<String, Tick>,
    /// Set while a message that was too large has ended a connection and its topic is not known yet.
    searching: bool,
    /// The topic at which such a message last came.
    suspect: Option<String>,
    /// The topics of the latest packet on this connection.
    asked: Vec<String>,
    /// A single topic being tried.
    step: Option<Step>,
    /// Topics to subscribe next on this connection, one by one.
    waiting: VecDeque<String>,
    /// Topics that the broker refused on this connection.
    refused: Vec<String>,
}

#[derive(Debug)]
struct Step {
    topic: String,
    /// Set if nothing else is subscribed on this connection.
    alone: bool,
    /// When the trial is over; known once the broker has answered.
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

    /// Returns the topics of the first packet on a new connection; empty if there is nothing to subscribe to.
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

    /// Handles the broker's answer to the latest packet. Once all are answered, returns the topics refused on this connection.
    pub(super) fn answered(&mut self, granted: &[bool], now: Tick) -> Option<Vec<String>> {
        let is_refused = |at: usize| !granted.get(at).copied().unwrap_or(false);
        let refused = self.asked.iter().enumerate().filter(|(at, _)| is_refused(*at)).map(|(_, topic)| topic.clone());
        self.refused.extend(refused);
        if let Some(step) = &mut self.step {
            step.over_at = Some(now + QUIET);
        }
        self.waiting.is_empty().then(|| self.refused.clone())
    }

    /// Returns whether the latest packet asked for this topic together with all others, and the broker granted it.
    pub(super) fn is_granted_at_once(&self, topic: &String) -> bool {
        self.step.is_none() && self.asked.contains(topic) && !self.refused.contains(topic)
    }

    /// Returns when [`Self::handle_timeout`] has something to do.
    pub(super) fn due(&self) -> Option<Tick> {
        match &self.step {
            Some(step) => step.over_at,
            None => self.left_out.values().min().map(|tried| *tried + AGAIN),
        }
    }

    /// Returns the topics of the next packet if one is due; empty otherwise.
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

    /// Notes that the connection ended, because of a message that is too large or for another reason.
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

    /// Returns the topics that are left out.
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
