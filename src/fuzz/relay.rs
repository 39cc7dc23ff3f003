//! What gateway and Pico relay say to each other, the relay's page of settings, and its console.
#![expect(clippy::missing_panics_doc, reason = "a target reports by a panic")]

use control::{Millis, Tick};
use futures_util::FutureExt;
use relay_link::draft::{Draft, Missing};
use relay_link::frame::{BODY_MAX, crc32};
use relay_link::message::ResetReason;
use relay_link::settings::{FLASH_OFFSET, PAGE, Settings, SettingsFault};
use relay_link::topic::Topic;
use relay_link::{
    CURRENT, ContactState, Contacts, Endpoint, ExchangeFailure, FRAME_MAX, Frame, LeaseRefusal, RS485_MAX,
    RelayHandler, Reply, Request, Status,
};

use super::pieces::Pieces;
use crate::relay::uf2::uf2;
use crate::relay::{Client, RelayRequest};

/// Longest text that the console says at once: `show` with the longest host name.
const SAID_MAX: usize = 400;

/// A frame as it comes from the broker.
pub fn frame(bytes: &[u8]) {
    if let Ok(topic) = std::str::from_utf8(bytes)
        && let Some(parsed) = Topic::parse(topic)
    {
        assert_eq!(parsed.to_string(), topic);
    }
    let Ok(frame) = Frame::parse(bytes) else { return };
    assert_eq!(written(&frame), bytes);
    assert_body(frame.kind, frame.body);
}

/// A sequence of frames to a relay and, as their answers, back to the gateway. A piece is a kind, how session and sequence number relate to
/// the last ones, and a body.
pub fn message(bytes: &[u8]) {
    let mut pieces = Pieces(bytes);
    let mut relay = SimpleRelay { contacts: Contacts::new(0), now_ms: 0, done: 0 };
    let mut endpoint = Endpoint::new(u32::from(pieces.byte()));
    let mut gateway = Gateway::new();
    let (mut session, mut sequence) = (0_u32, 0_u32);
    while !pieces.is_empty() {
        let (kind, relation) = (pieces.byte(), pieces.byte());
        let body = pieces.piece();
        assert_body(kind, body);
        let other = if relation & 4 == 0 { session } else { u32::from(relation >> 4) };
        sequence = if relation & 8 == 0 { sequence.saturating_add(1) } else { u32::from(relation >> 4) };
        let frame = written(&Frame { version: CURRENT, kind, session: other, sequence, body });
        let before = relay.done;
        let answer = handled(&mut endpoint, &frame, &mut relay);
        assert!(relay.done <= before + 1, "one request was carried out several times");
        if let Some(answer) = &answer
            && let Ok(answer) = Frame::parse(answer)
        {
            session = if kind == Request::Hello.kind() { answer.session } else { session };
        }
        if kind != Request::Hello.kind() {
            let done = relay.done;
            assert_eq!(handled(&mut endpoint, &frame, &mut relay), answer, "repeated, it is answered differently");
            assert_eq!(relay.done, done, "repeated, it is carried out again");
        }
        gateway.take(&frame, answer.as_deref(), relation);
        relay.now_ms += u64::from(relation) * 100;
        let outputs = relay.contacts.tick(relay.now_ms, [relation & 1 != 0, relation & 2 != 0]);
        assert_ne!(outputs, [true, true], "both contacts are closed");
    }
}

/// A page of settings; and the same bytes as its items, as the checksum hardly survives a mutation.
pub fn settings(bytes: &[u8]) {
    assert_page(bytes);
    let items = bytes.get(..PAGE - 9).unwrap_or(bytes);
    let mut page = [b"SRP1", items, &[0xFF]].concat();
    page.extend(crc32(&page).to_le_bytes());
    assert_page(&page);
    // What is written for the boot ROM holds the same bytes, and no others.
    let image = uf2(FLASH_OFFSET, &page);
    let content: Vec<u8> = image.chunks(512).flat_map(|block| block.iter().skip(32).take(256)).copied().collect();
    let (same, filled) = content.split_at(page.len());
    assert!(same == page && filled.len() < 256 && filled.iter().all(|byte| *byte == 0xFF));
}

/// Lines that are typed on the console. A line that begins with a zero was damaged on its way.
pub fn draft(bytes: &[u8]) {
    let mut draft = Draft::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        if line.first() == Some(&0) {
            draft.damaged();
            continue;
        }
        draft.line(&String::from_utf8_lossy(line), &mut |said| assert!(said.to_string().len() <= SAID_MAX, "{said}"));
    }
    match draft.page() {
        Ok(page) => {
            let settings = Settings::parse(&page);
            assert!(settings.is_ok(), "{settings:?}");
            let mut again = Draft::new();
            if let Ok(settings) = &settings {
                again.begin(settings);
            }
            assert_eq!(again.page(), Ok(page));
        }
        Err(fault) => assert!(!Missing(fault).to_string().is_empty()),
    }
}

fn assert_page(page: &[u8]) {
    let Ok(settings) = Settings::parse(page) else { return };
    let mut again = [0xFF; PAGE];
    match settings.write(&mut again) {
        Ok(length) => assert_eq!(again.get(..length).map(Settings::parse), Some(Ok(settings))),
        // The page given may be longer than one that is written.
        Err(fault) => assert!(fault == SettingsFault::TooLong && page.len() > PAGE / 2, "{fault:?}"),
    }
    // A value that is too long for the console is missing afterwards; everything else is kept.
    let mut draft = Draft::new();
    draft.begin(&settings);
    if let Ok(page) = draft.page() {
        assert_eq!(Settings::parse(&page), Ok(settings));
    }
}

/// A body means the same when it is written as it was understood.
fn assert_body(kind: u8, body: &[u8]) {
    let mut out = [0; BODY_MAX];
    if let Ok(request) = Request::parse(kind, body) {
        let written = request.write(&mut out);
        assert_eq!(written.map(|written| Request::parse(request.kind(), written)), Some(Ok(request)));
    }
    if let Some(reply) = Reply::parse(kind, body) {
        let written = reply.write(&mut out);
        assert_eq!(written.map(|written| Reply::parse(reply.kind(), written)), Some(Some(reply)));
    }
}

fn written(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = [0; FRAME_MAX];
    let length = frame.write(&mut out);
    assert_eq!(length.map(|length| out.get(..length).map(Frame::parse)), Ok(Some(Ok(*frame))));
    out.get(..length.unwrap_or(0)).unwrap_or_default().to_vec()
}

/// Handles a frame at once; returns the reply.
fn handled(endpoint: &mut Endpoint, frame: &[u8], relay: &mut SimpleRelay) -> Option<Vec<u8>> {
    let mut out = [0; FRAME_MAX];
    let length = endpoint.handle_frame(frame, relay, &mut out).now_or_never().flatten()?;
    let reply = out.get(..length).unwrap_or_default();
    let parsed = Frame::parse(reply);
    assert!(parsed.is_ok_and(|frame| Reply::parse(frame.kind, frame.body).is_some()), "{parsed:?}");
    Some(reply.to_vec())
}

/// A relay whose line and time are whatever the requests say.
struct SimpleRelay {
    contacts: Contacts,
    now_ms: u64,
    done: u32,
}

impl RelayHandler for SimpleRelay {
    async fn exchange(
        &mut self,
        request: &[u8],
        reply_timeout_ms: u16,
        expected: u16,
        reply: &mut [u8; RS485_MAX],
    ) -> Result<usize, ExchangeFailure> {
        self.done += 1;
        reply.iter_mut().zip(request).for_each(|(place, byte)| *place = *byte);
        if reply_timeout_ms == 0 { Err(ExchangeFailure::Timeout) } else { Ok(usize::from(expected)) }
    }

    fn lease(&mut self, contact: u8, seconds: u16) -> Result<ContactState, LeaseRefusal> {
        self.done += 1;
        self.contacts.lease(contact, seconds, self.now_ms)
    }

    fn renew(&mut self, contact: u8, seconds: u16) -> Result<ContactState, LeaseRefusal> {
        self.done += 1;
        self.contacts.renew(contact, seconds, self.now_ms)
    }

    fn status(&mut self) -> Status {
        self.done += 1;
        let open = ContactState { closed: false, read_back: false, welded: false, left_ms: 0 };
        Status {
            uptime_s: self.done,
            rssi_dbm: -60,
            temperature_centi_c: 2_500,
            reset: ResetReason::PowerOn,
            contacts: [open; 2],
            exchanges: 0,
            timeouts: 0,
            garbage: 0,
            version: [0, 1, 0],
        }
    }

    fn identify(&mut self, _: u8) {
        self.done += 1;
    }

    fn firmware(&self) -> [u8; 3] {
        [0, 1, 0]
    }
}

/// The gateway's side, which hears everything on the relay's topics.
struct Gateway {
    client: Client,
    now: Tick,
    asked: u64,
    ended: u64,
}

impl Gateway {
    fn new() -> Self {
        let mut gateway = Self { client: Client::new(0), now: Tick(1), asked: 0, ended: 0 };
        gateway.client.link(true, gateway.now);
        gateway.client.presence(true, gateway.now);
        gateway
    }

    fn take(&mut self, request: &[u8], answer: Option<&[u8]>, relation: u8) {
        let what = if relation & 1 == 0 {
            RelayRequest::Status
        } else {
            RelayRequest::Lease { contact: 1, seconds: u16::from(relation) }
        };
        self.client.ask(self.asked, what, self.now + Millis(1_000), self.now);
        self.asked += 1;
        for bytes in [Some(request), answer].into_iter().flatten() {
            self.client.frame(bytes, self.now);
        }
        // Its own frames come back as they are, and once more.
        while let Some(frame) = self.client.poll_frame() {
            assert!(Frame::parse(&frame).is_ok());
            self.client.frame(&frame, self.now);
        }
        self.now = self.now + Millis(u64::from(relation) * 10);
        self.client.handle_timeout(self.now);
        while self.client.poll_result().is_some() {
            self.ended += 1;
        }
        assert!(self.ended <= self.asked, "a request ended twice");
        // One is under way, and a bounded number waits.
        assert!(self.asked - self.ended <= 9, "{} requests wait", self.asked - self.ended);
    }
}
