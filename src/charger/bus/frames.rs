//! Finds the answer to a request among the bytes on a line. Pure: bytes in, at most one frame out.
//!
//! tokio-modbus 0.17 accepts the first frame with a correct checksum, skips at most 20 bytes, and mistakes the copy of a request that
//! an adapter with local echo returns for an answer. So the bytes pass through an [`Ear`] first:
//!
//! ```text
//!  heard since the request:   stray bytes │ copy of the request │ stray bytes │ answer │ whatever follows
//!                               skipped        dropped              skipped     given on   compared: a second answer is a contradiction
//! ```
//! The acknowledgement of a write (function 06) is the request itself, byte for byte (Modbus application protocol V1.1b3, 6.6). A single
//! copy may be the adapter's echo or the acknowledgement, so echo is learnt from reads, and [`Ear::must_learn`] tells when that must happen
//! before an acknowledgement counts. RTU frames carry no transaction id: a frame from our unit that does not fit makes the request fail
//! rather than being guessed at.

#[cfg(test)]
mod tests;

use crate::charger::codec::{Failure, Flaw, Sample};

/// Most bytes kept for one request: four of the longest frames of 256 bytes. Further bytes are ignored.
const HEARD_MAX: usize = 1_024;
/// The longest request: the longest frame of Modbus TCP (Modbus Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3).
const REQUEST_MAX: usize = 260;
/// Function 06.
const WRITE_SINGLE: u8 = 6;

/// How frames are delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// By length and checksum.
    Rtu,
    /// By a header with length and transaction (Modbus TCP).
    Tcp,
}

/// Whether the adapter returns what is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Echo {
    /// To be learnt from a read.
    #[default]
    Unknown,
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// Listens for the answers to one request after another.
#[derive(Debug)]
pub(crate) struct Ear {
    dialect: Dialect,
    echo: Echo,
    request: Vec<u8>,
    heard: Vec<u8>,
    /// Everything before this position has been interpreted or skipped.
    at: usize,
    /// Number of dropped copies of the request.
    copies: u32,
    answer: Option<Vec<u8>>,
    /// Bytes skipped before the answer; empty if none were.
    strays: Sample,
    /// A flaw in frames of others, which does not rule out an answer.
    others: Option<Flaw>,
    flaw: Option<Flaw>,
}

/// What the bytes at one position are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// A whole frame, with its length in bytes.
    Whole(Kind, usize),
    /// Possibly the beginning of the awaited frame.
    Begun,
    /// No frame.
    Stray,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The request itself.
    Copy,
    /// An answer of the right unit, function and length.
    Answer,
    /// A frame of our unit that is not the answer.
    Wrong(Flaw),
    /// A frame of another unit or master.
    Others(Flaw),
}

impl Ear {
    /// Creates an ear that has received nothing yet.
    pub(crate) fn new(dialect: Dialect, echo: Echo) -> Self {
        Self {
            dialect,
            echo,
            request: Vec::new(),
            heard: Vec::new(),
            at: 0,
            copies: 0,
            answer: None,
            strays: Sample::default(),
            others: None,
            flaw: None,
        }
    }

    /// Discards everything received before, because a new request is about to be sent.
    pub(crate) fn begin(&mut self) {
        *self = Self::new(self.dialect, self.echo);
    }

    /// Takes bytes of the request as they are sent.
    pub(crate) fn sent(&mut self, bytes: &[u8]) {
        let room = REQUEST_MAX.saturating_sub(self.request.len());
        self.request.extend(bytes.iter().take(room));
    }

    /// Takes received bytes. Returns the answer, once, when it is complete.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let room = HEARD_MAX.saturating_sub(self.heard.len());
        self.heard.extend(bytes.iter().take(room));
        let before = self.answer.is_some();
        while self.flaw.is_none()
            && let Some((skipped, kind, length)) = self.next()
        {
            let start = self.at + skipped;
            if skipped > 0 && self.answer.is_none() && self.strays.is_empty() {
                self.strays = Sample::of(self.heard.get(self.at..start).unwrap_or_default());
            }
            self.at = start + length;
            let frame = self.heard.get(start..self.at).unwrap_or_default();
            match kind {
                Kind::Copy => self.copies += 1,
                Kind::Answer => match &self.answer {
                    None => self.answer = Some(frame.to_vec()),
                    Some(first) if first.as_slice() == frame => {}
                    Some(_) => self.flaw = Some(Flaw::Twice),
                },
                // After the answer, it is just as much a sign of a line out of step as before it.
                Kind::Wrong(flaw) => self.flaw = Some(if self.answer.is_some() { Flaw::Twice } else { flaw }),
                Kind::Others(flaw) => self.others = Some(flaw),
            }
        }
        self.answer.clone().filter(|_| !before && self.flaw.is_none())
    }

    /// Returns the flaw that makes any answer to this request useless.
    pub(crate) const fn flaw(&self) -> Option<Flaw> {
        self.flaw
    }

    /// Returns whether a copy of the request is known to come back.
    pub(crate) const fn echo(&self) -> Echo {
        self.echo
    }

    /// Returns whether anything has come since the request.
    pub(crate) const fn heard_anything(&self) -> bool {
        !self.heard.is_empty()
    }

    /// Returns the bytes that were skipped before the answer; empty if none were.
    pub(crate) const fn strays(&self) -> Sample {
        self.strays
    }

    /// Ends the request, answered or not, and learns about the echo from it.
    pub(crate) fn end(&mut self) {
        if self.dialect == Dialect::Tcp || self.request.is_empty() {
            return;
        }
        self.echo = match self.echo {
            // A write proves only this: if nothing at all comes back, there is no echo.
            Echo::Unknown if self.writes() && self.heard.is_empty() => Echo::No,
            echo if self.writes() => echo,
            _ if self.copies > 0 => Echo::Yes,
            // One read without a copy does not disprove it: other bytes may have corrupted the copy.
            Echo::Yes => Echo::Unknown,
            // Nor does a read whose copy may come after the flawed frame.
            Echo::Unknown if self.flaw.is_some() => Echo::Unknown,
            Echo::Unknown | Echo::No => Echo::No,
        };
    }

    /// Returns whether a read must come before a write can count as acknowledged, because a single copy of the write would prove nothing.
    pub(crate) fn must_learn(&self) -> bool {
        self.dialect == Dialect::Rtu && self.echo == Echo::Unknown
    }

    /// Returns why there is no answer.
    pub(crate) fn failure(&self) -> Failure {
        if let Some(flaw) = self.flaw.or(self.others) {
            return Failure::Malformed(flaw);
        }
        let rest = self.heard.get(self.at..).unwrap_or_default();
        let first = if self.strays.is_empty() { Sample::of(rest) } else { self.strays };
        if !first.is_empty() {
            Failure::Noise(first)
        } else if self.copies > 0 {
            Failure::EchoOnly
        } else {
            Failure::Timeout
        }
    }

    fn writes(&self) -> bool {
        self.request.get(1) == Some(&WRITE_SINGLE)
    }

    /// Returns the next whole frame among the bytes not interpreted yet: how many bytes to skip before it, its kind, and its length.
    fn next(&self) -> Option<(usize, Kind, usize)> {
        let rest = self.heard.get(self.at..)?;
        // Within what may become the answer, other frames are coincidence.
        let mut begun = false;
        for skipped in 0..rest.len() {
            let from = rest.get(skipped..)?;
            let piece = match self.dialect {
                Dialect::Rtu => self.rtu(from),
                Dialect::Tcp => self.tcp(from),
            };
            match piece {
                Piece::Whole(Kind::Others(_) | Kind::Wrong(_), _) if begun => {}
                Piece::Whole(kind, length) => return Some((skipped, kind, length)),
                Piece::Begun => begun = true,
                Piece::Stray => {}
            }
            // A TCP stream loses no bytes: data that does not begin with a header is not Modbus TCP.
            if self.dialect == Dialect::Tcp {
                return None;
            }
        }
        None
    }

    /// Returns what these bytes of an RTU line begin with.
    fn rtu(&self, bytes: &[u8]) -> Piece {
        let (&[unit, function, ..], &[first, ref rest @ ..]) = (self.request.as_slice(), bytes) else {
            return Piece::Stray;
        };
        // A copy of a read is always the echo; of a write, only the first copy, and only if the adapter is known to echo.
        let copies = !self.writes() || (self.echo == Echo::Yes && self.copies == 0);
        if copies && bytes.starts_with(&self.request) {
            return Piece::Whole(Kind::Copy, self.request.len());
        }
        if bytes.len() < self.request.len() && self.request.starts_with(bytes) {
            return Piece::Begun;
        }
        let Some(&second) = rest.first() else {
            return if first == unit { Piece::Begun } else { Piece::Stray };
        };
        if (first, second) == (unit, function | 0x80) {
            return whole(bytes, 5, Kind::Answer).unwrap_or(Piece::Stray);
        }
        if (first, second) == (unit, function) {
            let answer = if self.writes() { whole(bytes, 8, self.acknowledged(bytes)) } else { self.registers(bytes) };
            return answer.unwrap_or(Piece::Stray);
        }
        others(bytes, unit).unwrap_or(Piece::Stray)
    }

    fn acknowledged(&self, bytes: &[u8]) -> Kind {
        if bytes.starts_with(&self.request) { Kind::Answer } else { Kind::Wrong(Flaw::Echo) }
    }

    /// Recognises an answer to a read, or a frame of a different length from the right unit.
    fn registers(&self, bytes: &[u8]) -> Option<Piece> {
        let &[_, _, _, _, high, low, ..] = self.request.as_slice() else { return None };
        let wanted = usize::from(u16::from_be_bytes([high, low])) * 2;
        let Some(&count) = bytes.get(2) else { return Some(Piece::Begun) };
        let count = usize::from(count);
        if count == wanted {
            return whole(bytes, count + 5, Kind::Answer);
        }
        let length = sealed(bytes, count + 5).then_some(Piece::Whole(Kind::Wrong(Flaw::Length), count + 5));
        // All requests with functions 03 and 04 have 8 bytes.
        length.or_else(|| sealed(bytes, 8).then_some(Piece::Whole(Kind::Wrong(Flaw::Master), 8)))
    }

    /// Returns what these bytes of a Modbus TCP stream begin with: transaction, protocol 0, length, unit, function.
    fn tcp(&self, bytes: &[u8]) -> Piece {
        let &[high, low, 0, 0, length_high, length_low, unit, _, ..] = bytes else { return Piece::Stray };
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        if !(2..=254).contains(&length) || bytes.len() < length + 6 {
            return Piece::Stray;
        }
        let kind = match self.request.as_slice() {
            &[a, b, _, _, _, _, asked, ..] if (a, b) == (high, low) => {
                if unit == asked {
                    Kind::Answer
                } else {
                    Kind::Wrong(Flaw::Unit(unit))
                }
            }
            _ => Kind::Others(Flaw::Transaction),
        };
        Piece::Whole(kind, length + 6)
    }
}

/// Recognises a frame of this length with a correct checksum, or the beginning of one.
fn whole(bytes: &[u8], length: usize, kind: Kind) -> Option<Piece> {
    if bytes.len() < length {
        return Some(Piece::Begun);
    }
    sealed(bytes, length).then_some(Piece::Whole(kind, length))
}

/// Recognises a frame of another unit, or of another function of this unit.
fn others(bytes: &[u8], unit: u8) -> Option<Piece> {
    let (&first, &function) = (bytes.first()?, bytes.get(1)?);
    let shape = |length: usize| sealed(bytes, length).then_some(length);
    let (length, request) = match function {
        3 | 4 => match shape(usize::from(*bytes.get(2)?) + 5) {
            Some(length) => (Some(length), false),
            None => (shape(8), true),
        },
        // Requests and answers look the same.
        6 | 16 => (shape(8), false),
        0x83 | 0x84 | 0x86 | 0x90 => (shape(5), false),
        _ => (None, false),
    };
    let kind = match (first == unit, request) {
        (_, true) => Kind::Others(Flaw::Master),
        (true, false) => Kind::Wrong(Flaw::Function),
        (false, false) => Kind::Others(Flaw::Unit(first)),
    };
    // Units are 1 to 247; 0 addresses all of them and is never answered (Modbus over serial line V1.02, 2.2).
    length.filter(|_| (1..=247).contains(&first)).map(|length| Piece::Whole(kind, length))
}

/// Returns whether the first `length` bytes end with their checksum.
fn sealed(bytes: &[u8], length: usize) -> bool {
    let frame = bytes.get(..length).and_then(<[u8]>::split_last_chunk::<2>);
    frame.is_some_and(|(body, tail)| crc(body) == *tail)
}

/// Computes the CRC-16 of Modbus, low byte first (Modbus over serial line V1.02, 2.5.1.2 and appendix B).
pub(super) fn crc(bytes: &[u8]) -> [u8; 2] {
    let mut crc = 0xffff_u16;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1 == 1;
            crc >>= 1;
            if carry {
                crc ^= 0xa001;
            }
        }
    }
    crc.to_le_bytes()
}
