//! The conversation with one relay: a session, one request at a time. Pure: frames and ticks in, frames and results out.
//!
//! ```text
//!  no session ──asked──▶ Hello sent ──Welcome──▶ session ──request──▶ waiting ──reply──▶ session
//!      ▲                     │ 2 s                  ▲                    │ too late: reported, then the next one
//!      └─────────────────────┘                      └────────────────────┘
//!      ▲ refused: unknown session (sent once more in a new one), relay offline, gateway offline
//! ```

use std::collections::VecDeque;

use control::{Millis, Tick};
use relay_link::frame::BODY_MAX;
use relay_link::message::Refusal;
use relay_link::{CURRENT, FRAME_MAX, Frame, Reply, Request};

use super::{Failure, RelayRequest, RelayResponse};

/// Limit on waiting requests; further ones fail as if the relay were away.
const WAITING_MAX: usize = 8;
/// How long to wait for the answer to a `Hello` before sending another.
const HELLO_LIMIT: Millis = Millis::from_secs(2);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    ticket: u64,
    what: RelayRequest,
    until: Tick,
}

/// Why [`Client::handle_timeout`] is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// The relay has not answered a `Hello` in time.
    Hello,
    /// The relay has not answered a request in time.
    Answer,
    /// A request has waited too long for its turn.
    Turn,
}

/// The state of a conversation.
#[derive(Debug, Default)]
pub struct Client {
    /// Whether the gateway is connected to the broker.
    link_up: bool,
    /// The relay's latest presence on its `online` topic; `None` before the first message.
    online: Option<bool>,
    session: Option<u32>,
    sequence: u32,
    /// Sequence number of the pending `Hello`, and its deadline.
    hello: Option<(u32, Tick)>,
    waiting: VecDeque<Asked>,
    /// The pending request, with its sequence number.
    current: Option<(Asked, u32)>,
    frames: VecDeque<Vec<u8>>,
    results: VecDeque<(u64, Result<RelayResponse, Failure>)>,
}

impl Client {
    /// Creates an idle client whose sequence numbers start after `first`. Two gateways on one relay see each other's replies, so each must
    /// start from a different number.
    pub fn new(first: u32) -> Self {
        Self { sequence: first, ..Self::default() }
    }

    /// Queues a request; its result carries the same ticket.
    pub fn ask(&mut self, ticket: u64, what: RelayRequest, until: Tick, now: Tick) {
        if self.waiting.len() >= WAITING_MAX {
            self.results.push_back((ticket, Err(Failure::Away)));
        } else {
            self.waiting.push_back(Asked { ticket, what, until });
        }
        self.advance(now);
    }

    /// Notes that the gateway's own connection is up or down.
    pub fn link(&mut self, up: bool, now: Tick) {
        if self.link_up != up {
            self.link_up = up;
            self.forget();
            self.online = None;
        }
        self.advance(now);
    }

    /// Notes that the relay came or went.
    pub fn presence(&mut self, online: bool, now: Tick) {
        if self.online.replace(online) != Some(online) {
            self.forget();
        }
        self.advance(now);
    }

    /// Handles a frame from the relay.
    pub fn frame(&mut self, bytes: &[u8], now: Tick) {
        if let Ok(frame) = Frame::parse(bytes)
            && let Some(reply) = Reply::parse(frame.kind, frame.body)
        {
            self.reply(&frame, reply);
        }
        self.advance(now);
    }

    /// Handles the passing of time.
    pub fn handle_timeout(&mut self, now: Tick) {
        self.advance(now);
    }

    /// Returns the next frame, to be sent at once or never.
    pub fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.frames.pop_front()
    }

    /// Returns the next result.
    pub fn poll_result(&mut self) -> Option<(u64, Result<RelayResponse, Failure>)> {
        self.results.pop_front()
    }

    /// Returns when [`Self::handle_timeout`] is due, and why.
    pub fn poll_timeout(&self) -> Option<(Tick, Due)> {
        let current = self.current.as_ref().map(|(asked, _)| (asked.until, Due::Answer));
        let hello = self.hello.map(|(_, until)| (until, Due::Hello));
        let waiting = self.waiting.iter().map(|asked| (asked.until, Due::Turn));
        waiting.chain(current).chain(hello).min_by_key(|(at, _)| *at)
    }

    /// Ends the session. The pending request will not be answered: it may or may not have been carried out.
    fn forget(&mut self) {
        self.session = None;
        self.hello = None;
        if let Some((asked, _)) = self.current.take() {
            self.results.push_back((asked.ticket, Err(Failure::Away)));
        }
    }

    fn reply(&mut self, frame: &Frame<'_>, reply: Reply<'_>) {
        if let Reply::Welcome { .. } = reply {
            if self.hello.is_some_and(|(sequence, _)| sequence == frame.sequence) {
                self.hello = None;
                self.session = Some(frame.session);
            }
            return;
        }
        // A late answer to a request already given up has another sequence number.
        let Some((asked, sequence)) = self.current.take() else { return };
        if sequence != frame.sequence || self.session != Some(frame.session) {
            self.current = Some((asked, sequence));
            return;
        }
        if reply == Reply::Refused(Refusal::UnknownSession) {
            // It was not carried out: send it again in a new session.
            self.session = None;
            self.waiting.push_front(asked);
            return;
        }
        self.results.push_back((asked.ticket, result(&asked.what, reply)));
    }

    fn advance(&mut self, now: Tick) {
        self.expire(now);
        if self.online == Some(false) {
            let away = self.waiting.drain(..).map(|asked| (asked.ticket, Err(Failure::Away)));
            self.results.extend(away);
        }
        // Requests keep waiting for the gateway's own connection, which may come in time.
        if !self.link_up || self.current.is_some() || self.waiting.is_empty() {
            return;
        }
        if let Some(session) = self.session {
            let Some(asked) = self.waiting.pop_front() else { return };
            match self.send(&request(&asked.what), session) {
                Some(sequence) => self.current = Some((asked, sequence)),
                None => self.results.push_back((asked.ticket, Err(Failure::Nonsense))),
            }
        } else if self.hello.is_none() {
            self.hello = self.send(&Request::Hello, 0).map(|sequence| (sequence, now + HELLO_LIMIT));
        }
    }

    fn expire(&mut self, now: Tick) {
        if self.hello.is_some_and(|(_, until)| until <= now) {
            self.hello = None;
        }
        if let Some((asked, _)) = self.current.take_if(|(asked, _)| asked.until <= now) {
            self.results.push_back((asked.ticket, Err(Failure::Silent)));
        }
        let (late, waiting) = self.waiting.drain(..).partition(|asked| asked.until <= now);
        self.waiting = waiting;
        let late: VecDeque<Asked> = late;
        let failure = if self.link_up { Failure::Silent } else { Failure::Away };
        self.results.extend(late.into_iter().map(|asked| (asked.ticket, Err(failure))));
    }

    /// Sends a request in a frame; returns its sequence number, or `None` if it does not fit.
    fn send(&mut self, request: &Request<'_>, session: u32) -> Option<u32> {
        let (mut body, mut out) = ([0; BODY_MAX], [0; FRAME_MAX]);
        let body = request.write(&mut body)?;
        let sequence = self.sequence.wrapping_add(1).max(1);
        let frame = Frame { version: CURRENT, kind: request.kind(), session, sequence, body };
        let length = frame.write(&mut out).ok()?;
        self.frames.push_back(out.get(..length)?.to_vec());
        self.sequence = sequence;
        Some(sequence)
    }
}

fn request(what: &RelayRequest) -> Request<'_> {
    match what {
        RelayRequest::Exchange { bytes, reply_timeout_ms, expected } => {
            Request::Exchange { reply_timeout_ms: *reply_timeout_ms, expected: *expected, bytes }
        }
        RelayRequest::Lease { contact, seconds } => Request::Lease { contact: *contact, seconds: *seconds },
        RelayRequest::Renew { contact, seconds } => Request::Renew { contact: *contact, seconds: *seconds },
        RelayRequest::Status => Request::Status,
        RelayRequest::Identify { seconds } => Request::Identify { seconds: *seconds },
    }
}

fn result(what: &RelayRequest, reply: Reply<'_>) -> Result<RelayResponse, Failure> {
    match (what, reply) {
        (RelayRequest::Exchange { .. }, Reply::Exchanged(bytes)) => Ok(RelayResponse::Bytes(bytes.to_vec())),
        (RelayRequest::Exchange { .. }, Reply::ExchangeFailed(failure)) => Err(Failure::Line(failure)),
        (RelayRequest::Lease { .. } | RelayRequest::Renew { .. }, Reply::Leased(state)) => {
            Ok(RelayResponse::Contact(state))
        }
        (RelayRequest::Lease { .. } | RelayRequest::Renew { .. }, Reply::LeaseRefused(refusal)) => {
            Err(Failure::Lease(refusal))
        }
        (RelayRequest::Status, Reply::Status(status)) => Ok(RelayResponse::Status(status)),
        (RelayRequest::Identify { .. }, Reply::Identifying) => Ok(RelayResponse::Identifying),
        (_, Reply::Refused(refusal)) => Err(Failure::Refused(refusal)),
        (
            RelayRequest::Exchange { .. }
            | RelayRequest::Lease { .. }
            | RelayRequest::Renew { .. }
            | RelayRequest::Status
            | RelayRequest::Identify { .. },
            _,
        ) => Err(Failure::Nonsense),
    }
}

#[cfg(test)]
mod tests;
