//! Ports: opening them, and their bytes. Works around two flaws of tokio-serial 5.5: late answers left in the tty's buffer, and a flush
//! that blocks.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_serial::{ClearBuffer, SerialPort, SerialStream};

use crate::charger::line::OpenError;
use crate::charger::profile::Parity;
use crate::config::LinkConfig;
use crate::relay::Failure as RelayFailure;

use super::frames::Dialect;
use super::relay_line::RelayLine;
use super::target::Target;

/// An open line.
#[derive(Debug)]
pub(super) enum Port {
    Serial(Tty),
    Tcp(TcpStream),
    Relay(RelayLine),
}

impl Port {
    /// Returns how frames are delimited on it.
    pub(super) const fn dialect(&self) -> Dialect {
        match self {
            Self::Serial(_) | Self::Relay(_) => Dialect::Rtu,
            Self::Tcp(_) => Dialect::Tcp,
        }
    }
}

impl AsyncRead for Port {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Serial(tty) => Pin::new(&mut tty.0).poll_read(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Relay(line) => Pin::new(line).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Port {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Serial(tty) => tty.poll_write(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Relay(line) => Pin::new(line).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // tokio-serial's flush is tcdrain, which blocks the thread during transmission, or forever with a hung adapter.
            Self::Serial(_) => Poll::Ready(Ok(())),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Relay(line) => Pin::new(line).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Serial(_) => Poll::Ready(Ok(())),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Relay(line) => Pin::new(line).poll_shutdown(cx),
        }
    }
}

/// A serial port that discards what arrived before a request is written.
#[derive(Debug)]
pub(super) struct Tty(SerialStream);

impl Tty {
    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // Bytes in the tty now cannot be the answer to the coming request. If they cannot be cleared, the write fails too.
        let _ = self.0.clear(ClearBuffer::Input);
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        // Closing a tty waits up to 30 s for its output; a request that is stuck there has become useless.
        let _ = self.0.clear(ClearBuffer::Output);
    }
}

/// Opens the port. `exact`: a relay may stop listening once an answer of the expected length has come.
pub(super) async fn open(target: &Target, connect_max: Duration, exact: bool) -> Result<Port, OpenError> {
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
            SerialStream::open(&settings)
                .map(|stream| Port::Serial(Tty(stream)))
                .map_err(|error| serial_error(path, &error))
        }
        LinkConfig::Tcp { host, port } => {
            let connected = timeout(connect_max, TcpStream::connect((host.as_str(), *port))).await;
            let stream = connected
                .map_err(|_| OpenError::Other("no connection in time".to_owned()))?
                .map_err(|error| OpenError::Other(error.to_string()))?;
            // Requests are small, and each one waits for its answer.
            stream.set_nodelay(true).map_err(|error| OpenError::Other(error.to_string()))?;
            Ok(Port::Tcp(stream))
        }
        LinkConfig::Relay { id } => {
            let Some(asks) = target.relays.clone() else {
                return Err(OpenError::Other("relays can only be reached by the daemon".to_owned()));
            };
            let opened = timeout(connect_max, RelayLine::open(id, asks, target.defaults.reply, exact)).await;
            opened
                .unwrap_or(Err(RelayFailure::Silent))
                .map(Port::Relay)
                .map_err(|failure| OpenError::Other(failure.to_string()))
        }
    }
}

fn serial_error(path: &Path, error: &tokio_serial::Error) -> OpenError {
    let text = error.to_string();
    match error.kind {
        // serialport 4.10 reports this for a tty that a process has locked, not for a missing one.
        tokio_serial::ErrorKind::NoDevice => busy(path),
        tokio_serial::ErrorKind::Io(io::ErrorKind::NotFound) => OpenError::Missing,
        tokio_serial::ErrorKind::Io(io::ErrorKind::PermissionDenied) => OpenError::Denied,
        // ENOTTY has no kind of its own; these are its two texts.
        tokio_serial::ErrorKind::Unknown if text.contains("typewriter") || text.contains("ioctl") => OpenError::NotATty,
        // ENXIO and ENODEV: the name is still there, the adapter is not.
        tokio_serial::ErrorKind::Unknown if text.contains("No such device") => OpenError::Missing,
        tokio_serial::ErrorKind::Unknown | tokio_serial::ErrorKind::InvalidInput | tokio_serial::ErrorKind::Io(_) => {
            OpenError::Other(text)
        }
    }
}

fn busy(path: &Path) -> OpenError {
    if open_here(path) { OpenError::Ours } else { OpenError::Busy }
}

/// Returns whether this process already has the device open, by whatever name.
fn open_here(path: &Path) -> bool {
    let Some(device) = crate::config::device_number(path) else { return false };
    let descriptors = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    descriptors.into_iter().any(|descriptor| crate::config::device_number(&descriptor.path()) == Some(device))
}
