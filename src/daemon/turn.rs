//! One turn of the loop: wait for something, take all that is there, act, show.

use std::collections::BTreeMap;
use std::time::Duration;

use control::{Action, ChargerId, ChargerReport, Input, Milliamps, Tick, Watts};
use tracing::{debug, info, warn};

use super::energy::Replaced;
use super::intake::Told;
use super::lines::{Closing, first_end};
use super::state::{Found, Moment, Saved, Store};
use super::{Control, Daemon, Ended, STORE_PAUSE, TURN_MAX, link_setup, make_room, names, restore};
use crate::charger::bus::{BusCommand, BusEnd, BusEvent};
use crate::config::Config;
use crate::mqtt::link::{self, Event};
use crate::rate::left_out;

/// What woke the loop.
enum Woken {
    Control(Option<Control>),
    Mqtt(Option<Event>),
    Bus(Option<BusEvent>),
    Saved(Option<Saved>),
    Time,
    LinkEnded,
    LineEnded(BusEnd),
    LineClosed,
    Relay,
}

impl Daemon {
    /// Turns until told to stop, or until something that must not end has ended.
    pub(super) async fn turns(&mut self) -> Ended {
        loop {
            let first = self.wait().await;
            if let Some(ended) = self.take(first).await {
                return ended;
            }
            let mut decided = self.take_the_rest();
            let now = self.clock.now();
            decided |= self.tell_controller(now);
            self.intake.time(now);
            if let Some(count) = self.command_lines.rest(now) {
                info!("{count} more commands were carried out that were not logged one by one");
            }
            if self.controller.poll_timeout().is_some_and(|(due, _)| due <= now) {
                self.controller.handle_timeout(now);
            }
            decided |= self.act();
            self.desk.send(&self.link);
            self.show(now, decided);
        }
    }

    async fn wait(&mut self) -> Woken {
        let due = self.controller.poll_timeout().map_or(self.clock.now(), |(due, _)| due);
        let due =
            [self.intake.poll_timeout(), self.store_due(), self.lines_due()].into_iter().flatten().fold(due, Tick::min);
        tokio::select! {
            biased;
            control = self.controls.recv() => Woken::Control(control),
            event = self.bus_events.recv() => Woken::Bus(event),
            event = self.link_events.recv() => Woken::Mqtt(event),
            saved = self.saved.recv() => Woken::Saved(saved),
            () = self.clock.sleep_until(due) => Woken::Time,
            () = self.link.ended() => Woken::LinkEnded,
            end = first_end(self.buses.values_mut()) => Woken::LineEnded(end),
            _ = first_end(self.closing.iter_mut().map(Closing::bus)) => Woken::LineClosed,
            () = self.desk.wait(self.clock) => Woken::Relay,
        }
    }

    async fn take(&mut self, woken: Woken) -> Option<Ended> {
        let broken = |what: &str| Some(Ended::Broken { what: what.to_owned() });
        if self.lines_due().is_some_and(|due| due <= self.clock.now()) {
            return broken("a line that was closed for new settings did not end");
        }
        match woken {
            Woken::Control(None | Some(Control::Stop)) => return Some(Ended::Asked { proven: false }),
            Woken::Control(Some(Control::Reload(config))) => {
                if let Err(error) = self.reload(*config).await {
                    return broken(&format!("a line cannot be opened: {error}"));
                }
            }
            Woken::Mqtt(Some(event)) => self.mqtt(event),
            Woken::Bus(Some(event)) => self.bus(&event),
            Woken::Saved(Some(saved)) => self.saved(saved),
            Woken::Time | Woken::Relay => {}
            Woken::Mqtt(None) | Woken::LinkEnded => return broken("the MQTT task has ended"),
            Woken::Bus(None) => return broken("the lines have ended"),
            Woken::LineEnded(end) => return broken(&format!("the thread of a line has ended: {end:?}")),
            Woken::LineClosed => {
                if let Err(error) = self.lines_closed() {
                    return broken(&format!("a line cannot be opened: {error}"));
                }
            }
            Woken::Saved(None) => return broken("the thread of the stored state has ended"),
        }
        None
    }

    /// Takes what else is ready, so that a burst of messages is shown once; returns whether there was a decision. The controller wants
    /// its actions taken after each fact: of several orders for a charger the line keeps the last.
    pub(super) fn take_the_rest(&mut self) -> bool {
        let mut decided = self.tell_controller(self.clock.now()) | self.act();
        for _ in 0..TURN_MAX {
            if let Ok(event) = self.bus_events.try_recv() {
                self.bus(&event);
            } else if let Ok(event) = self.link_events.try_recv() {
                self.mqtt(event);
            } else {
                break;
            }
            decided |= self.tell_controller(self.clock.now()) | self.act();
        }
        decided
    }

    pub(super) fn mqtt(&mut self, event: Event) {
        match event {
            Event::Up => self.link_changed(true),
            Event::Down { .. } => self.link_changed(false),
            Event::SubscriptionRefused { topics } => self.intake.refused(&topics),
            Event::LeftOut { topics } => self.intake.left_out(&topics),
            Event::Unheard { why } => self.intake.unheard(why),
            Event::Message { topic, payload, retained } => self.message(&topic, &payload, retained),
        }
    }

    fn link_changed(&mut self, up: bool) {
        if self.link_up != up {
            self.intake.link(up, self.clock.now());
        }
        self.link_up = up;
        self.desk.link(up, self.clock);
    }

    pub(super) fn message(&mut self, topic: &str, payload: &[u8], retained: bool) {
        let now = self.clock.now();
        if self.desk.message(topic, payload, retained, self.clock) {
            return;
        }
        self.intake.message(topic, payload, retained, now);
    }

    /// Tells the controller what has come from the broker, as far as its time has come; returns whether there was a decision.
    pub(super) fn tell_controller(&mut self, now: Tick) -> bool {
        let mut decided = false;
        while let Some(told) = self.intake.poll(now) {
            match told {
                Told::Reading(reading) => {
                    debug!(source = reading.source.name(), value = ?reading.value, reading.retained, "reading");
                    self.controller.handle(Input::Reading(reading), now);
                }
                Told::Command(command) => self.command(command, now),
            }
            decided |= self.act();
        }
        decided
    }

    /// Carries out a wish; one that changes nothing is not worth a line, as automations may repeat it for ever.
    pub(super) fn command(&mut self, command: control::Command, now: Tick) {
        let before = self.wishes();
        self.controller.handle(Input::Command(command), now);
        if self.wishes() == before {
            debug!(?command, "a command that changes nothing");
            return;
        }
        let Some(more) = self.command_lines.line(now).map(left_out) else { return };
        match command {
            control::Command::Mode { charger, mode } => {
                info!(mode = %mode, "mode {mode} for {}{more}", self.name_or_all(charger));
            }
            control::Command::FixedCurrent { charger, current } => {
                info!(current = %current, "fixed current {current} for {}{more}", self.name_or_all(charger));
            }
        }
    }

    fn wishes(&self) -> Vec<(control::Mode, Milliamps)> {
        self.controller.snapshot().chargers.values().map(|view| (view.mode, view.fixed)).collect()
    }

    pub(super) fn bus(&mut self, event: &BusEvent) {
        match *event {
            BusEvent::Report(report) => {
                self.count_energy(&report);
                self.controller.handle(Input::Report(report), self.clock.now());
            }
            BusEvent::Woken(charger) => self.lock(charger, false),
            // Notices are logged where they arise; the end of a line is noticed by its thread's end.
            BusEvent::Notice { .. } | BusEvent::ShutDown { .. } | BusEvent::Ended => {}
        }
    }

    /// Takes the charger's energy counter, as far as the charger could have carried that.
    fn count_energy(&mut self, report: &ChargerReport) {
        let Some(energy) = report.energy else { return };
        let configured = self.config.control.chargers.get(&report.charger).map(|charger| charger.max);
        let most = report.box_max.or(configured).unwrap_or(Milliamps::PILOT_MIN).max(Milliamps::PILOT_MIN);
        let mut replaced = None;
        self.keep_of(report.charger, |state| replaced = state.meter.read(energy, power_of(most), report.at));
        if let Some(Replaced { from, to }) = replaced {
            let name = self.name_or_all(Some(report.charger));
            info!(
                "{name}: its energy counter has gone from {from} to {to}, which it cannot have carried; counting goes on from there"
            );
        }
    }

    pub(super) fn lock(&mut self, charger: ChargerId, locked: bool) {
        let name = self.name_or_all(Some(charger)).to_owned();
        if let Some(state) = self.state.get_mut(&name) {
            if locked && state.locked {
                // Still to be unlocked; one pulse at a time.
                return;
            }
            state.locked = locked;
        }
        let generation = self.writer.save(&self.state);
        if locked {
            self.wakes.push((charger, generation));
        }
    }

    /// A wake-up pulse begins only when the lock is on the disk: whatever happens then, the next start unlocks.
    pub(super) fn saved(&mut self, saved: Saved) {
        self.stored = saved.generation;
        if !saved.ok {
            self.writer.forget();
        }
        let (ready, waiting): (Vec<_>, Vec<_>) =
            self.wakes.drain(..).partition(|(_, generation)| *generation <= saved.generation);
        self.wakes = waiting;
        for (charger, _) in ready {
            if saved.ok {
                self.tell(charger, BusCommand::Wake(charger));
            } else {
                warn!("not waking the car: the lock cannot be written down first");
                let name = self.name_or_all(Some(charger)).to_owned();
                if let Some(state) = self.state.get_mut(&name) {
                    state.locked = false;
                }
            }
        }
    }

    fn tell(&self, charger: ChargerId, command: BusCommand) {
        if let Some(bus) = self.config.chargers.get(&charger).and_then(|setup| self.buses.get(&setup.link)) {
            bus.send(command);
        }
    }

    /// Carries out what was decided; returns whether there was a decision.
    fn act(&mut self) -> bool {
        let mut decided = false;
        while let Some(action) = self.controller.poll_action() {
            match action {
                Action::Order(order) => {
                    decided = true;
                    self.tell(order.charger, BusCommand::Order(order));
                }
                Action::Wake(charger) => {
                    info!("waking the car at {}", self.name_or_all(Some(charger)));
                    self.lock(charger, true);
                }
                Action::Refresh if self.link_up => {
                    let topic = format!("{}/refresh", self.config.publish.base_topic);
                    let _ = self.link.publish(&topic, "1");
                    self.intake.asked(self.clock.now());
                }
                Action::Refresh => {}
            }
        }
        decided
    }

    /// Log, topics, stored state, systemd.
    pub(super) fn show(&mut self, now: Tick, decided: bool) {
        let snapshot = self.controller.snapshot();
        let mut store = Store::Never;
        for (id, view) in &snapshot.chargers {
            let Some(setup) = self.config.chargers.get(id) else { continue };
            let Some(state) = self.state.get_mut(&setup.name) else { continue };
            if state.mode != view.mode || state.fixed != view.fixed {
                store = Store::AtOnce;
            }
            state.mode = view.mode;
            state.fixed = view.fixed;
            if self.outlet.stopped(*id, view.setpoint) {
                state.stopped = Some(Moment::now());
                store = store.max(Store::Soon);
            }
        }
        store = store.max(self.count_limits(now));
        let energies = self.energies();
        if self.outlet.show(&snapshot, &energies, now, &self.link, self.link_up, &self.intake) {
            store = store.max(Store::Soon);
        }
        self.store(store, now);
        if decided {
            self.notifier.decided(now, &self.outlet.status_line(&snapshot));
        }
        self.snapshots.send_replace(Some(snapshot));
    }

    /// Stores the state if it is time, or as soon as it is. Locks do not wait for it ([`Self::lock`]).
    fn store(&mut self, wanted: Store, now: Tick) {
        self.unstored = self.unstored.max(wanted);
        if self.store_due().is_some_and(|due| due <= now) {
            if self.unstored == Store::AtOnce {
                self.urgent_stores.take(now);
            }
            self.unstored = Store::Never;
            self.stored_at = Some(now);
            self.writer.save(&self.state);
        }
    }

    /// When the state is to be stored.
    fn store_due(&self) -> Option<Tick> {
        let paused = self.stored_at.map_or(Tick(0), |at| at + STORE_PAUSE);
        match self.unstored {
            Store::Never => None,
            Store::Soon => Some(paused),
            Store::AtOnce => Some(paused.min(self.urgent_stores.next())),
        }
    }

    pub(super) fn energies(&self) -> BTreeMap<ChargerId, control::WattHours> {
        let energy = |setup: &crate::config::ChargerSetup| self.state.get(&setup.name)?.meter.total();
        self.config.chargers.iter().filter_map(|(id, setup)| Some((*id, energy(setup)?))).collect()
    }

    fn name_or_all(&self, charger: Option<ChargerId>) -> &str {
        charger.and_then(|id| self.config.chargers.get(&id)).map_or("all chargers", |setup| &setup.name)
    }

    /// Takes a new configuration. What did not change goes on undisturbed; if any charger's setup changed, all lines are closed (with the
    /// safe current) and opened anew, which is a stop like any other; a changed broker is left with a farewell.
    pub(super) async fn reload(&mut self, config: Config) -> std::io::Result<()> {
        let moved = link_setup(&config) != link_setup(&self.config) || config.inputs != self.config.inputs;
        let lines_changed = config.chargers != self.config.chargers;
        if config.state_file != self.config.state_file {
            warn!("a new state-file takes effect at the next start");
        }
        if config.journal != self.config.journal {
            warn!("a new [journal] takes effect at the next start");
        }
        if lines_changed {
            // Ids are places in the file: what the lines still say belongs to the old names.
            self.note_stops();
            self.close_lines().await;
            self.count_limits(self.clock.now());
        }
        let old = std::mem::replace(&mut self.config, config);
        self.config.state_file = old.state_file;
        self.config.journal = old.journal;
        make_room(&mut self.state, &self.config, Found::Whole);
        self.desk.reconfigure(&self.config);
        if lines_changed {
            self.begin_chargers_anew();
            self.open_buses()?;
        } else {
            self.controller.handle(Input::Reconfigure(self.config.control.clone()), self.clock.now());
        }
        self.controller.rename(names(&self.config), self.clock.now());
        self.intake.reconfigure(&self.config, &names(&self.config));
        if moved {
            self.intake.move_on(&self.config);
            let (link, events) = link::spawn(link_setup(&self.config), self.clock);
            let old = std::mem::replace(&mut self.link, link);
            self.link_events = events;
            self.link_changed(false);
            old.shutdown(Duration::from_secs(1)).await;
            self.outlet.moved(&self.link);
        }
        self.outlet.reconfigure(self.config.publish.clone(), names(&self.config));
        info!("the configuration was read again");
        Ok(())
    }

    /// The controller forgets all chargers, which may have changed places, and is told what is kept of each by its name.
    pub(super) fn begin_chargers_anew(&mut self) {
        let now = self.clock.now();
        let none = control::Config { chargers: BTreeMap::new(), ..self.config.control.clone() };
        self.controller.handle(Input::Reconfigure(none), now);
        self.controller.handle(Input::Reconfigure(self.config.control.clone()), now);
        restore(&self.state, &self.config, &mut self.controller, now, false);
        self.outlet.forget_chargers();
        self.wakes.clear();
    }
}

/// The most that three phases can carry at this current: 230 V, and a tenth more.
fn power_of(current: Milliamps) -> Watts {
    let milliwatts = u64::from(current.0) * 3 * 253;
    Watts(i32::try_from(milliwatts / 1_000).unwrap_or(i32::MAX))
}
