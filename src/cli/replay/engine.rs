//! A recorded run once more: a fresh controller is told the same, and must answer the same.

use std::collections::{BTreeMap, BTreeSet};

use control::{ChargerId, Controller, Input, Millis, Reading, Restore, Tick};

use crate::journal::FORMAT;
use crate::journal::{Batch, Damaged, Decided, Head, Record, Start, chargers_decided};

/// Where the beginning is missing, what the controller knew of the last day is as well: starts, what the battery gave, how the weather
/// was. While it decides otherwise for want of that, within the first such span, the count begins anew: a start of its own is remembered.
pub(super) const WARM_UP: Millis = Millis::from_secs(24 * 3_600);

/// The first answer that is not the recorded one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// Wall clock, in milliseconds since 1970 UTC.
    pub(super) wall_ms: i64,
    /// What the controller was told.
    pub(super) fact: Record,
    /// What it gave then; `None`: nothing more.
    pub(super) recorded: Option<Record>,
    /// What it gives now; `None`: nothing more.
    pub(super) now: Option<Record>,
    /// Setpoint and reason as recorded, and as they are now.
    pub(super) decided: Vec<(Option<Decided>, Option<Decided>)>,
    /// The chargers' names.
    pub(super) names: BTreeMap<ChargerId, String>,
}

/// What was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// What the controller was told.
    pub(super) facts: u64,
    /// What it gave, and what was recorded.
    pub(super) answers: u64,
    /// How often it had to begin without knowing what was before.
    pub(super) warm_ups: u32,
    /// Records that were dropped when they were to be recorded.
    pub(super) dropped: u64,
    /// Recorded time that was not compared.
    pub(super) not_compared: Millis,
}

/// What the controller was told, and what was recorded of its answer so far.
struct Turn {
    fact: Record,
    expected: Vec<Record>,
    given: Vec<Record>,
}

/// A controller that is told what was recorded.
pub(super) struct Replay {
    controller: Option<Controller>,
    decided: BTreeMap<ChargerId, Decided>,
    turn: Option<Turn>,
    head: Option<Head>,
    compare_from: Tick,
    /// Until here it may decide otherwise.
    warm_until: Tick,
    /// The oldest format of a batch so far.
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

    /// Goes through the next batch of the run.
    pub(super) fn batch(&mut self, batch: &Batch) -> Result<Option<Difference>, Damaged> {
        self.format = self.format.min(batch.format);
        match batch.start {
            Start::Begin => self.begin(&batch.head),
            Start::Follows if self.controller.is_some() => {}
            Start::Follows => self.begin_warm(&batch.head),
            Start::Gap(dropped) => {
                self.counts.dropped += dropped;
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

    /// A batch cannot be read: what follows begins anew.
    pub(super) fn skip(&mut self) {
        self.turn = None;
        self.controller = None;
    }

    /// The run is over.
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

    /// Begins in the middle, with what is known of the time before.
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
                self.counts.not_compared = Millis(self.counts.not_compared.0 + passed.0);
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

    /// The answer is complete: is it the recorded one?
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

/// All is decided the same, but for the starts that are remembered.
fn alike(one: &BTreeMap<ChargerId, Decided>, other: &BTreeMap<ChargerId, Decided>) -> bool {
    let without = |decided: &BTreeMap<ChargerId, Decided>| -> Vec<_> {
        decided.values().map(|decided| Decided { starts: 0, ..*decided }).collect()
    };
    without(one) == without(other)
}
