//! One turn of the loop: wait for an event, take all that are ready, act, and show the result.

use control::Tick;

use super::hub::Effect;
use super::lines::{Closing, first_end};
use super::state::Saved;
use super::{Daemon, Ended, TURN_MAX};
use crate::charger::bus::{BusEnd, BusEvent};
use crate::model::request::{Request, Wish};
use crate::mqtt::link::Event;

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
            self.take_the_rest();
            let now = self.clock.now();
            self.hub.handle_timeout(now);
            self.carry_out();
            self.show(now);
        }
    }

    async fn wait(&mut self) -> Woken {
        let due = [self.hub.poll_timeout(), self.lines_due()].into_iter().flatten().min();
        let due = due.unwrap_or_else(|| self.clock.now());
        tokio::select! {
            biased;
            request = self.asked.recv() => Woken::Asked(request),
            event = self.bus_events.recv() => Woken::Bus(event),
            event = self.site_events.recv() => Woken::Site(event),
            event = self.set_events.recv() => Woken::Set(event),
            saved = self.writer.next() => Woken::Saved(saved),
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
            Woken::Site(Some(event)) => self.hub.site(&event, self.clock.now()),
            Woken::Set(Some(event)) => self.hub.set(&event, self.clock.now()),
            Woken::Bus(Some(event)) => self.hub.bus(&event, self.clock.now()),
            Woken::Saved(Some(saved)) => self.hub.saved(saved),
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
            Wish::Set(setting) => self.hub.ask(&setting, origin, reply, self.clock.now()),
        }
        None
    }

    /// Takes all other events that are ready, so that a burst of messages is shown once. If a charger gets several orders, its line keeps
    /// the last.
    pub(super) fn take_the_rest(&mut self) {
        self.hub.settle(self.clock.now());
        for _ in 0..TURN_MAX {
            if let Ok(event) = self.bus_events.try_recv() {
                self.hub.bus(&event, self.clock.now());
            } else if let Ok(event) = self.set_events.try_recv() {
                self.hub.set(&event, self.clock.now());
            } else if let Ok(event) = self.site_events.try_recv() {
                self.hub.site(&event, self.clock.now());
            } else {
                break;
            }
            self.hub.settle(self.clock.now());
        }
        self.carry_out();
    }

    /// Carries out what was decided.
    pub(super) fn carry_out(&mut self) {
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Line(charger, command) => {
                    let link = self.hub.config.chargers.get(&charger).map(|setup| &setup.link);
                    if let Some(bus) = link.and_then(|link| self.buses.get(link)) {
                        bus.send(command);
                    }
                }
                Effect::Refresh => {
                    self.outputs.refresh(&self.tasks.link);
                }
                Effect::Refused(refused) => self.outputs.refused(&refused, &self.tasks.link),
                Effect::Store(generation, form) => self.writer.write(generation, form),
            }
        }
    }

    /// Shows the new status on all outputs and keeps what must survive a restart.
    pub(super) fn show(&mut self, now: Tick) {
        let clock = self.clock;
        let (status, decided) = self.hub.status(now, || clock.wall_ms(now));
        self.carry_out();
        self.outputs.show(status, decided, &self.tasks.link);
    }
}
