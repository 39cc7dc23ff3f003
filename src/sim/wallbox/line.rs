//! The wallbox's end of the line: receives requests, sends replies when they are due, injects faults, and records everything.

use std::collections::{BTreeMap, VecDeque};

use super::super::frames::{Ask, Parser, Request, exception_reply, line_time_ms, read_reply, write_reply};
use super::{Power, Wallbox};

/// A fault of the line or the wallbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The request does not arrive: nothing is done, the watchdog is not fed.
    Deaf,
    /// The request is carried out, but its reply is lost.
    Silent,
    /// The reply comes this many milliseconds late.
    Delay(u64),
    /// The reply is held back and comes right before the reply to the next request.
    Late,
    /// The reply has a wrong CRC.
    WrongCrc,
    /// The reply ends after this many bytes.
    Truncated(usize),
    /// These bytes come instead of the reply.
    Garbage(Vec<u8>),
    /// The request comes back before the reply, as with an adapter that receives its own transmission.
    Echo,
    /// The reply names another unit (its CRC is correct).
    OtherUnit(u8),
    /// The wallbox replies with this exception and does nothing.
    Exception(u8),
    /// Writes are acknowledged but not kept.
    Forgets,
}

/// A write that no master may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForbiddenWrite {
    /// Time of the write.
    pub at_ms: u64,
    /// 261 or 262; 501 under load.
    pub register: u16,
    /// The value written.
    pub value: u16,
}

/// Direction of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// To this wallbox.
    Request,
    /// To another unit.
    OtherUnit,
    /// From this wallbox.
    Reply,
}

/// A frame on the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// When its last byte arrived, or its first byte was sent.
    pub at_ms: u64,
    /// Its direction.
    pub kind: LogKind,
    /// Its bytes.
    pub frame: Vec<u8>,
}

const LOG_MAX: usize = 4_096;
const QUEUE_MAX: usize = 32;

/// Buffers, faults and records.
#[derive(Debug)]
pub(super) struct Line {
    parser: Parser,
    /// Replies and when they are due, in the order of sending. At the limit the oldest is lost.
    queue: VecDeque<(u64, Vec<u8>)>,
    held: Option<Vec<u8>>,
    fault: Option<(Fault, Option<u32>)>,
    /// At the limit the oldest entry is dropped.
    log: VecDeque<LogEntry>,
    writes: BTreeMap<u16, u32>,
    forbidden: Option<ForbiddenWrite>,
    overlaps: u64,
}

impl Line {
    pub(super) const fn new(gap_ms: u64) -> Self {
        Self {
            parser: Parser::new(gap_ms),
            queue: VecDeque::new(),
            held: None,
            fault: None,
            log: VecDeque::new(),
            writes: BTreeMap::new(),
            forbidden: None,
            overlaps: 0,
        }
    }

    pub(super) const fn writes(&self) -> &BTreeMap<u16, u32> {
        &self.writes
    }

    pub(super) const fn last_forbidden(&self) -> Option<ForbiddenWrite> {
        self.forbidden
    }

    pub(super) fn log(&self) -> impl Iterator<Item = &LogEntry> {
        self.log.iter()
    }

    pub(super) const fn overlaps(&self) -> u64 {
        self.overlaps
    }

    pub(super) const fn bad_frames(&self) -> u64 {
        self.parser.bad_frames()
    }

    pub(super) const fn note_forbidden(&mut self, at_ms: u64, register: u16, value: u16) {
        self.forbidden = Some(ForbiddenWrite { at_ms, register, value });
    }

    pub(super) fn set_fault(&mut self, fault: Fault, requests: Option<u32>) {
        self.fault = (requests != Some(0)).then_some((fault, requests));
    }

    pub(super) fn clear_fault(&mut self) {
        self.fault = None;
        self.held = None;
    }

    /// Handles a loss of power: everything not yet sent is lost.
    pub(super) fn cut(&mut self) {
        self.parser.silence();
        self.queue.clear();
        self.held = None;
    }

    pub(super) fn send(&mut self, due_ms: u64, frame: Vec<u8>) {
        let due_ms = self.queue.back().map_or(due_ms, |(last_ms, _)| due_ms.max(*last_ms));
        if self.queue.len() == QUEUE_MAX {
            self.queue.pop_front();
        }
        self.queue.push_back((due_ms, frame));
    }

    fn record(&mut self, at_ms: u64, kind: LogKind, frame: Vec<u8>) {
        if self.log.len() == LOG_MAX {
            self.log.pop_front();
        }
        self.log.push_back(LogEntry { at_ms, kind, frame });
    }

    /// The fault that applies to the current request.
    fn next_fault(&mut self) -> Option<Fault> {
        let (fault, left) = self.fault.take()?;
        let left = left.map(|count| count.saturating_sub(1));
        if left != Some(0) {
            self.fault = Some((fault.clone(), left));
        }
        Some(fault)
    }
}

impl Wallbox {
    /// Receives bytes from the master.
    pub fn bytes(&mut self, now_ms: u64, bytes: &[u8]) {
        self.advance(now_ms);
        if self.power != Power::On {
            return;
        }
        for request in self.line.parser.push(now_ms, bytes) {
            if request.unit == self.options.unit {
                self.line.record(now_ms, LogKind::Request, request.frame.clone());
                self.serve(now_ms, &request);
            } else {
                self.line.record(now_ms, LogKind::OtherUnit, request.frame);
            }
        }
    }

    /// Receives bytes that were held up on their way: the master may have given up one request before it sent the next, so none of them
    /// counts as an overlap.
    pub fn late_bytes(&mut self, now_ms: u64, bytes: &[u8]) {
        let overlaps = self.line.overlaps;
        self.bytes(now_ms, bytes);
        self.line.overlaps = overlaps;
    }

    /// When the next reply is due, if any.
    pub fn next_reply_ms(&self) -> Option<u64> {
        self.line.queue.front().map(|(due_ms, _)| *due_ms)
    }

    /// Returns the next reply once it is due.
    pub fn poll_reply(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        self.advance(now_ms);
        self.next_reply_ms().filter(|due_ms| *due_ms <= now_ms)?;
        let (_, frame) = self.line.queue.pop_front()?;
        self.line.record(now_ms, LogKind::Reply, frame.clone());
        Some(frame)
    }

    fn serve(&mut self, now_ms: u64, request: &Request) {
        if !self.line.queue.is_empty() {
            self.line.overlaps += 1;
        }
        let fault = self.line.next_fault();
        if fault == Some(Fault::Deaf) {
            return;
        }
        self.feed(now_ms);
        let before = self.settings;
        let mut reply = match fault {
            Some(Fault::Exception(code)) => exception_reply(request.unit, function(&request.ask), code),
            _ => self.answer(now_ms, request),
        };
        let mut due_ms = now_ms + self.options.reply_delay_ms;
        if self.options.line_time {
            // A pseudo-terminal delivers request and reply at once, so the transmission time of both is added here.
            due_ms += line_time_ms(request.frame.len()) + line_time_ms(reply.len());
        }
        if let Some(held) = self.line.held.take() {
            self.line.send(due_ms, held);
        }
        match fault {
            None | Some(Fault::Deaf | Fault::Exception(_)) => {}
            Some(Fault::Silent) => return,
            Some(Fault::Delay(ms)) => due_ms += ms,
            Some(Fault::Late) => {
                self.line.held = Some(reply);
                return;
            }
            Some(Fault::WrongCrc) => {
                if let Some(last) = reply.last_mut() {
                    *last ^= 0x5A;
                }
            }
            Some(Fault::Truncated(length)) => reply.truncate(length),
            Some(Fault::Garbage(bytes)) => reply = bytes,
            Some(Fault::Echo) => self.line.send(due_ms, request.frame.clone()),
            Some(Fault::OtherUnit(unit)) => {
                reply.truncate(reply.len().saturating_sub(2));
                if let Some(first) = reply.first_mut() {
                    *first = unit;
                }
                reply = super::super::frames::seal(reply);
            }
            Some(Fault::Forgets) => self.settings = before,
        }
        self.line.send(due_ms, reply);
    }

    fn answer(&mut self, now_ms: u64, request: &Request) -> Vec<u8> {
        let done = match &request.ask {
            Ask::Read { function, start, count } => self.read(*function, *start, *count),
            Ask::Write { start, values, .. } => self.write(now_ms, *start, values.as_deref()).map(|()| Vec::new()),
            Ask::Other { .. } => Err(ILLEGAL_FUNCTION),
        };
        match done {
            Ok(values) if values.is_empty() => write_reply(request),
            Ok(values) => read_reply(request.unit, function(&request.ask), &values),
            Err(code) => exception_reply(request.unit, function(&request.ask), code),
        }
    }

    fn read(&self, function: u8, start: u16, count: u16) -> Result<Vec<u16>, u8> {
        if count == 0 || count > 125 {
            return Err(ILLEGAL_VALUE);
        }
        let layout = self.options.layout;
        (start..=start.checked_add(count - 1).ok_or(ILLEGAL_ADDRESS)?)
            .map(|register| match function {
                _ if self.options.missing.contains(&register) => Err(ILLEGAL_ADDRESS),
                0x03 if register == 503 && layout.can_read_holding(503) => Ok(self.options.switch_s),
                0x03 if register == 504 && layout.can_read_holding(504) => Ok(0),
                0x04 if layout.has_input(register) => Ok(self.input(register)),
                0x03 if layout.can_read_holding(register) => self.settings.get(register).ok_or(ILLEGAL_ADDRESS),
                _ => Err(ILLEGAL_ADDRESS),
            })
            .collect()
    }

    /// Writes all values or none.
    fn write(&mut self, now_ms: u64, start: u16, values: Option<&[u16]>) -> Result<(), u8> {
        let values = values.ok_or(ILLEGAL_VALUE)?;
        let registers = || (start..=u16::MAX).zip(values.iter().copied());
        for (register, value) in registers() {
            self.note_forbidden(now_ms, register, value);
        }
        let mut settings = self.settings;
        for (register, value) in registers() {
            if !self.options.layout.can_write(register) || self.options.missing.contains(&register) {
                return Err(ILLEGAL_ADDRESS);
            }
            if !settings.set(register, value) {
                return Err(ILLEGAL_VALUE);
            }
        }
        if let Some((_, command)) = registers().find(|(register, _)| *register == 501) {
            self.switch_phases(now_ms, command)?;
        }
        self.settings = settings;
        for (register, _) in registers() {
            *self.line.writes.entry(register).or_default() += 1;
        }
        Ok(())
    }

    fn note_forbidden(&mut self, at_ms: u64, register: u16, value: u16) {
        let forbidden = match register {
            261 => matches!(value, 1..=59) || value > self.options.hardware_max_a.min(16) * 10,
            262 => matches!(value, 1..=59) || value > 160,
            _ => false,
        };
        if forbidden {
            self.line.note_forbidden(at_ms, register, value);
        }
    }
}

const ILLEGAL_FUNCTION: u8 = 1;
const ILLEGAL_ADDRESS: u8 = 2;
const ILLEGAL_VALUE: u8 = 3;

const fn function(ask: &Ask) -> u8 {
    match ask {
        Ask::Read { function, .. } | Ask::Write { function, .. } | Ask::Other { function } => *function,
    }
}
