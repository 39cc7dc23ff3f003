//! Where lines that go through a relay meet the broker: takes what they ask, passes frames, hands back answers. Frames that cannot be sent
//! at once are not sent later.

use std::collections::BTreeSet;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::config::{ChargerSetup, Config, PhaseSwitch};
use crate::mqtt::link::{Event, Link};
use crate::relay::{ASKS, Ask, Relays};

/// Messages for others that come while only relays are served; beyond it they are lost, as retained states come again.
const OTHERS_MAX: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Desk {
    relays: Relays,
    ids: BTreeSet<String>,
    sender: mpsc::Sender<Ask>,
    asks: mpsc::Receiver<Ask>,
}

impl Desk {
    pub(super) fn new(config: &Config) -> Self {
        let (sender, asks) = mpsc::channel(ASKS);
        let mut desk = Self { relays: Relays::new(fastrand::Rng::new()), ids: BTreeSet::new(), sender, asks };
        desk.reconfigure(config);
        desk
    }

    pub(super) fn reconfigure(&mut self, config: &Config) {
        self.ids = ids(config);
        self.relays.set(&self.ids);
    }

    /// For whoever has something to ask.
    pub(super) fn sender(&self) -> mpsc::Sender<Ask> {
        self.sender.clone()
    }

    /// Whether any relay is configured.
    pub(super) fn any(&self) -> bool {
        !self.ids.is_empty()
    }

    /// Takes the next request, or the passing of time. May be dropped at any time.
    pub(super) async fn wait(&mut self, clock: Clock) {
        let due = self.relays.poll_timeout();
        let time = async {
            match due {
                Some(due) => clock.sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(ask) = self.asks.recv() => self.relays.ask(ask, clock.now()),
            () = time => self.relays.timeout(clock.now()),
        }
    }

    /// Takes a message if it is a relay's.
    pub(super) fn message(&mut self, topic: &str, payload: &[u8], retained: bool, clock: Clock) -> bool {
        self.relays.message(topic, payload, retained, clock.now())
    }

    pub(super) fn link(&mut self, up: bool, clock: Clock) {
        self.relays.link(up, clock.now());
    }

    /// Sends what is to be sent.
    pub(super) fn send(&mut self, link: &Link) {
        while let Some((topic, frame)) = self.relays.poll_frame() {
            // A topic of ours is one, and a frame is short.
            let _ = link.publish_now(&topic, frame);
        }
    }

    /// Serves relays and nothing else, for ever: while lines end, they must still be heard. What comes for others is kept.
    pub(super) async fn serve(
        &mut self,
        link: &Link,
        events: &mut mpsc::Receiver<Event>,
        clock: Clock,
        others: &mut Vec<Event>,
    ) {
        if !self.any() {
            return std::future::pending().await;
        }
        loop {
            tokio::select! {
                () = self.wait(clock) => {}
                Some(event) = events.recv() => match event {
                    Event::Message { ref topic, ref payload, retained }
                        if self.relays.message(topic, payload, retained, clock.now()) => {}
                    other if others.len() < OTHERS_MAX => others.push(other),
                    Event::Up
                    | Event::Down { .. }
                    | Event::SubscriptionRefused { .. }
                    | Event::LeftOut { .. }
                    | Event::Unheard { .. }
                    | Event::Message { .. } => {}
                },
            }
            self.send(link);
        }
    }
}

/// The relays that a configuration names.
pub(super) fn ids(config: &Config) -> BTreeSet<String> {
    let of = |setup: &'_ ChargerSetup| {
        let switch = setup.phase_switch.as_ref().and_then(PhaseSwitch::relay);
        [setup.link.relay(), switch].into_iter().flatten().map(str::to_owned).collect::<Vec<_>>()
    };
    config.chargers.values().flat_map(of).collect()
}
