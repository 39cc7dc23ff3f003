//! Requests, outcomes, and whether an answer belongs to its request. Pure; frames and CRC are left to the transport.
//!
//! tokio-modbus 0.17 checks only unit and function code (lengths and echoes in debug builds at most), and RTU has no transaction ids. So
//! everything that can be compared is compared here, in every build.

use std::fmt;

use control::Millis;

/// One request to one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Modbus unit, 1 … 247.
    pub unit: u8,
    /// The operation.
    pub op: Operation,
}

/// The Modbus functions in use: 04, 03 and 06.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Function 04.
    ReadInput {
        /// First address.
        addr: u16,
        /// Number of registers, 1 … 125.
        count: u16,
    },
    /// Function 03.
    ReadHolding {
        /// First address.
        addr: u16,
        /// Number of registers, 1 … 125.
        count: u16,
    },
    /// Function 06.
    WriteSingle {
        /// Address.
        addr: u16,
        /// Value.
        value: u16,
    },
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.op {
            Operation::ReadInput { addr, count } => write!(f, "unit {}: read input {addr}+{count}", self.unit),
            Operation::ReadHolding { addr, count } => write!(f, "unit {}: read holding {addr}+{count}", self.unit),
            Operation::WriteSingle { addr, value } => write!(f, "unit {}: write {addr} = {value}", self.unit),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, addr, count) = match *self {
            Self::ReadInput { addr, count } => ("read input register", addr, count),
            Self::ReadHolding { addr, count } => ("read holding register", addr, count),
            Self::WriteSingle { addr, value } => return write!(f, "write {value} to register {addr}"),
        };
        if count <= 1 {
            write!(f, "{what} {addr}")
        } else {
            write!(f, "{what}s {addr} to {}", addr.saturating_add(count - 1))
        }
    }
}

/// A well-formed frame received in reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The unit that answered.
    pub unit: u8,
    /// The content.
    pub body: Body,
}

/// Content of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Function 04.
    Input(Vec<u16>),
    /// Function 03.
    Holding(Vec<u16>),
    /// Function 06: the echo.
    Written {
        /// Echoed address.
        addr: u16,
        /// Echoed value.
        value: u16,
    },
    /// The wallbox declines, with the exception code.
    Exception(u8),
    /// A function that is not in use here.
    Foreign,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The requested number of registers.
    Registers(Vec<u16>),
    /// The write was echoed. That does not prove that the wallbox keeps the value.
    Written,
    /// Modbus exception code.
    Exception(u8),
    /// No usable answer: nothing is known.
    Failed(Failure),
}

/// Why there is no usable answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nothing came in time.
    Timeout,
    /// The request itself came back in time, and nothing else: the adapter echoes, the charger does not answer.
    EchoOnly,
    /// Bytes came, but no frame with a correct checksum.
    Noise(Sample),
    /// The answer came, but too late to be used.
    Late {
        /// Time from the request to the answer.
        after: Millis,
        /// Time limit for an answer.
        limit: Millis,
    },
    /// Not an answer to this request.
    Malformed(Flaw),
    /// The line is no longer there.
    Gone,
}

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// This unit answered instead.
    Unit(u8),
    /// The answer is for a different function.
    Function,
    /// The answer contains a different number of registers.
    Length,
    /// A different address or value was echoed.
    Echo,
    /// Two different answers came: one of them belongs to an earlier request.
    Twice,
    /// The answer carries the id of a different transaction (Modbus TCP).
    Transaction,
    /// A request of another master was on the line.
    Master,
}

/// The first bytes of something that could not be interpreted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    bytes: [u8; Self::MAX],
    length: u8,
}

impl Sample {
    /// Number of bytes kept.
    pub const MAX: usize = 8;

    /// Keeps the first of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut sample = Self::default();
        for (place, byte) in sample.bytes.iter_mut().zip(bytes) {
            *place = *byte;
            sample.length += 1;
        }
        sample
    }

    /// Returns whether the sample is empty.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// Shows the bytes in hexadecimal, separated by spaces.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.bytes.iter().take(usize::from(self.length)).enumerate() {
            write!(f, "{}{byte:02x}", if at == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("no answer in time"),
            Self::EchoOnly => f.write_str("only the request came back (the adapter echoes), no answer"),
            Self::Noise(sample) if sample.is_empty() => f.write_str("bytes came, but no answer"),
            Self::Noise(sample) => write!(f, "bytes came, but no answer (the first: {sample})"),
            Self::Late { after, limit } => write!(
                f,
                "its answer came {} ms after the request, later than reply-ms = {}: raise it",
                after.0, limit.0
            ),
            Self::Malformed(Flaw::Unit(unit)) => write!(f, "unit {unit} answered instead"),
            Self::Malformed(Flaw::Function) => f.write_str("the answer is to another function"),
            Self::Malformed(Flaw::Length) => f.write_str("the answer has another length than asked for"),
            Self::Malformed(Flaw::Echo) => f.write_str("the write was acknowledged with another address or value"),
            Self::Malformed(Flaw::Twice) => f.write_str("two different answers came, one of them late"),
            Self::Malformed(Flaw::Transaction) => f.write_str("the answer is to another transaction"),
            Self::Malformed(Flaw::Master) => f.write_str("another master sends requests on this line"),
            Self::Gone => f.write_str("the line is gone"),
        }
    }
}

/// Interprets `answer` as the answer to `request`.
pub fn check(request: &Request, answer: Answer) -> Outcome {
    if answer.unit != request.unit {
        return malformed(Flaw::Unit(answer.unit));
    }
    match (request.op, answer.body) {
        (_, Body::Exception(code)) => Outcome::Exception(code),
        (Operation::ReadInput { count, .. }, Body::Input(words))
        | (Operation::ReadHolding { count, .. }, Body::Holding(words)) => {
            if words.len() == usize::from(count) {
                Outcome::Registers(words)
            } else {
                malformed(Flaw::Length)
            }
        }
        (Operation::WriteSingle { addr, value }, Body::Written { addr: echoed_addr, value: echoed }) => {
            if (echoed_addr, echoed) == (addr, value) { Outcome::Written } else { malformed(Flaw::Echo) }
        }
        (
            Operation::ReadInput { .. } | Operation::ReadHolding { .. } | Operation::WriteSingle { .. },
            Body::Input(_) | Body::Holding(_) | Body::Written { .. } | Body::Foreign,
        ) => malformed(Flaw::Function),
    }
}

const fn malformed(flaw: Flaw) -> Outcome {
    Outcome::Failed(Failure::Malformed(flaw))
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Request = Request { unit: 1, op: Operation::ReadInput { addr: 5, count: 2 } };
    const WRITE: Request = Request { unit: 1, op: Operation::WriteSingle { addr: 261, value: 60 } };

    fn answer(unit: u8, body: Body) -> Answer {
        Answer { unit, body }
    }

    #[test]
    fn accepts_only_the_answer_to_the_request() {
        assert_eq!(check(&READ, answer(1, Body::Input(vec![7, 8]))), Outcome::Registers(vec![7, 8]));
        assert_eq!(check(&READ, answer(2, Body::Input(vec![7, 8]))), malformed(Flaw::Unit(2)));
        assert_eq!(check(&READ, answer(1, Body::Input(vec![7]))), malformed(Flaw::Length));
        assert_eq!(check(&READ, answer(1, Body::Input(vec![7, 8, 9]))), malformed(Flaw::Length));
        assert_eq!(check(&READ, answer(1, Body::Holding(vec![7, 8]))), malformed(Flaw::Function));
        assert_eq!(check(&READ, answer(1, Body::Foreign)), malformed(Flaw::Function));
        assert_eq!(check(&READ, answer(1, Body::Exception(2))), Outcome::Exception(2));
    }

    #[test]
    fn accepts_a_write_only_with_its_own_echo() {
        assert_eq!(check(&WRITE, answer(1, Body::Written { addr: 261, value: 60 })), Outcome::Written);
        assert_eq!(check(&WRITE, answer(1, Body::Written { addr: 261, value: 61 })), malformed(Flaw::Echo));
        assert_eq!(check(&WRITE, answer(1, Body::Written { addr: 262, value: 60 })), malformed(Flaw::Echo));
        assert_eq!(check(&WRITE, answer(1, Body::Holding(vec![60]))), malformed(Flaw::Function));
    }

    #[test]
    fn bytes_that_are_not_understood_are_shown_in_hexadecimal() {
        let failure = |bytes: &[u8]| Failure::Noise(Sample::of(bytes)).to_string();
        assert_eq!(failure(&[0x00, 0xff, 0x1]), "bytes came, but no answer (the first: 00 ff 01)");
        assert_eq!(failure(&[0x55; 60]), "bytes came, but no answer (the first: 55 55 55 55 55 55 55 55)");
        assert_eq!(failure(&[]), "bytes came, but no answer");
    }
}
