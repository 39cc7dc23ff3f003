//! Fuzz targets: any bytes as the answers on a line, through [`Ear`] and tokio-modbus to an outcome, as in [`super::session`].
//!
//! The input tells how the adapter echoes, and for each request what comes back: bytes as they are, the same with a valid checksum or
//! header, copies of the request, answers to it. With these a mutation gets behind the checksums.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_modbus::Slave;
use tokio_modbus::client::{Client, rtu, tcp};

use super::frames::{Dialect, Ear, Echo, crc};
use super::session::body;
use crate::charger::codec::{Answer, Body, Operation, Outcome, Request, check};
use crate::fuzz::pieces::{Pieces, assert_showable};

/// How many requests a conversation has.
const REQUESTS: usize = 4;
/// Longest text about a failure.
const TEXT_MAX: usize = 200;

/// A line whose frames are delimited by length and checksum.
pub fn rtu(bytes: &[u8]) {
    conversation(Dialect::Rtu, bytes);
}

/// A Modbus TCP connection.
pub fn tcp(bytes: &[u8]) {
    conversation(Dialect::Tcp, bytes);
}

fn conversation(dialect: Dialect, bytes: &[u8]) {
    let mut pieces = Pieces(bytes);
    let mut echo = match pieces.byte() % 3 {
        0 => Echo::Unknown,
        1 => Echo::Yes,
        _ => Echo::No,
    };
    for _ in 0..REQUESTS {
        let request = request(&mut pieces);
        let script = script(&mut pieces);
        let outcome = exchange(dialect, &mut echo, request, script);
        if matches!(outcome, Outcome::Failed(_)) && pieces.is_empty() {
            break;
        }
    }
}

fn request(pieces: &mut Pieces<'_>) -> Request {
    let (unit, kind) = (1 + pieces.byte() % 247, pieces.byte());
    let (addr, count) = (pieces.word(), 1 + u16::from(pieces.byte()) % 125);
    let op = match kind % 3 {
        0 => Operation::ReadInput { addr, count },
        1 => Operation::ReadHolding { addr, count },
        _ => Operation::WriteSingle { addr, value: pieces.word() },
    };
    Request { unit, op }
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    /// These bytes.
    Raw(Vec<u8>),
    /// These bytes as a frame.
    Framed(Vec<u8>),
    /// The request.
    Copy,
    /// The answer to the request; a read gets these values.
    Answer(Vec<u8>),
    /// The request is refused.
    Exception(u8),
}

fn script(pieces: &mut Pieces<'_>) -> VecDeque<Heard> {
    let mut script = VecDeque::new();
    while !pieces.is_empty() {
        script.push_back(match pieces.byte() % 8 {
            0 => break,
            1 | 2 => Heard::Raw(pieces.piece().to_vec()),
            3 | 4 => Heard::Framed(pieces.piece().to_vec()),
            5 => Heard::Copy,
            6 => Heard::Answer(pieces.piece().to_vec()),
            _ => Heard::Exception(pieces.byte()),
        });
    }
    script
}

/// Carries out a request and checks its outcome against everything that was heard.
fn exchange(dialect: Dialect, echo: &mut Echo, request: Request, script: VecDeque<Heard>) -> Outcome {
    let before = *echo;
    let expected = expected(request, before, &script);
    let ear = Ear::new(dialect, before);
    let (sent, stream, frame) = (Vec::new(), Vec::new(), Vec::new());
    let shared = Arc::new(Mutex::new(Shared { ear, dialect, request, script, sent, stream, frame, gone: false }));
    let line = Line(Arc::clone(&shared));
    let mut modbus = match dialect {
        Dialect::Rtu => rtu::attach_slave(line, Slave(request.unit)),
        Dialect::Tcp => tcp::attach_slave(line, Slave(request.unit)),
    };
    let call = modbus.call(match request.op {
        Operation::ReadInput { addr, count } => tokio_modbus::Request::ReadInputRegisters(addr, count),
        Operation::ReadHolding { addr, count } => tokio_modbus::Request::ReadHoldingRegisters(addr, count),
        Operation::WriteSingle { addr, value } => tokio_modbus::Request::WriteSingleRegister(addr, value),
    });
    let Some(result) = call.now_or_never() else { panic!("tokio-modbus waits for a line that has ended") };
    let mut shared = lock(&shared);
    let outcome = match result {
        _ if shared.ear.flaw().is_some() => Outcome::Failed(shared.ear.failure()),
        Ok(Ok(response)) => check(&request, Answer { unit: request.unit, body: body(response) }),
        Ok(Err(exception)) => check(&request, Answer { unit: request.unit, body: Body::Exception(exception.into()) }),
        Err(_) => Outcome::Failed(shared.ear.failure()),
    };
    shared.ear.end();
    *echo = shared.ear.echo();
    assert_outcome(&outcome, before, &shared);
    if let Some(expected) = expected {
        assert_eq!(outcome, expected);
    }
    outcome
}

/// The outcome of a script whose outcome is certain: the answer and nothing else.
fn expected(request: Request, echo: Echo, script: &VecDeque<Heard>) -> Option<Outcome> {
    let Some(Heard::Answer(bytes)) = script.front().filter(|_| script.len() == 1) else { return None };
    match request.op {
        Operation::ReadInput { count, .. } | Operation::ReadHolding { count, .. } => {
            Some(Outcome::Registers(words(count, bytes)))
        }
        // A single copy is the echo of an adapter that echoes.
        Operation::WriteSingle { .. } => (echo != Echo::Yes).then_some(Outcome::Written),
    }
}

fn assert_outcome(outcome: &Outcome, echo: Echo, shared: &Shared) {
    let times = |part: &[u8]| shared.stream.windows(part.len()).filter(|window| *window == part).count();
    match outcome {
        Outcome::Registers(words) => {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            assert!(times(&shared.answer(&bytes)) > 0, "{words:?} were not on the line");
        }
        Outcome::Written => {
            let needed = if shared.dialect == Dialect::Rtu && echo == Echo::Yes { 2 } else { 1 };
            assert!(times(&shared.sent) >= needed, "the acknowledgement was not on the line");
        }
        Outcome::Exception(_) => {}
        Outcome::Failed(failure) => assert_showable(&failure.to_string(), TEXT_MAX),
    }
}

const fn function(op: Operation) -> u8 {
    match op {
        Operation::ReadInput { .. } => 4,
        Operation::ReadHolding { .. } => 3,
        Operation::WriteSingle { .. } => 6,
    }
}

/// The values of a read: the given bytes, as often as they are needed.
fn words(count: u16, bytes: &[u8]) -> Vec<u16> {
    let mut bytes = bytes.iter().copied().chain(std::iter::repeat(0));
    let mut next = || bytes.next().unwrap_or(0);
    (0..count).map(|_| u16::from_be_bytes([next(), next()])).collect()
}

/// The line, in place of a port.
struct Line(Arc<Mutex<Shared>>);

struct Shared {
    ear: Ear,
    dialect: Dialect,
    request: Request,
    /// What will be heard.
    script: VecDeque<Heard>,
    /// The request's bytes.
    sent: Vec<u8>,
    /// Everything that was heard.
    stream: Vec<u8>,
    /// An answer on its way to tokio-modbus.
    frame: Vec<u8>,
    gone: bool,
}

impl Shared {
    fn bytes(&self, heard: &Heard) -> Vec<u8> {
        match heard {
            Heard::Raw(bytes) => bytes.clone(),
            Heard::Framed(bytes) => self.framed(bytes),
            Heard::Copy => self.sent.clone(),
            Heard::Answer(bytes) => self.answer(bytes),
            Heard::Exception(code) => self.framed(&[self.request.unit, function(self.request.op) | 0x80, *code]),
        }
    }

    /// The frame that answers the request.
    fn answer(&self, bytes: &[u8]) -> Vec<u8> {
        let count = match self.request.op {
            Operation::ReadInput { count, .. } | Operation::ReadHolding { count, .. } => count,
            Operation::WriteSingle { .. } => return self.sent.clone(),
        };
        let length = u8::try_from(count * 2).unwrap_or(u8::MAX);
        let mut content = vec![self.request.unit, function(self.request.op), length];
        content.extend(words(count, bytes).into_iter().flat_map(u16::to_be_bytes));
        self.framed(&content)
    }

    /// The bytes with a checksum, or with the header that belongs to the request.
    fn framed(&self, content: &[u8]) -> Vec<u8> {
        match self.dialect {
            Dialect::Rtu => [content, &crc(content)].concat(),
            Dialect::Tcp => {
                let length = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
                [self.sent.get(..4).unwrap_or_default(), &length, content].concat()
            }
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Line")
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.0);
        while shared.frame.is_empty() {
            let Some(heard) = shared.script.pop_front() else {
                assert!(!shared.gone, "tokio-modbus reads on although the line has ended");
                shared.gone = true;
                return Poll::Ready(Ok(()));
            };
            let heard = shared.bytes(&heard);
            shared.stream.extend(&heard);
            for part in heard.chunks(256) {
                if let Some(answer) = shared.ear.hear(part) {
                    shared.frame = answer;
                }
            }
            if shared.ear.flaw().is_some() {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
        }
        let taken = shared.frame.len().min(buf.remaining());
        shared.frame.drain(..taken).for_each(|byte| buf.put_slice(&[byte]));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut shared = lock(&self.0);
        shared.ear.sent(buf);
        shared.sent.extend(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
