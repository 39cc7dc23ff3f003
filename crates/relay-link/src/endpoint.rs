//! The relay's side: frames in, frames out, each request carried out only once.
//!
//! ```text
//!              Hello                       any request of this session
//!  no session ───────▶ session n, last = 0 ──── sequence > last ──▶ done, remembered; last = sequence
//!                        ▲       │              sequence = last ──▶ the remembered reply again
//!                        └───────┘ Hello        sequence < last ──▶ nothing
//!                        session n + 1          of another session ──▶ refused
//! ```
//! So a frame does nothing if the broker delivers it twice, if it comes late, or if it was recorded and is replayed.

use crate::contacts::{ContactState, LeaseRefusal};
use crate::frame::{BODY_MAX, CURRENT, FRAME_MAX, Frame, MIN};
use crate::message::{ExchangeFailure, RS485_MAX, Refusal, Reply, Request, Status};

/// What a relay must be able to do.
#[expect(
    async_fn_in_trait,
    reason = "implemented by firmware, simulated relay and tests only, none of which needs it to be Send"
)]
pub trait RelayHandler {
    /// Sends a request on the RS-485 line and receives the answer.
    async fn exchange(
        &mut self,
        request: &[u8],
        reply_timeout_ms: u16,
        expected: u16,
        reply: &mut [u8; RS485_MAX],
    ) -> Result<usize, ExchangeFailure>;
    /// Closes a contact (counted from 1) for this many seconds; 0 opens it.
    fn lease(&mut self, contact: u8, seconds: u16) -> Result<ContactState, LeaseRefusal>;
    /// Keeps a closed contact closed for this many seconds from now; 0 opens it.
    fn renew(&mut self, contact: u8, seconds: u16) -> Result<ContactState, LeaseRefusal>;
    /// Returns the relay's status.
    fn status(&mut self) -> Status;
    /// Flashes the LED for this many seconds.
    fn identify(&mut self, seconds: u8);
    /// Returns the version of the firmware.
    fn firmware(&self) -> [u8; 3];
}

/// The relay's side of the conversation: the current session, and the last reply.
#[derive(Debug, Clone)]
pub struct Endpoint {
    session: u32,
    open: bool,
    last: u32,
    remembered: [u8; FRAME_MAX],
    remembered_length: usize,
}

impl Endpoint {
    /// Creates an endpoint without a session. `first_session` should be random, so that sessions from before a restart are not accepted
    /// again.
    pub const fn new(first_session: u32) -> Self {
        Self { session: first_session, open: false, last: 0, remembered: [0; FRAME_MAX], remembered_length: 0 }
    }

    /// Handles a frame; returns the length of the reply frame, if any.
    pub async fn handle_frame(
        &mut self,
        frame: &[u8],
        handler: &mut impl RelayHandler,
        out: &mut [u8; FRAME_MAX],
    ) -> Option<usize> {
        let frame = Frame::parse(frame).ok()?;
        let request = Request::parse(frame.kind, frame.body);
        if request == Ok(Request::Hello) {
            return self.welcome(&frame, handler.firmware(), out);
        }
        if !self.open || frame.session != self.session {
            return write(&Reply::Refused(Refusal::UnknownSession), frame.session, frame.sequence, out);
        }
        if frame.sequence <= self.last {
            return (frame.sequence == self.last).then(|| self.again(out)).flatten();
        }
        self.last = frame.sequence;
        self.remembered_length = 0;
        let mut bytes = [0; RS485_MAX];
        let reply = match request {
            Ok(request) => done(request, handler, &mut bytes).await,
            Err(refusal) => Reply::Refused(refusal),
        };
        let length = write(&reply, self.session, frame.sequence, out)?;
        self.remembered = *out;
        self.remembered_length = length;
        Some(length)
    }

    fn welcome(&mut self, frame: &Frame<'_>, firmware: [u8; 3], out: &mut [u8; FRAME_MAX]) -> Option<usize> {
        // Session 0 is reserved for Hello.
        self.session = self.session.wrapping_add(1).max(1);
        self.open = true;
        self.last = 0;
        self.remembered_length = 0;
        write(&Reply::Welcome { versions: (MIN, CURRENT), firmware }, self.session, frame.sequence, out)
    }

    fn again(&self, out: &mut [u8; FRAME_MAX]) -> Option<usize> {
        if self.remembered_length == 0 {
            return None;
        }
        *out = self.remembered;
        Some(self.remembered_length)
    }
}

async fn done<'a>(request: Request<'_>, handler: &mut impl RelayHandler, bytes: &'a mut [u8; RS485_MAX]) -> Reply<'a> {
    match request {
        // Answered by the caller.
        Request::Hello => Reply::Refused(Refusal::Malformed),
        Request::Exchange { reply_timeout_ms, expected, bytes: asked } => {
            match handler.exchange(asked, reply_timeout_ms, expected, bytes).await {
                Ok(length) => match bytes.get(..length) {
                    Some(answer) => Reply::Exchanged(answer),
                    None => Reply::ExchangeFailed(ExchangeFailure::Overrun),
                },
                Err(failure) => Reply::ExchangeFailed(failure),
            }
        }
        Request::Lease { contact, seconds } => leased(handler.lease(contact, seconds)),
        Request::Renew { contact, seconds } => leased(handler.renew(contact, seconds)),
        Request::Status => Reply::Status(handler.status()),
        Request::Identify { seconds } => {
            handler.identify(seconds);
            Reply::Identifying
        }
    }
}

fn leased<'a>(answer: Result<ContactState, LeaseRefusal>) -> Reply<'a> {
    match answer {
        Ok(state) => Reply::Leased(state),
        Err(refusal) => Reply::LeaseRefused(refusal),
    }
}

fn write(reply: &Reply<'_>, session: u32, sequence: u32, out: &mut [u8; FRAME_MAX]) -> Option<usize> {
    let mut body = [0; BODY_MAX];
    let body = reply.write(&mut body)?;
    Frame { version: CURRENT, kind: reply.kind(), session, sequence, body }.write(out).ok()
}

#[cfg(test)]
mod tests;
