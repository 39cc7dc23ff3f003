//! All relays that the gateway knows, with their topics and the callers waiting for answers.

use std::collections::{BTreeMap, BTreeSet};

use control::Tick;
use relay_link::topic::{Side, Topic};
use tokio::sync::oneshot;

use super::{Client, Due, Failure, RelayCall, RelayResponse};

/// Bound on the first sequence number: leaves room for years of requests before it wraps.
const FIRST_MAX: u32 = 1 << 31;

/// All known relays.
#[derive(Debug)]
pub struct Relays {
    known: BTreeMap<String, Known>,
    next_ticket: u64,
    random: fastrand::Rng,
}

/// A relay, and the callers waiting for its answers. Dropping it ends their waiting at once.
#[derive(Debug)]
struct Known {
    client: Client,
    asking: BTreeMap<u64, oneshot::Sender<Result<RelayResponse, Failure>>>,
}

impl Relays {
    /// Creates an empty set. `random` makes the sequence numbers of this gateway differ from those of another gateway or command line that
    /// uses the same relay.
    pub const fn new(random: fastrand::Rng) -> Self {
        Self { known: BTreeMap::new(), next_ticket: 0, random }
    }

    /// Replaces the known relays. Conversations with relays that remain are kept.
    pub fn set(&mut self, ids: &BTreeSet<String>) {
        self.known.retain(|id, _| ids.contains(id));
        for id in ids {
            let first = || Known { client: Client::new(self.random.u32(..FIRST_MAX)), asking: BTreeMap::new() };
            self.known.entry(id.clone()).or_insert_with(first);
        }
    }

    /// Returns the topics to subscribe to for these relays.
    pub fn topics(ids: &BTreeSet<String>) -> Vec<String> {
        let both = |id: &String| [Side::From, Side::Online].map(|side| Topic { id, side }.to_string());
        ids.iter().flat_map(both).collect()
    }

    /// Passes a request to its relay.
    pub fn ask(&mut self, ask: RelayCall, now: Tick) {
        if ask.reply.is_closed() {
            // The caller has given up: the request must not be carried out any more.
            return;
        }
        let Some(known) = self.known.get_mut(&ask.relay) else {
            // The caller may be gone.
            let _ = ask.reply.send(Err(Failure::Away));
            return;
        };
        let ticket = self.next_ticket;
        self.next_ticket = self.next_ticket.wrapping_add(1);
        known.asking.insert(ticket, ask.reply);
        known.client.ask(ticket, ask.what, now + ask.within, now);
        known.answer();
    }

    /// Notes that the gateway's own connection is up or down.
    pub fn link(&mut self, up: bool, now: Tick) {
        for known in self.known.values_mut() {
            known.client.link(up, now);
            known.answer();
        }
    }

    /// Handles a message if it is a relay's; returns whether it was.
    pub fn message(&mut self, topic: &str, payload: &[u8], retained: bool, now: Tick) -> bool {
        let Some(Topic { id, side }) = Topic::parse(topic) else { return false };
        let Some(known) = self.known.get_mut(id) else { return true };
        match side {
            Side::Online => known.client.presence(payload == b"online", now),
            // A stored message answers no request of now.
            Side::From if !retained => known.client.frame(payload, now),
            Side::From | Side::To => {}
        }
        known.answer();
        true
    }

    /// Handles the passing of time.
    pub fn handle_timeout(&mut self, now: Tick) {
        for known in self.known.values_mut() {
            known.client.handle_timeout(now);
            known.answer();
        }
    }

    /// Returns when [`Self::handle_timeout`] is due, and why.
    pub fn poll_timeout(&self) -> Option<(Tick, Due)> {
        self.known.values().filter_map(|known| known.client.poll_timeout()).min_by_key(|(at, _)| *at)
    }

    /// Returns the next frame with its topic, to be sent at once or never.
    pub fn poll_frame(&mut self) -> Option<(String, Vec<u8>)> {
        self.known.iter_mut().find_map(|(id, known)| {
            let frame = known.client.poll_frame()?;
            Some((Topic { id, side: Side::To }.to_string(), frame))
        })
    }
}

impl Known {
    fn answer(&mut self) {
        while let Some((ticket, result)) = self.client.poll_result() {
            if let Some(reply) = self.asking.remove(&ticket) {
                // The caller may have given up.
                let _ = reply.send(result);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use control::Millis;

    use super::super::RelayRequest;
    use super::*;

    /// No caller is left waiting for a relay that is missing from the new configuration.
    #[test]
    fn a_relay_that_is_forgotten_leaves_nobody_waiting() {
        let mut relays = Relays::new(fastrand::Rng::with_seed(7));
        relays.set(&BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        relays.link(true, Tick(1));
        let ask = |relays: &mut Relays, id: &str| {
            let (reply, answer) = oneshot::channel();
            let ask =
                RelayCall { relay: id.to_owned(), what: RelayRequest::Status, within: Millis::from_secs(5), reply };
            relays.ask(ask, Tick(1));
            answer
        };
        let (mut gone, mut kept) = (ask(&mut relays, "a"), ask(&mut relays, "b"));
        assert_eq!(relays.poll_frame().map(|(topic, _)| topic), Some("surplusd-relay/a/to".to_owned()));
        relays.set(&BTreeSet::from(["b".to_owned()]));
        assert_eq!(gone.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(kept.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert_eq!(ask(&mut relays, "a").try_recv(), Ok(Err(Failure::Away)));
        assert!(relays.message("surplusd-relay/b/online", b"offline", true, Tick(2)));
        assert_eq!(kept.try_recv(), Ok(Err(Failure::Away)));
        assert!(!relays.message("homeassistant/sensor/x/state", b"1", false, Tick(2)));
    }
}
