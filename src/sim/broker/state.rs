//! Connected clients, their subscriptions, and retained messages.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use super::Message;
use crate::sim::packets::{Publish, matches};

/// Messages queued for one client; a client that falls further behind is cut off.
const CLIENT_MAX: usize = 1_024;
/// Topics with a retained message; further ones are not retained.
const RETAINED_MAX: usize = 10_000;

/// A message for a client: `retain` is set only on stored messages; `id` is assigned by the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) publish: Publish,
    pub(super) qos: u8,
}

#[derive(Debug)]
struct Client {
    serial: u64,
    /// Dropping it ends the connection.
    outbox: mpsc::Sender<Delivery>,
    subscriptions: BTreeMap<String, u8>,
}

/// The broker's state.
#[derive(Debug, Default)]
pub(super) struct State {
    clients: BTreeMap<String, Client>,
    retained: BTreeMap<String, Vec<u8>>,
    local: Vec<(String, mpsc::Sender<Message>)>,
    serial: u64,
}

impl State {
    /// Adds a client and cuts off any other of the same name. Returns its serial number and the receiver of its messages.
    pub(super) fn join(&mut self, client_id: &str) -> (u64, mpsc::Receiver<Delivery>) {
        self.serial += 1;
        let (outbox, inbox) = mpsc::channel(CLIENT_MAX);
        let client = Client { serial: self.serial, outbox, subscriptions: BTreeMap::new() };
        self.clients.insert(client_id.to_owned(), client);
        (self.serial, inbox)
    }

    /// Removes a client, unless another of the same name has taken over.
    pub(super) fn leave(&mut self, client_id: &str, serial: u64) {
        if self.clients.get(client_id).is_some_and(|client| client.serial == serial) {
            self.clients.remove(client_id);
        }
    }

    /// Adds a subscription and sends matching retained messages.
    pub(super) fn subscribe(&mut self, client_id: &str, serial: u64, filter: &str, qos: u8) {
        let Some(client) = self.clients.get_mut(client_id).filter(|client| client.serial == serial) else { return };
        client.subscriptions.insert(filter.to_owned(), qos);
        for (topic, payload) in self.retained.iter().filter(|(topic, _)| matches(topic, filter)) {
            let publish = Publish { topic: topic.clone(), payload: payload.clone(), retain: true, id: None };
            // A client that cannot take all retained messages is cut off by the next message.
            client.outbox.try_send(Delivery { publish, qos }).ok();
        }
    }

    pub(super) fn subscriptions(&self, client_id: &str) -> Vec<String> {
        self.clients.get(client_id).map(|client| client.subscriptions.keys().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn unsubscribe(&mut self, client_id: &str, serial: u64, filter: &str) {
        if let Some(client) = self.clients.get_mut(client_id).filter(|client| client.serial == serial) {
            client.subscriptions.remove(filter);
        }
    }

    pub(super) fn publish(&mut self, message: &Message) {
        if message.retain {
            if message.payload.is_empty() {
                self.retained.remove(&message.topic);
            } else if self.retained.len() < RETAINED_MAX || self.retained.contains_key(&message.topic) {
                self.retained.insert(message.topic.clone(), message.payload.clone());
            }
        }
        self.local.retain(|(filter, sender)| {
            if matches(&message.topic, filter) {
                sender.try_send(message.clone()).ok();
            }
            !sender.is_closed()
        });
        self.clients.retain(|_, client| {
            let wanted = client.subscriptions.iter().filter(|(filter, _)| matches(&message.topic, filter));
            let Some(qos) = wanted.map(|(_, qos)| *qos).max() else { return true };
            let publish =
                Publish { topic: message.topic.clone(), payload: message.payload.clone(), retain: false, id: None };
            client.outbox.try_send(Delivery { publish, qos }).is_ok()
        });
    }

    pub(super) fn listen(&mut self, filter: String, sender: mpsc::Sender<Message>) {
        self.local.push((filter, sender));
    }

    pub(super) fn retained(&self, topic: &str) -> Option<Vec<u8>> {
        self.retained.get(topic).cloned()
    }

    pub(super) fn clients(&self) -> Vec<String> {
        self.clients.keys().cloned().collect()
    }

    pub(super) fn cut_all(&mut self) {
        self.clients.clear();
    }
}
