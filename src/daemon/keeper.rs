//! Keeps what must survive a restart: modes, limits, counters, locks and accounts. Pure: it returns what is to be written.
//!
//! [`super::state`] defines what is kept and its file. This module decides what goes in and how soon it is written: each write wears the
//! memory card, but the user's choices, a start and a lock must be on the disk at once.

use std::collections::BTreeMap;

use control::{
    CarryOver, ChargerId, ChargerReport, Input, Milliamps, Millis, Restore, Snapshot, Tick, WattHours, Watts,
};
use tracing::info;

use super::account::{Calendar, Look, Origin};
use super::energy::Replaced;
use super::moment::Moment;
use super::recorder::Recorder;
use super::state::{ChargerState, Form, Found, Saved, State, Store, Uptime};
use crate::config::Config;
use crate::model::Names;
use crate::model::status::{Session, Status, Tally};
use crate::rate::Bucket;

/// Shortest time between two writes of the state, except for locks and urgent changes: each write wears the memory card.
pub(super) const STORE_PAUSE: Millis = Millis::from_secs(5);
/// Urgent changes written at once before they too are limited to one write per [`STORE_PAUSE`].
pub(super) const URGENT_STORES: u32 = 5;
/// How often the state is stored without an urgent change, for the energy counters and for what could not be stored before: a few hundred
/// bytes, hardly any wear.
const STORE_EVERY: Millis = Millis::from_secs(900);
/// The same while the disk refuses to store it.
const RETRY_EVERY: Millis = Millis::from_secs(60);
/// Steps per battery budget: the energy drawn from the battery is stored in steps of the budget divided by this.
const STORED_STEPS: i64 = 100;

/// See the module.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) state: State,
    names: Names,
    /// A tick and the machine's uptime at that tick.
    anchor: (Tick, Uptime),
    /// The newest form of the state that was given out to be written.
    written: Option<Form>,
    /// Number of forms given out; each has its number.
    generation: u64,
    /// The form to be written next.
    unwritten: Option<Form>,
    /// Wake-ups waiting for their lock to be on the disk, each with the generation to wait for.
    wakes: Vec<(ChargerId, u64)>,
    /// The newest generation that was written, or could not be.
    pub(super) stored: u64,
    /// Why it could not be written, in a sentence.
    trouble: Option<String>,
    /// How soon the state must be stored.
    unstored: Store,
    /// When the state was last stored.
    pub(super) stored_at: Option<Tick>,
    /// When the state was last stored without an urgent change ([`STORE_EVERY`], [`RETRY_EVERY`]).
    looked_at: Option<Tick>,
    urgent_stores: Bucket,
    /// The setpoints of the previous turn: a change to zero is a stop.
    setpoints: BTreeMap<ChargerId, Milliamps>,
    /// The steps in which the energy drawn from the battery is stored.
    step: WattHours,
    calendar: Calendar,
    counted_at: Tick,
}

/// Whether a wake-up may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    /// The charger's lock is on the disk.
    Go(ChargerId),
    /// The charger's lock could not be stored.
    Impossible(ChargerId),
}

impl Keeper {
    /// Starts with the stored state, at `now` and this uptime of the machine.
    pub(super) fn new(state: State, uptime: Uptime, now: Tick) -> Self {
        Self {
            state,
            names: Names::default(),
            anchor: (now, uptime),
            written: None,
            generation: 0,
            unwritten: None,
            wakes: Vec::new(),
            stored: 0,
            trouble: None,
            unstored: Store::Never,
            stored_at: None,
            looked_at: None,
            urgent_stores: Bucket::new(URGENT_STORES, STORE_PAUSE),
            setpoints: BTreeMap::new(),
            step: WattHours(0),
            calendar: Calendar::new(),
            counted_at: now,
        }
    }

    /// Makes an entry for every configured charger. `found` says whether a charger without stored state may have lost it.
    pub(super) fn configure(&mut self, config: &Config, names: &Names, found: Found, now: Tick) {
        let new = config.chargers.iter().filter_map(|(id, setup)| {
            let limits = config.control.chargers.get(id)?;
            Some((setup.name.clone(), ChargerState::new(limits.mode, limits.fixed, found)))
        });
        self.state.make_room(new.collect(), self.moment(now));
        self.names = names.clone();
        self.step = WattHours(config.control.battery.drain_budget.0 / STORED_STEPS);
    }

    /// Passes the kept state to the controller; the battery's energy only if the controller is new.
    pub(super) fn restore(&self, controller: &mut Recorder, now: Tick, energy: bool) {
        let moment = self.moment(now);
        for (charger, name) in self.names.iter() {
            if let Some(kept) = self.state.get(name) {
                let stopped_ago = kept.stopped.map(|stopped| moment.since(stopped));
                let restore = Restore { charger, mode: kept.mode, fixed: kept.fixed, stopped_ago };
                controller.handle(Input::Restore(restore), now);
            }
        }
        let carried = self.state.carry_over(&self.names, moment, energy);
        controller.handle(Input::CarryOver(carried), now);
    }

    /// Keeps what counts towards limits over 24 hours; returns how soon it must be stored.
    pub(super) fn count(&mut self, counts: &CarryOver, now: Tick) -> Store {
        let moment = self.moment(now);
        self.state.take(counts, &self.names, moment, self.step)
    }

    /// Records a stop for every charger with a setpoint: shutting down stops the charge, and the minimum off time counts from here, also
    /// after a restart.
    pub(super) fn note_stops(&mut self, snapshot: &Snapshot, now: Tick) {
        let moment = self.moment(now);
        for (id, view) in &snapshot.chargers {
            if view.setpoint > Milliamps::ZERO {
                self.change(*id, |state| state.stopped = Some(moment));
            }
        }
    }

    /// Forgets everything kept by charger id, because the chargers may have changed places in the file.
    pub(super) fn forget_places(&mut self) {
        self.setpoints.clear();
        self.wakes.clear();
    }

    /// Records that these chargers have stopped charging.
    pub(super) fn at_rest(&mut self, chargers: &[ChargerId]) {
        for charger in chargers {
            self.change(*charger, |state| state.running = false);
        }
    }

    /// Changes what is kept for a charger.
    fn change(&mut self, charger: ChargerId, change: impl FnOnce(&mut ChargerState)) {
        if let Some(state) = self.state.get_mut(self.names.get(charger)) {
            change(state);
        }
    }

    /// Adds the time since the last look to the accounts.
    pub(super) fn look(&mut self, snapshot: &Snapshot, now: Tick, wall_ms: impl FnOnce() -> i64) {
        let look = Look {
            span: now.since(self.counted_at),
            origin: Origin::of(snapshot),
            moment: self.moment(now),
            day: self.calendar.day(now, wall_ms),
            running: now.since(self.anchor.0),
        };
        self.counted_at = now;
        for (id, view) in &snapshot.chargers {
            self.change(*id, |state| state.account.look(view, &look));
        }
    }

    /// Returns what a charger has delivered in total, today, and since its car was plugged in.
    pub(super) fn energies(&self, name: &str, now: Tick) -> (Option<WattHours>, Tally, Option<Session>) {
        let Some(state) = self.state.get(name) else { return (None, Tally::ZERO, None) };
        let moment = self.moment(now);
        let session = state.account.session.map(|(since, tally)| Session { lasts: moment.since(since), tally });
        (state.meter.total(), state.account.today, session)
    }

    /// Counts the reading of the charger's energy counter, as far as the charger could have delivered that energy.
    pub(super) fn count_energy(&mut self, report: &ChargerReport, most: Milliamps) {
        let Some(energy) = report.energy else { return };
        let mut replaced = None;
        self.change(report.charger, |state| replaced = state.meter.read(energy, power_of(most), report.at));
        if let Some(Replaced { from, to }) = replaced {
            let name = self.names.get(report.charger);
            info!(
                "{name}: its energy counter has gone from {from} to {to}, which it cannot have delivered; counting continues from there"
            );
        }
    }

    /// Records that a wake-up may lock a charger, or that the charger is unlocked again. A wake-up waits until the lock is on the disk
    /// ([`Self::saved`]).
    pub(super) fn lock(&mut self, charger: ChargerId, locked: bool, now: Tick) {
        if let Some(state) = self.state.get_mut(self.names.get(charger)) {
            if locked && state.locked {
                // Not unlocked yet: one pulse at a time.
                return;
            }
            state.locked = locked;
        }
        let generation = self.save(now);
        if locked {
            self.wakes.push((charger, generation));
        }
    }

    /// Returns why nothing can be stored at present, in a sentence.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    /// Whether a charger may have been left locked.
    pub(super) fn is_locked(&self, name: &str) -> bool {
        self.state.get(name).is_some_and(|state| state.locked)
    }

    /// Takes the result of an attempt to store, and returns the wake-ups it decides. A wake-up pulse starts only once its lock is on the
    /// disk, so that the next start unlocks the charger whatever happens.
    pub(super) fn saved(&mut self, saved: Saved) -> Vec<Wake> {
        let ok = saved.trouble.is_none();
        self.stored = saved.generation;
        self.trouble = saved.trouble;
        if !ok {
            // Written again although nothing has changed.
            self.written = None;
        }
        let (ready, waiting): (Vec<_>, Vec<_>) =
            self.wakes.drain(..).partition(|(_, generation)| *generation <= saved.generation);
        self.wakes = waiting;
        let wake = |(charger, _)| if ok { Wake::Go(charger) } else { Wake::Impossible(charger) };
        let wakes: Vec<_> = ready.into_iter().map(wake).collect();
        for wake in &wakes {
            if let Wake::Impossible(charger) = wake {
                self.change(*charger, |state| state.locked = false);
            }
        }
        wakes
    }

    /// Keeps what has changed, and stores it as soon as the pause between writes allows. Locks do not wait for this ([`Self::lock`]).
    pub(super) fn show(&mut self, status: &Status, counts: &CarryOver) {
        let mut store = Store::Never;
        let moment = self.moment(status.at);
        for charger in &status.chargers {
            let view = &charger.view;
            let before = self.setpoints.insert(charger.id, view.setpoint);
            let stops = view.setpoint == Milliamps::ZERO && before.is_some_and(|before| before > Milliamps::ZERO);
            let Some(state) = self.state.get_mut(&charger.name) else { continue };
            if state.mode != view.mode || state.fixed != view.fixed {
                store = Store::AtOnce;
            }
            state.mode = view.mode;
            state.fixed = view.fixed;
            if stops {
                state.stopped = Some(moment);
                store = store.max(Store::Soon);
            }
        }
        // After the modes: what the battery gives counts in `solar` only.
        store = store.max(self.count(counts, status.at));
        let every = if self.trouble.is_some() { RETRY_EVERY } else { STORE_EVERY };
        if self.looked_at.is_none_or(|at| status.at.since(at) >= every) {
            self.looked_at = Some(status.at);
            store = store.max(Store::Soon);
        }
        self.store(store, status.at);
    }

    fn store(&mut self, wanted: Store, now: Tick) {
        self.unstored = self.unstored.max(wanted);
        if self.poll_timeout().is_some_and(|due| due <= now) {
            if self.unstored == Store::AtOnce {
                self.urgent_stores.take(now);
            }
            self.unstored = Store::Never;
            self.stored_at = Some(now);
            self.save(now);
        }
    }

    /// When the state must be stored.
    pub(super) fn poll_timeout(&self) -> Option<Tick> {
        let paused = self.stored_at.map_or(Tick(0), |at| at + STORE_PAUSE);
        match self.unstored {
            Store::Never => None,
            Store::Soon => Some(paused),
            Store::AtOnce => Some(paused.min(self.urgent_stores.next())),
        }
    }

    /// Has the current state written if it differs from what was last written; returns the generation to wait for.
    pub(super) fn save(&mut self, now: Tick) -> u64 {
        let uptime = Uptime { boot: self.anchor.1.boot.clone(), now: self.moment(now) };
        let form = Form::new(&self.state, &uptime);
        if !self.written.as_ref().is_some_and(|written| written.says_the_same_as(&form)) {
            self.generation += 1;
            self.unwritten = Some(form.clone());
            self.written = Some(form);
        }
        self.generation
    }

    /// Returns the next form to write, with its generation. The outcome comes back through [`Self::saved`].
    pub(super) fn poll_store(&mut self) -> Option<(u64, Form)> {
        Some((self.generation, self.unwritten.take()?))
    }

    fn moment(&self, now: Tick) -> Moment {
        let (tick, uptime) = &self.anchor;
        uptime.now.after(now.since(*tick))
    }
}

/// Upper bound on the power of three phases at this current: 230 V plus 10 %.
fn power_of(current: Milliamps) -> Watts {
    let milliwatts = u64::from(current.0) * 3 * 253;
    Watts(i32::try_from(milliwatts / 1_000).unwrap_or(i32::MAX))
}
