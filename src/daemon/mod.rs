//! The main loop: facts in, decisions out. It alone owns the controller; tasks own the sockets and lines and talk to it over bounded
//! channels. Everything that keeps something alive (the wallbox's watchdog, systemd's, the validity of each order) is fed only from a
//! decision completed here, so that everything falls back to its safe state if the loop hangs.
//!
//! Leaves out: reading configuration files, signals and exit codes (`cli`), and how packets and frames are moved (`mqtt`, `charger`).

mod account;
mod energy;
pub(crate) mod hub;
mod intake;
mod keeper;
mod lines;
pub(crate) mod moment;
mod output;
mod recorder;
mod relays;
mod reload;
mod requests;
pub(crate) mod state;
#[cfg(test)]
pub(crate) use recorder::tests::record;
#[cfg(any(test, fuzzing))]
pub(crate) use state::fuzz as state_fuzz;
#[cfg(test)]
mod tests;
mod turn;
mod view;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use control::{ChargerId, Tick};
use futures_util::FutureExt;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::charger::bus::{Bus, BusCommand, BusEvent};
use crate::charger::driver::Memory;
use crate::clock::Clock;
use crate::config::{Config, LinkConfig};
use crate::journal::Journal;
use crate::model::request::Request;
use crate::mqtt::input::Inputs;
use crate::mqtt::link::{self, Event, Link, LinkSetup};
use hub::{Effect, Hub};
use lines::{Closing, Place};
use output::Outputs;
pub use output::StatusSender;
use relays::RelayTask;
use state::{Uptime, Writer, load};

/// Capacity of the channel from the lines to the loop. A line waits when it is full, and its orders lapse meanwhile.
const BUS_EVENTS: usize = 256;
/// Events handled per turn before the results are published; the rest wait for the next turn.
const TURN_MAX: usize = 256;
/// Time limit on shutdown for the lines to set and read back the safe current.
const LINES_LIMIT: Duration = Duration::from_millis(2_400);
/// Time limit on shutdown for the broker's acknowledgement; its closing handshake may take one second more.
const BROKER_LIMIT: Duration = Duration::from_millis(1_400);
/// Time limit on shutdown for storing the state, the topics and the journal, once lines and broker are done.
const STORED_LIMIT: Duration = Duration::from_millis(300);

/// How the loop ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// On request.
    Asked {
        /// Whether the safe current was read back from every charger.
        proven: bool,
    },
    /// Something ended that must keep running.
    Broken {
        /// What ended.
        what: String,
    },
}

/// What the loop needs besides its configuration.
#[derive(Debug)]
pub struct Wiring {
    /// The clock that the loop and all its tasks use.
    pub clock: Clock,
    /// Requests from everywhere but MQTT; a closed channel counts as [`Wish::Stop`](crate::model::request::Wish::Stop).
    pub requests: mpsc::Receiver<Request>,
    /// Receives every new status.
    pub status: StatusSender,
}

/// Runs until asked to stop or until something breaks; either way it tries to set the safe current on every charger before it returns.
///
/// # Errors
/// If the system cannot start a thread for a line or for the stored state.
pub async fn run(config: Config, wiring: Wiring) -> std::io::Result<Ended> {
    Ok(Box::pin(Daemon::start(config, wiring)?.live()).await)
}

/// The tasks that talk to the broker.
#[derive(Debug)]
struct Tasks {
    link: Link,
    relays: RelayTask,
}

impl Tasks {
    /// Waits for the first task to end, which only a bug can cause, and returns its name. May be dropped and called again.
    async fn ended(&mut self) -> &'static str {
        tokio::select! {
            () = self.link.ended() => "the MQTT task",
            () = self.relays.ended() => "the task of the relays",
        }
    }
}

struct Daemon {
    hub: Hub,
    clock: Clock,
    /// Requests from everywhere but MQTT.
    asked: mpsc::Receiver<Request>,
    tasks: Tasks,
    /// Broker events on the topics of the site's sources.
    site_events: mpsc::Receiver<Event>,
    /// Broker events on the topics under `set/`.
    set_events: mpsc::Receiver<Event>,
    buses: BTreeMap<LinkConfig, Bus>,
    /// Lines that must end before a new one is opened.
    closing: Vec<Closing>,
    /// When the lines in `closing` must have ended.
    closing_by: Tick,
    /// What the drivers of ended lines knew, for the new drivers.
    memories: BTreeMap<Place, Memory>,
    bus_sender: mpsc::Sender<BusEvent>,
    bus_events: mpsc::Receiver<BusEvent>,
    /// Stores what must survive a restart.
    writer: Writer,
    outputs: Outputs,
}

impl Daemon {
    fn start(config: Config, wiring: Wiring) -> std::io::Result<Self> {
        let clock = wiring.clock;
        let now = clock.now();
        let stored = load(&config.state_file);
        let writer = Writer::start(config.state_file.clone())?;
        let journal = config.journal.clone().map(Journal::start).transpose()?.map(|journal| (journal, clock));
        let (bus_sender, bus_events) = mpsc::channel(BUS_EVENTS);
        let (link, [site_events, set_events, relay_events]) = link::spawn(link_setup(&config), topics(&config), clock);
        let relays = RelayTask::start(&config, link.publisher(), relay_events, clock);
        let mut daemon = Self {
            outputs: Outputs::new(&config, wiring.status),
            hub: Hub::new(config, stored, Uptime::read(), journal, now),
            asked: wiring.requests,
            tasks: Tasks { link, relays },
            site_events,
            set_events,
            buses: BTreeMap::new(),
            closing: Vec::new(),
            closing_by: Tick(0),
            memories: BTreeMap::new(),
            bus_sender,
            bus_events,
            writer,
            clock,
        };
        daemon.open_buses()?;
        info!(
            version = env!("CARGO_PKG_VERSION"),
            "surplusd {} runs with {} charger(s)",
            env!("CARGO_PKG_VERSION"),
            daemon.hub.config.chargers.len()
        );
        Ok(daemon)
    }

    /// Runs the loop, then shuts down in order, whatever ended the loop.
    async fn live(mut self) -> Ended {
        // A panic in the loop is an unexpected end like any other: the safe current is still set before the process ends.
        let ended = AssertUnwindSafe(self.turns()).catch_unwind().await;
        let ended = ended.unwrap_or_else(|_| Ended::Broken { what: "the loop panicked".to_owned() });
        if let Ended::Broken { what } = &ended {
            error!(what = %what, "stopping: {what}");
        }
        let proven = self.shut_down().await;
        match ended {
            Ended::Asked { .. } => Ended::Asked { proven },
            Ended::Broken { .. } => ended,
        }
    }

    /// Sets the safe current on every line and publishes `offline`, each within its time limit: at the same time, or one after the other
    /// if any line may go through a relay.
    async fn shut_down(mut self) -> bool {
        for bus in self.buses.values() {
            bus.send(BusCommand::Shutdown);
        }
        Outputs::stopping();
        self.count_at_the_end();
        // Nothing reads these channels from here on; left open, they could fill up and block what the relays still need to receive.
        self.site_events.close();
        self.set_events.close();
        self.asked.close();
        self.hub.requests.end();
        let (told, ended) = if self.tasks.relays.any() {
            // Lines that go through a relay need the broker until they have ended.
            let ended = Self::lines_end(&self.hub.config, &mut self.bus_events).await;
            (self.tasks.link.shutdown(BROKER_LIMIT).await, ended)
        } else {
            tokio::join!(
                self.tasks.link.shutdown(BROKER_LIMIT),
                Self::lines_end(&self.hub.config, &mut self.bus_events)
            )
        };
        let all = ended.len() == self.hub.config.chargers.len();
        if !all {
            warn!(
                "not every charger confirmed its safe current; those that did not are left to their own watchdog, if it is set"
            );
        }
        self.hub.keeper.at_rest(&ended);
        let newest = self.hub.keeper.save(self.clock.now());
        while let Some(effect) = self.hub.poll_effect() {
            if let Effect::Store(generation, form) = effect {
                self.writer.write(generation, form);
            }
        }
        let mut done = self.hub.keeper.stored;
        let stored = async {
            while done < newest
                && let Some(saved) = self.writer.next().await
            {
                done = saved.generation;
            }
        };
        // The thread has logged what it could not store.
        let stored = tokio::time::timeout(STORED_LIMIT, stored);
        let topics = tokio::time::timeout(STORED_LIMIT, self.outputs.close());
        let _ = tokio::join!(stored, topics, self.hub.controller.close(STORED_LIMIT));
        let wallboxes =
            if all { "the safe current was read back" } else { "the safe current could not be read back everywhere" };
        let broker =
            if told { "the broker knows that surplusd is offline" } else { "the broker could not be notified" };
        info!(proven = all, offline_acknowledged = told, "ended: {wallboxes}; {broker}");
        all
    }

    /// Waits for the lines within the time limit and returns the chargers whose safe current was read back.
    async fn lines_end(config: &Config, events: &mut mpsc::Receiver<BusEvent>) -> Vec<ChargerId> {
        let mut open: Vec<_> = config.chargers.keys().copied().collect();
        let mut proven = Vec::new();
        let lines = async {
            while !open.is_empty() {
                match events.recv().await {
                    Some(BusEvent::ShutDown { charger, proven: this }) => {
                        open.retain(|id| *id != charger);
                        proven.extend(this.then_some(charger));
                    }
                    Some(
                        BusEvent::Report(_)
                        | BusEvent::Notice { .. }
                        | BusEvent::LineDown { .. }
                        | BusEvent::NextTry { .. }
                        | BusEvent::WakeUpDone(_)
                        | BusEvent::Ended,
                    ) => {}
                    None => break,
                }
            }
        };
        // Chargers whose lines have not ended by then are not proven.
        let _ = tokio::time::timeout(LINES_LIMIT, lines).await;
        proven
    }

    /// Adds stops and limits to the stored state. If this panics for the same reason as the loop, the stored state lacks the last minutes,
    /// and the shutdown continues.
    fn count_at_the_end(&mut self) {
        let now = self.clock.now();
        let counted = std::panic::catch_unwind(AssertUnwindSafe(|| self.hub.ends(now)));
        if counted.is_err() {
            error!(
                "what counts towards limits since the last decision could not be stored: the controller panicked again"
            );
        }
    }
}

fn link_setup(config: &Config) -> LinkSetup {
    let status_topic = Some(format!("{}/status", config.publish.base_topic));
    LinkSetup { mqtt: config.mqtt.clone(), status_topic }
}

/// The topics to subscribe to: those of the site, those under `set/`, and those of the relays.
pub(crate) fn topics(config: &Config) -> [Vec<String>; 3] {
    [
        Inputs::new(&config.inputs).topics().map(str::to_owned).collect(),
        crate::mqtt::command::topics(&config.publish.base_topic, &hub::names(config)),
        relays::topics(config),
    ]
}
