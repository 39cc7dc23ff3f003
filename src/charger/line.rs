//! One line with several chargers: one request at a time with a gap before each, fair turns, and recovery when the line gets out
//! of step or is lost. Pure: it returns the next operation and takes its result.
//!
//! ```text
//!  Closed ──pause──▶ Open ─▶ Drain ─▶ Idle ◀──▶ Busy
//!    ▲                │  ▲     │                   │
//!    ├──── failed ────┴──┼─────┘                   │
//!    │                   └── no answer, or wrong ──┤
//!    └──────────────────── gone ───────────────────┘
//! ```
//! RTU has no transaction ids: a late answer would be mistaken for the answer to the next request. So after a missing or wrong answer, the
//! line is reopened and drained before the next request.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use control::{ChargerId, Millis, Tick};

use super::codec::{Failure, Outcome, Request};
use super::driver::{Driver, Event, Input, Memory, Timer};
use super::profile::LinkDefaults;

/// First pause before a lost line is reopened; doubles up to [`REOPEN_MAX`].
const REOPEN_MIN: Millis = Millis::from_secs(1);
/// Longest such pause.
const REOPEN_MAX: Millis = Millis::from_secs(30);
/// A line that carried an answer and lasted this long resets the pauses. One that comes and goes faster keeps the longer pauses.
const STEADY: Millis = Millis::from_secs(20);
/// At most [`NOTICES_MAX`] changes are reported within this time, whatever a line does.
const NOTICES_WITHIN: Millis = Millis::from_secs(60);
/// See [`NOTICES_WITHIN`].
const NOTICES_MAX: usize = 4;

/// An operation for the bus. One at a time; answer with [`BusResult`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusOp {
    /// Close the line if it is open, and open it by its name.
    Open,
    /// Discard incoming bytes until the line is quiet.
    Drain {
        /// How long nothing may arrive.
        quiet: Millis,
    },
    /// Send a request and wait this long for its answer.
    Send(Request, Millis),
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusResult {
    /// The line is open.
    Opened,
    /// The line cannot be opened.
    OpenFailed(OpenError),
    /// The line is quiet.
    Drained,
    /// The line did not fall quiet, or was lost meanwhile.
    DrainFailed(OpenError),
    /// The request has ended.
    Ended(Outcome),
}

/// Why a line cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// There is no such device.
    Missing,
    /// Another program has it open.
    Busy,
    /// This program already has it open, by another name.
    Ours,
    /// This user lacks permission.
    Denied,
    /// It is not a serial line.
    NotATty,
    /// It never falls quiet.
    Noisy,
    /// It was unplugged or closed.
    Lost,
    /// Anything else, in the system's words.
    Other(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such device: is the adapter plugged in?"),
            Self::Busy => f.write_str("another program has it open"),
            Self::Ours => {
                f.write_str("this surplusd has it open by another name: write the same link for all chargers on it")
            }
            Self::Denied => f.write_str("permission denied: the user must be in the group of the device (dialout)"),
            Self::NotATty => f.write_str("this is not a serial line"),
            Self::Noisy => f.write_str("it never falls quiet: is there another master on the line?"),
            Self::Lost => f.write_str("it was lost: look at the adapter, its plug and the other end"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// A notice about the line itself rather than its chargers. Edges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineNotice {
    /// Open and quiet for the first time, or again.
    Up,
    /// Cannot be used; reported once per reason.
    Down(OpenError),
    /// It has changed too often to report every change.
    Unsteady {
        /// Number of changes left out.
        changes: u32,
    },
}

/// Why [`Line::poll_op`] is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineTimer {
    /// The line is to be opened.
    Open,
    /// The open line is to be drained.
    Drain,
    /// A charger's own timer.
    Charger(ChargerId, Timer),
}

/// An output of the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineEvent {
    /// An event of one charger.
    Charger(ChargerId, Event),
    /// A notice about the line.
    Line(LineNotice),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Closed; opened at this time.
    Closed { at: Tick },
    /// Being opened.
    Opening,
    /// Open, not yet drained.
    Opened,
    /// Being drained.
    Draining,
    /// Free from this time on.
    Idle { from: Tick },
    /// A request of this charger is in progress.
    Busy(ChargerId),
}

/// One line.
#[derive(Debug)]
pub struct Line {
    drivers: BTreeMap<ChargerId, Driver>,
    link: LinkDefaults,
    state: State,
    pause: Millis,
    /// Since when it has been open.
    up_since: Option<Tick>,
    /// A request was answered since then.
    answered: bool,
    /// The charger that had the last turn.
    last: Option<ChargerId>,
    news: News,
}

/// Notices about the line: edges, limited in rate.
#[derive(Debug, Default)]
struct News {
    /// Present state of the line.
    now: Option<LineNotice>,
    /// State last reported.
    said: Option<LineNotice>,
    /// Changes since that report.
    changes: u32,
    /// Times of the last few reports.
    at: VecDeque<Tick>,
    /// Notices to be polled; only a few, as they are polled after every call.
    waiting: VecDeque<LineNotice>,
}

impl News {
    /// Reports the state of the line if it has changed. Call it repeatedly while the state lasts: a report held back now may follow later.
    fn say(&mut self, notice: LineNotice, now: Tick) {
        if self.now.as_ref() != Some(&notice) {
            self.now = Some(notice.clone());
            self.changes = self.changes.saturating_add(1);
        }
        self.at.retain(|at| now.since(*at) < NOTICES_WITHIN);
        if self.said == self.now || self.at.len() >= NOTICES_MAX {
            return;
        }
        let changes = std::mem::take(&mut self.changes).saturating_sub(1);
        if changes > 0 {
            self.waiting.push_back(LineNotice::Unsteady { changes });
        }
        self.at.push_back(now);
        self.said = Some(notice.clone());
        self.waiting.push_back(notice);
    }
}

impl Line {
    /// Creates a closed line that is to be opened at once.
    pub fn new(drivers: BTreeMap<ChargerId, Driver>, link: LinkDefaults, now: Tick) -> Self {
        Self {
            drivers,
            link,
            state: State::Closed { at: now },
            pause: REOPEN_MIN,
            up_since: None,
            answered: false,
            last: None,
            news: News::default(),
        }
    }

    /// Passes an input to one charger (never [`Input::Outcome`] or the state of the line). Unknown chargers are ignored.
    pub fn tell(&mut self, charger: ChargerId, input: Input, now: Tick) {
        if let Some(driver) = self.drivers.get_mut(&charger) {
            driver.handle(input, now);
        }
    }

    /// Starts the shutdown of every charger: safe current, then silence.
    pub fn shut_down(&mut self, now: Tick) {
        for driver in self.drivers.values_mut() {
            driver.handle(Input::Shutdown, now);
        }
    }

    /// Returns whether every charger has ended its shutdown.
    pub fn ended(&self) -> bool {
        self.drivers.values().all(Driver::ended)
    }

    /// Returns what must be remembered of the chargers. To be called after the end.
    pub fn memories(&self, now: Tick) -> BTreeMap<ChargerId, Memory> {
        self.drivers.iter().filter_map(|(charger, driver)| Some((*charger, driver.memory(now)?))).collect()
    }

    /// Returns why it cannot be used at present, whether or not that was reported; `None` while it can.
    pub const fn trouble(&self) -> Option<&OpenError> {
        match &self.news.now {
            Some(LineNotice::Down(error)) => Some(error),
            Some(LineNotice::Up | LineNotice::Unsteady { .. }) | None => None,
        }
    }

    /// Returns the earliest time at which each charger that does not answer is tried again; `None` for one that answers.
    pub fn next_tries(&self) -> BTreeMap<ChargerId, Option<Tick>> {
        let opens = if let State::Closed { at } = self.state { Some(at) } else { None };
        let of = |driver: &Driver| driver.next_try().map(|at| opens.map_or(at, |opens| opens.max(at)));
        self.drivers.iter().map(|(charger, driver)| (*charger, of(driver))).collect()
    }

    /// Returns the next operation, if one is due now.
    pub fn poll_op(&mut self, now: Tick) -> Option<BusOp> {
        for driver in self.drivers.values_mut() {
            driver.handle(Input::Timeout, now);
        }
        match self.state {
            State::Closed { at } if now >= at && !self.ended() => {
                self.state = State::Opening;
                Some(BusOp::Open)
            }
            State::Opened => {
                self.state = State::Draining;
                Some(BusOp::Drain { quiet: self.link.quiet })
            }
            State::Idle { from } if now >= from => {
                let charger = self.turn(now)?;
                let request = self.drivers.get_mut(&charger)?.poll_request(now)?;
                self.state = State::Busy(charger);
                self.last = Some(charger);
                Some(BusOp::Send(request, self.link.reply))
            }
            State::Closed { .. } | State::Opening | State::Draining | State::Idle { .. } | State::Busy(_) => None,
        }
    }

    /// Takes the result of the operation.
    pub fn handle(&mut self, done: BusResult, now: Tick) {
        match (self.state, done) {
            (State::Opening, BusResult::Opened) => self.state = State::Opened,
            (State::Draining, BusResult::Drained) => {
                self.state = State::Idle { from: now };
                self.up_since.get_or_insert(now);
                self.news.say(LineNotice::Up, now);
                for driver in self.drivers.values_mut() {
                    driver.handle(Input::LineUp, now);
                }
            }
            (State::Opening, BusResult::OpenFailed(error)) | (State::Draining, BusResult::DrainFailed(error)) => {
                self.lose(error, now);
            }
            (State::Busy(charger), BusResult::Ended(outcome)) => self.end_request(charger, outcome, now),
            // Not the result of the operation in progress: start over rather than guess.
            (
                State::Closed { .. }
                | State::Opening
                | State::Opened
                | State::Draining
                | State::Idle { .. }
                | State::Busy(_),
                _,
            ) => self.lose(OpenError::Lost, now),
        }
    }

    /// Returns when to call [`Line::poll_op`] next even without input; `None` while an operation is in progress.
    pub fn poll_timeout(&self, now: Tick) -> Option<(Tick, LineTimer)> {
        let of = |(charger, driver): (&ChargerId, &Driver)| {
            let (at, why) = driver.poll_timeout(now)?;
            Some((at, LineTimer::Charger(*charger, why)))
        };
        let soonest = || self.drivers.iter().filter_map(of).min_by_key(|(at, _)| *at);
        if self.ended() {
            return None;
        }
        match self.state {
            // The chargers' own deadlines (lapses, the end of a shutdown) also pass while the line is closed.
            State::Closed { at } => soonest().filter(|(soonest, _)| *soonest < at).or(Some((at, LineTimer::Open))),
            State::Opened => Some((now, LineTimer::Drain)),
            State::Idle { from } => soonest().map(|(at, why)| (at.max(from), why)),
            State::Opening | State::Draining | State::Busy(_) => None,
        }
    }

    /// Returns the next event; poll until `None` after every call.
    pub fn poll_event(&mut self) -> Option<LineEvent> {
        if let Some(notice) = self.news.waiting.pop_front() {
            return Some(LineEvent::Line(notice));
        }
        self.drivers
            .iter_mut()
            .find_map(|(charger, driver)| driver.poll_event().map(|event| LineEvent::Charger(*charger, event)))
    }

    /// Returns the charger whose turn it is: one with an urgent request first, otherwise the next in order. Among urgent ones, a charger
    /// that answers goes before one that keeps the line waiting.
    fn turn(&self, now: Tick) -> Option<ChargerId> {
        let urgent = self.drivers.iter().filter(|(_, driver)| driver.is_urgent(now));
        if let Some((charger, _)) = urgent.min_by_key(|(_, driver)| !driver.answers()) {
            return Some(*charger);
        }
        let wants = |charger: &&ChargerId| {
            let due = self.drivers.get(charger).and_then(|driver| driver.poll_timeout(now));
            due.is_some_and(|(at, _)| at <= now)
        };
        let after = self.drivers.keys().filter(|charger| self.last.is_none_or(|last| **charger > last));
        after.chain(self.drivers.keys()).find(wants).copied()
    }

    fn end_request(&mut self, charger: ChargerId, outcome: Outcome, now: Tick) {
        self.state = match outcome {
            Outcome::Registers(_) | Outcome::Written | Outcome::Exception(_) => {
                self.answered = true;
                self.news.say(LineNotice::Up, now);
                State::Idle { from: now + self.link.gap }
            }
            Outcome::Failed(_) => State::Closed { at: now },
        };
        let gone = outcome == Outcome::Failed(Failure::Gone);
        self.tell(charger, Input::Outcome(outcome), now);
        if gone {
            self.lose(OpenError::Lost, now);
        }
    }

    fn lose(&mut self, error: OpenError, now: Tick) {
        if self.up_since.take().is_some_and(|up| self.answered && now.since(up) >= STEADY) {
            self.pause = REOPEN_MIN;
        }
        self.answered = false;
        self.state = State::Closed { at: now + self.pause };
        self.pause = (self.pause * 2).min(REOPEN_MAX);
        self.news.say(LineNotice::Down(error), now);
        for driver in self.drivers.values_mut() {
            driver.handle(Input::LineDown, now);
        }
    }
}
