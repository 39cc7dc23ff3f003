//! The RS-485 line of a Pico relay as a port: written bytes become one exchange, and the relay's reply is read back. So the same framing,
//! checks and driver work through it as through a cable.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use control::Millis;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};

use crate::relay::{Failure, RelayCall, RelayRequest, RelayResponse};

/// Time that the round trip through broker, Wi-Fi and relay may add to the wallbox's own reply time.
pub(super) const WAY: Millis = Millis::from_secs(2);

type Reply = oneshot::Receiver<Result<RelayResponse, Failure>>;

/// The open RS-485 line of a relay.
#[derive(Debug)]
pub(crate) struct RelayLine {
    relay: String,
    asks: mpsc::Sender<RelayCall>,
    /// How long the wallbox may take to answer.
    reply: Millis,
    /// The relay may stop listening after an answer of the expected length, because no stray bytes have been seen.
    exact: bool,
    request: Vec<u8>,
    pending: Option<Reply>,
    answer: Vec<u8>,
    read: usize,
}

impl RelayLine {
    /// Opens the line after the relay has answered a status request.
    pub(super) async fn open(
        relay: &str,
        asks: mpsc::Sender<RelayCall>,
        reply: Millis,
        exact: bool,
    ) -> Result<Self, Failure> {
        let (sender, status) = oneshot::channel();
        let ask = RelayCall { relay: relay.to_owned(), what: RelayRequest::Status, within: WAY, reply: sender };
        asks.send(ask).await.map_err(|_| Failure::Away)?;
        status.await.unwrap_or(Err(Failure::Away))?;
        let relay = relay.to_owned();
        Ok(Self { relay, asks, reply, exact, request: Vec::new(), pending: None, answer: Vec::new(), read: 0 })
    }

    /// Sends what was written as one exchange.
    fn exchange(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.request);
        let (sender, reply) = oneshot::channel();
        let reply_timeout_ms = u16::try_from(self.reply.0).unwrap_or(u16::MAX);
        let expected = if self.exact { expected(&bytes) } else { LONGEST_ANSWER };
        let what = RelayRequest::Exchange { expected, bytes, reply_timeout_ms };
        let ask = RelayCall { relay: self.relay.clone(), what, within: self.reply + WAY, reply: sender };
        // Each line has one request at a time, so there is room unless the loop hangs, in which case silence is right.
        self.asks.try_send(ask).map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        self.answer.clear();
        self.read = 0;
        self.pending = Some(reply);
        Ok(())
    }
}

/// No answer is this long (Modbus over serial line V1.02, 2.5.1), so the relay listens until the line is silent.
const LONGEST_ANSWER: u16 = 256;

/// Returns the length of the answer to a request, so that the relay need not wait for silence (Modbus application protocol V1.1b3, 6.3 to
/// 6.6).
fn expected(request: &[u8]) -> u16 {
    match *request {
        [_, 3 | 4, _, _, high, low, ..] => u16::from_be_bytes([high, low]).saturating_mul(2).saturating_add(5),
        [_, 6, ..] => 8,
        _ => 0,
    }
}

/// Maps a relay failure to an I/O error whose kind tells the session what failed.
fn error(failure: Failure) -> io::Error {
    use relay_link::ExchangeFailure::{Garbage, NoBus, Overrun, Timeout};
    let kind = match failure {
        Failure::Line(Timeout) | Failure::Silent => io::ErrorKind::TimedOut,
        Failure::Line(Garbage | Overrun) | Failure::Nonsense => io::ErrorKind::InvalidData,
        Failure::Line(NoBus) | Failure::Away | Failure::Lease(_) | Failure::Refused(_) => io::ErrorKind::NotConnected,
    };
    io::Error::new(kind, failure)
}

impl AsyncRead for RelayLine {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(pending) = &mut self.pending {
            let result = ready!(Pin::new(pending).poll(cx)).unwrap_or(Err(Failure::Away));
            self.pending = None;
            match result {
                Ok(RelayResponse::Bytes(bytes)) => self.answer = bytes,
                Ok(RelayResponse::Contact(_) | RelayResponse::Status(_) | RelayResponse::Identifying) => {
                    return Poll::Ready(Err(error(Failure::Nonsense)));
                }
                Err(failure) => return Poll::Ready(Err(error(failure))),
            }
        }
        let rest = self.answer.get(self.read..).unwrap_or_default();
        if rest.is_empty() {
            // Nothing arrives unsolicited; the caller has its own time limit.
            return Poll::Pending;
        }
        let taken = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..taken).unwrap_or_default());
        self.read += taken;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for RelayLine {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.request.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(if self.request.is_empty() { Ok(()) } else { self.exchange() })
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
