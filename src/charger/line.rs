//! One line with several chargers: one request at a time, a gap before each, fair turns, and what happens when the line
//! gets out of step or is gone. Pure: it says which operation is next and is told how that ended.
//!
//! ```text
//!  Closed ──pause──▶ Open ─▶ Drain ─▶ Idle ◀──▶ Busy
//!    ▲                │  ▲     │                   │
//!    ├──── failed ────┴──┼─────┘                   │
//!    │                   └── no answer, or wrong ──┤
//!    └──────────────────── gone ───────────────────┘
//! ```
//! RTU has no transaction id: an answer that comes late would be taken for that of the next request. So after no answer, or a wrong one, the
//! line is opened anew and drained before anything else is asked.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use control::{ChargerId, Millis, Tick};

use super::codec::{Failure, Outcome, Request};
use super::driver::{Driver, Event, Input, Memory};
use super::profile::LinkDefaults;

/// First pause before a lost line is opened again; doubles up to [`REOPEN_MAX`].
const REOPEN_MIN: Millis = Millis::from_secs(1);
/// Longest such pause.
const REOPEN_MAX: Millis = Millis::from_secs(30);
/// A line that has answered and lasted this long was well: the pauses begin anew. One that comes and goes faster is given rest.
const STEADY: Millis = Millis::from_secs(20);
/// No more than [`NOTICES_MAX`] changes are said within this time, whatever a line does.
const NOTICES_WITHIN: Millis = Millis::from_secs(60);
/// See [`NOTICES_WITHIN`].
const NOTICES_MAX: usize = 4;

/// What the line wants done. One at a time; answer with [`BusResult`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusOp {
    /// Close the line if it is open, and open it by its name.
    Open,
    /// Throw away what comes until nothing has come for that long.
    Drain {
        /// That long.
        quiet: Millis,
    },
    /// Send a request and wait for its answer.
    Send(Request, Millis),
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusResult {
    /// The line is open.
    Opened,
    /// It cannot be opened.
    OpenFailed(OpenError),
    /// It has been quiet.
    Drained,
    /// It would not fall quiet, or was lost meanwhile.
    DrainFailed(OpenError),
    /// The request has ended.
    Ended(Outcome),
}

/// Why a line cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// There is no such device.
    Missing,
    /// Another program has it.
    Busy,
    /// This program has it already, by another name.
    Ours,
    /// Not allowed to this user.
    Denied,
    /// Not a serial line.
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
            Self::Lost => f.write_str("it was lost"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// What the line says of itself, apart from its chargers. Edges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineNotice {
    /// Open and quiet for the first time, or again.
    Up,
    /// Cannot be used; said once per reason.
    Down(OpenError),
    /// It has changed too often to say it each time.
    Unsteady {
        /// So many changes were left out.
        changes: u32,
    },
}

/// What comes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineEvent {
    /// Of one charger.
    Charger(ChargerId, Event),
    /// Of the line.
    Line(LineNotice),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be opened at that time.
    Closed { at: Tick },
    /// Being opened.
    Opening,
    /// Open, to be drained.
    Opened,
    /// Being drained.
    Draining,
    /// Free from that time on.
    Idle { from: Tick },
    /// A request of that charger is under way.
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
    /// Who had the last turn.
    last: Option<ChargerId>,
    news: News,
}

/// What is said of the line: edges, and of many only some.
#[derive(Debug, Default)]
struct News {
    /// How it is.
    now: Option<LineNotice>,
    /// How it was said to be.
    said: Option<LineNotice>,
    /// Changes since then.
    changes: u32,
    /// When the last few were said.
    at: VecDeque<Tick>,
    /// To be polled; at most a few, as they are polled after every call.
    waiting: VecDeque<LineNotice>,
}

impl News {
    /// Says how the line is, if that is news. Repeat it while it lasts: what is not said now may be said later.
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
    /// A closed line, to be opened at once.
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

    /// Tells one charger something (never [`Input::Outcome`] or the line's own news). Unknown chargers are ignored.
    pub fn tell(&mut self, charger: ChargerId, input: Input, now: Tick) {
        if let Some(driver) = self.drivers.get_mut(&charger) {
            driver.handle(input, now);
        }
    }

    /// Tells every charger to go safe and be silent.
    pub fn shut_down(&mut self, now: Tick) {
        for driver in self.drivers.values_mut() {
            driver.handle(Input::Shutdown, now);
        }
    }

    /// Whether every charger has ended its shutdown.
    pub fn ended(&self) -> bool {
        self.drivers.values().all(Driver::ended)
    }

    /// After the end: what must be remembered of its chargers.
    pub fn memories(&self, now: Tick) -> BTreeMap<ChargerId, Memory> {
        self.drivers.iter().filter_map(|(charger, driver)| Some((*charger, driver.memory(now)?))).collect()
    }

    /// When each charger that does not answer is asked again, at the soonest; `None` for one that answers.
    pub fn next_tries(&self) -> BTreeMap<ChargerId, Option<Tick>> {
        let opens = if let State::Closed { at } = self.state { Some(at) } else { None };
        let of = |driver: &Driver| driver.next_try().map(|at| opens.map_or(at, |opens| opens.max(at)));
        self.drivers.iter().map(|(charger, driver)| (*charger, of(driver))).collect()
    }

    /// The next operation, if there is one to begin now.
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

    /// How the operation ended.
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
            // Not what was asked for: begin anew rather than guess.
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

    /// When to call [`Line::poll_op`] next without any input; `None` while an operation is under way.
    pub fn poll_timeout(&self, now: Tick) -> Option<Tick> {
        let soonest = || self.drivers.values().filter_map(|driver| driver.poll_timeout(now)).map(|(at, _)| at).min();
        if self.ended() {
            return None;
        }
        match self.state {
            // The chargers' own deadlines (lapses, the end of a shutdown) pass without a line too.
            State::Closed { at } => Some(soonest().map_or(at, |soonest| soonest.min(at))),
            State::Opened => Some(now),
            State::Idle { from } => soonest().map(|at| at.max(from)),
            State::Opening | State::Draining | State::Busy(_) => None,
        }
    }

    /// The next news; poll until `None` after every call.
    pub fn poll_event(&mut self) -> Option<LineEvent> {
        if let Some(notice) = self.news.waiting.pop_front() {
            return Some(LineEvent::Line(notice));
        }
        self.drivers
            .iter_mut()
            .find_map(|(charger, driver)| driver.poll_event().map(|event| LineEvent::Charger(*charger, event)))
    }

    /// Whose turn it is: a lower current first, else the next after the last. A charger that answers goes before one that lets the line wait.
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
        self.pause = Millis(self.pause.0.saturating_mul(2)).min(REOPEN_MAX);
        self.news.say(LineNotice::Down(error), now);
        for driver in self.drivers.values_mut() {
            driver.handle(Input::LineDown, now);
        }
    }
}
