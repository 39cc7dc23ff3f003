use relay_link::contacts::Contacts;
use relay_link::endpoint::RelayHandler;
use relay_link::{ContactState, Endpoint, ExchangeFailure, LeaseRefusal, RS485_MAX, ResetReason, Status};

use super::*;

/// A relay whose RS-485 line echoes the request.
struct Echo {
    exchanges: u32,
}

impl RelayHandler for Echo {
    async fn exchange(
        &mut self,
        request: &[u8],
        _: u16,
        _: u16,
        reply: &mut [u8; RS485_MAX],
    ) -> Result<usize, ExchangeFailure> {
        self.exchanges += 1;
        reply[..request.len()].copy_from_slice(request);
        Ok(request.len())
    }
    fn lease(&mut self, contact: u8, seconds: u16) -> Result<ContactState, LeaseRefusal> {
        Contacts::new(0).lease(contact, seconds, 0)
    }
    fn renew(&mut self, contact: u8, seconds: u16) -> Result<ContactState, LeaseRefusal> {
        Contacts::new(0).renew(contact, seconds, 0)
    }
    fn status(&mut self) -> Status {
        Status {
            uptime_s: 1,
            rssi_dbm: -50,
            temperature_centi_c: 2_000,
            reset: ResetReason::PowerOn,
            contacts: Contacts::new(0).states(0),
            exchanges: self.exchanges,
            timeouts: 0,
            garbage: 0,
            version: [0, 1, 0],
        }
    }
    fn identify(&mut self, _: u8) {}
    fn firmware(&self) -> [u8; 3] {
        [0, 1, 0]
    }
}

/// Gateway and relay, with nothing between them but the losses a test adds.
struct Rig {
    client: Client,
    endpoint: Endpoint,
    echo: Echo,
    now: Tick,
    results: Vec<(u64, Result<RelayResponse, Failure>)>,
}

impl Rig {
    fn new() -> Self {
        let mut rig = Self {
            client: Client::default(),
            endpoint: Endpoint::new(70),
            echo: Echo { exchanges: 0 },
            now: Tick(1_000),
            results: Vec::new(),
        };
        rig.client.link(true, rig.now);
        rig.client.presence(true, rig.now);
        rig
    }

    async fn answer(&mut self, frame: &[u8]) {
        let mut out = [0; FRAME_MAX];
        if let Some(length) = self.endpoint.handle_frame(frame, &mut self.echo, &mut out).await {
            self.client.frame(&out[..length], self.now);
        }
    }

    async fn run(&mut self) {
        while let Some(frame) = self.client.poll_frame() {
            self.answer(&frame).await;
        }
        while let Some(result) = self.client.poll_result() {
            self.results.push(result);
        }
    }

    fn ask(&mut self, ticket: u64, what: RelayRequest) {
        self.client.ask(ticket, what, self.now + Millis::from_secs(5), self.now);
    }
}

fn exchange(byte: u8) -> RelayRequest {
    RelayRequest::Exchange { bytes: vec![byte; 8], reply_timeout_ms: 500, expected: 8 }
}

#[tokio::test]
async fn a_session_is_begun_and_used() {
    let mut rig = Rig::new();
    rig.ask(1, exchange(1));
    rig.ask(2, RelayRequest::Lease { contact: 1, seconds: 15 });
    rig.ask(3, RelayRequest::Lease { contact: 3, seconds: 15 });
    rig.ask(4, RelayRequest::Status);
    rig.ask(5, RelayRequest::Identify { seconds: 3 });
    rig.run().await;
    let tickets: Vec<u64> = rig.results.iter().map(|(ticket, _)| *ticket).collect();
    assert_eq!(tickets, [1, 2, 3, 4, 5], "one after the other");
    assert_eq!(rig.results[0].1, Ok(RelayResponse::Bytes(vec![1; 8])));
    assert!(matches!(rig.results[1].1, Ok(RelayResponse::Contact(ContactState { closed: true, .. }))));
    assert_eq!(rig.results[2].1, Err(Failure::Lease(LeaseRefusal::NoSuchContact)));
    assert!(matches!(rig.results[3].1, Ok(RelayResponse::Status(Status { exchanges: 1, .. }))));
    assert_eq!(rig.results[4].1, Ok(RelayResponse::Identifying));
}

#[tokio::test]
async fn a_relay_that_began_anew_is_asked_once_more_in_a_new_session() {
    let mut rig = Rig::new();
    rig.ask(1, exchange(1));
    rig.run().await;
    rig.endpoint = Endpoint::new(9_000);
    rig.ask(2, exchange(2));
    rig.run().await;
    assert_eq!(rig.results[1], (2, Ok(RelayResponse::Bytes(vec![2; 8]))));
    assert_eq!(rig.echo.exchanges, 2);
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_nobodys() {
    let mut rig = Rig::new();
    rig.ask(1, exchange(1));
    rig.run().await;
    rig.ask(2, exchange(2));
    let late = rig.client.poll_frame().unwrap();
    rig.now = rig.now + Millis::from_secs(6);
    rig.client.handle_timeout(rig.now);
    rig.ask(3, exchange(3));
    rig.answer(&late).await;
    rig.run().await;
    assert_eq!(rig.results[1..], [(2, Err(Failure::Silent)), (3, Ok(RelayResponse::Bytes(vec![3; 8])))]);
}

#[tokio::test]
async fn nothing_is_asked_of_one_that_is_away() {
    let mut rig = Rig::new();
    rig.client.presence(false, rig.now);
    rig.ask(1, exchange(1));
    assert_eq!(rig.client.poll_frame(), None);
    rig.run().await;
    rig.client.presence(true, rig.now);
    rig.ask(2, exchange(2));
    rig.run().await;
    rig.ask(3, exchange(3));
    assert!(rig.client.poll_frame().is_some());
    rig.client.link(false, rig.now);
    rig.run().await;
    let expected = [(1, Err(Failure::Away)), (2, Ok(RelayResponse::Bytes(vec![2; 8]))), (3, Err(Failure::Away))];
    assert_eq!(rig.results, expected);
    for (ticket, comes_back) in [(4, true), (5, false)] {
        rig.client.link(false, rig.now);
        rig.ask(ticket, RelayRequest::Status);
        assert_eq!(rig.client.poll_frame(), None);
        rig.now = rig.now + Millis::from_secs(if comes_back { 1 } else { 9 });
        rig.client.link(comes_back, rig.now);
        rig.run().await;
    }
    assert!(
        matches!(rig.results[3..], [(4, Ok(RelayResponse::Status(_))), (5, Err(Failure::Away))]),
        "{:?}",
        rig.results
    );
}

#[tokio::test]
async fn hello_is_said_again_and_the_queue_is_bounded() {
    let mut rig = Rig::new();
    for ticket in 0..20 {
        rig.client.ask(ticket, RelayRequest::Status, rig.now + Millis::from_secs(30), rig.now);
    }
    assert!(rig.client.poll_frame().is_some() && rig.client.poll_frame().is_none(), "lost on the way");
    assert_eq!(rig.client.poll_timeout(), Some((rig.now + HELLO_LIMIT, Due::Hello)));
    rig.now = rig.now + HELLO_LIMIT;
    rig.client.handle_timeout(rig.now);
    rig.run().await;
    let good = rig.results.iter().filter(|(_, result)| result.is_ok()).count();
    assert_eq!((good, rig.results.len()), (WAITING_MAX, 20));
}
