//! The one loop: facts in, decisions out. It alone owns the controller; tasks own sockets and lines and speak to it over bounded
//! channels. Everything that keeps something alive (the charger's watchdog, systemd's, each order's validity) is fed from a
//! completed decision in here and from nowhere else, so that a loop that hangs lets everything fall to its safe state.
//!
//! Leaves out: reading files of configuration, signals and exit codes (`cli`), and how packets and frames move (`mqtt`, `charger`).

mod desk;
mod energy;
mod intake;
mod lines;
mod notify;
mod outlet;
mod published;
mod recorder;
mod remarks;
mod state;
#[cfg(test)]
pub(crate) use recorder::tests::record;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use control::{ChargerId, Input, Millis, Restore, Snapshot, Tick};
use futures_util::FutureExt;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::charger::bus::{Bus, BusCommand, BusEvent};
use crate::charger::driver::Memory;
use crate::clock::Clock;
use crate::config::{Config, LinkConfig};
use crate::journal::Journal;
use crate::mqtt::input::Inputs;
use crate::mqtt::link::{self, Link, LinkSetup};
use crate::rate::{Bucket, Lines};
use crate::relay::Relays;
use desk::Desk;
use intake::Intake;
use lines::{Closing, Place};
use notify::Notifier;
use outlet::Outlet;
use published::Published;
use recorder::Recorder;
use state::{ChargerState, Found, Moment, Saved, State, Store, Writer};

/// Messages of the lines on their way to the loop; beyond it a line waits, and its orders lapse.
const BUS_EVENTS: usize = 256;
/// The state is stored no more often than this, but for locks and what is urgent: a card wears by the write.
const STORE_PAUSE: Millis = Millis::from_secs(5);
/// What is urgent is stored at once so many times, and after that once in each pause as well.
const URGENT_STORES: u32 = 5;
/// Lines about commands: so many at once, then one for each span.
const COMMAND_LINES: (u32, Millis) = (20, Millis::from_secs(60));
/// Events taken per turn before the result is shown; the rest wait.
const TURN_MAX: usize = 256;
/// What the battery gives is stored in steps of this part of its budget.
const STORED_STEPS: i64 = 100;
/// An orderly end takes no longer than this for the lines, and in the same time …
const LINES_LIMIT: Duration = Duration::from_millis(2_400);
/// … for the broker's acknowledgement; its closing handshake may take a second more.
const BROKER_LIMIT: Duration = Duration::from_millis(1_400);
/// … and then for what is to be stored.
const STORED_LIMIT: Duration = Duration::from_millis(300);

/// What the shell tells the loop.
#[derive(Debug)]
pub enum Control {
    /// End in good order.
    Stop,
    /// Take a new configuration.
    Reload(Box<Config>),
}

/// How the loop ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// As asked; whether every charger confirmed its safe current.
    Asked {
        /// Every charger read back its safe current.
        proven: bool,
    },
    /// Something that must not end has ended.
    Broken {
        /// What.
        what: String,
    },
}

/// What the loop is given besides its configuration.
#[derive(Debug)]
pub struct Wiring {
    /// The clock of everything.
    pub clock: Clock,
    /// What the shell tells the loop; its end counts as [`Control::Stop`].
    pub controls: mpsc::Receiver<Control>,
    /// Gets every new snapshot.
    pub snapshots: watch::Sender<Option<Snapshot>>,
}

/// Runs until it is told to stop or something breaks; in both cases the safe current was tried on every charger.
///
/// # Errors
/// If the system gives no thread for a line or for the stored state.
pub async fn run(config: Config, wiring: Wiring) -> std::io::Result<Ended> {
    Ok(Box::pin(Daemon::start(config, wiring)?.live()).await)
}

struct Daemon {
    config: Config,
    clock: Clock,
    controls: mpsc::Receiver<Control>,
    snapshots: watch::Sender<Option<Snapshot>>,
    controller: Recorder,
    intake: Intake,
    link: Link,
    link_events: mpsc::Receiver<link::Event>,
    link_up: bool,
    desk: Desk,
    buses: BTreeMap<LinkConfig, Bus>,
    /// Lines that have yet to end before any is opened.
    closing: Vec<Closing>,
    /// They are to have ended by then.
    closing_by: Tick,
    /// What must be remembered of chargers whose lines have ended.
    memories: BTreeMap<Place, Memory>,
    bus_sender: mpsc::Sender<BusEvent>,
    bus_events: mpsc::Receiver<BusEvent>,
    state: State,
    /// A tick, and the machine's uptime at that tick.
    anchor: (Tick, Moment),
    writer: Writer,
    saved: mpsc::Receiver<Saved>,
    outlet: Outlet,
    notifier: Notifier,
    /// Wake-ups that wait until their lock is on the disk, with the generation to wait for.
    wakes: Vec<(ChargerId, u64)>,
    /// The newest state that has been dealt with.
    stored: u64,
    /// How soon the state is to be stored, and when it was stored last.
    unstored: Store,
    stored_at: Option<Tick>,
    urgent_stores: Bucket,
    /// Lines about commands.
    command_lines: Lines,
}

impl Daemon {
    fn start(config: Config, wiring: Wiring) -> std::io::Result<Self> {
        let clock = wiring.clock;
        let (mut state, found) = state::load(&config.state_file);
        let (writer, saved) = Writer::start(config.state_file.clone())?;
        let now = clock.now();
        let journal = config.journal.clone().map(Journal::start).transpose()?;
        let mut controller = Recorder::new(config.control.clone(), now, names(&config), journal, clock);
        make_room(&mut state, &config, found);
        restore(&state, &config, &mut controller, now, true);
        let (bus_sender, bus_events) = mpsc::channel(BUS_EVENTS);
        let (link, link_events) = link::spawn(link_setup(&config), clock);
        let mut daemon = Self {
            intake: Intake::new(&config, &names(&config)),
            outlet: Outlet::new(config.publish.clone(), names(&config), Published::load(&config.state_file)),
            notifier: Notifier::from_environment(),
            controls: wiring.controls,
            snapshots: wiring.snapshots,
            controller,
            link,
            link_events,
            link_up: false,
            desk: Desk::new(&config),
            buses: BTreeMap::new(),
            closing: Vec::new(),
            closing_by: Tick(0),
            memories: BTreeMap::new(),
            bus_sender,
            bus_events,
            state,
            anchor: (now, Moment::now()),
            writer,
            saved,
            wakes: Vec::new(),
            stored: 0,
            unstored: Store::Never,
            stored_at: None,
            urgent_stores: Bucket::new(URGENT_STORES, STORE_PAUSE),
            command_lines: Lines::new(COMMAND_LINES.0, COMMAND_LINES.1),
            clock,
            config,
        };
        daemon.open_buses()?;
        info!(
            version = env!("CARGO_PKG_VERSION"),
            "surplusd {} runs with {} charger(s)",
            env!("CARGO_PKG_VERSION"),
            daemon.config.chargers.len()
        );
        Ok(daemon)
    }

    /// Turns until the end, and ends in good order, whatever the end was.
    async fn live(mut self) -> Ended {
        // A panic of the loop is an unexpected end like any other: the safe current is tried before the process ends.
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

    /// The safe current on every line and `offline` at the broker, within their limits: side by side, or one after the other where any line
    /// may go through a relay.
    async fn shut_down(mut self) -> bool {
        for bus in self.buses.values() {
            bus.send(BusCommand::Shutdown);
        }
        Notifier::stopping();
        self.count_at_the_end();
        let mut open: Vec<_> = self.config.chargers.keys().copied().collect();
        let mut proven = true;
        let mut ended = Vec::new();
        let lines = async {
            while !open.is_empty() {
                match self.bus_events.recv().await {
                    Some(BusEvent::ShutDown { charger, proven: this }) => {
                        proven &= this;
                        open.retain(|id| *id != charger);
                        if this {
                            ended.push(charger);
                        }
                    }
                    Some(BusEvent::Report(_) | BusEvent::Notice { .. } | BusEvent::Woken(_) | BusEvent::Ended) => {}
                    None => break,
                }
            }
            open.is_empty()
        };
        let lines = tokio::time::timeout(LINES_LIMIT, lines);
        let (told, lines) = if self.desk.any() {
            // Lines that go through a relay need the broker up to their end.
            let mut others = Vec::new();
            let lines = tokio::select! {
                lines = lines => lines,
                () = self.desk.serve(&self.link, &mut self.link_events, self.clock, &mut others) => Ok(false),
            };
            (self.link.shutdown(BROKER_LIMIT).await, lines)
        } else {
            tokio::join!(self.link.shutdown(BROKER_LIMIT), lines)
        };
        let all = lines.unwrap_or(false) && proven;
        if !all {
            warn!(
                "not every charger confirmed its safe current; those that did not are left to their own watchdog, if it is set"
            );
        }
        for setup in ended.iter().filter_map(|charger| self.config.chargers.get(charger)) {
            if let Some(state) = self.state.get_mut(&setup.name) {
                state.running = false;
            }
        }
        let newest = self.writer.save(&self.state);
        let stored = async {
            while self.stored < newest
                && let Some(saved) = self.saved.recv().await
            {
                self.stored = saved.generation;
            }
        };
        let stored = tokio::time::timeout(STORED_LIMIT, stored);
        let topics = tokio::time::timeout(STORED_LIMIT, self.outlet.close());
        let _ = tokio::join!(stored, topics, self.controller.close(STORED_LIMIT));
        let wallboxes =
            if all { "the safe current was read back" } else { "the safe current could not be read back everywhere" };
        let broker = if told { "the broker knows that surplusd is offline" } else { "the broker could not be told" };
        info!(proven = all, offline_acknowledged = told, "ended: {wallboxes}; {broker}");
        all
    }
}

impl Daemon {
    /// Notes stops and limits for the stored state. What made the loop panic may panic here again: then the stored state lacks the last
    /// minutes, and the end goes on.
    fn count_at_the_end(&mut self) {
        let counted = std::panic::catch_unwind(AssertUnwindSafe(|| {
            self.note_stops();
            self.count_limits(self.clock.now());
        }));
        if counted.is_err() {
            error!(
                "what counts towards limits since the last decision could not be stored: the controller panicked again"
            );
        }
    }

    /// Ending stops every charge that runs; the minimum-off time counts from here, also after a restart.
    fn note_stops(&mut self) {
        for (id, view) in self.controller.snapshot().chargers {
            if view.setpoint > control::Milliamps::ZERO {
                self.keep_of(id, |state| state.stopped = Some(Moment::now()));
            }
        }
    }

    /// Changes what is kept of a charger.
    fn keep_of(&mut self, charger: ChargerId, change: impl FnOnce(&mut ChargerState)) {
        let name = self.config.chargers.get(&charger).map(|setup| &setup.name);
        if let Some(state) = name.and_then(|name| self.state.get_mut(name)) {
            change(state);
        }
    }

    /// Keeps what counts towards limits over 24 hours; says how soon that is to be stored.
    fn count_limits(&mut self, now: Tick) -> Store {
        let (tick, moment) = self.anchor;
        let budget = self.config.control.battery.drain_budget;
        let step = control::WattHours(budget.0 / STORED_STEPS);
        let counts = self.controller.carry_over(now);
        self.state.take(&counts, &names(&self.config), moment.after(now.since(tick)), step)
    }
}

/// Tells the controller what was before the restart; the battery's energy only where the controller is new.
fn restore(state: &State, config: &Config, controller: &mut Recorder, now: Tick, energy: bool) {
    for (id, setup) in &config.chargers {
        if let Some(kept) = state.get(&setup.name) {
            let stopped_ago = kept.stopped.map(Moment::elapsed);
            let restore = Restore { charger: *id, mode: kept.mode, fixed: kept.fixed, stopped_ago };
            controller.handle(Input::Restore(restore), now);
        }
    }
    let carried = state.carry_over(&names(config), Moment::now(), energy);
    controller.handle(Input::CarryOver(carried), now);
}

/// Gives every configured charger its place in the stored state.
fn make_room(state: &mut State, config: &Config, found: Found) {
    let new = config.chargers.iter().filter_map(|(id, setup)| {
        let limits = config.control.chargers.get(id)?;
        Some((setup.name.clone(), ChargerState::new(limits.mode, limits.fixed, found)))
    });
    state.make_room(new.collect(), Moment::now());
}

fn names(config: &Config) -> BTreeMap<ChargerId, String> {
    config.chargers.iter().map(|(id, setup)| (*id, setup.name.clone())).collect()
}

fn link_setup(config: &Config) -> LinkSetup {
    let base = &config.publish.base_topic;
    let mut subscriptions: Vec<String> = Inputs::new(&config.inputs).topics().map(str::to_owned).collect();
    subscriptions.extend(crate::mqtt::command::topics(base, &names(config)));
    subscriptions.extend(Relays::topics(&desk::ids(config)));
    LinkSetup { mqtt: config.mqtt.clone(), status_topic: Some(format!("{base}/status")), subscriptions }
}
