//! A broker and the way to it in virtual time, at the level of messages, for one client. Pure; the faults follow a seed.
//!
//! Messages of other publishers may be lost, late, doubled or out of order, as over a bridge between two brokers or after a publisher's
//! own trouble; what the broker delivers on one connection keeps its order, as over TCP. Left out: packets, TLS and other clients, which
//! [`super::broker`] and a real Mosquitto have.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Delay of the network, in milliseconds.
const WAY_MS: u64 = 3;
/// Messages queued for the client; beyond this the broker drops new ones.
const QUEUE_MAX: usize = 2_000;

/// The state of broker and network. Shares are probabilities for each message of another publisher, 0 … 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PostFaults {
    /// No connection is possible, and an open one is cut.
    pub down: bool,
    /// Nothing is answered or delivered, but connections stay open.
    pub frozen: bool,
    /// Share of messages lost.
    pub lost: f64,
    /// Share of messages that come twice.
    pub doubled: f64,
    /// How late messages may be, in milliseconds; they may overtake each other.
    pub delay_ms: u64,
}

/// What reaches the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The connection was accepted.
    Accepted,
    /// The connection was refused.
    Refused,
    /// The connection was cut.
    Cut,
    /// So many topics were subscribed.
    Subscribed(usize),
    /// A publication was acknowledged.
    Acked(u16),
    /// A message on a subscribed topic.
    Message {
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Vec<u8>,
        /// Whether it was stored earlier.
        retained: bool,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Post {
    faults: PostFaults,
    random: fastrand::Rng,
    stored: BTreeMap<String, Vec<u8>>,
    /// Topics of the client, while it is connected.
    client: Option<BTreeSet<String>>,
    packet: u16,
    /// Messages of others on their way to the broker: when they arrive, and whether they are to be stored.
    coming: Vec<(u64, String, Vec<u8>, bool)>,
    /// What is on its way to the client.
    queue: VecDeque<(u64, Delivery)>,
    /// What the client published and others may read, newest last; at most 64.
    published: VecDeque<(String, Vec<u8>)>,
}

impl Post {
    /// A sound broker without messages.
    pub const fn new(random: fastrand::Rng) -> Self {
        Self {
            faults: PostFaults { down: false, frozen: false, lost: 0.0, doubled: 0.0, delay_ms: 0 },
            random,
            stored: BTreeMap::new(),
            client: None,
            packet: 0,
            coming: Vec::new(),
            queue: VecDeque::new(),
            published: VecDeque::new(),
        }
    }

    /// The faults at present.
    pub const fn faults(&self) -> PostFaults {
        self.faults
    }

    /// Replaces the faults.
    pub fn set_faults(&mut self, faults: PostFaults, now_ms: u64) {
        self.faults = faults;
        if faults.down && self.client.take().is_some() {
            self.queue.clear();
            self.queue.push_back((now_ms, Delivery::Cut));
        }
    }

    /// Whether the client is connected and subscribed to this topic.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        self.client.as_ref().is_some_and(|topics| topics.contains(topic))
    }

    /// Publishes a message of another client.
    pub fn publish(&mut self, topic: &str, payload: impl Into<Vec<u8>>, retain: bool, now_ms: u64) {
        if self.faults.lost > 0.0 && self.random.f64() < self.faults.lost {
            return;
        }
        let payload = payload.into();
        let copies = 1 + u32::from(self.faults.doubled > 0.0 && self.random.f64() < self.faults.doubled);
        for _ in 0..copies {
            let late_ms = if self.faults.delay_ms > 0 { self.random.u64(0..=self.faults.delay_ms) } else { 0 };
            if late_ms == 0 {
                self.arrive(topic.to_owned(), payload.clone(), retain, now_ms);
            } else {
                self.coming.push((now_ms + late_ms, topic.to_owned(), payload.clone(), retain));
            }
        }
    }

    /// Delivers all stored messages below a prefix once more, as if they were new: what a broker does that is bridged to another one which
    /// restarts.
    pub fn replay(&mut self, prefix: &str, now_ms: u64) {
        let again: Vec<_> = self.stored.iter().filter(|(topic, _)| topic.starts_with(prefix)).collect();
        let again: Vec<_> = again.into_iter().map(|(topic, payload)| (topic.clone(), payload.clone())).collect();
        for (topic, payload) in again {
            self.deliver(topic, payload, false, now_ms);
        }
    }

    /// Returns the messages of the client since the last call, oldest first; of more than 64 the newest.
    pub fn take_published(&mut self) -> impl Iterator<Item = (String, Vec<u8>)> {
        self.published.drain(..)
    }

    /// When something next reaches the client, as far as is known.
    pub fn next_ms(&self) -> Option<u64> {
        let coming = self.coming.iter().map(|(at_ms, ..)| *at_ms).min();
        let queued = self.queue.front().filter(|_| !self.faults.frozen).map(|(at_ms, _)| *at_ms);
        coming.into_iter().chain(queued).min()
    }

    /// Returns the next thing that has reached the client.
    pub fn poll(&mut self, now_ms: u64) -> Option<Delivery> {
        while let Some(index) = self.coming.iter().position(|(at_ms, ..)| *at_ms <= now_ms) {
            let (_, topic, payload, retain) = self.coming.swap_remove(index);
            self.arrive(topic, payload, retain, now_ms);
        }
        self.queue.front().filter(|(at_ms, _)| *at_ms <= now_ms && !self.faults.frozen)?;
        self.queue.pop_front().map(|(_, delivery)| delivery)
    }

    // The client's side.

    /// Opens a connection; an earlier one ends.
    pub fn connect(&mut self, now_ms: u64) {
        self.close();
        let answer = if self.faults.down { Delivery::Refused } else { Delivery::Accepted };
        self.client = (!self.faults.down).then(BTreeSet::new);
        self.queue.push_back((now_ms + 2 * WAY_MS, answer));
    }

    /// Ends the connection.
    pub fn close(&mut self) {
        self.client = None;
        self.queue.clear();
    }

    /// Subscribes to exact topics; their stored messages follow.
    pub fn subscribe(&mut self, topics: &[String], now_ms: u64) {
        let Some(client) = &mut self.client else { return };
        client.extend(topics.iter().cloned());
        self.push(Delivery::Subscribed(topics.len()), now_ms);
        for topic in topics {
            if let Some(payload) = self.stored.get(topic).cloned() {
                self.push(Delivery::Message { topic: topic.clone(), payload, retained: true }, now_ms);
            }
        }
    }

    /// Publishes a message of the client; returns its packet id.
    pub fn send(&mut self, topic: &str, payload: Vec<u8>, retain: bool, now_ms: u64) -> u16 {
        self.packet = self.packet.checked_add(1).unwrap_or(1);
        if self.client.is_some() {
            self.push(Delivery::Acked(self.packet), now_ms);
            if self.published.len() == 64 {
                self.published.pop_front();
            }
            self.published.push_back((topic.to_owned(), payload.clone()));
            self.arrive(topic.to_owned(), payload, retain, now_ms);
        }
        self.packet
    }

    fn arrive(&mut self, topic: String, payload: Vec<u8>, retain: bool, now_ms: u64) {
        if retain {
            self.stored.insert(topic.clone(), payload.clone());
        }
        self.deliver(topic, payload, false, now_ms);
    }

    fn deliver(&mut self, topic: String, payload: Vec<u8>, retained: bool, now_ms: u64) {
        if self.is_subscribed(&topic) {
            self.push(Delivery::Message { topic, payload, retained }, now_ms);
        }
    }

    fn push(&mut self, delivery: Delivery, now_ms: u64) {
        if self.queue.len() < QUEUE_MAX {
            self.queue.push_back((now_ms + 2 * WAY_MS, delivery));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected() -> Post {
        let mut post = Post::new(fastrand::Rng::with_seed(1));
        post.publish("a", "1", true, 0);
        post.connect(0);
        post.subscribe(&["a".to_owned(), "b".to_owned()], 0);
        post
    }

    fn all(post: &mut Post, until_ms: u64) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(delivery) = post.poll(until_ms) {
            all.push(match &delivery {
                Delivery::Message { topic, payload, retained } => {
                    let payload = String::from_utf8_lossy(payload);
                    format!("{topic}={payload}{}", if *retained { " stored" } else { "" })
                }
                Delivery::Accepted
                | Delivery::Refused
                | Delivery::Cut
                | Delivery::Subscribed(_)
                | Delivery::Acked(_) => {
                    format!("{delivery:?}")
                }
            });
        }
        all
    }

    #[test]
    fn a_client_hears_what_is_stored_and_what_is_new_on_its_topics() {
        let mut post = connected();
        post.publish("b", "2", false, 10);
        post.publish("c", "3", true, 10);
        assert_eq!(all(&mut post, 100), ["Accepted", "Subscribed(2)", "a=1 stored", "b=2"]);
        post.replay("a", 200);
        assert_eq!(post.send("b", b"4".to_vec(), true, 200), 1);
        assert_eq!(all(&mut post, 300), ["a=1", "Acked(1)", "b=4"]);
        assert_eq!(post.take_published().count(), 1);
    }

    #[test]
    fn an_outage_cuts_the_connection_and_a_freeze_does_not() {
        let mut post = connected();
        post.set_faults(PostFaults { frozen: true, ..PostFaults::default() }, 50);
        assert!(post.poll(100).is_none() && post.next_ms().is_none());
        post.set_faults(PostFaults::default(), 150);
        assert_eq!(all(&mut post, 200).len(), 3);
        post.set_faults(PostFaults { down: true, ..PostFaults::default() }, 250);
        post.connect(260);
        post.subscribe(&["a".to_owned()], 260);
        assert_eq!(all(&mut post, 300), ["Refused"]);
    }

    #[test]
    fn messages_of_others_may_be_lost_doubled_late_and_out_of_order() {
        for (faults, count) in [
            (PostFaults { lost: 1.0, ..PostFaults::default() }, 0),
            (PostFaults { doubled: 1.0, ..PostFaults::default() }, 40),
            (PostFaults { delay_ms: 500, ..PostFaults::default() }, 20),
        ] {
            let mut post = connected();
            all(&mut post, 100);
            post.set_faults(faults, 100);
            for number in 0..20 {
                post.publish("b", number.to_string(), false, 100);
            }
            let mut came = Vec::new();
            for now_ms in (100..700).step_by(7) {
                came.extend(all(&mut post, now_ms));
            }
            assert_eq!(came.len(), count);
            let ordered = (0..20).map(|number| format!("b={number}")).collect::<Vec<_>>();
            assert_eq!(came == ordered, faults.delay_ms == 0 && count == 20);
        }
    }
}
