mod access;
mod large;
mod leaving;

use std::collections::{BTreeMap, VecDeque};

use control::{Millis, Tick};
use proptest::prelude::*;

use super::{Action, EVENTS_MAX, Notice, PAYLOAD_MAX, PublishError, STATES_MAX, Session, Signal, Topics, WINDOW};
use crate::mqtt::trouble::{DownKind, Trouble};

/// A broker and a connection controlled by the test.
struct World {
    session: Session,
    now: Tick,
    open: bool,
    accepted: bool,
    next_packet: u16,
    /// Handed to the client, not sent yet.
    requests: VecDeque<(String, Vec<u8>, bool)>,
    /// Sent, not acknowledged.
    line: VecDeque<Sent>,
    retained: BTreeMap<String, Vec<u8>>,
    events: Vec<(String, Vec<u8>)>,
    /// On this connection.
    subscribed: Vec<String>,
    notices: Vec<Notice>,
    said_goodbye: bool,
}

struct Sent {
    packet: u16,
    topic: String,
    payload: Vec<u8>,
    retain: bool,
    received: bool,
}

impl World {
    fn new(subscriptions: &[&str]) -> Self {
        let topics = Topics {
            status: Some("b/status".to_owned()),
            subscriptions: subscriptions.iter().map(ToString::to_string).collect(),
        };
        let now = Tick(1_000);
        let session = Session::new(topics, fastrand::Rng::with_seed(7), now);
        let mut world = Self {
            session,
            now,
            open: false,
            accepted: false,
            next_packet: 0,
            requests: VecDeque::new(),
            line: VecDeque::new(),
            retained: BTreeMap::new(),
            events: Vec::new(),
            subscribed: Vec::new(),
            notices: Vec::new(),
            said_goodbye: false,
        };
        world.session.handle_timeout(world.now);
        world.drain();
        world
    }

    fn signal(&mut self, signal: Signal) {
        self.session.handle(signal, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(action) = self.session.poll_action(self.now) {
            match action {
                Action::Connect => {
                    assert!(!self.open, "one connection at a time");
                    self.open = true;
                }
                Action::Subscribe(topics) => self.subscribed.extend(topics),
                Action::Publish { topic, payload, retain } => {
                    assert!(self.accepted, "nothing is published without a connection");
                    self.requests.push_back((topic, payload, retain));
                }
                Action::Disconnect => self.said_goodbye = true,
                Action::Close => self.close(),
                Action::Tell(notice) => self.notices.push(notice),
            }
        }
        assert!(self.requests.len() + self.line.len() <= WINDOW, "the window is kept");
    }

    fn close(&mut self) {
        self.open = false;
        self.accepted = false;
        self.requests.clear();
        self.line.clear();
        self.subscribed.clear();
    }

    fn accept(&mut self) {
        if self.open && !self.accepted {
            self.accepted = true;
            self.signal(Signal::Connected);
        }
    }

    /// Sends the next request, which reaches the broker.
    fn send(&mut self) -> bool {
        let Some((topic, payload, retain)) = self.requests.pop_front() else { return false };
        self.next_packet = self.next_packet % 100 + 1;
        let packet = self.next_packet;
        self.line.push_back(Sent { packet, topic, payload, retain, received: false });
        self.signal(Signal::Sent(packet));
        true
    }

    /// Lets the broker receive what was sent, up to this place: a connection keeps the order.
    fn receive(&mut self, at: usize) {
        for sent in self.line.iter_mut().take(at + 1).filter(|sent| !sent.received) {
            sent.received = true;
            if sent.retain {
                self.retained.insert(sent.topic.clone(), sent.payload.clone());
            } else {
                self.events.push((sent.topic.clone(), sent.payload.clone()));
            }
        }
    }

    fn ack(&mut self, at: usize) -> bool {
        self.receive(at);
        let Some(sent) = self.line.remove(at) else { return false };
        self.signal(Signal::Acked(sent.packet));
        true
    }

    fn kill(&mut self, kind: DownKind) {
        if self.open {
            self.close();
            self.signal(Signal::Lost(Trouble::plain(kind)));
        }
    }

    fn pass(&mut self, span: Millis) {
        let until = self.now + span;
        let mut steps = 0;
        while let Some((due, _)) = self.session.poll_timeout().filter(|(due, _)| *due <= until) {
            self.now = self.now.max(due);
            self.session.handle_timeout(self.now);
            self.drain();
            steps += 1;
            assert!(steps < 1_000, "time-outs do not spin");
        }
        self.now = until;
    }

    /// Lets time pass in which messages come.
    fn pass_with_messages(&mut self, span: Millis) {
        let end = self.now + span;
        while self.now < end {
            self.pass(end.since(self.now).min(Millis::from_secs(30)));
            self.signal(Signal::Message);
        }
    }

    /// Plays a well-behaved broker until there is nothing left to do.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.open {
                self.pass(Millis::from_secs(61));
            }
            self.accept();
            self.signal(Signal::Subscribed(vec![true; self.subscribed.len()]));
            self.signal(Signal::Heard);
            let moved = self.send() | self.ack(0);
            if !moved && self.accepted {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn retry(&self) -> Millis {
        match self.notices.last() {
            Some(Notice::Down { retry_in, .. }) => *retry_in,
            other => panic!("not down: {other:?}"),
        }
    }
}

fn text(payload: &[u8]) -> &str {
    std::str::from_utf8(payload).expect("text")
}

#[test]
fn birth_subscription_and_state_on_every_connection() {
    let mut world = World::new(&["a", "b/#"]);
    world.session.set_state("b/state", b"1".to_vec()).expect("fits");
    for round in 0..3 {
        world.retained.clear();
        world.settle();
        assert_eq!(world.subscribed, ["a", "b/#", "b/status"], "round {round}");
        assert_eq!(world.retained.get("b/status").map(|p| text(p)), Some("online"));
        assert_eq!(world.retained.get("b/state").map(|p| text(p)), Some("1"));
        world.kill(DownKind::Closed);
    }
}

#[test]
fn only_the_last_state_is_said() {
    let mut world = World::new(&[]);
    for value in 0..100 {
        world.session.set_state("s", format!("{value}").into_bytes()).expect("fits");
    }
    world.accept();
    let said: Vec<_> = world.requests.iter().map(|(topic, payload, _)| (topic.as_str(), text(payload))).collect();
    assert_eq!(said, [("b/status", "online"), ("s", "99")]);
}

#[test]
fn the_same_state_is_said_once_for_each_connection() {
    let mut world = World::new(&[]);
    let said = |world: &mut World| {
        let before = world.next_packet;
        world.session.set_state("s", b"1".to_vec()).expect("fits");
        world.settle();
        world.next_packet - before
    };
    assert_eq!([said(&mut world), said(&mut world), said(&mut world)], [2, 0, 0], "birth and state, then nothing");
    world.kill(DownKind::Closed);
    assert_eq!([said(&mut world), said(&mut world)], [2, 0], "all again, once");
}

#[test]
fn a_missing_acknowledgement_ends_the_connection() {
    let mut world = World::new(&[]);
    world.accept();
    world.send();
    world.pass(Millis(9_999));
    assert!(world.open);
    world.pass(Millis(1));
    assert!(!world.accepted);
    assert!(matches!(world.notices.last(), Some(Notice::Down { trouble, .. }) if trouble.kind == DownKind::NoAck));
}

#[test]
fn a_missing_answer_to_the_subscription_does_too() {
    let mut world = World::new(&["a"]);
    world.accept();
    world.send();
    world.ack(0);
    world.pass(Millis(10_000));
    assert!(!world.accepted);
}

#[test]
fn an_idle_connection_owes_nothing() {
    let mut world = World::new(&[]);
    world.settle();
    world.pass_with_messages(Millis::from_secs(100_000));
    assert!(world.accepted);
    world.session.set_state("s", b"1".to_vec()).expect("fits");
    world.drain();
    world.pass(Millis(9_999));
    assert!(world.accepted, "the time runs from the publication");
}

#[test]
fn time_in_which_nothing_was_read_does_not_count() {
    let mut world = World::new(&[]);
    world.accept();
    world.send();
    world.now = world.now + Millis(20_000);
    world.signal(Signal::Stalled(Millis(20_000)));
    world.pass(Millis(9_999));
    assert!(world.accepted);
}

#[test]
fn refused_subscriptions_are_named() {
    let mut world = World::new(&["a", "b", "c"]);
    world.accept();
    world.signal(Signal::Subscribed(vec![true, false]));
    let refused = vec!["b".to_owned(), "c".to_owned(), "b/status".to_owned()];
    assert_eq!(world.notices.last(), Some(&Notice::Refused(refused)), "an answer that is too short refuses the rest");
}

#[test]
fn the_wait_doubles_with_jitter_up_to_a_minute() {
    let mut world = World::new(&[]);
    let mut step = 200;
    for _ in 0..20 {
        world.kill(DownKind::Refused);
        let wait = world.retry().0;
        assert!((step * 3 / 4..=(step * 5 / 4).min(60_000)).contains(&wait), "{wait} ms where {step} was due");
        step = (step * 2).min(60_000);
        world.pass(Millis(wait));
    }
}

#[test]
fn what_needs_a_person_is_not_tried_in_a_hurry() {
    for kind in [DownKind::BadLogin, DownKind::NotAuthorized, DownKind::TlsUnknownCa, DownKind::CertificateFiles] {
        let mut world = World::new(&[]);
        world.kill(kind);
        assert!((30_000..=60_000).contains(&world.retry().0), "{kind:?}");
    }
    let mut world = World::new(&[]);
    world.kill(DownKind::TlsNotYetValid);
    assert!(world.retry().0 < 1_000, "the clock will be set any moment");
}

#[test]
fn a_broker_that_accepts_and_closes_is_not_hammered() {
    let mut world = World::new(&[]);
    let mut connections = 0;
    let end = world.now + Millis::from_secs(3_600);
    while world.now < end {
        world.accept();
        world.kill(DownKind::Closed);
        connections += 1;
        let wait = world.retry();
        world.pass(wait);
    }
    assert!(connections < 100, "{connections} connections in an hour");
    let edges = |notice: &&Notice| matches!(notice, Notice::Up { edge: true, .. } | Notice::Down { edge: true, .. });
    assert!(world.notices.iter().filter(edges).count() <= 3, "said once, not at each turn");

    world.accept();
    world.settle();
    world.pass(Millis::from_secs(31));
    assert!(matches!(world.notices.last(), Some(Notice::Steady { .. })), "and said when it is over");
    world.kill(DownKind::Closed);
    assert!(world.retry().0 <= 250, "a connection that lasted starts over");
}

#[test]
fn an_outage_is_said_when_it_starts_changes_and_ends() {
    let mut world = World::new(&[]);
    world.settle();
    world.pass_with_messages(Millis::from_secs(100));
    for kind in [DownKind::Closed, DownKind::Refused, DownKind::Refused, DownKind::Refused, DownKind::TimedOut] {
        world.kill(kind);
        let wait = world.retry();
        world.pass(wait);
    }
    world.accept();
    let edges: Vec<_> = world
        .notices
        .iter()
        .map(|notice| match notice {
            Notice::Up { edge, attempts, .. } => ("up", *edge, *attempts),
            Notice::Down { edge, .. } => ("down", *edge, 0),
            Notice::Steady { .. }
            | Notice::Refused(_)
            | Notice::Granted
            | Notice::LeftOut(_)
            | Notice::Unheard(_)
            | Notice::HeardAgain => ("other", false, 0),
        })
        .collect();
    let want = [
        ("up", true, 1),
        ("down", true, 0),
        ("down", true, 0),
        ("down", false, 0),
        ("down", false, 0),
        ("down", true, 0),
        ("up", true, 5),
    ];
    assert_eq!(edges, want);
}

#[test]
fn a_connection_that_is_never_accepted_is_given_up() {
    let mut world = World::new(&[]);
    world.pass(Millis::from_secs(60));
    assert!(matches!(world.notices.last(), Some(Notice::Down { trouble, .. }) if trouble.kind == DownKind::TimedOut));
}

#[test]
fn the_oldest_events_are_dropped_and_counted() {
    let mut world = World::new(&[]);
    for value in 0..EVENTS_MAX + 10 {
        world.session.publish("e", value.to_string().into_bytes()).expect("fits");
    }
    assert_eq!(world.session.dropped(), 10);
    world.settle();
    let got: Vec<_> = world.events.iter().map(|(_, payload)| text(payload).to_owned()).collect();
    let want: Vec<_> = (10..EVENTS_MAX + 10).map(|value| value.to_string()).collect();
    assert_eq!(got, want, "the others arrive in order");
}

#[test]
fn events_leave_room_for_states() {
    let mut world = World::new(&[]);
    for value in 0..200 {
        world.session.publish("e", value.to_string().into_bytes()).expect("fits");
    }
    world.session.set_state("s", b"1".to_vec()).expect("fits");
    world.accept();
    assert!(world.requests.iter().any(|(topic, _, _)| topic == "s"));
}

#[test]
fn bounds_of_topics_and_payloads() {
    let mut session = World::new(&[]).session;
    assert_eq!(session.publish("t", vec![0; PAYLOAD_MAX + 1]), Err(PublishError::TooLarge(PAYLOAD_MAX + 1)));
    assert_eq!(session.set_state("t", vec![0; PAYLOAD_MAX]), Ok(()));
    for topic in ["", "a/+", "a/#", "a\0b", &"t".repeat(600)] {
        assert_eq!(session.publish(topic, Vec::new()), Err(PublishError::Topic), "{topic:?}");
    }
    for number in 1..STATES_MAX {
        assert_eq!(session.set_state(&format!("t{number}"), Vec::new()), Ok(()));
    }
    assert_eq!(session.set_state("one more", Vec::new()), Err(PublishError::TooMany));
    assert_eq!(session.set_state("t", Vec::new()), Ok(()), "known topics go on");
}

#[derive(Debug, Clone)]
enum Step {
    State(u8, u16),
    Event,
    Pass(u64),
    Accept,
    SubAck(bool),
    Send,
    /// The broker receives it and acknowledges.
    Ack(usize),
    /// The broker receives it and the connection breaks before we know.
    ReceiveAndKill(usize),
    Kill(bool),
    /// Packets that make no sense at this point.
    Noise(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..6, 0_u16..4).prop_map(|(topic, value)| Step::State(topic, value)),
        2 => Just(Step::Event),
        3 => (0_u64..20_000).prop_map(Step::Pass),
        4 => Just(Step::Accept),
        2 => any::<bool>().prop_map(Step::SubAck),
        6 => Just(Step::Send),
        6 => (0_usize..4).prop_map(Step::Ack),
        1 => (0_usize..4).prop_map(Step::ReceiveAndKill),
        1 => any::<bool>().prop_map(Step::Kill),
        1 => (200_u16..300).prop_map(Step::Noise),
    ]
}

proptest! {
    #[test]
    fn nothing_is_lost_whatever_breaks(steps in proptest::collection::vec(step(), 0..400)) {
        let mut world = World::new(&["in"]);
        let mut last: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut events = 0_u32;
        for step in steps {
            match step {
                Step::State(topic, value) => {
                    let (topic, payload) = (format!("s{topic}"), value.to_string().into_bytes());
                    world.session.set_state(&topic, payload.clone()).expect("fits");
                    last.insert(topic, payload);
                    world.drain();
                }
                Step::Event => {
                    world.session.publish("e", events.to_string().into_bytes()).expect("fits");
                    events += 1;
                    world.drain();
                }
                Step::Pass(ms) => world.pass(Millis(ms)),
                Step::Accept => world.accept(),
                Step::SubAck(granted) => world.signal(Signal::Subscribed(vec![granted])),
                Step::Send => { world.send(); }
                Step::Ack(at) => { world.ack(at); }
                Step::ReceiveAndKill(at) => {
                    world.receive(at);
                    world.kill(DownKind::Closed);
                }
                Step::Kill(person) => world.kill(if person { DownKind::BadLogin } else { DownKind::Refused }),
                Step::Noise(packet) => world.signal(Signal::Acked(packet)),
            }
        }
        world.settle();
        for (topic, payload) in &last {
            prop_assert_eq!(world.retained.get(topic), Some(payload), "{}", topic);
        }
        prop_assert_eq!(world.retained.get("b/status").map(Vec::as_slice), Some(&b"online"[..]));
        prop_assert_eq!(&world.subscribed, &["in".to_owned(), "b/status".to_owned()]);
        for event in 0..events {
            let payload = event.to_string().into_bytes();
            prop_assert!(world.events.iter().any(|(_, got)| *got == payload), "event {} is lost", event);
        }
        prop_assert_eq!(world.session.dropped(), 0);
    }
}
