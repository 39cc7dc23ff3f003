//! The gateway in virtual time: the product's own loop ([`Hub`]), line, drivers and MQTT session, connected to the simulated world as
//! `daemon`, `charger::bus` and `mqtt::link` connect them to the real one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use control::{ChargerId, Milliamps, Millis, Mode, Order, Tick, WattHours};

use super::modem::Modem;
use super::world::World;
use crate::charger::bus::events::{Events, Output};
use crate::charger::bus::{Before, BusCommand, BusEvent, assemble};
use crate::charger::driver::{Input, Memory};
use crate::charger::line::Line;
use crate::charger::profile::{self, Profile};
use crate::config::Config;
use crate::daemon::hub::{Effect, Hub};
use crate::daemon::moment::Moment;
use crate::daemon::state::{Form, Found, Saved, State, Uptime, parse};
use crate::mqtt::link::Event;
use crate::mqtt::session::{Action, Notice, Session, Signal, Topics};
use crate::mqtt::trouble::{DownKind, Trouble};
use crate::sim::post::Delivery;

/// How often the status is shown when nothing changes.
const STATUS_EVERY: Millis = Millis(30_000);
/// Capacity of the channel from the line to the loop.
const EVENTS_MAX: usize = 256;
/// The charger.
pub(super) const CAR: ChargerId = ChargerId(0);

/// What survives the process.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) text: Option<String>,
    pub(super) refuses: bool,
    /// How long a write takes, in milliseconds.
    pub(super) takes_ms: u64,
    /// When the machine was started, and how often.
    pub(super) boot: (u64, u32),
    /// How far the wall clock is from the true time, in milliseconds.
    pub(super) wall_off_ms: i64,
}

impl Disk {
    fn uptime(&self, now_ms: u64) -> Uptime {
        let since = i64::try_from(now_ms.saturating_sub(self.boot.0)).unwrap_or(i64::MAX);
        // The machine was started a minute before the program.
        Uptime { boot: Some(format!("boot {}", self.boot.1)), now: Moment(since + 60_000) }
    }

    fn read(&self, uptime: &Uptime) -> (State, Found) {
        match self.text.as_deref().map(|text| parse(text, uptime)) {
            None => (State::new(), Found::Nothing),
            Some(Ok(state)) => (state, Found::Whole),
            Some(Err(_)) => (State::new(), Found::Damaged),
        }
    }
}

/// What the judge wants to know.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When a decision was last completed.
    pub(super) decided_ms: u64,
    /// Orders with a setpoint since the judge last looked.
    pub(super) orders: Vec<(u64, Milliamps)>,
    /// When a live number of a meter last reached the gateway.
    pub(super) live_ms: Option<u64>,
    pub(super) mode: Option<Mode>,
    /// The mode that was last asked for over MQTT, and when.
    pub(super) asked: Option<(Mode, u64)>,
    pub(super) energy: Option<WattHours>,
    /// The reason for the setpoint, for the story.
    pub(super) reason: String,
}

/// See the module.
pub(super) struct Gateway {
    pub(super) hub: Hub,
    profile: Arc<Profile>,
    line: Line,
    told: Events,
    modem: Modem,
    session: Session,
    site: BTreeSet<String>,
    base: String,
    /// Whether something waits to be published.
    publishes: bool,
    /// Events from the line that the loop has not taken.
    to_loop: VecDeque<BusEvent>,
    /// Commands to the line that it has not taken; the newest order counts.
    order: Option<Order>,
    wake: bool,
    /// Writes in progress, with the time of their end.
    writes: VecDeque<(Tick, u64, Form)>,
    /// A new configuration that waits for the end of the old line.
    reload: Option<Box<Config>>,
    memories: BTreeMap<ChargerId, Memory>,
    status_at: Option<Tick>,
    /// The setpoint that the last status had.
    shown: Option<Milliamps>,
    pub(super) seen: Seen,
}

impl Gateway {
    /// Starts the program.
    pub(super) fn start(config: &Config, disk: &Disk, random: fastrand::Rng, now: Tick) -> Self {
        let uptime = disk.uptime(now.0);
        let hub = Hub::new(config.clone(), disk.read(&uptime), uptime, None, now);
        let profile = profile::load(&config.chargers[&CAR].profile).expect("a known profile");
        let [site, set, _] = crate::daemon::topics(config);
        let base = config.publish.base_topic.clone();
        let subscriptions = site.iter().chain(&set).cloned().collect();
        let topics = Topics { status: Some(format!("{base}/status")), subscriptions };
        let mut session = Session::new(topics, random, now);
        session.handle(Signal::Near(true), now);
        let (line, told) = line(&hub, &profile, None, now);
        Self {
            hub,
            profile,
            line,
            told,
            modem: Modem::new(),
            session,
            site: site.into_iter().collect(),
            base,
            publishes: false,
            to_loop: VecDeque::new(),
            order: None,
            wake: false,
            writes: VecDeque::new(),
            reload: None,
            memories: BTreeMap::new(),
            status_at: None,
            shown: None,
            seen: Seen { decided_ms: now.0, ..Seen::default() },
        }
    }

    /// When something is next due, if loop and line run.
    pub(super) fn next(&self, world: &World, now: Tick, loop_runs: bool, line_runs: bool) -> Option<Tick> {
        let mut due = Vec::with_capacity(8);
        if loop_runs {
            due.extend(self.hub.poll_timeout());
            due.extend(world.post.next_ms().map(Tick));
            due.extend(self.session.poll_timeout().map(|(at, _)| at));
            due.extend(self.writes.front().map(|(at, ..)| *at));
            due.extend((!self.to_loop.is_empty()).then_some(now));
        }
        if line_runs && self.to_loop.len() < EVENTS_MAX {
            due.extend(self.modem.poll_timeout());
            due.extend(world.cable.next_ms().filter(|_| !self.modem.is_free()).map(Tick));
            due.extend(self.line.poll_timeout(now).filter(|_| self.modem.is_free()).map(|(at, _)| at));
            due.extend(self.told.poll_timeout());
        }
        due.into_iter().min()
    }

    /// Does everything that is due.
    pub(super) fn pass(&mut self, world: &mut World, disk: &mut Disk, now: Tick, loop_runs: bool, line_runs: bool) {
        if loop_runs && self.network_is_due(world, now) {
            self.network(world, now);
        }
        if line_runs && self.line_is_due(world, now) {
            self.line(world, now);
        }
        if loop_runs {
            self.turn(disk, now);
            if line_runs && self.line_is_due(world, now) {
                self.line(world, now);
            }
            if std::mem::take(&mut self.publishes) {
                self.network(world, now);
            }
        }
    }

    fn network_is_due(&self, world: &World, now: Tick) -> bool {
        world.post.next_ms().is_some_and(|at_ms| at_ms <= now.0)
            || self.session.poll_timeout().is_some_and(|(at, _)| at <= now)
    }

    fn line_is_due(&self, world: &World, now: Tick) -> bool {
        let due = |at: Option<Tick>| at.is_some_and(|at| at <= now);
        self.order.is_some()
            || self.wake
            || due(self.modem.poll_timeout())
            || due(world.cable.next_ms().map(Tick))
            || self.modem.is_free() && due(self.line.poll_timeout(now).map(|(at, _)| at))
            || due(self.told.poll_timeout())
    }

    /// Begins a reload.
    pub(super) fn reload(&mut self, config: Config, now: Tick) {
        if self.reload.is_none() && config.chargers != self.hub.config().chargers {
            self.hub.lines_close(now);
            self.line.shut_down(now);
            self.reload = Some(Box::new(config));
        }
    }

    // The loop.

    fn turn(&mut self, disk: &mut Disk, now: Tick) {
        while let Some((_, generation, form)) = self.writes.pop_front_if(|(at, ..)| *at <= now) {
            let ok = !disk.refuses;
            if ok {
                disk.text = form.text().ok();
            }
            let trouble = (!ok).then(|| "the disk refuses".to_owned());
            self.hub.saved(Saved { generation, trouble });
        }
        while let Some(event) = self.to_loop.pop_front() {
            self.hub.bus(&event, now);
            self.hub.settle(now);
        }
        self.go_on_reloading(now);
        self.hub.settle(now);
        if self.hub.poll_timeout().is_some_and(|due| due <= now) {
            self.hub.handle_timeout(now);
        }
        self.effects(disk, now);
        let due = self.hub.poll_timeout().is_some_and(|due| due <= now);
        if due || self.status_at.is_none_or(|at| now.since(at) >= STATUS_EVERY) {
            self.show(disk, now);
        }
    }

    fn go_on_reloading(&mut self, now: Tick) {
        let ended = self.line.ended() && self.modem.is_free();
        let Some(config) = self.reload.take_if(|_| ended) else { return };
        self.memories = self.line.memories(now);
        self.hub.reconfigure(*config, true, now);
        let memory = self.memories.remove(&CAR);
        (self.line, self.told) = line(&self.hub, &self.profile, memory, now);
        self.order = None;
    }

    fn effects(&mut self, disk: &Disk, now: Tick) {
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Line(_, BusCommand::Order(order)) => {
                    self.seen.decided_ms = now.0;
                    if let Some(setpoint) = order.setpoint {
                        self.seen.orders.push((now.0, setpoint));
                        if self.shown != Some(setpoint) {
                            self.shown = Some(setpoint);
                            self.status_at = None;
                        }
                    }
                    self.order = Some(order);
                }
                Effect::Line(_, BusCommand::Wake(_)) => self.wake = true,
                Effect::Line(_, BusCommand::Shutdown) => {}
                Effect::Refresh => {
                    self.publishes = true;
                    let _ = self.session.publish(&format!("{}/refresh", self.base), b"1".to_vec());
                }
                Effect::Refused(refused) => {
                    self.publishes = true;
                    let text = refused.refusal.to_string();
                    let _ = self.session.publish(&format!("{}/error", self.base), text.into_bytes());
                }
                Effect::Store(generation, form) => {
                    self.writes.push_back((now + Millis(disk.takes_ms), generation, form));
                }
            }
        }
    }

    fn show(&mut self, disk: &Disk, now: Tick) {
        self.status_at = Some(now);
        let wall_ms = 1_780_000_000_000 + i64::try_from(now.0).unwrap_or(0) + disk.wall_off_ms;
        let (status, _) = self.hub.status(now, || wall_ms);
        self.effects(disk, now);
        self.publishes = true;
        if let Some(charger) = status.chargers.first() {
            self.seen.mode = Some(charger.view.mode);
            self.seen.energy = charger.energy;
            self.seen.reason = charger.view.reason.to_string();
        }
        for (topic, payload) in crate::mqtt::state::messages(&self.base, &status) {
            let _ = self.session.set_state(&topic, payload.into_bytes());
        }
    }

    // The network.

    fn network(&mut self, world: &mut World, now: Tick) {
        while let Some(delivery) = world.post.poll(now.0) {
            match delivery {
                Delivery::Accepted => self.session.handle(Signal::Connected, now),
                Delivery::Refused => self.lost(DownKind::Refused, now),
                Delivery::Cut => self.lost(DownKind::Closed, now),
                Delivery::Subscribed(count) => self.session.handle(Signal::Subscribed(vec![true; count]), now),
                Delivery::Acked(packet) => self.session.handle(Signal::Acked(packet), now),
                Delivery::Message { topic, payload, retained } => self.message(topic, payload, retained, now),
            }
        }
        if self.session.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.session.handle_timeout(now);
        }
        while let Some(action) = self.session.poll_action(now) {
            match action {
                Action::Connect => world.post.connect(now.0),
                Action::Subscribe(topics) => world.post.subscribe(&topics, now.0),
                Action::Publish { topic, payload, retain } => {
                    if topic.ends_with("/refresh") {
                        world.home.refresh(now.0);
                    }
                    let packet = world.post.send(&topic, payload, retain, now.0);
                    self.session.handle(Signal::Sent(packet), now);
                }
                Action::Disconnect | Action::Close => world.post.close(),
                Action::Tell(notice) => self.tell(notice, now),
            }
        }
    }

    fn lost(&mut self, kind: DownKind, now: Tick) {
        self.session.handle(Signal::Lost(Trouble::plain(kind)), now);
    }

    fn message(&mut self, topic: String, payload: Vec<u8>, retained: bool, now: Tick) {
        if topic == format!("{}/status", self.base) {
            if !retained {
                let ours = payload == b"online";
                self.session.handle(if ours { Signal::Heard } else { Signal::Overwritten }, now);
            }
            return;
        }
        self.session.handle(Signal::Message, now);
        let is_number = std::str::from_utf8(&payload).is_ok_and(|text| text.parse::<f64>().is_ok());
        let is_site = self.site.contains(&topic);
        if is_site && is_number && !retained {
            self.seen.live_ms = Some(now.0);
        }
        let mode = std::str::from_utf8(&payload).ok().and_then(Mode::from_name);
        if let Some(mode) = mode.filter(|_| topic.ends_with("/set/mode") && !retained) {
            self.seen.asked = Some((mode, now.0));
        }
        let event = Event::Message { topic, payload, retained };
        if is_site {
            self.hub.site(&event, now);
        } else {
            self.hub.set(&event, now);
        }
        self.hub.settle(now);
    }

    fn tell(&mut self, notice: Notice, now: Tick) {
        let event = match notice {
            Notice::Up { .. } => Event::Up,
            Notice::Down { trouble, retry_in, .. } => {
                Event::Down { kind: trouble.kind, why: trouble.sentence(), retry_in }
            }
            Notice::Refused(topics) => Event::SubscriptionRefused { topics },
            Notice::Granted => Event::SubscriptionRefused { topics: Vec::new() },
            Notice::LeftOut(topics) => Event::LeftOut { topics },
            Notice::Unheard(topic) => Event::Unheard { why: Some(topic) },
            Notice::HeardAgain => Event::Unheard { why: None },
            Notice::Steady { .. } => return,
        };
        self.hub.site(&event, now);
        self.hub.settle(now);
    }

    // The line.

    fn line(&mut self, world: &mut World, now: Tick) {
        if let Some(order) = self.order.take() {
            self.line.tell(order.charger, Input::Order(order), now);
        }
        if std::mem::take(&mut self.wake) {
            self.line.tell(CAR, Input::Wake, now);
        }
        let mut busy = false;
        while self.to_loop.len() < EVENTS_MAX {
            if let Some(result) = self.modem.pass(&mut world.cable, now) {
                self.line.handle(result, now);
                busy = true;
            }
            while let Some(output) = self.told.poll(&mut self.line, now) {
                if let Output::Event(event) = output {
                    self.to_loop.push_back(event);
                }
            }
            if !self.modem.is_free() || self.line.ended() {
                break;
            }
            let Some(op) = self.line.poll_op(now) else { break };
            self.modem.begin(op, &mut world.cable, now);
        }
        if busy {
            self.to_loop.extend(self.told.take_tries(&self.line));
        }
        self.told.handle_timeout(now);
    }
}

/// The line of the configured charger.
fn line(hub: &Hub, profile: &Arc<Profile>, memory: Option<Memory>, now: Tick) -> (Line, Events) {
    let setup = hub.config().chargers[&CAR].clone();
    let before = Before { unlock_first: hub.is_locked(&setup.name), memory };
    let chargers = BTreeMap::from([(CAR, (setup, Arc::clone(profile), before))]);
    let (line, names) = assemble(chargers, profile.link, now);
    (line, Events::new("the line".to_owned(), names))
}
