//! Turns what a line reports into events for the loop and lines of the log. Pure apart from the log.

use std::collections::{BTreeMap, VecDeque};

use control::{ChargerId, Tick};

use super::BusEvent;
use crate::charger::driver::{Event, Level};
use crate::charger::line::{Line, LineEvent, LineNotice, OpenError};
use crate::charger::log::{Entry, Log};
use crate::rate::left_out;
use crate::relay::RelayRequest;

/// What comes from a line.
#[derive(Debug)]
pub(crate) enum Output {
    /// An event for the loop.
    Event(BusEvent),
    /// A request to the relay whose contact switches this charger's phases.
    Contact(ChargerId, RelayRequest),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Events {
    name: String,
    chargers: BTreeMap<ChargerId, String>,
    /// Limits the notices in the log.
    log: Log,
    /// When each charger is tried next, as last reported.
    tries: BTreeMap<ChargerId, Option<Tick>>,
    /// Why the line cannot be used, as last reported.
    trouble: Option<OpenError>,
    ready: VecDeque<Output>,
}

impl Events {
    /// Speaks of a line and its chargers by these names.
    pub(crate) fn new(name: String, chargers: BTreeMap<ChargerId, String>) -> Self {
        Self { name, chargers, log: Log::default(), tries: BTreeMap::new(), trouble: None, ready: VecDeque::new() }
    }

    /// Returns the next output of the line. Poll until `None` after each call of the line.
    pub(crate) fn poll(&mut self, line: &mut Line, now: Tick) -> Option<Output> {
        self.trouble(line);
        while self.ready.is_empty() {
            match line.poll_event()? {
                LineEvent::Line(notice) => self.line(&notice),
                LineEvent::Charger(charger, event) => self.charger(charger, event, now),
            }
        }
        self.ready.pop_front()
    }

    /// Returns the chargers whose next try has changed, with its time.
    pub(crate) fn take_tries(&mut self, line: &Line) -> Vec<BusEvent> {
        let tries = line.next_tries();
        if tries == self.tries {
            return Vec::new();
        }
        let before = std::mem::replace(&mut self.tries, tries.clone());
        let changed = tries.into_iter().filter(|(charger, at)| before.get(charger).copied().flatten() != *at);
        changed.map(|(charger, at)| BusEvent::NextTry { charger, at }).collect()
    }

    /// Returns when [`Self::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Tick> {
        self.log.poll_timeout()
    }

    /// Writes what had to wait in the log.
    pub(crate) fn handle_timeout(&mut self, now: Tick) {
        while let Some(entry) = self.log.poll(now) {
            self.write(&entry);
        }
    }

    /// Writes what still waits, because the line ends.
    pub(crate) fn close(&mut self) {
        while let Some(entry) = self.log.poll_last() {
            self.write(&entry);
        }
    }

    fn charger(&mut self, charger: ChargerId, event: Event, now: Tick) {
        let event = match event {
            Event::Contact(what) => return self.ready.push_back(Output::Contact(charger, what)),
            Event::Notice(notice) => {
                if let Some(entry) = self.log.take(charger, notice.clone(), now) {
                    self.write(&entry);
                }
                BusEvent::Notice { charger, notice }
            }
            Event::Report(report) => BusEvent::Report(report),
            Event::WakeUpDone => BusEvent::WakeUpDone(charger),
            Event::ShutDown { proven } => BusEvent::ShutDown { charger, proven },
        };
        self.ready.push_back(Output::Event(event));
    }

    /// Reports why the line cannot be used, also where the log leaves that out.
    fn trouble(&mut self, line: &Line) {
        if self.trouble.as_ref() == line.trouble() {
            return;
        }
        self.trouble = line.trouble().cloned();
        let Some(error) = &self.trouble else { return };
        let why = format!("line {} cannot be used: {error}", self.name);
        let down = |charger: &ChargerId| BusEvent::LineDown { charger: *charger, why: why.clone() };
        self.ready.extend(self.chargers.keys().map(down).map(Output::Event));
    }

    fn line(&self, notice: &LineNotice) {
        let name = &self.name;
        match notice {
            LineNotice::Up => tracing::info!(line = %name, "line {name} is open"),
            LineNotice::Down(error) => tracing::warn!(line = %name, "line {name} cannot be used: {error}"),
            LineNotice::Unsteady { changes } => tracing::warn!(
                line = %name,
                "line {name} comes and goes: {changes} more changes are not in the log; look at plug, cable and the other end"
            ),
        }
    }

    fn write(&self, entry: &Entry) {
        let name = self.chargers.get(&entry.charger).map_or("?", String::as_str);
        let (notice, rest) = (&entry.notice, left_out(entry.left_out));
        match notice.level() {
            Level::Debug => tracing::debug!(charger = name, "charger {name}: {notice}{rest}"),
            Level::Info => tracing::info!(charger = name, "charger {name}: {notice}{rest}"),
            Level::Warn => tracing::warn!(charger = name, "charger {name}: {notice}{rest}"),
        }
    }
}
