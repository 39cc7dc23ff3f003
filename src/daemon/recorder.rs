//! The only way to the controller: records every input before the controller handles it, and then every action that results.
//!
//! Replay relies on each fact being followed by its answer, so actions are taken from the controller after each fact and queued here.
//! If records have to be dropped, charging continues, and the next record starts a new run with everything that is in force.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use control::{Action, CarryOver, ChargerId, Config, Controller, Doubt, Input, Millis, Snapshot, Tick, Wake};
use tracing::{info, warn};

use crate::clock::Clock;
use crate::journal::{Decided, Head, Journal, Record, Sample, Start, chargers_decided};

/// How often the wall clock is recorded, so that later records are shown with the right time even after the clock was set.
const WALL_EVERY: Millis = Millis::from_secs(60);

/// A controller whose every input, action and changed decision is recorded.
#[derive(Debug)]
pub(super) struct Recorder {
    controller: Controller,
    actions: VecDeque<Action>,
    tape: Option<Tape>,
    /// Makes every snapshot panic, as a bug would.
    #[cfg(test)]
    pub(super) broken: bool,
}

/// Everything needed for recording.
#[derive(Debug)]
struct Tape {
    journal: Journal,
    clock: Clock,
    config: Config,
    names: BTreeMap<ChargerId, String>,
    decided: BTreeMap<ChargerId, Decided>,
    sample: Option<Sample>,
    wall_at: Tick,
    /// Records dropped since the last one that was taken.
    dropped: u64,
}

impl Recorder {
    /// Creates a controller at `now`, and starts a run in the journal if there is one.
    pub(super) fn new(
        config: Config,
        now: Tick,
        names: BTreeMap<ChargerId, String>,
        journal: Option<(Journal, Clock)>,
    ) -> Self {
        let controller = Controller::new(config.clone(), now);
        let mut tape = journal.map(|(journal, clock)| Tape {
            journal,
            clock,
            decided: chargers_decided(&controller.snapshot()),
            sample: None,
            config,
            names,
            wall_at: now,
            dropped: 0,
        });
        if let Some(tape) = &mut tape {
            tape.begin(Start::Begin, &controller.snapshot(), now);
        }
        Self {
            controller,
            actions: VecDeque::new(),
            tape,
            #[cfg(test)]
            broken: false,
        }
    }

    /// Passes a fact to the controller.
    pub(super) fn handle(&mut self, input: Input, now: Tick) {
        if let Some(tape) = &mut self.tape {
            tape.fact(now, &self.controller, Record::Input(input.clone()));
            if let Input::Reconfigure(config) = &input {
                tape.config.clone_from(config);
            }
        }
        self.controller.handle(input, now);
        self.answered(now);
    }

    /// Tells the controller that time has passed.
    pub(super) fn handle_timeout(&mut self, now: Tick) {
        if let Some(tape) = &mut self.tape {
            tape.fact(now, &self.controller, Record::Timeout);
        }
        self.controller.handle_timeout(now);
        self.answered(now);
    }

    /// When the controller next needs [`Self::handle_timeout`], and why.
    pub(super) fn poll_timeout(&self) -> Option<(Tick, Wake)> {
        self.controller.poll_timeout()
    }

    /// Returns the next action to carry out.
    pub(super) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns what the controller knows and has decided.
    pub(super) fn snapshot(&self) -> Snapshot {
        #[cfg(test)]
        assert!(!self.broken, "a bug in the controller");
        self.controller.snapshot()
    }

    /// Returns what counts towards limits over 24 hours, at `now`.
    pub(super) fn carry_over(&self, now: Tick) -> CarryOver {
        self.controller.carry_over(now)
    }

    /// Returns why nothing can be recorded at present, in a sentence.
    pub(super) fn trouble(&self) -> Option<String> {
        self.tape.as_ref().and_then(|tape| tape.journal.trouble())
    }

    /// Records the chargers' names if they have changed.
    pub(super) fn rename(&mut self, names: BTreeMap<ChargerId, String>, now: Tick) {
        if let Some(tape) = &mut self.tape
            && tape.names != names
        {
            tape.names.clone_from(&names);
            tape.note(now, Record::Names(names));
        }
    }

    /// Stores what was recorded, within the time limit.
    pub(super) async fn close(self, limit: Duration) {
        if let Some(tape) = self.tape
            && !tape.journal.close(limit).await
        {
            warn!("the last minutes could not be written to the journal in time");
        }
    }

    fn answered(&mut self, now: Tick) {
        while let Some(action) = self.controller.poll_action() {
            if let Some(tape) = &mut self.tape {
                tape.note(now, Record::Action(action));
            }
            self.actions.push_back(action);
        }
        if let Some(tape) = &mut self.tape {
            tape.changes(now, &self.controller.snapshot());
        }
    }
}

impl Tape {
    /// Records a fact that the controller is about to handle.
    fn fact(&mut self, now: Tick, controller: &Controller, record: Record) {
        if self.dropped > 0 {
            self.begin(Start::Gap(self.dropped), &controller.snapshot(), now);
        } else if now.since(self.wall_at) >= WALL_EVERY {
            self.wall_at = now;
            self.note(now, Record::Wall(self.clock.wall_ms(now)));
        }
        self.note(now, record);
    }

    /// Records the decisions and the sample that differ from the previous ones.
    fn changes(&mut self, now: Tick, snapshot: &Snapshot) {
        let decided = chargers_decided(snapshot);
        for (id, new) in &decided {
            if self.decided.get(id) != Some(new) {
                self.note(now, Record::Decided(*new));
            }
        }
        self.decided = decided;
        let sample = Sample::of(snapshot);
        let gist = |sample: &Sample| {
            (sample.at, sample.house, sample.surplus, sample.imbalance, sample.doubt.map(Doubt::code))
        };
        if let Some(new) = sample
            && self.sample.as_ref().map(gist) != Some(gist(&new))
        {
            self.note(now, Record::Sample(new));
            self.sample = sample;
        }
    }

    fn note(&mut self, now: Tick, record: Record) {
        if self.dropped > 0 || !self.journal.note(now, record) {
            if self.dropped == 0 {
                warn!("the journal's disk is too slow: records are dropped, charging goes on");
            }
            self.dropped += 1;
        }
    }

    /// Starts a run in the journal with everything that is in force.
    fn begin(&mut self, start: Start, snapshot: &Snapshot, now: Tick) {
        let reports = snapshot.chargers.iter().filter_map(|(id, view)| Some((*id, view.report?)));
        let site = snapshot.site;
        let values = [
            (control::Source::Grid, site.grid.map(|power| power.0)),
            (control::Source::Solar, site.solar.map(|power| power.0)),
            (control::Source::Battery, site.battery.map(|power| power.0)),
            (control::Source::Load, site.load.map(|power| power.0)),
            (control::Source::BatterySoc, site.soc.map(|soc| i32::from(soc.0))),
        ];
        let head = Head {
            decided: self.decided.clone(),
            reports: reports.collect(),
            values: values.into_iter().filter_map(|(source, value)| Some((source, value?))).collect(),
            sample: self.sample,
            ..Head::new(now, self.clock.wall_ms(now), self.config.clone(), self.names.clone())
        };
        if self.journal.begin(start, head) {
            self.wall_at = now;
            if self.dropped > 0 {
                info!(dropped = self.dropped, "recording goes on; {} records are missing", self.dropped);
            }
            self.dropped = 0;
        } else {
            // The very first record always fits, so if this was it, the thread is gone.
            self.dropped = self.dropped.max(1);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
