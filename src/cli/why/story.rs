//! What the journal knows about one moment, and what led to it.

use std::collections::BTreeMap;

use control::{ChargerId, Command, Fault, Input, Milliamps, Reachability, Tick, Vehicle};

use super::super::when::local;
use crate::journal::reader::{ReadError, Reader};
use crate::journal::{Batch, Damaged, Decided, Head, Record};
use crate::wording::{current, is_out_of_reach};

/// Events shown for each charger, the latest ones.
const EVENTS: usize = 6;
/// How many batches are searched backwards for when the present state began: some two weeks.
const BATCHES: usize = 2_000;
/// The clock counts as set if it differs by more than this from what it should be, in milliseconds. Less is a clock being slewed.
const CLOCK_SET_MS: u64 = 5_000;

/// Everything known about a moment.
pub(super) struct Story {
    /// Everything in force at that moment.
    pub(super) head: Head,
    /// History of each charger.
    pub(super) chargers: BTreeMap<ChargerId, Told>,
    /// How the moment relates to the one requested.
    pub(super) place: Place,
}

/// How the moment found relates to the one requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the requested one.
    Exact,
    /// It is the last one recorded.
    End,
    /// It is the last one before a gap; the next record has this wall-clock time, in milliseconds since 1970 UTC.
    Gap(i64),
    /// It is the last one before the clock was set to this time, in milliseconds since 1970 UTC.
    ClockSet(i64),
}

/// What led to a charger's setpoint. Times are ticks, because the wall clock may have been set in between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// When it began to charge, or not to charge, for this kind of reason.
    pub(super) since: Option<Tick>,
    /// The latest events, oldest first.
    pub(super) events: Vec<Event>,
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// When it happened.
    pub(super) at: Tick,
    /// What happened, in words.
    pub(super) text: String,
    /// Set if only the setpoint changed, from this value: further such changes are merged into this event.
    drift_from: Option<Milliamps>,
}

impl Story {
    /// The wall-clock time of an earlier tick, by the clock of the moment found.
    pub(super) fn wall_ms(&self, tick: Tick) -> i64 {
        let ago = i64::try_from(self.head.tick.since(tick).0).unwrap_or(i64::MAX);
        self.head.wall_ms.saturating_sub(ago)
    }
}

/// Looks up a moment on the wall clock, in milliseconds since 1970 UTC, or the end of the journal; `None` if the journal has nothing from
/// that time or before.
pub(super) fn tell(reader: &Reader, wanted_ms: Option<i64>) -> Result<Option<Story>, ReadError> {
    let found = match wanted_ms {
        Some(wanted_ms) => find(reader, wanted_ms)?,
        None => {
            reader.last()?.map(|id| Ok::<_, ReadError>((id, reader.batch(id)?, usize::MAX, Place::End))).transpose()?
        }
    };
    let Some((mut id, batch, records, place)) = found else { return Ok(None) };
    let (head, mut scan) = Scan::of(&batch, records, id)?;
    let mut chargers: BTreeMap<ChargerId, Told> = head.decided.keys().map(|id| (*id, Told::default())).collect();
    for _ in 0..BATCHES {
        let mut content = true;
        for (charger, told) in &mut chargers {
            told.since = told.since.or_else(|| scan.changed.get(charger).copied());
            let mut earlier = scan.events.remove(charger).unwrap_or_default();
            earlier.append(&mut told.events);
            told.events = earlier;
            content &= told.since.is_some() && told.events.len() >= 2;
        }
        let before = if content { None } else { reader.batch_before(id)? };
        let Some(before) = before else { break };
        id = before;
        match reader.batch(id).and_then(|batch| Scan::of(&batch, usize::MAX, id)) {
            Ok((_, earlier)) => scan = earlier,
            Err(_) => break,
        }
    }
    for told in chargers.values_mut() {
        let surplus = told.events.len().saturating_sub(EVENTS);
        told.events.drain(..surplus);
    }
    Ok(Some(Story { head, chargers, place }))
}

/// Finds the batch that contains a moment on the wall clock, how many of its records precede it, and how exact that is. Searches by
/// sequence: if the clock showed the same time more than once, the last occurrence counts.
fn find(reader: &Reader, wanted_ms: i64) -> Result<Option<(i64, Batch, usize, Place)>, ReadError> {
    let mut best: Option<(i64, Batch, Spot)> = None;
    let mut unreadable = None;
    for id in reader.batches_around(wanted_ms)? {
        let spot = reader.batch(id).and_then(|batch| match spot(&batch, wanted_ms) {
            Ok(spot) => Ok(spot.map(|spot| (id, batch, spot))),
            Err(source) => Err(ReadError::Damaged { id, source }),
        });
        match spot {
            Ok(Some(found)) if best.as_ref().is_none_or(|(_, _, best)| found.2.is_better_than(best)) => {
                let exact = found.2.exact;
                best = Some(found);
                if exact {
                    break;
                }
            }
            Ok(_) => {}
            Err(error) => unreadable = Some(error),
        }
    }
    // The unreadable batch may be the one requested.
    if let Some(error) = unreadable.filter(|_| best.as_ref().is_none_or(|(_, _, spot)| !spot.exact)) {
        return Err(error);
    }
    let Some((id, batch, spot)) = best else { return Ok(None) };
    let place = match (spot.clock_set_to, reader.next_began_ms(id)?) {
        _ if spot.exact => Place::Exact,
        (Some(wall_ms), _) => Place::ClockSet(wall_ms),
        (None, Some(next_ms)) if next_ms < wanted_ms => Place::ClockSet(next_ms),
        (None, Some(next_ms)) => Place::Gap(next_ms),
        (None, None) => Place::End,
    };
    Ok(Some((id, batch, spot.records, place)))
}

/// A place in a batch.
#[derive(Debug, Clone, Copy)]
struct Spot {
    /// Number of records before it.
    records: usize,
    /// The wall clock at the last of those records, in milliseconds since 1970 UTC.
    wall_ms: i64,
    /// The batch continues past the requested time without the clock being set.
    exact: bool,
    /// The clock was set to this time next.
    clock_set_to: Option<i64>,
}

impl Spot {
    const fn is_better_than(&self, other: &Self) -> bool {
        !other.exact && (self.exact || self.wall_ms > other.wall_ms)
    }
}

/// Finds where a batch reaches a moment on the wall clock, or comes closest before it: the last such place, as the clock may have been set
/// meanwhile.
fn spot(batch: &Batch, wanted_ms: i64) -> Result<Option<Spot>, Damaged> {
    let at = |records: usize, wall_ms: i64| {
        let spot = Spot { records, wall_ms, exact: wall_ms == wanted_ms, clock_set_to: None };
        (wall_ms <= wanted_ms).then_some(spot)
    };
    let keep = |best: &mut Option<Spot>, new: Option<Spot>| {
        let later = new.filter(|new| best.is_none_or(|best| new.exact || new.is_better_than(&best)));
        *best = later.or(*best);
    };
    let mut best = None;
    let mut current = at(0, batch.head.wall_ms);
    let (mut tick_before, mut wall_before) = (batch.head.tick, batch.head.wall_ms);
    for (place, record) in batch.records().enumerate() {
        let (tick, record) = record?;
        let passed = i64::try_from(tick.since(tick_before).0).unwrap_or(i64::MAX);
        let expected_ms = wall_before.saturating_add(passed);
        let wall_ms = if let Record::Wall(wall_ms) = record { wall_ms } else { expected_ms };
        if wall_ms.abs_diff(expected_ms) > CLOCK_SET_MS {
            let set = |spot: Spot| Spot {
                exact: spot.exact || expected_ms >= wanted_ms,
                clock_set_to: Some(wall_ms),
                ..spot
            };
            keep(&mut best, current.map(set));
            current = at(place + 1, wall_ms);
        } else if let Some(spot) = &mut current {
            if wall_ms <= wanted_ms {
                (spot.records, spot.wall_ms) = (place + 1, wall_ms);
            }
            spot.exact |= wall_ms >= wanted_ms;
        }
        (tick_before, wall_before) = (tick, wall_ms);
    }
    keep(&mut best, current);
    Ok(best)
}

/// The history in one batch.
struct Scan {
    /// When each charger last began or stopped charging, or the kind of reason changed.
    changed: BTreeMap<ChargerId, Tick>,
    events: BTreeMap<ChargerId, Vec<Event>>,
}

impl Scan {
    /// Goes through the first `records` records of a batch; returns also what was in force after them.
    fn of(batch: &Batch, records: usize, id: i64) -> Result<(Head, Self), ReadError> {
        let mut head = batch.head.clone();
        let mut scan = Self { changed: BTreeMap::new(), events: BTreeMap::new() };
        for record in batch.records().take(records) {
            let (tick, record) = record.map_err(|source| ReadError::Damaged { id, source })?;
            scan.note(&head, tick, &record);
            head.apply(tick, &record);
        }
        Ok((head, scan))
    }

    fn decided(&mut self, old: Option<&Decided>, new: &Decided, at: Tick) {
        let Some(old) = old.filter(|old| old.setpoint != new.setpoint || !same(old, new)) else { return };
        let events = self.events.entry(new.charger).or_default();
        let mut from = old.setpoint;
        let drifts = same(old, new);
        if !drifts {
            self.changed.insert(new.charger, at);
        } else if let Some(first) = events.last().and_then(|event| event.drift_from) {
            from = first;
            events.pop();
        }
        let text = if is_out_of_reach(&new.reason) {
            format!("{}; {}", new.reason, current(new.setpoint, &new.reason))
        } else if from == new.setpoint {
            format!("{from}: {}", new.reason)
        } else {
            format!("{from} → {}: {}", new.setpoint, new.reason)
        };
        events.push(Event { at, text, drift_from: drifts.then_some(from) });
    }

    fn note(&mut self, before: &Head, at: Tick, record: &Record) {
        let mut event = |charger: ChargerId, text: String| {
            let event = Event { at, text, drift_from: None };
            self.events.entry(charger).or_default().push(event);
        };
        match record {
            Record::Decided(new) => self.decided(before.decided.get(&new.charger), new, at),
            Record::Input(Input::Report(new)) => {
                let gist = |link: Reachability, vehicle: Vehicle, fault: Option<Fault>| (link, vehicle, fault);
                let old = before.reports.get(&new.charger).map(|old| gist(old.link, old.vehicle, old.fault));
                if old != Some(gist(new.link, new.vehicle, new.fault)) {
                    let fault = new.fault.map(|fault| format!(", fault: {}", fault.name())).unwrap_or_default();
                    event(new.charger, format!("wallbox {}, car {}{fault}", new.link.name(), new.vehicle.name()));
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
            Record::Wall(wall_ms) => {
                let expected_ms = before.wall_ms_at(at, &Record::Timeout);
                if wall_ms.abs_diff(expected_ms) > CLOCK_SET_MS {
                    let text = format!("the clock was set from {} to {}", local(expected_ms), local(*wall_ms));
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

/// Whether both charge or both do not, for the same kind of reason.
fn same(one: &Decided, other: &Decided) -> bool {
    let gist = |of: &Decided| (of.setpoint > Milliamps::ZERO, of.reason.code(), of.mode);
    gist(one) == gist(other)
}
