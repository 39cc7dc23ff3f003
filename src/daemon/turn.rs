//! One turn of the loop: wait for an event, take all that are ready, act, and show the result.

use control::{Action, Input, Milliamps, Tick};
use tracing::{debug, info, warn};

use super::keeper::Wake;
use super::lines::{Closing, first_end};
use super::requests::Granted;
use super::state::Saved;
use super::{Daemon, Ended, TURN_MAX};
use crate::charger::bus::{BusCommand, BusEnd, BusEvent};
use crate::model::request::{Request, Wish};
use crate::mqtt::link::Event;
use crate::wording;

/// What woke the loop.
enum Woken {
    Asked(Option<Request>),
    Site(Option<Event>),
    Set(Option<Event>),
    Bus(Option<BusEvent>),
    Saved(Option<Saved>),
    Time,
    TaskEnded(&'static str),
    LineEnded(BusEnd),
    LineClosed,
}

impl Daemon {
    /// Runs turns until asked to stop, or until something ends that must keep running.
    pub(super) async fn turns(&mut self) -> Ended {
        loop {
            let first = self.wait().await;
            if let Some(ended) = self.take(first).await {
                return ended;
            }
            let mut decided = self.take_the_rest();
            let now = self.clock.now();
            decided |= self.tell_controller(now);
            self.intake.handle_timeout(now);
            self.requests.handle_timeout(now);
            if self.controller.poll_timeout().is_some_and(|(due, _)| due <= now) {
                self.controller.handle_timeout(now);
            }
            decided |= self.act();
            self.show(now, decided);
        }
    }

    async fn wait(&mut self) -> Woken {
        let due = self.controller.poll_timeout().map_or(self.clock.now(), |(due, _)| due);
        let others =
            [self.intake.poll_timeout(), self.requests.poll_timeout(), self.keeper.poll_timeout(), self.lines_due()];
        let due = others.into_iter().flatten().fold(due, Tick::min);
        tokio::select! {
            biased;
            request = self.asked.recv() => Woken::Asked(request),
            event = self.bus_events.recv() => Woken::Bus(event),
            event = self.site_events.recv() => Woken::Site(event),
            event = self.set_events.recv() => Woken::Set(event),
            saved = self.keeper.next() => Woken::Saved(saved),
            () = self.clock.sleep_until(due) => Woken::Time,
            task = self.tasks.ended() => Woken::TaskEnded(task),
            end = first_end(self.buses.values_mut()) => Woken::LineEnded(end),
            _ = first_end(self.closing.iter_mut().map(Closing::bus)) => Woken::LineClosed,
        }
    }

    async fn take(&mut self, woken: Woken) -> Option<Ended> {
        let broken = |what: &str| Some(Ended::Broken { what: what.to_owned() });
        if self.lines_due().is_some_and(|due| due <= self.clock.now()) {
            return broken("a line that was closed for new settings did not end");
        }
        match woken {
            Woken::Asked(None) => return Some(Ended::Asked { proven: false }),
            Woken::Asked(Some(request)) => return self.asked(request).await,
            Woken::Site(Some(event)) => self.site(&event),
            Woken::Set(Some(event)) => self.set(&event),
            Woken::Bus(Some(event)) => self.bus(&event),
            Woken::Saved(Some(saved)) => self.saved(saved),
            Woken::Time => {}
            Woken::TaskEnded(task) => return broken(&format!("{task} has ended")),
            Woken::Site(None) | Woken::Set(None) => return broken("the MQTT task has ended"),
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

    /// Handles a request that did not come over MQTT.
    async fn asked(&mut self, request: Request) -> Option<Ended> {
        let Request { wish, origin, reply } = request;
        match wish {
            Wish::Stop => return Some(Ended::Asked { proven: false }),
            Wish::Reload(config) => {
                if let Err(error) = self.reload(*config).await {
                    return Some(Ended::Broken { what: format!("a line cannot be opened: {error}") });
                }
                if let Some(reply) = reply {
                    let _ = reply.send(Ok("the configuration was read again".to_owned()));
                }
            }
            Wish::Set(setting) => self.requests.set(&setting, origin, reply, self.clock.now()),
        }
        None
    }

    /// Takes all other events that are ready, so that a burst of messages is shown once; returns whether a decision was made. The
    /// controller's actions must be taken after each fact; if a charger gets several orders, its line keeps the last.
    pub(super) fn take_the_rest(&mut self) -> bool {
        let mut decided = self.tell_controller(self.clock.now()) | self.act();
        for _ in 0..TURN_MAX {
            if let Ok(event) = self.bus_events.try_recv() {
                self.bus(&event);
            } else if let Ok(event) = self.set_events.try_recv() {
                self.set(&event);
            } else if let Ok(event) = self.site_events.try_recv() {
                self.site(&event);
            } else {
                break;
            }
            decided |= self.tell_controller(self.clock.now()) | self.act();
        }
        decided
    }

    /// Handles an event from the site's sources or about the connection to the broker.
    pub(super) fn site(&mut self, event: &Event) {
        let now = self.clock.now();
        let was_up = self.view.is_connected();
        self.view.broker(event, now);
        if self.view.is_connected() != was_up {
            self.intake.link(!was_up, now);
        }
        self.intake.handle(event, now);
    }

    /// Handles an event on the topics under `set/`.
    pub(super) fn set(&mut self, event: &Event) {
        self.requests.handle(event, self.clock.now());
    }

    /// Passes the readings and requests whose turn has come to the controller; returns whether a decision was made.
    pub(super) fn tell_controller(&mut self, now: Tick) -> bool {
        let mut decided = false;
        while let Some(reading) = self.intake.poll(now) {
            debug!(source = reading.source.name(), value = ?reading.value, reading.retained, "reading");
            self.controller.handle(Input::Reading(reading), now);
            decided |= self.act();
        }
        while let Some(granted) = self.requests.poll(now) {
            decided |= self.grant(granted, now);
        }
        while let Some(refused) = self.requests.poll_refused() {
            self.outputs.refused(&refused, &self.tasks.link);
        }
        decided
    }

    /// Carries out a request and answers with what is then decided; returns whether a decision was made.
    pub(super) fn grant(&mut self, granted: Granted, now: Tick) -> bool {
        let before = self.wishes();
        self.controller.handle(Input::Command(granted.command), now);
        let decided = self.act();
        let changed = self.wishes() != before;
        let decided_text = self.decided(granted.command);
        self.requests.done(granted, changed, &decided_text, now);
        decided
    }

    fn wishes(&self) -> Vec<(control::Mode, Milliamps)> {
        self.controller.snapshot().chargers.values().map(|view| (view.mode, view.fixed)).collect()
    }

    /// Describes what is decided for the chargers that the command applies to, one line per charger.
    fn decided(&self, command: control::Command) -> String {
        let (control::Command::Mode { charger, .. } | control::Command::FixedCurrent { charger, .. }) = command;
        let snapshot = self.controller.snapshot();
        let its = snapshot.chargers.iter().filter(|(id, _)| charger.is_none_or(|charger| charger == **id));
        let line = |(id, view): (&_, &control::ChargerView)| {
            format!("{}: {}", self.view.name(*id), wording::decision(view.setpoint, view.mode, &view.reason))
        };
        its.map(line).collect::<Vec<_>>().join("\n")
    }

    pub(super) fn bus(&mut self, event: &BusEvent) {
        self.view.bus(event, self.clock.now());
        match *event {
            BusEvent::Report(report) => {
                let configured = self.config.control.chargers.get(&report.charger).map(|charger| charger.max);
                let most = report.box_max.or(configured).unwrap_or(Milliamps::PILOT_MIN).max(Milliamps::PILOT_MIN);
                self.keeper.count_energy(&report, most);
                self.controller.handle(Input::Report(report), self.clock.now());
            }
            BusEvent::WakeUpDone(charger) => self.keeper.lock(charger, false),
            // Notices are logged where they arise; the end of a line shows when its thread ends.
            BusEvent::Notice { .. }
            | BusEvent::LineDown { .. }
            | BusEvent::NextTry { .. }
            | BusEvent::ShutDown { .. }
            | BusEvent::Ended => {}
        }
    }

    /// Starts the wake-up pulses whose lock is now on the disk.
    pub(super) fn saved(&mut self, saved: Saved) {
        for wake in self.keeper.saved(saved) {
            match wake {
                Wake::Go(charger) => self.tell(charger, BusCommand::Wake(charger)),
                Wake::Impossible(_) => warn!("not waking the car: its lock could not be stored first"),
            }
        }
    }

    fn tell(&self, charger: control::ChargerId, command: BusCommand) {
        if let Some(bus) = self.config.chargers.get(&charger).and_then(|setup| self.buses.get(&setup.link)) {
            bus.send(command);
        }
    }

    /// Carries out the controller's actions; returns whether a decision was made.
    fn act(&mut self) -> bool {
        let mut decided = false;
        while let Some(action) = self.controller.poll_action() {
            match action {
                Action::Order(order) => {
                    decided = true;
                    self.tell(order.charger, BusCommand::Order(order));
                }
                Action::Wake(charger) => {
                    info!("waking the car at {}", self.view.name(charger));
                    self.keeper.lock(charger, true);
                }
                Action::Refresh if self.view.is_connected() => {
                    self.outputs.refresh(&self.tasks.link);
                    self.intake.asked(self.clock.now());
                }
                Action::Refresh => {}
            }
        }
        decided
    }

    /// Shows the new status on all outputs and keeps what must survive a restart.
    pub(super) fn show(&mut self, now: Tick, decided: bool) {
        let snapshot = self.controller.snapshot();
        self.keeper.look(&snapshot, now, || self.clock.wall_ms(now));
        let status = self.view.status(snapshot, &self.keeper, &self.intake, self.controller.trouble(), now);
        self.keeper.show(&status, &self.controller.carry_over(now));
        self.outputs.show(status, decided, &self.tasks.link);
    }
}
