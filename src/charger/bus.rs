//! Carries out the operations of a [`Line`] through tokio-modbus, on a thread and runtime of its own: closing or flushing a serial
//! port may block in the kernel and must not hold up anything else. The line and its drivers decide which requests are made and when.
//!
//! Nothing here waits by polling: the loop selects on commands, the operation in progress, and the line's deadline.

mod contact;
pub(crate) mod events;
pub(crate) mod frames;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod once;
mod port;
mod relay_line;
mod session;
mod target;
mod wire;

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;

use control::{ChargerId, ChargerReport, Millis, Order, Tick};
use tokio::sync::{mpsc, oneshot, watch};

use super::driver::{Driver, Input, Memory, Notice};
use super::line::{BusResult, Line};
use super::profile::{LinkDefaults, Profile};
use crate::clock::Clock;
use crate::config::{ChargerSetup, LinkConfig};
use crate::relay::RelayCall;
use contact::Contacts;
use events::{Events, Output};
pub use once::OneShot;
use target::Target;
pub use wire::Remark;
use wire::Wire;

/// Shortest interval between two remarks of the same kind in the log.
const REMARK_EVERY: Millis = Millis::from_secs(600);

/// A command to a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusCommand {
    /// An order for one charger; the newest one wins.
    Order(Order),
    /// Wake the car at this charger.
    Wake(ChargerId),
    /// Write the safe current, read it back, be silent, and end.
    Shutdown,
}

/// An event of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusEvent {
    /// A charger's report for the controller.
    Report(ChargerReport),
    /// A charger's notice for people, already logged.
    Notice {
        /// Which charger.
        charger: ChargerId,
        /// The notice.
        notice: Notice,
    },
    /// The charger's line cannot be used, or for another reason than before; logged, unless that happens often.
    LineDown {
        /// Which charger.
        charger: ChargerId,
        /// The line, the cause and the remedy.
        why: String,
    },
    /// The time of the next try at a charger that does not answer has changed.
    NextTry {
        /// Which charger.
        charger: ChargerId,
        /// Earliest time of the next try; `None` once it answers.
        at: Option<Tick>,
    },
    /// The wake-up is over: the charger is unlocked again, or cannot be locked.
    WakeUpDone(ChargerId),
    /// A charger's shutdown has ended.
    ShutDown {
        /// Which charger.
        charger: ChargerId,
        /// Whether the safe current was read back.
        proven: bool,
    },
    /// The last event.
    Ended,
}

/// How the thread of a line ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusEnd {
    /// After a shutdown.
    Orderly,
    /// A bug, with its message.
    Panicked(String),
}

/// Handle to a running line. Dropping it without a shutdown makes the line shut down by itself.
#[derive(Debug)]
pub struct Bus {
    wishes: watch::Sender<Wishes>,
    over: oneshot::Receiver<Memories>,
    thread: Option<JoinHandle<()>>,
    end: Option<BusEnd>,
    memories: Memories,
}

/// What must be remembered of the chargers of a line that has ended.
pub type Memories = BTreeMap<ChargerId, Memory>;

/// What is known about a charger before its line is opened.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// An interrupted wake-up may have left it locked.
    pub unlock_first: bool,
    /// State left by its driver on an earlier line.
    pub memory: Option<Memory>,
}

/// All commands, merged. At most one order per charger, so it cannot grow without bound.
#[derive(Debug, Clone, Default)]
struct Wishes {
    orders: BTreeMap<ChargerId, Order>,
    /// Number of wake commands per charger.
    wakes: BTreeMap<ChargerId, u32>,
    shutdown: bool,
}

impl Bus {
    /// Sends a command to the line. Never blocks; an order replaces the charger's earlier one if that was not taken yet.
    pub fn send(&self, command: BusCommand) {
        self.wishes.send_modify(|wishes| match command {
            BusCommand::Order(order) => {
                wishes.orders.insert(order.charger, order);
            }
            BusCommand::Wake(charger) => {
                let count = wishes.wakes.entry(charger).or_insert(0);
                *count = count.wrapping_add(1);
            }
            BusCommand::Shutdown => wishes.shutdown = true,
        });
    }

    /// Waits until the thread has ended, even by a panic. May be dropped and called again.
    pub async fn ended(&mut self) -> BusEnd {
        if let Some(end) = &self.end {
            return end.clone();
        }
        // The sender is used when the thread's work ends, or dropped by a panic.
        self.memories = (&mut self.over).await.unwrap_or_default();
        let end = match self.thread.take().map(JoinHandle::join) {
            Some(Err(panic)) => BusEnd::Panicked(message(&*panic)),
            Some(Ok(())) | None => BusEnd::Orderly,
        };
        self.end.insert(end).clone()
    }

    /// Returns what must be remembered of its chargers, if it is known to have ended ([`Bus::ended`]).
    pub fn memories(&mut self) -> Option<Memories> {
        self.end.as_ref()?;
        Some(std::mem::take(&mut self.memories))
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

/// Starts the thread of a line. Each charger comes with its setup, its profile, and what was known before.
///
/// `events` is bounded: while it is full the line waits, its orders lapse, and the wallboxes fail safe. The receiver must keep
/// receiving until [`BusEvent::Ended`]. `relays` leads to the Pico relays, for lines that go through one.
///
/// Fails if the chargers' profiles need different line settings, if there are no chargers, or if no thread can be started.
pub fn spawn(
    link: LinkConfig,
    chargers: BTreeMap<ChargerId, (ChargerSetup, Arc<Profile>, Before)>,
    clock: Clock,
    events: mpsc::Sender<BusEvent>,
    relays: Option<mpsc::Sender<RelayCall>>,
) -> io::Result<Bus> {
    let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidInput, reason.to_owned());
    let mut defaults = chargers.values().map(|(_, profile, _)| profile.link);
    let link_defaults = defaults.next().ok_or_else(|| invalid("a line needs a charger"))?;
    if defaults.any(|other| other != link_defaults) {
        return Err(invalid("the chargers on one line need the same line settings"));
    }
    let first_read = chargers.values().next().map(|(_, profile, _)| profile.layout.read());
    let first_read = first_read.ok_or_else(|| invalid("a line needs a charger"))?;
    let setpoint =
        |(setup, profile, _): &(ChargerSetup, Arc<Profile>, Before)| (setup.unit, profile.set_current.register.address);
    let setpoints = chargers.values().map(setpoint).collect();
    let reply = chargers.values().find_map(|(setup, ..)| setup.reply);
    let link_defaults = LinkDefaults { reply: reply.unwrap_or(link_defaults.reply), ..link_defaults };
    let now = clock.now();
    let setups = chargers.iter().map(|(id, (setup, ..))| (*id, setup));
    let contacts = Contacts::new(setups, relays.clone(), clock);
    let (assembled, names) = assemble(chargers, link_defaults, now);
    let (wishes, inbox) = watch::channel(Wishes::default());
    let (alive, over) = oneshot::channel::<Memories>();
    let target = Target { link, defaults: link_defaults, first_read, setpoints, relays };
    let worker = Worker {
        line: assembled,
        name: target.to_string(),
        told: Events::new(target.to_string(), names),
        target: Arc::new(target),
        clock,
        events: Some(events),
        inbox,
        woken: BTreeMap::new(),
        contacts,
        io: None,
        wire: Some(Wire::closed()),
        remarked: Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("charger-line".to_owned()).spawn(move || {
        let memories = runtime.block_on(worker.run());
        // A look-up of the line's host name may hang for half a minute, and joining this thread would wait for it.
        runtime.shutdown_background();
        let _ = alive.send(memories);
    })?;
    Ok(Bus { wishes, over, thread: Some(thread), end: None, memories: Memories::new() })
}

/// Creates the line of these chargers, and returns it with their names.
pub(crate) fn assemble(
    chargers: BTreeMap<ChargerId, (ChargerSetup, Arc<Profile>, Before)>,
    defaults: LinkDefaults,
    now: Tick,
) -> (Line, BTreeMap<ChargerId, String>) {
    let mut names = BTreeMap::new();
    let mut drivers = BTreeMap::new();
    for (id, (setup, profile, before)) in chargers {
        let mut driver = Driver::new(id, &setup, profile, now);
        if before.unlock_first {
            driver.handle(Input::Unlock, now);
        }
        if let Some(memory) = before.memory {
            driver.remember(memory, now);
        }
        names.insert(id, setup.name);
        drivers.insert(id, driver);
    }
    (Line::new(drivers, defaults, now), names)
}

type Io = Pin<Box<dyn Future<Output = (Wire, BusResult)> + Send>>;

struct Worker {
    line: Line,
    name: String,
    told: Events,
    target: Arc<Target>,
    clock: Clock,
    /// `None` once the receiver is gone.
    events: Option<mpsc::Sender<BusEvent>>,
    inbox: watch::Receiver<Wishes>,
    /// Number of wake commands already taken, per charger.
    woken: BTreeMap<ChargerId, u32>,
    contacts: Contacts,
    /// The operation in progress; it owns the wire.
    io: Option<Io>,
    wire: Option<Wire>,
    /// When a remark of each kind was last logged.
    remarked: Vec<(Remark, Tick)>,
}

impl Worker {
    async fn run(mut self) -> Memories {
        let mut commanded = true;
        loop {
            self.pass_events().await;
            if self.line.ended() {
                break;
            }
            let now = self.clock.now();
            if self.io.is_none()
                && let Some(op) = self.line.poll_op(now)
            {
                tracing::trace!(line = %self.name, ?op, "begin");
                let wire = self.wire.take().unwrap_or_else(Wire::closed);
                self.io = Some(Box::pin(wire.perform(op, Arc::clone(&self.target), self.clock)));
                continue;
            }
            self.told.handle_timeout(now);
            for event in self.told.take_tries(&self.line) {
                self.emit(event).await;
            }
            let line = self.line.poll_timeout(now).map(|(at, _)| at);
            let deadline = [line, self.told.poll_timeout()].into_iter().flatten().min();
            let clock = self.clock;
            tokio::select! {
                biased;
                changed = self.inbox.changed(), if commanded => {
                    commanded = changed.is_ok();
                    self.take_wishes(!commanded);
                }
                (mut wire, done) = finish(&mut self.io) => {
                    tracing::trace!(line = %self.name, ?done, "done");
                    self.io = None;
                    for remark in wire.remarks() {
                        self.log_remark(remark, clock.now());
                    }
                    self.wire = Some(wire);
                    self.line.handle(done, clock.now());
                }
                (charger, answer) = self.contacts.answered() => {
                    self.line.tell(charger, Input::Contact(answer), clock.now());
                }
                () = async { match deadline {
                    Some(at) => clock.sleep_until(at).await,
                    None => pending().await,
                } } => {}
            }
        }
        // Close before the last event: its receiver may want to reopen the line.
        self.io = None;
        self.wire = None;
        self.told.close();
        self.emit(BusEvent::Ended).await;
        self.line.memories(self.clock.now())
    }

    /// Takes the new commands. `alone`: the handle is gone, so no shutdown command can ever come.
    fn take_wishes(&mut self, alone: bool) {
        let now = self.clock.now();
        let wishes = self.inbox.borrow_and_update().clone();
        for (charger, order) in &wishes.orders {
            self.line.tell(*charger, Input::Order(*order), now);
        }
        for (charger, count) in wishes.wakes {
            if self.woken.insert(charger, count) != Some(count) {
                self.line.tell(charger, Input::Wake, now);
            }
        }
        if wishes.shutdown || alone {
            self.line.shut_down(now);
        }
    }

    async fn pass_events(&mut self) {
        while let Some(output) = self.told.poll(&mut self.line, self.clock.now()) {
            match output {
                Output::Event(event) => self.emit(event).await,
                Output::Contact(charger, what) => self.contacts.ask(charger, what),
            }
        }
    }

    async fn emit(&mut self, event: BusEvent) {
        let Some(events) = &self.events else { return };
        if events.send(event).await.is_err() {
            // The receiver, which takes the decisions, is gone.
            self.events = None;
            self.line.shut_down(self.clock.now());
        }
    }

    fn log_remark(&mut self, remark: Remark, now: Tick) {
        self.remarked.retain(|(_, at)| now.since(*at) < REMARK_EVERY);
        if self.remarked.iter().any(|(said, _)| said.is_like(&remark)) {
            return;
        }
        self.remarked.push((remark, now));
        let name = &self.name;
        match remark {
            Remark::Echo | Remark::ClosedAfterAnswer => tracing::info!(line = %name, "line {name}: {remark}"),
            Remark::Strays(_) | Remark::Late { .. } => tracing::warn!(line = %name, "line {name}: {remark}"),
        }
    }
}

/// Waits for the operation in progress; forever if there is none.
async fn finish(io: &mut Option<Io>) -> (Wire, BusResult) {
    match io {
        Some(io) => io.await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_the_thread_is_seen_and_stays_seen() {
        let (wishes, _) = watch::channel(Wishes::default());
        let (alive, over) = oneshot::channel::<Memories>();
        let thread = std::thread::spawn(move || {
            let _alive = alive;
            panic!("a bug in unit {}", 7);
        });
        let mut bus = Bus { wishes, over, thread: Some(thread), end: None, memories: Memories::new() };
        let expected = BusEnd::Panicked("a bug in unit 7".to_owned());
        assert_eq!(bus.ended().await, expected);
        assert_eq!(bus.ended().await, expected);
        // The receiver is gone, yet nothing blocks.
        bus.send(BusCommand::Shutdown);
    }

    #[test]
    fn a_line_needs_chargers() {
        let (events, _) = mpsc::channel(1);
        let link = LinkConfig::Tcp { host: "localhost".to_owned(), port: 502 };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let clock = runtime.block_on(async { Clock::start(1) });
        assert_eq!(spawn(link, BTreeMap::new(), clock, events, None).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
