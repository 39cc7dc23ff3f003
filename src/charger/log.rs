//! Selects the notices of chargers that are written to the log. Pure.
//!
//! A wallbox that answers every second request, a line that comes and goes, or a state that toggles would cause two lines per round. Of
//! many notices on one subject only some are written: the newest one at the time, with the number of those left out.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use control::{ChargerId, Millis, Tick};

use super::driver::{Notice, Subject};
use crate::rate::Lines;

/// Limit on lines per charger and subject: the number allowed in a burst, then one per interval. An eventful day needs fewer.
const LINES: (u32, Millis) = (20, Millis::from_secs(300));

/// Lines written and notices waiting, per subject. Bounded: a few subjects per charger, and one waiting notice each.
#[derive(Debug, Default)]
pub(crate) struct Log {
    subjects: BTreeMap<(ChargerId, Subject), Told>,
}

#[derive(Debug)]
struct Told {
    lines: Lines,
    /// The newest notice that was left out.
    waiting: Option<Notice>,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) charger: ChargerId,
    pub(crate) notice: Notice,
    /// Number of notices on the same subject that were left out before it.
    pub(crate) left_out: u64,
}

impl Log {
    /// Takes a notice; returns the line to write now, if the limit permits one.
    pub(crate) fn take(&mut self, charger: ChargerId, notice: Notice, now: Tick) -> Option<Entry> {
        let Some(subject) = notice.subject() else { return Some(Entry { charger, notice, left_out: 0 }) };
        let new = || Told { lines: Lines::new(LINES.0, LINES.1), waiting: None };
        let told = self.subjects.entry((charger, subject)).or_insert_with(new);
        if let Some(left_out) = told.lines.line(now) {
            told.waiting = None;
            return Some(Entry { charger, notice, left_out });
        }
        told.waiting = Some(notice);
        None
    }

    /// Returns when the limit permits the next waiting line.
    pub(crate) fn poll_timeout(&self) -> Option<Tick> {
        self.subjects.values().filter_map(|told| told.lines.due()).min()
    }

    /// Returns a waiting line once the limit permits it; poll until `None`.
    pub(crate) fn poll(&mut self, now: Tick) -> Option<Entry> {
        self.subjects.iter_mut().find_map(|((charger, _), told)| {
            let left_out = told.waiting.is_some().then(|| told.lines.late(now)).flatten()?;
            told.waiting.take().map(|notice| Entry { charger: *charger, notice, left_out })
        })
    }

    /// Returns the next waiting line at the end of the program, regardless of the limit. Poll until `None`.
    pub(crate) fn poll_last(&mut self) -> Option<Entry> {
        self.poll(self.poll_timeout()?)
    }
}
