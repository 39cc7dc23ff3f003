extern crate std;
use proptest::prelude::*;
use std::vec::Vec;

use super::*;

const CONTACT: ContactState = ContactState { closed: true, read_back: false, welded: true, left_ms: 15_000 };
const STATUS: Status = Status {
    uptime_s: 3_600,
    rssi_dbm: -61,
    temperature_centi_c: 4_250,
    reset: ResetReason::Watchdog,
    contacts: [CONTACT, ContactState { closed: false, read_back: true, welded: false, left_ms: 0 }],
    exchanges: 70_000,
    timeouts: 3,
    garbage: 1,
    version: [0, 1, 0],
};

fn written(reply: &Reply<'_>) -> Vec<u8> {
    reply.write(&mut [0; BODY_MAX]).unwrap().to_vec()
}

/// The bytes of version 1, which must never change.
#[test]
fn golden_bodies_of_version_1() {
    let mut out = [0; BODY_MAX];
    for (request, kind, golden) in [
        (Request::Hello, 1, &[][..]),
        (
            Request::Exchange { reply_timeout_ms: 500, expected: 7, bytes: &[1, 4, 0, 5] },
            2,
            &[0xF4, 1, 7, 0, 1, 4, 0, 5],
        ),
        (Request::Lease { contact: 1, seconds: 15 }, 3, &[1, 15, 0]),
        (Request::Status, 4, &[]),
        (Request::Identify { seconds: 9 }, 5, &[9]),
        (Request::Renew { contact: 2, seconds: 30 }, 6, &[2, 30, 0]),
    ] {
        assert_eq!((request.kind(), request.write(&mut out)), (kind, Some(golden)));
        assert_eq!(Request::parse(kind, golden), Ok(request));
    }
    for (reply, kind, golden) in [
        (Reply::Welcome { versions: (1, 1), firmware: [0, 1, 2] }, 0x81, &[1, 1, 0, 1, 2][..]),
        (Reply::Exchanged(&[1, 4, 2]), 0x82, &[0, 1, 4, 2]),
        (Reply::ExchangeFailed(ExchangeFailure::Timeout), 0x82, &[1]),
        (Reply::ExchangeFailed(ExchangeFailure::Garbage), 0x82, &[2]),
        (Reply::ExchangeFailed(ExchangeFailure::Overrun), 0x82, &[3]),
        (Reply::ExchangeFailed(ExchangeFailure::NoBus), 0x82, &[4]),
        (Reply::Leased(CONTACT), 0x83, &[0, 0b101, 0x98, 0x3A, 0, 0]),
        (Reply::LeaseRefused(LeaseRefusal::NoSuchContact), 0x83, &[1]),
        (Reply::LeaseRefused(LeaseRefusal::Interlocked), 0x83, &[2]),
        (Reply::LeaseRefused(LeaseRefusal::Welded), 0x83, &[3]),
        (Reply::LeaseRefused(LeaseRefusal::NotClosed), 0x83, &[4]),
        (
            Reply::Status(STATUS),
            0x84,
            &[
                0x10, 0x0E, 0, 0, 0xC3, 0x9A, 0x10, 2, 0b101, 0x98, 0x3A, 0, 0, 0b10, 0, 0, 0, 0, 0x70, 0x11, 1, 0, 3,
                0, 0, 0, 1, 0, 0, 0, 0, 1, 0,
            ],
        ),
        (Reply::Identifying, 0x85, &[]),
        (Reply::Refused(Refusal::UnknownSession), 0xFF, &[1]),
        (Reply::Refused(Refusal::UnknownKind), 0xFF, &[2]),
        (Reply::Refused(Refusal::Malformed), 0xFF, &[3]),
    ] {
        assert_eq!((reply.kind(), written(&reply).as_slice()), (kind, golden), "{reply:?}");
        assert_eq!(Reply::parse(kind, golden), Some(reply));
    }
}

/// A newer relay may send more than this gateway knows.
#[test]
fn what_follows_the_known_fields_is_ignored() {
    let mut body = written(&Reply::Status(STATUS));
    body.extend([1, 2, 3]);
    assert_eq!(Reply::parse(0x84, &body), Some(Reply::Status(STATUS)));
    assert_eq!(Request::parse(3, &[1, 15, 0, 99]), Ok(Request::Lease { contact: 1, seconds: 15 }));
    assert_eq!(Request::parse(9, &[]), Err(Refusal::UnknownKind));
    assert_eq!(Reply::parse(0xFF, &[77]), Some(Reply::Refused(Refusal::Other(77))));
}

#[test]
fn an_exchange_is_bounded() {
    let bytes = [0; RS485_MAX + 1];
    let exchange = Request::Exchange { reply_timeout_ms: 1, expected: 0, bytes: &bytes };
    assert_eq!(exchange.write(&mut [0; BODY_MAX]), None);
    let longest = Request::Exchange { reply_timeout_ms: 1, expected: 0, bytes: &bytes[1..] };
    assert!(longest.write(&mut [0; BODY_MAX]).is_some());
    assert_eq!(Request::parse(2, &[1, 0, 1, 0]), Err(Refusal::Malformed), "nothing to send");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(kind: u8, body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = (Request::parse(kind, &body), Reply::parse(kind, &body));
    }
}
