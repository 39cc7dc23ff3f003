//! Delivers what comes from the broker: to each subscriber its own topics, in the order of arrival.

use std::collections::VecDeque;

use control::{Millis, Tick};
use tokio::sync::mpsc;

use super::Event;

/// Capacity of a subscriber's channel; when it is full, the reader waits.
const EVENTS: usize = 64;

/// A subscriber to some topics.
struct Subscriber {
    /// Topics, or filters with wildcards.
    topics: Vec<String>,
    events: mpsc::Sender<Event>,
}

/// All subscribers, and the events that found no room.
pub(super) struct Subscribers {
    all: Vec<Subscriber>,
    /// Events that found no room, with the index of their subscriber; nothing more is read while there are any.
    waiting: VecDeque<(usize, Event)>,
    waits_since: Option<Tick>,
}

impl Subscribers {
    /// Creates one subscriber per list of topics.
    pub(super) fn new<const N: usize>(lists: [Vec<String>; N]) -> (Self, [mpsc::Receiver<Event>; N]) {
        let mut all = Vec::with_capacity(N);
        let receivers = lists.map(|topics| {
            let (events, receiver) = mpsc::channel(EVENTS);
            all.push(Subscriber { topics, events });
            receiver
        });
        (Self { all, waiting: VecDeque::new(), waits_since: None }, receivers)
    }

    /// Returns whether a subscriber's full channel holds up the reader.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Delivers the next waiting event once its subscriber reads; nothing is lost if this future is dropped. Returns at once if nothing
    /// waits.
    pub(super) async fn hand_on(&mut self) {
        let next = self.waiting.front().and_then(|(subscriber, _)| self.all.get(*subscriber));
        let Some(Subscriber { events, .. }) = next else { return };
        let permit = events.reserve().await;
        // A subscriber that has gone gets nothing.
        if let (Some((_, event)), Ok(permit)) = (self.waiting.pop_front(), permit) {
            permit.send(event);
        }
    }

    /// Returns for how long nothing was read, once everything is delivered.
    pub(super) fn take_stall(&mut self, now: Tick) -> Option<Millis> {
        let since = self.waits_since.take_if(|_| self.waiting.is_empty())?;
        Some(now.since(since))
    }

    /// Drops all waiting events: there is nobody left to read them.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
        self.waits_since = None;
    }

    /// Delivers a message to those subscribed to its topic.
    pub(super) fn message(&mut self, topic: &str, payload: &[u8], retained: bool, now: Tick) {
        let wants = |subscriber: &Subscriber| subscriber.topics.iter().any(|filter| rumqttc::matches(topic, filter));
        let wanted: Vec<bool> = self.all.iter().map(wants).collect();
        for (subscriber, _) in wanted.iter().enumerate().filter(|(_, wanted)| **wanted) {
            let message = Event::Message { topic: topic.to_owned(), payload: payload.to_vec(), retained };
            self.deliver(subscriber, message, now);
        }
    }

    /// Delivers an event to all subscribers.
    pub(super) fn everyone(&mut self, event: &Event, now: Tick) {
        for subscriber in 0..self.all.len() {
            self.deliver(subscriber, event.clone(), now);
        }
    }

    /// Delivers to each subscriber an event with those of its topics that are in the list.
    pub(super) fn each(&mut self, topics: &[String], event: impl Fn(Vec<String>) -> Event, now: Tick) {
        let of = |subscriber: &Subscriber| {
            let its = topics.iter().filter(|topic| subscriber.topics.contains(topic));
            its.cloned().collect::<Vec<_>>()
        };
        let lists: Vec<_> = self.all.iter().map(of).collect();
        for (subscriber, topics) in lists.into_iter().enumerate() {
            self.deliver(subscriber, event(topics), now);
        }
    }

    fn deliver(&mut self, subscriber: usize, event: Event, now: Tick) {
        if self.is_waiting() {
            self.waiting.push_back((subscriber, event));
            return;
        }
        let Some(Subscriber { events, .. }) = self.all.get(subscriber) else { return };
        match events.try_send(event) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(event)) => {
                self.waits_since = Some(now);
                self.waiting.push_back((subscriber, event));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscribers() -> (Subscribers, [mpsc::Receiver<Event>; 2]) {
        Subscribers::new([vec!["a/+".to_owned()], vec!["a/b".to_owned(), "c".to_owned()]])
    }

    fn topics(receiver: &mut mpsc::Receiver<Event>) -> Vec<String> {
        let next = || match receiver.try_recv() {
            Ok(Event::Message { topic, .. }) => Some(topic),
            Ok(other) => Some(format!("{other:?}")),
            Err(_) => None,
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn each_hears_its_own_topics_and_all_hear_of_the_connection() {
        let (mut subscribers, [mut first, mut second]) = subscribers();
        subscribers.everyone(&Event::Up, Tick(1));
        for topic in ["a/b", "a/x", "c", "d"] {
            subscribers.message(topic, b"1", false, Tick(1));
        }
        let refused = |topics| Event::SubscriptionRefused { topics };
        subscribers.each(&["c".to_owned()], refused, Tick(1));
        assert_eq!(topics(&mut first), ["Up", "a/b", "a/x", "SubscriptionRefused { topics: [] }"]);
        assert_eq!(topics(&mut second), ["Up", "a/b", "c", "SubscriptionRefused { topics: [\"c\"] }"]);
    }

    /// The reader waits for a subscriber that does not read, and keeps the order; it does not wait for one that has gone.
    #[tokio::test]
    async fn who_does_not_read_is_waited_for_and_who_has_gone_is_not() {
        let (mut subscribers, [mut first, second]) = subscribers();
        for _ in 0..=EVENTS {
            subscribers.message("a/x", b"1", false, Tick(5));
        }
        subscribers.message("c", b"1", false, Tick(5));
        assert!(subscribers.is_waiting() && subscribers.take_stall(Tick(6)).is_none());
        assert!(futures_util::FutureExt::now_or_never(subscribers.hand_on()).is_none());
        let _ = first.recv().await;
        subscribers.hand_on().await;
        drop(second);
        subscribers.hand_on().await;
        assert!(!subscribers.is_waiting());
        assert_eq!(subscribers.take_stall(Tick(9)), Some(Millis(4)));
        assert_eq!(topics(&mut first).len(), EVENTS);
        drop(first);
        subscribers.message("a/x", b"1", false, Tick(10));
        assert!(!subscribers.is_waiting());
    }
}
