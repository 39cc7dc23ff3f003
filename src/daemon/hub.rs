//! What the loop knows and decides: facts, requests and time in, effects out. Pure apart from the log: [`super::turn`] waits for the facts
//! and carries out the effects, and the fault simulation drives the same code in virtual time.

use std::collections::{BTreeMap, VecDeque};

use control::{Action, ChargerId, ChargerView, Command, Input, Milliamps, Mode, Tick};
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::intake::Intake;
use super::keeper::{Keeper, Wake};
use super::recorder::Recorder;
use super::requests::{Granted, Refused, Requests};
use super::state::{Form, Found, Saved, State, Uptime};
use super::view::View;
use crate::charger::bus::{BusCommand, BusEvent};
use crate::clock::Clock;
use crate::config::Config;
use crate::journal::Journal;
use crate::model::Names;
use crate::model::request::{Answer, Origin, Setting};
use crate::model::status::Status;
use crate::mqtt::link::Event;
use crate::wording;

/// Something to be carried out outside.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Send a command to the line of this charger.
    Line(ChargerId, BusCommand),
    /// Publish a request for fresh samples.
    Refresh,
    /// Publish a refusal.
    Refused(Refused),
    /// Store this form of the state under its generation; the outcome comes back through [`Hub::saved`].
    Store(u64, Form),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(super) config: Config,
    pub(super) controller: Recorder,
    pub(super) intake: Intake,
    pub(super) requests: Requests,
    pub(super) keeper: Keeper,
    pub(super) view: View,
    /// Bounded by what one turn of the loop handles, as it is emptied after each.
    effects: VecDeque<Effect>,
    /// Whether a decision was completed since the status was last built.
    decided: bool,
}

impl Hub {
    /// Starts with what is kept from an earlier run, at `now` and this uptime of the machine, and records in the journal if there is one.
    pub(crate) fn new(
        config: Config,
        (state, found): (State, Found),
        uptime: Uptime,
        journal: Option<(Journal, Clock)>,
        now: Tick,
    ) -> Self {
        let names = names(&config);
        let mut keeper = Keeper::new(state, uptime, now);
        let mut controller = Recorder::new(config.control.clone(), now, names.as_map().clone(), journal);
        keeper.configure(&config, &names, found, now);
        keeper.restore(&mut controller, now, true);
        Self {
            controller,
            intake: Intake::new(&config),
            requests: Requests::new(&config.publish.base_topic, names.clone()),
            keeper,
            view: View::new(names, now),
            effects: VecDeque::new(),
            decided: false,
            config,
        }
    }

    /// The configuration in force.
    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    /// Whether the charger of this name may have been left locked.
    pub(crate) fn is_locked(&self, name: &str) -> bool {
        self.keeper.is_locked(name)
    }

    /// Handles an event from the site's sources or about the connection to the broker.
    pub(crate) fn site(&mut self, event: &Event, now: Tick) {
        let was_up = self.view.is_connected();
        self.view.broker(event, now);
        if self.view.is_connected() != was_up {
            self.intake.link(!was_up, now);
        }
        self.intake.handle(event, now);
    }

    /// Handles an event on the topics under `set/`.
    pub(crate) fn set(&mut self, event: &Event, now: Tick) {
        self.requests.handle(event, now);
    }

    /// Handles a request to change a user's setting that did not come over MQTT.
    pub(crate) fn ask(&mut self, setting: &Setting, origin: Origin, reply: Option<oneshot::Sender<Answer>>, now: Tick) {
        self.requests.set(setting, origin, reply, now);
    }

    /// Handles an event of a charger's line.
    pub(crate) fn bus(&mut self, event: &BusEvent, now: Tick) {
        self.view.bus(event, now);
        match *event {
            BusEvent::Report(report) => {
                let configured = self.config.control.chargers.get(&report.charger).map(|charger| charger.max);
                let most = report.box_max.or(configured).unwrap_or(Milliamps::PILOT_MIN).max(Milliamps::PILOT_MIN);
                self.keeper.count_energy(&report, most);
                self.controller.handle(Input::Report(report), now);
            }
            BusEvent::WakeUpDone(charger) => self.keeper.lock(charger, false, now),
            // Notices are logged where they arise; the end of a line shows when its thread ends.
            BusEvent::Notice { .. }
            | BusEvent::LineDown { .. }
            | BusEvent::NextTry { .. }
            | BusEvent::ShutDown { .. }
            | BusEvent::Ended => {}
        }
    }

    /// Handles the outcome of an attempt to store the state: wake-up pulses whose lock is now on the disk start.
    pub(crate) fn saved(&mut self, saved: Saved) {
        for wake in self.keeper.saved(saved) {
            match wake {
                Wake::Go(charger) => self.effects.push_back(Effect::Line(charger, BusCommand::Wake(charger))),
                Wake::Impossible(_) => warn!("not waking the car: its lock could not be stored first"),
            }
        }
    }

    /// Passes on what is ready: readings and requests whose turn has come to the controller, its actions to the effects. To be called after
    /// each fact, because the controller's actions must be taken before its next input.
    pub(crate) fn settle(&mut self, now: Tick) {
        self.act(now);
        while let Some(reading) = self.intake.poll(now) {
            debug!(source = reading.source.name(), value = ?reading.value, reading.retained, "reading");
            self.controller.handle(Input::Reading(reading), now);
            self.act(now);
        }
        while let Some(granted) = self.requests.poll(now) {
            self.grant(granted, now);
        }
        while let Some(refused) = self.requests.poll_refused() {
            self.effects.push_back(Effect::Refused(refused));
        }
    }

    /// Handles the passing of time.
    pub(crate) fn handle_timeout(&mut self, now: Tick) {
        self.settle(now);
        self.intake.handle_timeout(now);
        self.requests.handle_timeout(now);
        if self.controller.poll_timeout().is_some_and(|(due, _)| due <= now) {
            self.controller.handle_timeout(now);
        }
        self.act(now);
    }

    /// Returns when [`Self::handle_timeout`] or [`Self::status`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Tick> {
        let controller = self.controller.poll_timeout().map(|(due, _)| due);
        let all = [controller, self.intake.poll_timeout(), self.requests.poll_timeout(), self.keeper.poll_timeout()];
        all.into_iter().flatten().min()
    }

    /// Returns the next effect; poll until `None`.
    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        let store = |keeper: &mut Keeper| keeper.poll_store().map(|(generation, form)| Effect::Store(generation, form));
        self.effects.pop_front().or_else(|| store(&mut self.keeper))
    }

    /// Keeps what must survive a restart, and returns the status for the outputs, and whether a decision was completed since the last
    /// call. `wall_ms` reads the wall clock, in milliseconds since 1970 UTC.
    pub(crate) fn status(&mut self, now: Tick, wall_ms: impl FnOnce() -> i64) -> (Status, bool) {
        let snapshot = self.controller.snapshot();
        self.keeper.look(&snapshot, now, wall_ms);
        let status = self.view.status(snapshot, &self.keeper, &self.intake, self.controller.trouble(), now);
        self.keeper.show(&status, &self.controller.carry_over(now));
        (status, std::mem::take(&mut self.decided))
    }

    /// Carries out a request and answers with what is then decided.
    pub(super) fn grant(&mut self, granted: Granted, now: Tick) {
        let before = self.wishes();
        self.controller.handle(Input::Command(granted.command), now);
        self.act(now);
        let changed = self.wishes() != before;
        let decided = self.decided_for(granted.command);
        self.requests.done(granted, changed, &decided, now);
    }

    fn wishes(&self) -> Vec<(Mode, Milliamps)> {
        self.controller.snapshot().chargers.values().map(|view| (view.mode, view.fixed)).collect()
    }

    /// Describes what is decided for the chargers that the command applies to, one line per charger.
    fn decided_for(&self, command: Command) -> String {
        let (Command::Mode { charger, .. } | Command::FixedCurrent { charger, .. }) = command;
        let snapshot = self.controller.snapshot();
        let its = snapshot.chargers.iter().filter(|(id, _)| charger.is_none_or(|charger| charger == **id));
        let line = |(id, view): (&ChargerId, &ChargerView)| {
            format!("{}: {}", self.view.name(*id), wording::decision(view.setpoint, view.mode, &view.reason))
        };
        its.map(line).collect::<Vec<_>>().join("\n")
    }

    /// Takes the controller's actions.
    fn act(&mut self, now: Tick) {
        while let Some(action) = self.controller.poll_action() {
            match action {
                Action::Order(order) => {
                    self.decided = true;
                    self.effects.push_back(Effect::Line(order.charger, BusCommand::Order(order)));
                }
                Action::Wake(charger) => {
                    info!("waking the car at {}", self.view.name(charger));
                    self.keeper.lock(charger, true, now);
                }
                Action::Refresh if self.view.is_connected() => {
                    self.effects.push_back(Effect::Refresh);
                    self.intake.asked(now);
                }
                Action::Refresh => {}
            }
        }
    }

    // A new configuration, and the end.

    /// Notes that the lines are about to be closed with the safe current, which stops every charge.
    pub(crate) fn lines_close(&mut self, now: Tick) {
        self.keeper.note_stops(&self.controller.snapshot(), now);
    }

    /// Takes a new configuration. `anew`: all lines have been closed for it, and the chargers may have changed places.
    pub(crate) fn reconfigure(&mut self, config: Config, anew: bool, now: Tick) {
        let names = names(&config);
        if anew {
            self.count(now);
        }
        self.config = config;
        self.keeper.configure(&self.config, &names, Found::Whole, now);
        if anew {
            self.begin_chargers_anew(now);
        } else {
            self.controller.handle(Input::Reconfigure(self.config.control.clone()), now);
        }
        self.controller.rename(names.as_map().clone(), now);
        self.view.reconfigure(names.clone());
        self.requests.reconfigure(&self.config.publish.base_topic, names);
        self.intake.reconfigure(&self.config);
    }

    /// Makes the controller forget all chargers, which may have changed places, and passes it what is kept for each of them by name.
    pub(super) fn begin_chargers_anew(&mut self, now: Tick) {
        let none = control::Config { chargers: BTreeMap::new(), ..self.config.control.clone() };
        self.controller.handle(Input::Reconfigure(none), now);
        self.controller.handle(Input::Reconfigure(self.config.control.clone()), now);
        self.keeper.restore(&mut self.controller, now, false);
        self.view.forget_chargers();
        self.keeper.forget_places();
    }

    /// Starts over with other inputs, or another broker.
    pub(crate) fn moved(&mut self, now: Tick) {
        self.intake.move_on(&self.config);
        if self.view.is_connected() {
            self.intake.link(false, now);
        }
        self.view.moved(now);
    }

    /// Adds the stops and limits of an end in good order to what is kept.
    pub(crate) fn ends(&mut self, now: Tick) {
        self.keeper.note_stops(&self.controller.snapshot(), now);
        self.count(now);
    }

    /// Passes what counts towards limits over 24 hours to the keeper.
    fn count(&mut self, now: Tick) {
        self.keeper.count(&self.controller.carry_over(now), now);
    }
}

/// Returns the names of the configured chargers.
pub(super) fn names(config: &Config) -> Names {
    config.chargers.iter().map(|(id, setup)| (*id, setup.name.clone())).collect()
}
