//! The task for the Pico W relays, which connects lines that go through a relay to the broker: it takes their requests, sends frames and
//! returns the answers. A frame that cannot be sent at once is dropped.
//!
//! It subscribes to its own topics and needs nothing from the loop, so it keeps serving its lines while the loop waits for them to end.

use std::collections::BTreeSet;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::config::{ChargerSetup, Config, PhaseSwitch};
use crate::mqtt::link::{Event, Publisher};
use crate::relay::{ASKS, RelayCall, Relays};

/// Capacity of the channel to the task, which takes each message at once.
const TOLD: usize = 4;

/// Handle of the task. Dropping it ends the task.
#[derive(Debug)]
pub(super) struct RelayTask {
    asks: mpsc::Sender<RelayCall>,
    told: mpsc::Sender<Told>,
    task: JoinSet<()>,
    any: bool,
}

#[derive(Debug)]
enum Told {
    /// Sets the configured relays.
    Know(BTreeSet<String>),
    /// Sets the connection through which they are reached.
    Link(Publisher, mpsc::Receiver<Event>),
}

impl RelayTask {
    /// Starts the task for the relays of a configuration.
    pub(super) fn start(config: &Config, publisher: Publisher, events: mpsc::Receiver<Event>, clock: Clock) -> Self {
        let (asks, asked) = mpsc::channel(ASKS);
        let (told, listening) = mpsc::channel(TOLD);
        let ids = ids(config);
        let mut relays = Relays::new(fastrand::Rng::new());
        relays.set(&ids);
        let server = Server { relays, asked, listening, publisher, events, clock };
        let mut task = JoinSet::new();
        task.spawn(server.serve());
        Self { asks, told, task, any: !ids.is_empty() }
    }

    /// Returns a sender for requests to the relays.
    pub(super) fn sender(&self) -> mpsc::Sender<RelayCall> {
        self.asks.clone()
    }

    /// Whether any relay is configured.
    pub(super) const fn any(&self) -> bool {
        self.any
    }

    /// Takes a new configuration. Conversations with relays that stay configured continue.
    pub(super) async fn reconfigure(&mut self, config: &Config) {
        let ids = ids(config);
        self.any = !ids.is_empty();
        self.tell(Told::Know(ids)).await;
    }

    /// Switches to a new connection to the broker.
    pub(super) async fn moved(&self, publisher: Publisher, events: mpsc::Receiver<Event>) {
        self.tell(Told::Link(publisher, events)).await;
    }

    async fn tell(&self, told: Told) {
        // `ended` notices if the task has ended.
        let _ = self.told.send(told).await;
    }

    /// Returns when the task has ended, which only a bug can cause. May be dropped and called again.
    pub(super) async fn ended(&mut self) {
        self.task.join_next().await;
    }
}

/// The task.
struct Server {
    relays: Relays,
    asked: mpsc::Receiver<RelayCall>,
    listening: mpsc::Receiver<Told>,
    publisher: Publisher,
    events: mpsc::Receiver<Event>,
    clock: Clock,
}

impl Server {
    async fn serve(mut self) {
        loop {
            let due = self.relays.poll_timeout();
            let clock = self.clock;
            let time = async move {
                match due {
                    Some((due, _)) => clock.sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                told = self.listening.recv() => match told {
                    Some(told) => self.told(told),
                    None => return,
                },
                Some(ask) = self.asked.recv() => self.relays.ask(ask, clock.now()),
                Some(event) = self.events.recv() => self.event(&event),
                () = time => self.relays.handle_timeout(clock.now()),
            }
            while let Some((topic, frame)) = self.relays.poll_frame() {
                // Cannot fail for the topic or the length: our topics are valid and frames are short.
                let _ = self.publisher.publish_now(&topic, frame);
            }
        }
    }

    fn told(&mut self, told: Told) {
        match told {
            Told::Know(ids) => self.relays.set(&ids),
            Told::Link(publisher, events) => {
                self.publisher = publisher;
                self.events = events;
                self.relays.link(false, self.clock.now());
            }
        }
    }

    fn event(&mut self, event: &Event) {
        let now = self.clock.now();
        match event {
            Event::Up => self.relays.link(true, now),
            Event::Down { .. } => self.relays.link(false, now),
            Event::Message { topic, payload, retained } => {
                self.relays.message(topic, payload, *retained, now);
            }
            Event::SubscriptionRefused { .. } | Event::LeftOut { .. } | Event::Unheard { .. } => {}
        }
    }
}

/// The topics that the task subscribes to.
pub(super) fn topics(config: &Config) -> Vec<String> {
    Relays::topics(&ids(config))
}

/// The relays that a configuration names.
fn ids(config: &Config) -> BTreeSet<String> {
    let of = |setup: &'_ ChargerSetup| {
        let switch = setup.phase_switch.as_ref().and_then(PhaseSwitch::relay);
        [setup.link.relay(), switch].into_iter().flatten().map(str::to_owned).collect::<Vec<_>>()
    };
    config.chargers.values().flat_map(of).collect()
}
