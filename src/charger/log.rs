//! Which notices of the chargers become lines of the log. Pure.
//!
//! A wallbox that answers every second request, a line that comes and goes, a state that toggles: each writes two lines for each round. Of many
//! notices on one subject only some are written, and then the newest, with the number of those between.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use control::{ChargerId, Millis, Tick};

use super::driver::{Notice, Subject};
use crate::rate::Lines;

/// Lines on one subject of one charger: so many at once, then one for each span. An eventful day needs fewer.
const LINES: (u32, Millis) = (20, Millis::from_secs(300));

/// What was written, and what waits. Bounded: a few subjects for each charger, and one notice for each.
#[derive(Debug, Default)]
pub(crate) struct Log {
    subjects: BTreeMap<(ChargerId, Subject), Told>,
}

#[derive(Debug)]
struct Told {
    lines: Lines,
    /// The newest of those that were left out.
    waiting: Option<Notice>,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) charger: ChargerId,
    pub(crate) notice: Notice,
    /// Notices on the same subject that were left out before it.
    pub(crate) left_out: u64,
}

impl Log {
    /// A notice has come: the line to be written, if there is room for it.
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

    /// When there is room for a line that waits.
    pub(crate) fn poll_timeout(&self) -> Option<Tick> {
        self.subjects.values().filter_map(|told| told.lines.due()).min()
    }

    /// A line that has waited, once there is room for it; poll until `None`.
    pub(crate) fn poll(&mut self, now: Tick) -> Option<Entry> {
        self.subjects.iter_mut().find_map(|((charger, _), told)| {
            let left_out = told.waiting.is_some().then(|| told.lines.late(now)).flatten()?;
            told.waiting.take().map(|notice| Entry { charger: *charger, notice, left_out })
        })
    }

    /// The end: what waits is written now. Poll until `None`.
    pub(crate) fn poll_last(&mut self) -> Option<Entry> {
        self.poll(self.poll_timeout()?)
    }
}
