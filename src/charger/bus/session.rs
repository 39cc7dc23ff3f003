//! One request and its answer on an open port, through tokio-modbus, with an [`Ear`] between the two.

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use control::Millis;
use futures_util::future::poll_fn;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_modbus::client::{Client, Context as Modbus, rtu, tcp};
use tokio_modbus::slave::SlaveContext;
use tokio_modbus::{ProtocolError, Response, Slave};

use super::frames::{Dialect, Ear, Echo};
use super::port::Port;
use crate::charger::codec::{Answer, Body, Failure, Flaw, Operation, Outcome, Request, Sample, check};
use crate::clock::Clock;

/// Shortest wait for bytes in real time, however fast the clock runs: the operating system does not run faster.
pub(super) const REAL_MIN: Duration = Duration::from_millis(50);
/// Shortest wait for an answer while the clock runs faster than real time: the answering side may have to wait for the processor.
const REAL_REPLY_MIN: Duration = Duration::from_millis(250);
/// Silence that ends an answer on a serial line. The standard requires 3.5 characters (2 ms at 19200 baud), but adapters pass on bytes only
/// every 16 ms (FTDI's latency timer).
const SILENCE: Millis = Millis(20);
/// Lower limit of this silence in real time, however fast the clock runs.
const SILENCE_REAL_MIN: Duration = Duration::from_millis(2);

/// How long to listen for the answer to one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For an answer that counts.
    pub(super) reply: Millis,
    /// Added for the way to the line.
    pub(super) way: Millis,
    /// After that, for an answer that is too late to count.
    pub(super) late: Millis,
}

/// An open port with its session. It is useless after a failure: tokio-modbus may pair the next request with this one's answer.
pub(super) struct Session {
    modbus: Modbus,
    shared: Arc<Mutex<Shared>>,
    dialect: Dialect,
    serial: bool,
    answered: u32,
}

#[derive(Debug)]
struct Shared {
    port: Port,
    ear: Ear,
    /// An answer on its way to tokio-modbus.
    frame: Vec<u8>,
    /// The other end has closed the connection.
    gone: bool,
}

impl Session {
    pub(super) fn new(port: Port, echo: Echo) -> Self {
        let (dialect, serial) = (port.dialect(), matches!(port, Port::Serial(_)));
        let shared =
            Arc::new(Mutex::new(Shared { port, ear: Ear::new(dialect, echo), frame: Vec::new(), gone: false }));
        let tap = Tap(Arc::clone(&shared));
        let modbus = match dialect {
            Dialect::Rtu => rtu::attach_slave(tap, Slave(1)),
            Dialect::Tcp => tcp::attach_slave(tap, Slave(1)),
        };
        Self { modbus, shared, dialect, serial, answered: 0 }
    }

    /// Returns how many requests were answered on this connection.
    pub(super) const fn answered(&self) -> u32 {
        self.answered
    }

    pub(super) fn must_learn(&self) -> bool {
        self.lock().ear.must_learn()
    }

    pub(super) fn echo(&self) -> Echo {
        self.lock().ear.echo()
    }

    /// Returns the bytes that were skipped before the last answer.
    pub(super) fn strays(&self) -> Sample {
        self.lock().ear.strays()
    }

    /// Returns whether the other end of a TCP connection is known to have closed it.
    pub(super) async fn closed_by_peer(&mut self) -> bool {
        if self.dialect != Dialect::Tcp {
            return false;
        }
        let shared = Arc::clone(&self.shared);
        poll_fn(|cx| {
            let mut waste = [0; 256];
            let mut shared = lock(&shared);
            loop {
                let mut buffer = ReadBuf::new(&mut waste);
                match Pin::new(&mut shared.port).poll_read(cx, &mut buffer) {
                    Poll::Pending => return Poll::Ready(false),
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                    Poll::Ready(_) => return Poll::Ready(true),
                }
            }
        })
        .await
    }

    /// Returns whether a request that ended as [`Failure::Gone`] met a connection that had been closed before, so that it may be resent.
    pub(super) fn was_stale(&self) -> bool {
        self.dialect == Dialect::Tcp && self.answered > 0 && !self.lock().ear.heard_anything()
    }

    /// Sends a request and listens for its answer.
    pub(super) async fn ask(&mut self, request: Request, patience: Patience, clock: Clock) -> Outcome {
        {
            let mut shared = self.lock();
            shared.ear.begin();
            shared.frame.clear();
        }
        let sent = clock.now();
        self.modbus.set_slave(Slave(request.unit));
        let result = {
            let mut call = pin!(self.modbus.call(match request.op {
                Operation::ReadInput { addr, count } => tokio_modbus::Request::ReadInputRegisters(addr, count),
                Operation::ReadHolding { addr, count } => tokio_modbus::Request::ReadHoldingRegisters(addr, count),
                Operation::WriteSingle { addr, value } => tokio_modbus::Request::WriteSingleRegister(addr, value),
            }));
            match clock.within(real(patience.reply + patience.way, clock), &mut call).await {
                Ok(result) => Ok(result),
                // No new request while an answer may still come. It is also worth knowing whether one comes.
                Err(_) => Err(matches!(clock.within(real(patience.late, clock), &mut call).await, Ok(Ok(_)))),
            }
        };
        let outcome = match result {
            Err(true) => Outcome::Failed(Failure::Late { after: clock.now().since(sent), limit: patience.reply }),
            Err(false) => Outcome::Failed(self.lock().ear.failure()),
            Ok(result) => {
                if self.serial && result.is_ok() {
                    listen(&self.shared, clock.real(SILENCE).max(SILENCE_REAL_MIN)).await;
                }
                self.judge(request, result)
            }
        };
        self.lock().ear.end();
        if !matches!(outcome, Outcome::Failed(_)) {
            self.answered = self.answered.saturating_add(1);
        }
        outcome
    }

    /// Reads what follows an answer, until nothing has come for this long.
    pub(super) async fn hear_out(&mut self, span: Millis, clock: Clock) {
        if self.serial {
            listen(&self.shared, real(span, clock)).await;
        }
    }

    /// Derives the outcome from the results of tokio-modbus and the ear.
    fn judge(&self, request: Request, result: tokio_modbus::Result<Response>) -> Outcome {
        let shared = self.lock();
        if let Some(flaw) = shared.ear.flaw() {
            return Outcome::Failed(Failure::Malformed(flaw));
        }
        let failure = match result {
            // tokio-modbus has compared the unit, but does not return it.
            Ok(Ok(response)) => return check(&request, Answer { unit: request.unit, body: body(response) }),
            Ok(Err(exception)) => {
                return check(&request, Answer { unit: request.unit, body: Body::Exception(exception.into()) });
            }
            // tokio-modbus turns this into the last error of the system, whatever that was.
            Err(_) if shared.gone => Failure::Gone,
            // The kinds that a relay line uses.
            Err(tokio_modbus::Error::Transport(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Failure::Noise(shared.ear.strays())
            }
            Err(tokio_modbus::Error::Transport(error)) if error.kind() == io::ErrorKind::TimedOut => {
                shared.ear.failure()
            }
            Err(tokio_modbus::Error::Transport(_)) => Failure::Gone,
            Err(tokio_modbus::Error::Protocol(ProtocolError::HeaderMismatch { .. })) => {
                Failure::Malformed(Flaw::Transaction)
            }
            Err(tokio_modbus::Error::Protocol(ProtocolError::FunctionCodeMismatch { .. })) => {
                Failure::Malformed(Flaw::Function)
            }
        };
        Outcome::Failed(failure)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

/// Returns the real time to wait for an answer.
fn real(span: Millis, clock: Clock) -> Duration {
    clock.real(span).max(if clock.speed() > 1 { REAL_REPLY_MIN } else { REAL_MIN })
}

/// Takes the lock, which is always free: only the line's thread uses it.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads until nothing has come for this long. A second, different answer shows that one of the two belongs to another request.
async fn listen(shared: &Mutex<Shared>, silence: Duration) {
    let mut bytes = [0; 256];
    // A frame has at most 256 bytes, and more than one frame already means that the line is out of step.
    for _ in 0..16 {
        let read = poll_fn(|cx| {
            let mut buffer = ReadBuf::new(&mut bytes);
            let mut shared = lock(shared);
            ready!(Pin::new(&mut shared.port).poll_read(cx, &mut buffer))?;
            shared.ear.hear(buffer.filled());
            Poll::Ready(Ok::<_, io::Error>(buffer.filled().len()))
        });
        match timeout(silence, read).await {
            Ok(Ok(1..)) => {}
            // Silent, or closed, which the next request will notice.
            Ok(Ok(0) | Err(_)) | Err(_) => return,
        }
    }
}

/// Extracts the content of a response.
pub(super) fn body(response: Response) -> Body {
    match response {
        Response::ReadInputRegisters(words) => Body::Input(words),
        Response::ReadHoldingRegisters(words) => Body::Holding(words),
        Response::WriteSingleRegister(addr, value) => Body::Written { addr, value },
        Response::ReadCoils(_)
        | Response::ReadDiscreteInputs(_)
        | Response::WriteSingleCoil(..)
        | Response::WriteMultipleCoils(..)
        | Response::WriteMultipleRegisters(..)
        | Response::ReportServerId(..)
        | Response::MaskWriteRegister(..)
        | Response::ReadWriteMultipleRegisters(_)
        | Response::ReadDeviceIdentification(_)
        | Response::Custom(..) => Body::Foreign,
    }
}

/// The port as seen by tokio-modbus: passes requests out, and only answers in.
#[derive(Debug)]
struct Tap(Arc<Mutex<Shared>>);

impl AsyncRead for Tap {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut guard = lock(&self.0);
        let shared = &mut *guard;
        let mut bytes = [0; 256];
        while shared.frame.is_empty() {
            let mut heard = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut shared.port).poll_read(cx, &mut heard))?;
            if heard.filled().is_empty() {
                shared.gone = true;
                return Poll::Ready(Ok(()));
            }
            if let Some(answer) = shared.ear.hear(heard.filled()) {
                shared.frame = answer;
            }
            if shared.ear.flaw().is_some() {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
        }
        let taken = shared.frame.len().min(buf.remaining());
        for byte in shared.frame.drain(..taken) {
            buf.put_slice(&[byte]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tap {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut shared = lock(&self.0);
        let written = ready!(Pin::new(&mut shared.port).poll_write(cx, buf))?;
        shared.ear.sent(buf.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0).port).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0).port).poll_shutdown(cx)
    }
}
