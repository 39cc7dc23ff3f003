//! Replays a recorded run: a fresh controller gets the same input and must give the same output.

use std::collections::{BTreeMap, BTreeSet};

use control::{ChargerId, Controller, Input, Millis, Reading, Restore, Tick};

use crate::journal::FORMAT;
use crate::journal::{Batch, Damaged, Decided, Head, Record, Start, chargers_decided};

/// If the beginning of a run is missing, so is what the controller knew about the last day: starts, energy from the battery, the weather.
/// If it decides differently within this time because of that, the time starts again, because each of its own starts is remembered as well.
pub(super) const WARM_UP: Millis = Millis::from_secs(24 * 3_600);

/// The first output that differs from the recorded one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// Wall clock, in milliseconds since 1970 UTC.
    pub(super) wall_ms: i64,
    /// The controller's input.
    pub(super) fact: Record,
    /// The output then; `None`: nothing more.
    pub(super) recorded: Option<Record>,
    /// The output now; `None`: nothing more.
    pub(super) now: Option<Record>,
    /// Setpoint and reason as recorded, and as decided now.
    pub(super) decided: Vec<(Option<Decided>, Option<Decided>)>,
    /// The chargers' names.
    pub(super) names: BTreeMap<ChargerId, String>,
}

/// Counts of what was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// Inputs of the controller.
    pub(super) facts: u64,
    /// Outputs compared with recorded ones.
    pub(super) answers: u64,
    /// How often the replay had to start without the history.
    pub(super) warm_ups: u32,
    /// Records that were dropped instead of stored.
    pub(super) dropped: u64,
    /// Recorded time that was not compared.
    pub(super) not_compared: Millis,
}

/// An input of the controller, the output recorded for it so far, and the output now.
struct Turn {
    fact: Record,
    expected: Vec<Record>,
    given: Vec<Record>,
}

/// A controller that is fed with recorded input.
pub(super) struct Replay {
    controller: Option<Controller>,
    decided: BTreeMap<ChargerId, Decided>,
    turn: Option<Turn>,
    head: Option<Head>,
    compare_from: Tick,
    /// Until this tick it may decide differently.
    warm_until: Tick,
    /// The oldest format of any batch so far.
    pub(super) format: u64,
    pub(super) counts: Counts,
}

impl Replay {
    pub(super) const fn new() -> Self {
        Self {
            controller: None,
            decided: BTreeMap::new(),
            turn: None,
            head: None,
            compare_from: Tick(0),
            warm_until: Tick(0),
            format: FORMAT,
            counts: Counts { facts: 0, answers: 0, warm_ups: 0, dropped: 0, not_compared: Millis(0) },
        }
    }

    /// Replays the next batch of the run.
    pub(super) fn batch(&mut self, batch: &Batch) -> Result<Option<Difference>, Damaged> {
        self.format = self.format.min(batch.format);
        match batch.start {
            Start::Begin => self.begin(&batch.head),
            Start::Follows if self.controller.is_some() => {}
            Start::Follows => self.begin_warm(&batch.head),
            Start::Gap(dropped) => {
                self.counts.dropped = self.counts.dropped.saturating_add(dropped);
                self.begin_warm(&batch.head);
            }
        }
        for record in batch.records() {
            let (tick, record) = record?;
            if let Some(difference) = self.record(tick, record) {
                return Ok(Some(difference));
            }
        }
        Ok(None)
    }

    /// Skips an unreadable batch: the next one starts without the history.
    pub(super) fn skip(&mut self) {
        self.turn = None;
        self.controller = None;
    }

    /// Ends the run.
    pub(super) fn end(&mut self) -> Option<Difference> {
        self.close()
    }

    /// Wall clock of the last record, in milliseconds since 1970 UTC.
    pub(super) fn wall_ms(&self) -> Option<i64> {
        self.head.as_ref().map(|head| head.wall_ms)
    }

    fn begin(&mut self, head: &Head) {
        let controller = Controller::new(head.config.clone(), head.tick);
        self.decided = chargers_decided(&controller.snapshot());
        self.controller = Some(controller);
        self.turn = None;
        self.head = Some(head.clone());
        self.compare_from = head.tick;
        self.warm_until = head.tick;
    }

    /// Starts in the middle of a run with what is known about the time before.
    fn begin_warm(&mut self, head: &Head) {
        let mut controller = Controller::new(head.config.clone(), head.tick);
        for (charger, decided) in &head.decided {
            let stopped_ago = head.stopped.get(charger).map(|at| head.tick.since(*at));
            let Decided { mode, fixed, .. } = *decided;
            controller.handle(Input::Restore(Restore { charger: *charger, mode, fixed, stopped_ago }), head.tick);
        }
        let reports = head.reports.values().map(|report| Input::Report(*report));
        let reading = |(source, value): (&_, &i32)| {
            Input::Reading(Reading { source: *source, value: Some(*value), retained: false })
        };
        for input in reports.chain(head.values.iter().map(reading)) {
            controller.handle(input, head.tick);
            while controller.poll_action().is_some() {}
        }
        self.decided = chargers_decided(&controller.snapshot());
        self.controller = Some(controller);
        self.turn = None;
        self.head = Some(head.clone());
        self.warm_until = head.tick + WARM_UP;
        self.compare_from = self.warm_until;
        self.counts.warm_ups += 1;
    }

    fn record(&mut self, tick: Tick, record: Record) -> Option<Difference> {
        let difference = if record.is_fact() { self.close() } else { None };
        if let Some(head) = &mut self.head {
            if tick < self.compare_from {
                let passed = tick.since(head.tick);
                self.counts.not_compared = self.counts.not_compared + passed;
            }
            head.apply(tick, &record);
        }
        match record {
            Record::Input(_) | Record::Timeout => self.tell(tick, record),
            Record::Action(_) | Record::Decided(_) => {
                if let Some(turn) = &mut self.turn {
                    turn.expected.push(record);
                }
            }
            Record::Sample(_) | Record::Wall(_) | Record::Names(_) => {}
        }
        difference
    }

    fn tell(&mut self, tick: Tick, fact: Record) {
        let Some(controller) = &mut self.controller else { return };
        match &fact {
            Record::Input(input) => controller.handle(input.clone(), tick),
            Record::Timeout => controller.handle_timeout(tick),
            Record::Action(_) | Record::Decided(_) | Record::Sample(_) | Record::Wall(_) | Record::Names(_) => {}
        }
        let mut given = Vec::new();
        while let Some(action) = controller.poll_action() {
            given.push(Record::Action(action));
        }
        let decided = chargers_decided(&controller.snapshot());
        let changed = decided.iter().filter(|(id, new)| self.decided.get(id) != Some(*new));
        given.extend(changed.map(|(_, new)| Record::Decided(*new)));
        self.decided = decided;
        self.counts.facts += 1;
        self.turn = Some(Turn { fact, expected: Vec::new(), given });
    }

    /// Compares the output, now complete, with the recorded one.
    fn close(&mut self) -> Option<Difference> {
        let Turn { fact, expected, given } = self.turn.take()?;
        let head = self.head.as_ref()?;
        if head.tick < self.warm_until && !alike(&head.decided, &self.decided) {
            self.compare_from = head.tick + WARM_UP;
        }
        if head.tick < self.compare_from {
            return None;
        }
        self.counts.answers += expected.len() as u64;
        if expected == given && head.decided == self.decided {
            return None;
        }
        let place = expected.iter().zip(&given).take_while(|(recorded, now)| recorded == now).count();
        let both = head.decided.keys().chain(self.decided.keys()).collect::<BTreeSet<_>>();
        let decided = both.into_iter().map(|id| (head.decided.get(id).copied(), self.decided.get(id).copied()));
        Some(Difference {
            wall_ms: head.wall_ms,
            fact,
            recorded: expected.get(place).cloned(),
            now: given.get(place).cloned(),
            decided: decided.filter(|(recorded, now)| recorded.is_some() || now.is_some()).collect(),
            names: head.names.clone(),
        })
    }
}

/// Whether both decide the same, ignoring the number of remembered starts.
fn alike(one: &BTreeMap<ChargerId, Decided>, other: &BTreeMap<ChargerId, Decided>) -> bool {
    let without = |decided: &BTreeMap<ChargerId, Decided>| -> Vec<_> {
        decided.values().map(|decided| Decided { starts: 0, ..*decided }).collect()
    };
    without(one) == without(other)
}
