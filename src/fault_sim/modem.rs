//! The gateway's end of the cable in virtual time: carries out one operation of the line after another with the product's own reader of
//! frames ([`Ear`]), and takes as long over it as [`crate::charger::bus`] does.
//!
//! Left out: what only Modbus TCP and relays have, and the memory of how late single answers were.

use control::{Millis, Tick};

use crate::charger::bus::frames::{Dialect, Ear, Echo};
use crate::charger::codec::{Answer, Body, Failure, Operation, Outcome, Request, check};
use crate::charger::line::{BusOp, BusResult, OpenError};
use crate::sim::cable::Cable;
use crate::sim::frames::seal;

/// Silence that ends an answer, as in `charger::bus`.
const SILENCE: Millis = Millis(20);
/// How long to listen for an answer that is too late to count: usually, and after this many requests without an answer.
const LATE: Millis = Millis(200);
const LATE_MAX: Millis = Millis(2_000);
const UNANSWERED: u32 = 2;
/// A line that is not quiet after this many times the wanted silence has another master.
const DRAIN_MAX: u64 = 10;
/// How long a device takes to be opened.
const OPENING: Millis = Millis(2);

/// See the module.
#[derive(Debug)]
pub(super) struct Modem {
    ear: Ear,
    open: bool,
    /// Requests in a row without an answer.
    unanswered: u32,
    job: Option<Job>,
    done: Option<BusResult>,
}

/// The operation in progress.
#[derive(Debug)]
enum Job {
    Open { at: Tick },
    Drain { quiet: Millis, quiet_at: Tick, give_up: Tick },
    Send(Exchange),
}

#[derive(Debug)]
struct Exchange {
    request: Request,
    /// The write that waits until a read has shown whether the adapter echoes, and its time limit.
    then: Option<Request>,
    reply: Millis,
    late: Millis,
    sent: Tick,
    /// The answer, and when it came.
    answer: Option<(Vec<u8>, Tick)>,
    /// When something was last heard.
    heard: Tick,
}

impl Modem {
    pub(super) fn new() -> Self {
        Self { ear: Ear::new(Dialect::Rtu, Echo::Unknown), open: false, unanswered: 0, job: None, done: None }
    }

    /// Whether the next operation can begin.
    pub(super) const fn is_free(&self) -> bool {
        self.job.is_none() && self.done.is_none()
    }

    /// Begins an operation.
    pub(super) fn begin(&mut self, op: BusOp, cable: &mut Cable, now: Tick) {
        match op {
            BusOp::Open => {
                self.open = false;
                self.job = Some(Job::Open { at: now + OPENING });
            }
            BusOp::Drain { quiet } => {
                self.job = Some(Job::Drain { quiet, quiet_at: now + quiet, give_up: now + quiet * DRAIN_MAX });
            }
            BusOp::Send(..) if !self.open || cable.faults().unplugged => self.fail(Failure::Gone),
            BusOp::Send(request, reply) => {
                let writes = matches!(request.op, Operation::WriteSingle { .. });
                if writes && self.ear.must_learn() {
                    let first = Request { op: Operation::ReadInput { addr: 4, count: 1 }, ..request };
                    self.send(first, Some(request), reply, cable, now);
                } else {
                    self.send(request, None, reply, cable, now);
                }
            }
        }
    }

    fn send(&mut self, request: Request, then: Option<Request>, reply: Millis, cable: &mut Cable, now: Tick) {
        let frame = encode(request);
        self.ear.begin();
        self.ear.sent(&frame);
        cable.send(now.0, &frame);
        let late = if self.unanswered < UNANSWERED { LATE } else { LATE_MAX };
        self.job = Some(Job::Send(Exchange { request, then, reply, late, sent: now, answer: None, heard: now }));
    }

    /// Returns when [`Self::pass`] is due even if nothing arrives.
    pub(super) fn poll_timeout(&self) -> Option<Tick> {
        match self.job.as_ref()? {
            Job::Open { at } => Some(*at),
            Job::Drain { quiet_at, give_up, .. } => Some((*quiet_at).min(*give_up)),
            Job::Send(exchange) => Some(exchange.due()),
        }
    }

    /// Takes what has arrived, and the passing of time; returns the result once the operation has ended.
    pub(super) fn pass(&mut self, cable: &mut Cable, now: Tick) -> Option<BusResult> {
        while let Some(bytes) = cable.poll(now.0) {
            self.hear(&bytes, now);
        }
        if let Some(job) = self.job.take()
            && let Some(rest) = self.go_on(job, cable, now)
        {
            self.job = Some(rest);
        }
        self.done.take()
    }

    fn hear(&mut self, bytes: &[u8], now: Tick) {
        match &mut self.job {
            Some(Job::Drain { quiet, quiet_at, .. }) => *quiet_at = now + *quiet,
            Some(Job::Send(exchange)) => {
                exchange.heard = now;
                if let Some(answer) = self.ear.hear(bytes) {
                    exchange.answer = Some((answer, now));
                }
            }
            Some(Job::Open { .. }) | None => {}
        }
    }

    /// Returns the operation if it has not ended.
    fn go_on(&mut self, job: Job, cable: &mut Cable, now: Tick) -> Option<Job> {
        let lost = cable.faults().unplugged;
        match job {
            Job::Open { at } if now < at => return Some(job),
            Job::Open { .. } => {
                self.open = cable.open();
                self.ear = Ear::new(Dialect::Rtu, if self.open { self.ear.echo() } else { Echo::Unknown });
                self.done = Some(if self.open { BusResult::Opened } else { BusResult::OpenFailed(OpenError::Missing) });
            }
            Job::Drain { .. } if lost => self.done = Some(BusResult::DrainFailed(OpenError::Lost)),
            Job::Drain { quiet_at, .. } if now >= quiet_at => self.done = Some(BusResult::Drained),
            Job::Drain { give_up, .. } if now >= give_up => {
                self.done = Some(BusResult::DrainFailed(OpenError::Noisy));
            }
            Job::Drain { .. } => return Some(job),
            Job::Send(_) if lost => self.fail(Failure::Gone),
            Job::Send(exchange) => {
                if self.ear.flaw().is_none() && now < exchange.due() {
                    return Some(Job::Send(exchange));
                }
                self.end(exchange, cable, now);
            }
        }
        None
    }

    fn end(&mut self, exchange: Exchange, cable: &mut Cable, now: Tick) {
        let Exchange { request, then, reply, sent, answer, .. } = exchange;
        let outcome = match answer {
            _ if self.ear.flaw().is_some() => Outcome::Failed(self.ear.failure()),
            None => Outcome::Failed(self.ear.failure()),
            Some((_, at)) if at > sent + reply => {
                Outcome::Failed(Failure::Late { after: at.since(sent), limit: reply })
            }
            Some((frame, _)) => match decode(&frame) {
                Some(answer) => check(&request, answer),
                None => Outcome::Failed(self.ear.failure()),
            },
        };
        self.ear.end();
        let failed = matches!(outcome, Outcome::Failed(_));
        self.unanswered = if failed { self.unanswered + 1 } else { 0 };
        match (then, &outcome) {
            (Some(write), _) if !failed => self.send(write, None, reply, cable, now),
            _ => self.done = Some(BusResult::Ended(outcome)),
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.job = None;
        self.open = false;
        self.done = Some(BusResult::Ended(Outcome::Failed(failure)));
    }
}

impl Exchange {
    /// When the exchange ends if nothing else arrives.
    fn due(&self) -> Tick {
        match self.answer {
            Some((_, at)) if at > self.sent + self.reply => at,
            Some(_) => self.heard + SILENCE,
            None => self.sent + self.reply + self.late,
        }
    }
}

/// Returns the frame of a request (Modbus application protocol V1.1b3, 6.3, 6.4 and 6.6).
fn encode(request: Request) -> Vec<u8> {
    let (function, first, second) = match request.op {
        Operation::ReadHolding { addr, count } => (3, addr, count),
        Operation::ReadInput { addr, count } => (4, addr, count),
        Operation::WriteSingle { addr, value } => (6, addr, value),
    };
    let [a, b, c, d] = [first.to_be_bytes(), second.to_be_bytes()].concat()[..] else { return Vec::new() };
    seal(vec![request.unit, function, a, b, c, d])
}

/// Returns what the frame of an answer says.
fn decode(frame: &[u8]) -> Option<Answer> {
    let (unit, function) = (*frame.first()?, *frame.get(1)?);
    let word =
        |bytes: &[u8]| u16::from_be_bytes([bytes.first().copied().unwrap_or(0), bytes.get(1).copied().unwrap_or(0)]);
    let words = || frame.get(3..frame.len().saturating_sub(2)).unwrap_or_default().chunks(2).map(word).collect();
    let body = match function {
        3 => Body::Holding(words()),
        4 => Body::Input(words()),
        6 => Body::Written { addr: word(frame.get(2..4)?), value: word(frame.get(4..6)?) },
        0x80.. => Body::Exception(*frame.get(2)?),
        _ => Body::Foreign,
    };
    Some(Answer { unit, body })
}
