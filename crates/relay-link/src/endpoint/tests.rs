extern crate std;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::contacts::Contacts;
use crate::message::ResetReason;

/// A relay whose line echoes.
#[derive(Default)]
struct Relay {
    done: Vec<&'static str>,
    asked: Vec<u8>,
    answer: Option<ExchangeFailure>,
}

impl RelayHandler for Relay {
    async fn exchange(
        &mut self,
        request: &[u8],
        _: u16,
        _: u16,
        reply: &mut [u8; RS485_MAX],
    ) -> Result<usize, ExchangeFailure> {
        self.done.push("exchange");
        self.asked = request.to_vec();
        reply[..request.len()].copy_from_slice(request);
        self.answer.map_or(Ok(request.len()), Err)
    }
    fn lease(&mut self, contact: u8, seconds: u16) -> Result<ContactState, LeaseRefusal> {
        self.done.push("lease");
        Contacts::new(0).lease(contact, seconds, 0)
    }
    fn renew(&mut self, contact: u8, seconds: u16) -> Result<ContactState, LeaseRefusal> {
        self.done.push("renew");
        Contacts::new(0).renew(contact, seconds, 0)
    }
    fn status(&mut self) -> Status {
        self.done.push("status");
        Status {
            uptime_s: 1,
            rssi_dbm: -50,
            temperature_centi_c: 2_000,
            reset: ResetReason::PowerOn,
            contacts: Contacts::new(0).states(0),
            exchanges: 0,
            timeouts: 0,
            garbage: 0,
            version: [0, 1, 0],
        }
    }
    fn identify(&mut self, _: u8) {
        self.done.push("identify");
    }
    fn firmware(&self) -> [u8; 3] {
        [0, 1, 0]
    }
}

/// Runs a future that never has to wait.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

fn frame(request: &Request<'_>, session: u32, sequence: u32) -> Vec<u8> {
    let (mut body, mut out) = ([0; BODY_MAX], [0; FRAME_MAX]);
    let body = request.write(&mut body).unwrap();
    let frame = Frame { version: CURRENT, kind: request.kind(), session, sequence, body };
    let length = frame.write(&mut out).unwrap();
    out[..length].to_vec()
}

fn tell(endpoint: &mut Endpoint, relay: &mut Relay, frame: &[u8]) -> Option<Vec<u8>> {
    let mut out = [0; FRAME_MAX];
    let length = now(endpoint.handle_frame(frame, relay, &mut out))?;
    Some(out[..length].to_vec())
}

fn begun() -> (Endpoint, Relay, u32) {
    let (mut endpoint, mut relay) = (Endpoint::new(41), Relay::default());
    let welcome = tell(&mut endpoint, &mut relay, &frame(&Request::Hello, 0, 1)).unwrap();
    let welcome = Frame::parse(&welcome).unwrap();
    assert_eq!(
        Reply::parse(welcome.kind, welcome.body),
        Some(Reply::Welcome { versions: (1, 1), firmware: [0, 1, 0] })
    );
    (endpoint, relay, welcome.session)
}

const LEASE: Request<'_> = Request::Lease { contact: 1, seconds: 15 };

#[test]
fn what_is_asked_is_done_and_answered() {
    let (mut endpoint, mut relay, session) = begun();
    let exchange = Request::Exchange { reply_timeout_ms: 100, expected: 0, bytes: &[1, 2, 3] };
    for (sequence, request) in (1..).zip([exchange, LEASE, Request::Status, Request::Identify { seconds: 1 }]) {
        let reply = tell(&mut endpoint, &mut relay, &frame(&request, session, sequence)).unwrap();
        let reply = Frame::parse(&reply).unwrap();
        assert_eq!((reply.session, reply.sequence, reply.kind), (session, sequence, 0x80 | request.kind()));
        assert!(Reply::parse(reply.kind, reply.body).is_some());
    }
    assert_eq!(relay.done, ["exchange", "lease", "status", "identify"]);
    assert_eq!(relay.asked, [1, 2, 3]);
}

/// No contact is closed, so there is nothing to renew.
#[test]
fn a_renewal_is_answered_as_a_lease_is() {
    let (mut endpoint, mut relay, session) = begun();
    let renewal = frame(&Request::Renew { contact: 1, seconds: 15 }, session, 1);
    let reply = tell(&mut endpoint, &mut relay, &renewal).unwrap();
    let reply = Frame::parse(&reply).unwrap();
    assert_eq!(Reply::parse(reply.kind, reply.body), Some(Reply::LeaseRefused(LeaseRefusal::NotClosed)));
    assert_eq!(relay.done, ["renew"]);
}

#[test]
fn twice_the_same_is_done_once_and_answered_the_same() {
    let (mut endpoint, mut relay, session) = begun();
    let lease = frame(&LEASE, session, 5);
    let first = tell(&mut endpoint, &mut relay, &lease).unwrap();
    assert_eq!(tell(&mut endpoint, &mut relay, &lease), Some(first));
    assert_eq!(tell(&mut endpoint, &mut relay, &frame(&LEASE, session, 4)), None, "it came late");
    assert_eq!(relay.done, ["lease"]);
}

#[test]
fn another_session_is_refused_and_does_nothing() {
    let (mut endpoint, mut relay, session) = begun();
    let old = frame(&LEASE, session, 1);
    let welcome = tell(&mut endpoint, &mut relay, &frame(&Request::Hello, 0, 2)).unwrap();
    assert_ne!(Frame::parse(&welcome).unwrap().session, session);
    let reply = tell(&mut endpoint, &mut relay, &old).unwrap();
    let reply = Frame::parse(&reply).unwrap();
    assert_eq!(Reply::parse(reply.kind, reply.body), Some(Reply::Refused(Refusal::UnknownSession)));
    let mut fresh = Endpoint::new(7);
    assert!(tell(&mut fresh, &mut relay, &old).is_some(), "and before any session as well");
    assert!(relay.done.is_empty());
}

#[test]
fn failures_and_unknown_requests_are_named() {
    let (mut endpoint, mut relay, session) = begun();
    relay.answer = Some(ExchangeFailure::Timeout);
    let exchange = Request::Exchange { reply_timeout_ms: 100, expected: 8, bytes: &[1] };
    let reply = tell(&mut endpoint, &mut relay, &frame(&exchange, session, 1)).unwrap();
    let reply = Frame::parse(&reply).unwrap();
    assert_eq!(Reply::parse(reply.kind, reply.body), Some(Reply::ExchangeFailed(ExchangeFailure::Timeout)));
    let mut out = [0; FRAME_MAX];
    for (sequence, kind, body, refusal) in [(2, 99, &[][..], Refusal::UnknownKind), (3, 3, &[1], Refusal::Malformed)] {
        let length = Frame { version: CURRENT, kind, session, sequence, body }.write(&mut out).unwrap();
        let reply = tell(&mut endpoint, &mut relay, &out[..length]).unwrap();
        let reply = Frame::parse(&reply).unwrap();
        assert_eq!(Reply::parse(reply.kind, reply.body), Some(Reply::Refused(refusal)));
    }
}

#[test]
fn a_session_is_never_that_of_hello() {
    let (mut endpoint, mut relay) = (Endpoint::new(u32::MAX), Relay::default());
    let welcome = tell(&mut endpoint, &mut relay, &frame(&Request::Hello, 0, 1)).unwrap();
    assert_eq!(Frame::parse(&welcome).unwrap().session, 1);
}

proptest! {
    #[test]
    fn any_bytes_do_nothing(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let (mut endpoint, mut relay, _) = begun();
        prop_assert_eq!(tell(&mut endpoint, &mut relay, &bytes), None);
        prop_assert!(relay.done.is_empty());
    }

    /// In whatever order and however often frames arrive, each is done at most once.
    #[test]
    fn nothing_is_done_twice(order in prop::collection::vec(1..8_u32, 1..40)) {
        let (mut endpoint, mut relay, session) = begun();
        let mut highest = 0;
        for sequence in order {
            let before = relay.done.len();
            tell(&mut endpoint, &mut relay, &frame(&LEASE, session, sequence));
            prop_assert_eq!(relay.done.len() - before, usize::from(sequence > highest));
            highest = highest.max(sequence);
        }
    }
}
