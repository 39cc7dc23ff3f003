//! What the journal tells of one moment, and of what led to it.

use std::collections::BTreeMap;

use control::{ChargerId, Command, Fault, Input, Link, Milliamps, Vehicle};

use super::super::when::time_of_day;
use crate::journal::reader::{ReadError, Reader};
use crate::journal::{Batch, Decided, Head, Record};

/// Events that are told of each charger, the last ones.
const EVENTS: usize = 6;
/// How many batches are looked through for since when it has been so: some two weeks.
const BATCHES: usize = 2_000;

/// Everything that is known of a moment.
pub(super) struct Story {
    /// All that was in force.
    pub(super) head: Head,
    /// What is told of each charger besides.
    pub(super) chargers: BTreeMap<ChargerId, Told>,
    /// Where nothing is recorded of the moment itself: when it goes on, on the wall clock.
    pub(super) resumed_ms: Option<i64>,
}

/// What led to a charger's setpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Since when it has charged or not charged for this kind of reason, on the wall clock.
    pub(super) since_ms: Option<i64>,
    /// What happened last, the oldest first.
    pub(super) events: Vec<Event>,
}

/// Something that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// When, on the wall clock.
    pub(super) wall_ms: i64,
    /// What.
    pub(super) text: String,
    /// Only the setpoint changed, from this: what follows of the kind is told in the same line.
    drift_from: Option<Milliamps>,
}

/// Looks up what there is of a moment on the wall clock, in milliseconds since 1970 UTC; `None` where the journal begins later.
pub(super) fn tell(reader: &Reader, wanted_ms: i64) -> Result<Option<Story>, ReadError> {
    let Some(mut id) = reader.batch_at(wanted_ms)? else { return Ok(None) };
    let (head, mut scan) = Scan::of(&reader.batch(id)?, wanted_ms, id)?;
    let resumed_ms = (scan.whole).then(|| reader.next_began_ms(id)).transpose()?.flatten();
    let mut chargers: BTreeMap<ChargerId, Told> = head.decided.keys().map(|id| (*id, Told::default())).collect();
    for _ in 0..BATCHES {
        let mut content = true;
        for (charger, told) in &mut chargers {
            told.since_ms = told.since_ms.or_else(|| scan.changed.get(charger).copied());
            let mut earlier = scan.events.remove(charger).unwrap_or_default();
            earlier.append(&mut told.events);
            told.events = earlier;
            content &= told.since_ms.is_some() && told.events.len() >= 2;
        }
        let before = if content { None } else { reader.batch_before(id)? };
        let Some(before) = before else { break };
        id = before;
        match reader.batch(id).and_then(|batch| Scan::of(&batch, i64::MAX, id)) {
            Ok((_, earlier)) => scan = earlier,
            Err(_) => break,
        }
    }
    for told in chargers.values_mut() {
        let surplus = told.events.len().saturating_sub(EVENTS);
        told.events.drain(..surplus);
    }
    Ok(Some(Story { head, chargers, resumed_ms }))
}

/// What one batch tells.
struct Scan {
    /// When it began or ended to charge, or the kind of reason changed, last.
    changed: BTreeMap<ChargerId, i64>,
    events: BTreeMap<ChargerId, Vec<Event>>,
    /// It ended before the moment that was wanted.
    whole: bool,
}

impl Scan {
    /// Goes through a batch up to a moment; returns what was in force then.
    fn of(batch: &Batch, until_ms: i64, id: i64) -> Result<(Head, Self), ReadError> {
        let mut head = batch.head.clone();
        let mut scan = Self { changed: BTreeMap::new(), events: BTreeMap::new(), whole: true };
        for record in batch.records() {
            let (tick, record) = record.map_err(|source| ReadError::Damaged { id, source })?;
            let wall_ms = head.wall_ms_at(tick, &record);
            if wall_ms > until_ms {
                scan.whole = false;
                break;
            }
            scan.note(&head, wall_ms, &record);
            head.apply(tick, &record);
        }
        Ok((head, scan))
    }

    fn decided(&mut self, old: Option<&Decided>, new: &Decided, wall_ms: i64) {
        let Some(old) = old.filter(|old| old.setpoint != new.setpoint || !same(old, new)) else { return };
        let events = self.events.entry(new.charger).or_default();
        let mut from = old.setpoint;
        let drifts = same(old, new);
        if !drifts {
            self.changed.insert(new.charger, wall_ms);
        } else if let Some(first) = events.last().and_then(|event| event.drift_from) {
            from = first;
            events.pop();
        }
        let change = if from == new.setpoint { from.to_string() } else { format!("{from} → {}", new.setpoint) };
        let text = format!("{change}: {}", new.reason);
        events.push(Event { wall_ms, text, drift_from: drifts.then_some(from) });
    }

    fn note(&mut self, before: &Head, wall_ms: i64, record: &Record) {
        let mut event = |charger: ChargerId, text: String| {
            let event = Event { wall_ms, text, drift_from: None };
            self.events.entry(charger).or_default().push(event);
        };
        match record {
            Record::Decided(new) => self.decided(before.decided.get(&new.charger), new, wall_ms),
            Record::Input(Input::Report(new)) => {
                let gist = |link: Link, vehicle: Vehicle, fault: Option<Fault>| (link, vehicle, fault);
                let old = before.reports.get(&new.charger).map(|old| gist(old.link, old.vehicle, old.fault));
                if old != Some(gist(new.link, new.vehicle, new.fault)) {
                    let fault = new.fault.map(|fault| format!(", fault: {}", fault.name())).unwrap_or_default();
                    event(new.charger, format!("box {}, car {}{fault}", new.link.name(), new.vehicle.name()));
                }
            }
            Record::Input(Input::Command(command)) => {
                let (of, text) = match command {
                    Command::Mode { charger, mode } => (charger, format!("the user chose mode {mode}")),
                    Command::FixedCurrent { charger, current } => (charger, format!("the user chose {current}")),
                };
                before
                    .decided
                    .keys()
                    .filter(|id| of.is_none_or(|of| of == **id))
                    .for_each(|id| event(*id, text.clone()));
            }
            Record::Input(Input::Reading(reading)) if reading.value.is_none() => {
                let lost = before.values.contains_key(&reading.source);
                let text = format!("no data for {}", reading.source.name());
                before.decided.keys().filter(|_| lost).for_each(|id| event(*id, text.clone()));
            }
            Record::Input(Input::Reconfigure(_)) => {
                before.decided.keys().for_each(|id| event(*id, "the configuration was read again".to_owned()));
            }
            Record::Wall(_) => {
                let jump = wall_ms.saturating_sub(before.wall_ms);
                if jump.abs() > 5_000 {
                    let text = format!("the clock was set from {}", time_of_day(before.wall_ms));
                    before.decided.keys().for_each(|id| event(*id, text.clone()));
                }
            }
            Record::Input(Input::Reading(_) | Input::Restore(_) | Input::CarryOver(_))
            | Record::Timeout
            | Record::Action(_)
            | Record::Sample(_)
            | Record::Names(_) => {}
        }
    }
}

/// It charges or not, as the other, for the same kind of reason.
fn same(one: &Decided, other: &Decided) -> bool {
    let gist = |of: &Decided| (of.setpoint > Milliamps::ZERO, of.reason.code(), of.mode);
    gist(one) == gist(other)
}
