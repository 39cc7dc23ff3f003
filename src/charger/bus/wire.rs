//! The operations of a line: opening, draining, one request with its answer; and what is learnt about the line along the way.

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
/// Time limit for draining, in multiples of the quiet time. A line that is not quiet by then has another master.
const DRAIN_MAX: u32 = 10;
/// Longest wait for an answer that is too late to count.
pub(super) const LATE_MAX: Millis = Millis::from_secs(2);
/// Consecutive unanswered requests after which the wait for a late answer is that long. Before that, another charger on the line may be
/// waiting for its turn.
const UNANSWERED: u32 = 2;
/// How long a late answer counts: until then, the wait after later requests covers its delay.
const LATE_COUNTS: Millis = Millis::from_secs(600);
/// Number of late answers remembered; the newest are kept.
const LATE_KEPT: usize = 8;
/// Consecutive connections closed after one answer, from which on the other end is known to do so.
const CLOSED_AFTER_ONE: u32 = 3;
/// Capacity for remarks not taken yet; when full, the oldest is dropped.
const REMARKS_MAX: usize = 8;

/// Something noticed about a line that works nevertheless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remark {
    /// Each request comes back before its answer.
    Echo,
    /// Bytes that belong to no frame come before answers.
    Strays(Sample),
    /// An answer came too late.
    Late {
        /// Time from the request to the answer.
        after: Millis,
        /// Time limit for an answer.
        limit: Millis,
    },
    /// The other end of a TCP connection closes it after each answer.
    ClosedAfterAnswer,
}

impl Remark {
    /// Returns whether both are of the same kind, so that the second need not be reported soon after the first.
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

/// A line, and what is known about it.
pub(crate) struct Wire {
    state: State,
    learnt: Learnt,
}

enum State {
    /// Not open.
    Closed,
    /// Open, but not drained yet.
    Raw(Port),
    /// In use.
    Ready(Session),
}

/// Knowledge that outlives a connection.
#[derive(Debug, Default)]
struct Learnt {
    echo: Echo,
    /// Bytes came that belong to no frame.
    strays: bool,
    /// Consecutive unanswered requests.
    unanswered: u32,
    /// Late answers: when they came, and how long after the request.
    delays: VecDeque<(Tick, Millis)>,
    /// Fixed time to listen for a late answer; `None`: derived from the delays.
    late: Option<Millis>,
    /// Consecutive connections that were closed after one answer.
    closed_after_one: u32,
    remarks: VecDeque<Remark>,
}

impl Wire {
    /// Creates a closed line about which nothing is known.
    pub(crate) fn closed() -> Self {
        Self { state: State::Closed, learnt: Learnt::default() }
    }

    /// Returns whether it must be opened first.
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Fixes the time to listen for an answer that is too late to count, whatever delays were seen.
    pub(crate) const fn listen_for(&mut self, late: Millis) {
        self.learnt.late = Some(late);
    }

    /// Returns what was noticed since the last call.
    pub(crate) fn remarks(&mut self) -> impl Iterator<Item = Remark> {
        self.learnt.remarks.drain(..)
    }

    /// Carries out one operation. Takes the wire and returns it, so that a dropped operation cannot leave it in an undefined state.
    pub(crate) async fn perform(mut self, op: BusOp, target: Arc<Target>, clock: Clock) -> (Self, BusResult) {
        let state = std::mem::replace(&mut self.state, State::Closed);
        let done = match op {
            BusOp::Open => {
                // The old port must be closed before the same device can be opened again.
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
            // The next adapter to be plugged in may be a different one.
            self.learnt.echo = Echo::Unknown;
        }
        (self, done)
    }

    async fn open(&mut self, target: &Target, clock: Clock) -> Result<Port, OpenError> {
        port::open(target, clock.real(CONNECT_MAX).max(REAL_MIN), !self.learnt.strays).await
    }

    async fn drained(&mut self, state: State, quiet: Duration, clock: Clock) -> Result<Session, OpenError> {
        let State::Raw(mut port) = state else { return Err(OpenError::Lost) };
        // A new TCP connection carries nothing from an earlier one, and some gateways close connections without requests.
        if port.dialect() == Dialect::Rtu {
            drain(&mut port, quiet, clock).await?;
        }
        Ok(Session::new(port, self.learnt.echo))
    }

    /// Sends one request. Leaves the wire ready after an answer, and closed after a failure.
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

    /// Sends a write while it is unknown whether the adapter echoes it: until a read has shown that, nothing counts as its acknowledgement.
    /// A low current is written before that read nevertheless, as the wallbox may obey although its answers do not arrive.
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
            // What came may have been the echo, with the acknowledgement still to follow.
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

    /// Carries out one exchange. A TCP connection that was closed since the last answer is replaced and the request repeated: it never
    /// arrived, or repeating it does no harm, as it reads a register or sets it to a value.
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
    /// Returns how long to listen for an answer that is too late to count: long enough for the longest recent delay.
    fn late(&self, reply: Millis, quiet: Millis, now: Tick) -> Millis {
        let usual = if self.unanswered < UNANSWERED { quiet } else { LATE_MAX };
        let lately = self.delays.iter().filter(|(at, _)| now.since(*at) < LATE_COUNTS);
        let known = lately.map(|(_, delay)| (*delay + quiet - reply).min(LATE_MAX)).max();
        self.late.unwrap_or(known.map_or(usual, |known| usual.max(known)))
    }

    /// Notes an answer that came too late, this long after its request.
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
