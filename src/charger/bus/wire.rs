//! The bytes: opening, draining, and one request with its answer. What tokio-modbus 0.17 and tokio-serial 5.5 do badly is made
//! good here: a late answer in the tty's buffer, flushing that blocks, time-outs that do not exist, sessions that stay out of step.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use control::Millis;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_modbus::client::{Client, Context as Session, rtu, tcp};
use tokio_modbus::slave::SlaveContext;
use tokio_modbus::{ProtocolError, Response, Slave};
use tokio_serial::{ClearBuffer, SerialPort, SerialStream};

use crate::charger::codec::{Answer, Body, Failure, Flaw, Operation, Outcome, Request, check};
use crate::charger::line::{Done, Op, OpenError};
use crate::charger::profile::{LinkDefaults, Parity};
use crate::config::LinkConfig;
use crate::daemon::clock::Clock;
use crate::relay::{Ask, Failure as RelayFailure};

use super::relay_line::{RelayLine, WAY};

/// No wait for bytes is shorter than this, however fast the clock runs: the operating system does not.
const REAL_MIN: Duration = Duration::from_millis(50);
/// And no wait for an answer while the clock is faster than life: whoever is to answer may not get the processor at once.
const REAL_REPLY_MIN: Duration = Duration::from_millis(250);
/// Longest wait for a TCP connection.
const CONNECT_MAX: Millis = Millis::from_secs(3);
/// A line that has not been quiet for this many quiet times in all is being used by somebody else.
const DRAIN_MAX: u32 = 10;

/// Where a line goes and how it is set.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Which line.
    pub(crate) link: LinkConfig,
    /// Its settings.
    pub(crate) defaults: LinkDefaults,
    /// The way to relays; `None` where there is none.
    pub(crate) relays: Option<mpsc::Sender<Ask>>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.link {
            LinkConfig::Serial { path } => write!(f, "{}", path.display()),
            LinkConfig::Tcp { host, port } => write!(f, "{host}:{port}"),
            LinkConfig::Relay { id } => write!(f, "relay {id}"),
        }
    }
}

/// The state of the wire.
pub(crate) enum Wire {
    /// Not open.
    Closed,
    /// Open, with nobody listening to what comes.
    Raw(Port),
    /// In use.
    Ready(Session),
}

impl Wire {
    /// Does one operation. Takes the wire and gives it back, so that a dropped operation cannot leave it half used.
    pub(crate) async fn perform(self, op: Op, target: Arc<Target>, clock: Clock) -> (Self, Done) {
        let real = |span: Millis| clock.real(span).max(REAL_MIN);
        match op {
            Op::Open => {
                // The old one must be closed before the same device can be opened again.
                drop(self);
                match open(&target, real(CONNECT_MAX), clock).await {
                    Ok(port) => (Self::Raw(port), Done::Opened),
                    Err(error) => (Self::Closed, Done::OpenFailed(error)),
                }
            }
            Op::Drain { quiet } => {
                let Self::Raw(mut port) = self else { return (Self::Closed, Done::DrainFailed(OpenError::Lost)) };
                match drain(&mut port, real(quiet), clock).await {
                    Ok(()) => (Self::Ready(port.attach()), Done::Drained),
                    Err(error) => (Self::Closed, Done::DrainFailed(error)),
                }
            }
            Op::Send(request, reply) => {
                let Self::Ready(mut session) = self else {
                    return (Self::Closed, Done::Ended(Outcome::Failed(Failure::Gone)));
                };
                let way = if target.link.relay().is_some() { WAY } else { Millis(0) };
                let limit = real(Millis(reply.0 + way.0));
                let limit = if clock.speed() > 1 { limit.max(REAL_REPLY_MIN) } else { limit };
                let outcome = ask(&mut session, request, limit, clock).await;
                // After a failure the session may pair the next request with this one's answer: never use it again.
                let wire = if matches!(outcome, Outcome::Failed(_)) { Self::Closed } else { Self::Ready(session) };
                (wire, Done::Ended(outcome))
            }
        }
    }
}

async fn open(target: &Target, connect_max: Duration, clock: Clock) -> Result<Port, OpenError> {
    match &target.link {
        LinkConfig::Serial { path } => {
            let defaults = &target.defaults;
            let settings = tokio_serial::new(path.to_string_lossy(), defaults.baud)
                .data_bits(tokio_serial::DataBits::Eight)
                .parity(match defaults.parity {
                    Parity::None => tokio_serial::Parity::None,
                    Parity::Even => tokio_serial::Parity::Even,
                    Parity::Odd => tokio_serial::Parity::Odd,
                })
                .stop_bits(if defaults.stop_bits == 2 {
                    tokio_serial::StopBits::Two
                } else {
                    tokio_serial::StopBits::One
                })
                .flow_control(tokio_serial::FlowControl::None)
                .exclusive(true);
            SerialStream::open(&settings).map(|stream| Port::Serial(Tty(stream))).map_err(|error| serial_error(&error))
        }
        LinkConfig::Tcp { host, port } => {
            let connected = clock.within(connect_max, TcpStream::connect((host.as_str(), *port))).await;
            let stream = connected
                .map_err(|_| OpenError::Other("no connection in time".to_owned()))?
                .map_err(|error| OpenError::Other(error.to_string()))?;
            // Requests are small and each waits for its answer.
            stream.set_nodelay(true).map_err(|error| OpenError::Other(error.to_string()))?;
            Ok(Port::Tcp(stream))
        }
        LinkConfig::Relay { id } => {
            let Some(asks) = target.relays.clone() else {
                return Err(OpenError::Other("relays can only be reached by the daemon".to_owned()));
            };
            let opened = clock.within(connect_max, RelayLine::open(id, asks, target.defaults.reply)).await;
            opened
                .unwrap_or(Err(RelayFailure::Silent))
                .map(Port::Relay)
                .map_err(|failure| OpenError::Other(failure.to_string()))
        }
    }
}

fn serial_error(error: &tokio_serial::Error) -> OpenError {
    let text = error.to_string();
    match error.kind {
        // serialport 4.10 says so for a tty that is locked by another program, not for a missing one.
        tokio_serial::ErrorKind::NoDevice => OpenError::Busy,
        tokio_serial::ErrorKind::Io(io::ErrorKind::NotFound) => OpenError::Missing,
        tokio_serial::ErrorKind::Io(io::ErrorKind::PermissionDenied) => OpenError::Denied,
        // ENOTTY has no kind of its own; these are the two texts that it has.
        tokio_serial::ErrorKind::Unknown if text.contains("typewriter") || text.contains("ioctl") => OpenError::NotATty,
        // ENXIO and ENODEV: the name is still there, the adapter is not.
        tokio_serial::ErrorKind::Unknown if text.contains("No such device") => OpenError::Missing,
        tokio_serial::ErrorKind::Unknown | tokio_serial::ErrorKind::InvalidInput | tokio_serial::ErrorKind::Io(_) => {
            OpenError::Other(text)
        }
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

async fn ask(session: &mut Session, request: Request, reply: Duration, clock: Clock) -> Outcome {
    session.set_slave(Slave(request.unit));
    let call = session.call(match request.op {
        Operation::ReadInput { addr, count } => tokio_modbus::Request::ReadInputRegisters(addr, count),
        Operation::ReadHolding { addr, count } => tokio_modbus::Request::ReadHoldingRegisters(addr, count),
        Operation::WriteSingle { addr, value } => tokio_modbus::Request::WriteSingleRegister(addr, value),
    });
    let body = match clock.within(reply, call).await {
        Err(_) => return Outcome::Failed(Failure::Timeout),
        Ok(Err(tokio_modbus::Error::Transport(error))) if error.kind() == io::ErrorKind::InvalidData => {
            return Outcome::Failed(Failure::Malformed(Flaw::Frame));
        }
        Ok(Err(tokio_modbus::Error::Transport(error))) if error.kind() == io::ErrorKind::TimedOut => {
            return Outcome::Failed(Failure::Timeout);
        }
        Ok(Err(tokio_modbus::Error::Transport(_))) => return Outcome::Failed(Failure::Gone),
        Ok(Err(tokio_modbus::Error::Protocol(ProtocolError::HeaderMismatch { .. }))) => {
            return Outcome::Failed(Failure::Malformed(Flaw::Unit));
        }
        Ok(Err(tokio_modbus::Error::Protocol(ProtocolError::FunctionCodeMismatch { .. }))) => {
            return Outcome::Failed(Failure::Malformed(Flaw::Function));
        }
        Ok(Ok(Err(exception))) => Body::Exception(exception.into()),
        Ok(Ok(Ok(response))) => body(response),
    };
    // The unit was compared by tokio-modbus, which does not say it.
    check(&request, Answer { unit: request.unit, body })
}

fn body(response: Response) -> Body {
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

/// An open line.
#[derive(Debug)]
pub(crate) enum Port {
    Serial(Tty),
    Tcp(TcpStream),
    Relay(RelayLine),
}

impl Port {
    fn attach(self) -> Session {
        match self {
            Self::Serial(tty) => rtu::attach_slave(tty, Slave(1)),
            Self::Tcp(stream) => tcp::attach_slave(stream, Slave(1)),
            Self::Relay(line) => rtu::attach_slave(line, Slave(1)),
        }
    }

    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Serial(tty) => tty.read(buffer).await,
            Self::Tcp(stream) => stream.read(buffer).await,
            Self::Relay(line) => line.read(buffer).await,
        }
    }
}

/// A serial port that forgets what came before a request was written, and never blocks in a flush.
#[derive(Debug)]
pub(crate) struct Tty(SerialStream);

impl AsyncRead for Tty {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tty {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // Whatever lies in the tty now cannot be the answer to what is about to be asked. If it cannot be cleared, the write fails too.
        let _ = self.0.clear(ClearBuffer::Input);
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // tokio-serial's flush is tcdrain, which blocks the thread for the time on the wire, or for ever with a hung adapter.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        // Closing a tty waits for its output, up to 30 s; a request that is stuck there is of no use any more.
        let _ = self.0.clear(ClearBuffer::Output);
    }
}
