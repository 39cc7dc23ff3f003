//! The operations of a line: opening, draining, one request with its answer; and what is learnt of the line by the way.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use control::{Millis, Tick};
use tokio::io::AsyncReadExt;

use super::frames::{Dialect, Echo};
use super::port::{self, Port};
use super::relay_line::WAY;
use super::session::{Patience, REAL_MIN, Session};
use super::target::Target;
use crate::charger::codec::{Failure, Operation, Outcome, Request, Sample};
use crate::charger::line::{BusOp, BusResult, OpenError};
use crate::clock::Clock;

/// Longest wait for a TCP connection.
const CONNECT_MAX: Millis = Millis::from_secs(3);
/// A line that has not been quiet for this many quiet times in all is being used by somebody else.
const DRAIN_MAX: u32 = 10;
/// Longest wait for an answer that is too late to count.
pub(super) const LATE_MAX: Millis = Millis::from_secs(2);
/// After so many requests in a row without an answer a late one is waited for that long. Before, another charger on the line may be waiting
/// for its turn.
const UNANSWERED: u32 = 2;
/// An answer that came too late makes later requests be listened for as long, until it is this old.
const LATE_COUNTS: Millis = Millis::from_secs(600);
/// Late answers that are remembered at most, the newest.
const LATE_KEPT: usize = 8;
/// Connections in a row that were closed after one answer, from which on the other end is known to do so.
const CLOSED_AFTER_ONE: u32 = 3;
/// Remarks that nobody has taken yet, at most; the oldest is dropped.
const REMARKS_MAX: usize = 8;

/// What was noticed of a line that works all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remark {
    /// Each request comes back before its answer.
    Echo,
    /// Bytes that belong to no frame come before answers.
    Strays(Sample),
    /// An answer came too late.
    Late {
        /// So long after the request.
        after: Millis,
        /// So long it is waited for.
        limit: Millis,
    },
    /// The other end of a TCP connection closes it after each answer.
    ClosedAfterAnswer,
}

impl Remark {
    /// Whether it is of the same kind: said once, it need not be said again soon.
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echo => {
                f.write_str("the adapter returns each request before the answer (local echo): the copy is dropped")
            }
            Self::Strays(first) => write!(
                f,
                "bytes that belong to no frame come before the answer (the first: {first}): they are skipped; a line without \
                 bias or termination does that"
            ),
            Self::Late { after, limit } => write!(
                f,
                "an answer came {} ms after the request, later than reply-ms = {}: raise it",
                after.0, limit.0
            ),
            Self::ClosedAfterAnswer => {
                f.write_str("the other end closes the connection after each answer: each request gets a new one")
            }
        }
    }
}

/// A line, and what is known of it.
pub(crate) struct Wire {
    state: State,
    learnt: Learnt,
}

enum State {
    /// Not open.
    Closed,
    /// Open, with nobody listening to what comes.
    Raw(Port),
    /// In use.
    Ready(Session),
}

/// What outlives a connection.
#[derive(Debug, Default)]
struct Learnt {
    echo: Echo,
    /// Bytes came that belong to no frame.
    strays: bool,
    /// Requests without an answer, in a row.
    unanswered: u32,
    /// Answers that came too late: when, and how long after the request.
    delays: VecDeque<(Tick, Millis)>,
    /// How long to listen for an answer that is too late, if that is not found out.
    late: Option<Millis>,
    /// Connections that were closed after one answer, in a row.
    closed_after_one: u32,
    remarks: VecDeque<Remark>,
}

impl Wire {
    /// A line that is not open, and of which nothing is known.
    pub(crate) fn closed() -> Self {
        Self { state: State::Closed, learnt: Learnt::default() }
    }

    /// Whether it must be opened first.
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Listens this long for each answer that is too late to count, whatever was found out.
    pub(crate) const fn listen_for(&mut self, late: Millis) {
        self.learnt.late = Some(late);
    }

    /// What was noticed since the last call.
    pub(crate) fn remarks(&mut self) -> impl Iterator<Item = Remark> {
        self.learnt.remarks.drain(..)
    }

    /// Does one operation. Takes the wire and gives it back, so that a dropped operation cannot leave it half used.
    pub(crate) async fn perform(mut self, op: BusOp, target: Arc<Target>, clock: Clock) -> (Self, BusResult) {
        let state = std::mem::replace(&mut self.state, State::Closed);
        let done = match op {
            BusOp::Open => {
                // The old one must be closed before the same device can be opened again.
                drop(state);
                match self.open(&target, clock).await {
                    Ok(port) => {
                        self.state = State::Raw(port);
                        BusResult::Opened
                    }
                    Err(error) => BusResult::OpenFailed(error),
                }
            }
            BusOp::Drain { quiet } => match self.drained(state, clock.real(quiet).max(REAL_MIN), clock).await {
                Ok(session) => {
                    self.state = State::Ready(session);
                    BusResult::Drained
                }
                Err(error) => BusResult::DrainFailed(error),
            },
            BusOp::Send(request, reply) => match state {
                State::Ready(session) => BusResult::Ended(self.send(session, request, reply, &target, clock).await),
                State::Closed | State::Raw(_) => BusResult::Ended(Outcome::Failed(Failure::Gone)),
            },
        };
        let lost = matches!(
            done,
            BusResult::OpenFailed(_) | BusResult::DrainFailed(_) | BusResult::Ended(Outcome::Failed(Failure::Gone))
        );
        if lost {
            // What is plugged in next may be another adapter.
            self.learnt.echo = Echo::Unknown;
        }
        (self, done)
    }

    async fn open(&mut self, target: &Target, clock: Clock) -> Result<Port, OpenError> {
        port::open(target, clock.real(CONNECT_MAX).max(REAL_MIN), !self.learnt.strays).await
    }

    async fn drained(&mut self, state: State, quiet: Duration, clock: Clock) -> Result<Session, OpenError> {
        let State::Raw(mut port) = state else { return Err(OpenError::Lost) };
        // On a new connection nothing is left over from an earlier one, and some gateways close those on which nothing is asked.
        if port.dialect() == Dialect::Rtu {
            drain(&mut port, quiet, clock).await?;
        }
        Ok(Session::new(port, self.learnt.echo))
    }

    /// One request. Leaves the wire ready after an answer, and closed after a failure.
    async fn send(
        &mut self,
        mut session: Session,
        request: Request,
        reply: Millis,
        target: &Target,
        clock: Clock,
    ) -> Outcome {
        let writes = matches!(request.op, Operation::WriteSingle { .. });
        let outcome = if writes && session.must_learn() {
            self.send_first(&mut session, request, reply, target, clock).await
        } else {
            self.exchange(&mut session, request, reply, target, clock).await
        };
        if !matches!(outcome, Outcome::Failed(_)) {
            self.state = State::Ready(session);
        }
        outcome
    }

    /// A write of which it is not known yet whether the adapter returns it: nothing counts as its acknowledgement before a read has told.
    /// A low current is sent all the same before that read, as the wallbox may do what it is told although it is not heard.
    async fn send_first(
        &mut self,
        session: &mut Session,
        request: Request,
        reply: Millis,
        target: &Target,
        clock: Clock,
    ) -> Outcome {
        let mut told = None;
        if target.sets_current(request) {
            let outcome = self.exchange(session, request, reply, target, clock).await;
            if matches!(outcome, Outcome::Failed(_)) {
                return outcome;
            }
            // What came may have been the copy, with the acknowledgement still behind it.
            session.hear_out(reply, clock).await;
            clock.sleep(target.defaults.gap).await;
            told = Some(outcome);
        }
        let read = Request { unit: request.unit, op: target.first_read };
        let learnt = self.exchange(session, read, reply, target, clock).await;
        if matches!(learnt, Outcome::Failed(_)) {
            return learnt;
        }
        if let Some(outcome) = told.filter(|_| session.echo() == Echo::No) {
            return outcome;
        }
        clock.sleep(target.defaults.gap).await;
        self.exchange(session, request, reply, target, clock).await
    }

    /// One exchange. A TCP connection that was closed since the last answer is replaced: the request never arrived, or asks for the same
    /// again, as a register is read or set to a value.
    async fn exchange(
        &mut self,
        session: &mut Session,
        request: Request,
        reply: Millis,
        target: &Target,
        clock: Clock,
    ) -> Outcome {
        let way = if target.link.relay().is_some() { WAY } else { Millis(0) };
        let patience = Patience { reply, way, late: self.learnt.late(reply, target.defaults.quiet, clock.now()) };
        let mut stale = session.closed_by_peer().await;
        let mut outcome = Outcome::Failed(Failure::Gone);
        if !stale {
            outcome = session.ask(request, patience, clock).await;
            stale = outcome == Outcome::Failed(Failure::Gone) && session.was_stale();
        }
        if stale {
            self.learnt.closed_by_peer(session.answered());
            if let Ok(port) = self.open(target, clock).await {
                *session = Session::new(port, self.learnt.echo);
                outcome = session.ask(request, patience, clock).await;
            }
        }
        self.learnt.learn(session, &outcome, clock.now());
        outcome
    }
}

impl Learnt {
    /// How long to listen for an answer that is too late to count: as long as the longest delay that was seen lately.
    fn late(&self, reply: Millis, quiet: Millis, now: Tick) -> Millis {
        let usual = if self.unanswered < UNANSWERED { quiet } else { LATE_MAX };
        let lately = self.delays.iter().filter(|(at, _)| now.since(*at) < LATE_COUNTS);
        let known = lately.map(|(_, delay)| Millis((delay.0 + quiet.0).saturating_sub(reply.0)).min(LATE_MAX)).max();
        self.late.unwrap_or(known.map_or(usual, |known| usual.max(known)))
    }

    /// An answer came too late, that long after its request.
    fn came_late(&mut self, delay: Millis, now: Tick) {
        if self.delays.len() >= LATE_KEPT {
            self.delays.pop_front();
        }
        self.delays.push_back((now, delay));
    }

    fn learn(&mut self, session: &Session, outcome: &Outcome, now: Tick) {
        let echo = session.echo();
        if echo == Echo::Yes && self.echo != Echo::Yes {
            self.remark(Remark::Echo);
        }
        self.echo = echo;
        match outcome {
            Outcome::Registers(_) | Outcome::Written | Outcome::Exception(_) => {
                self.unanswered = 0;
                let strays = session.strays();
                if !strays.is_empty() {
                    self.strays = true;
                    self.remark(Remark::Strays(strays));
                }
            }
            Outcome::Failed(failure) => {
                self.unanswered = self.unanswered.saturating_add(1);
                match *failure {
                    Failure::Late { after, limit } => {
                        self.came_late(after, now);
                        self.remark(Remark::Late { after, limit });
                    }
                    Failure::Noise(_) => self.strays = true,
                    Failure::Timeout | Failure::EchoOnly | Failure::Malformed(_) | Failure::Gone => {}
                }
            }
        }
    }

    fn closed_by_peer(&mut self, answered: u32) {
        self.closed_after_one = if answered == 1 { self.closed_after_one.saturating_add(1) } else { 0 };
        if self.closed_after_one == CLOSED_AFTER_ONE {
            self.remark(Remark::ClosedAfterAnswer);
        }
    }

    fn remark(&mut self, remark: Remark) {
        if self.remarks.len() >= REMARKS_MAX {
            self.remarks.pop_front();
        }
        self.remarks.push_back(remark);
    }
}

async fn drain(port: &mut Port, quiet: Duration, clock: Clock) -> Result<(), OpenError> {
    let mut waste = [0; 256];
    let all = async {
        loop {
            match clock.within(quiet, port.read(&mut waste)).await {
                Err(_) => return Ok(()),
                Ok(Ok(0) | Err(_)) => return Err(OpenError::Lost),
                Ok(Ok(_)) => {}
            }
        }
    };
    clock.within(quiet * DRAIN_MAX, all).await.unwrap_or(Err(OpenError::Noisy))
}
