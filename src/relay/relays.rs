//! All relays that the gateway knows, with their topics and with who waits for which answer.

use std::collections::{BTreeMap, BTreeSet};

use control::Tick;
use relay_link::topic::{Side, Topic};
use tokio::sync::oneshot;

use super::{Answer, Ask, Client, Failure};

/// See the module.
#[derive(Debug, Default)]
pub struct Relays {
    clients: BTreeMap<String, Client>,
    asking: BTreeMap<u64, oneshot::Sender<Result<Answer, Failure>>>,
    next_ticket: u64,
}

impl Relays {
    /// Knows these from now on, and no others. Conversations that go on are kept.
    pub fn set(&mut self, ids: &BTreeSet<String>) {
        self.clients.retain(|id, _| ids.contains(id));
        for id in ids {
            self.clients.entry(id.clone()).or_default();
        }
    }

    /// What is to be subscribed for these relays.
    pub fn topics(ids: &BTreeSet<String>) -> Vec<String> {
        let both = |id: &String| [Side::From, Side::Online].map(|side| Topic { id, side }.to_string());
        ids.iter().flat_map(both).collect()
    }

    /// Somebody asks.
    pub fn ask(&mut self, ask: Ask, now: Tick) {
        let Some(client) = self.clients.get_mut(&ask.relay) else {
            // Whoever asked may be gone.
            let _ = ask.reply.send(Err(Failure::Away));
            return;
        };
        let ticket = self.next_ticket;
        self.next_ticket = self.next_ticket.wrapping_add(1);
        self.asking.insert(ticket, ask.reply);
        client.ask(ticket, ask.what, now + ask.within, now);
        self.answer();
    }

    /// The gateway's own connection came or went.
    pub fn link(&mut self, up: bool, now: Tick) {
        for client in self.clients.values_mut() {
            client.link(up, now);
        }
        self.answer();
    }

    /// Takes a message if it is a relay's; returns whether it was.
    pub fn message(&mut self, topic: &str, payload: &[u8], retained: bool, now: Tick) -> bool {
        let Some(Topic { id, side }) = Topic::parse(topic) else { return false };
        let Some(client) = self.clients.get_mut(id) else { return true };
        match side {
            Side::Online => client.presence(payload == b"online", now),
            // What was stored answers nothing that is asked now.
            Side::From if !retained => client.frame(payload, now),
            Side::From | Side::To => {}
        }
        self.answer();
        true
    }

    /// Time has passed.
    pub fn timeout(&mut self, now: Tick) {
        for client in self.clients.values_mut() {
            client.timeout(now);
        }
        self.answer();
    }

    /// When [`Self::timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Tick> {
        self.clients.values().filter_map(Client::poll_timeout).min()
    }

    /// The next frame with its topic, to be sent at once or never.
    pub fn poll_frame(&mut self) -> Option<(String, Vec<u8>)> {
        self.clients.iter_mut().find_map(|(id, client)| {
            let frame = client.poll_frame()?;
            Some((Topic { id, side: Side::To }.to_string(), frame))
        })
    }

    fn answer(&mut self) {
        for client in self.clients.values_mut() {
            while let Some((ticket, result)) = client.poll_result() {
                if let Some(reply) = self.asking.remove(&ticket) {
                    // Whoever asked may have given up.
                    let _ = reply.send(result);
                }
            }
        }
    }
}
