//! The end of a session, and what leaves no trace.

use super::*;

/// A guest connects, publishes what it has to, and leaves without a trace.
#[test]
fn a_guest_leaves_no_trace() {
    let topics = Topics { status: None, subscriptions: Vec::new() };
    let mut session = Session::new(topics, fastrand::Rng::with_seed(1), Tick(1));
    session.handle_timeout(Tick(1));
    assert_eq!(session.poll_action(Tick(1)), Some(Action::Connect));
    session.publish_now("a", b"too early".to_vec()).unwrap();
    session.handle(Signal::Connected, Tick(2));
    assert!(matches!(session.poll_action(Tick(2)), Some(Action::Tell(Notice::Up { .. }))));
    session.publish_now("a", b"now".to_vec()).unwrap();
    let said = Action::Publish { topic: "a".to_owned(), payload: b"now".to_vec(), retain: false };
    assert_eq!(session.poll_action(Tick(2)), Some(said));
    session.end(Millis(1_000), Tick(3));
    session.handle(Signal::Sent(1), Tick(3));
    session.handle(Signal::Acked(1), Tick(4));
    assert_eq!((session.poll_action(Tick(4)), session.ended()), (Some(Action::Disconnect), Some(true)));
}

#[test]
fn what_is_for_this_connection_only_is_not_said_on_the_next() {
    let topics = Topics { status: None, subscriptions: Vec::new() };
    let mut session = Session::new(topics, fastrand::Rng::with_seed(1), Tick(1));
    let mut now = Tick(1);
    let mut said = Vec::new();
    for _ in 0..2 {
        now = session.poll_timeout().map_or(now, |(due, _)| due).max(now);
        session.handle_timeout(now);
        session.handle(Signal::Connected, now);
        if said.is_empty() {
            session.publish("kept", Vec::new()).unwrap();
            session.publish_now("fleeting", Vec::new()).unwrap();
        }
        while let Some(action) = session.poll_action(now) {
            if let Action::Publish { topic, .. } = action {
                said.push(topic);
            }
        }
        session.handle(Signal::Lost(Trouble::plain(DownKind::Closed)), now);
        while session.poll_action(now).is_some() {}
    }
    assert_eq!(said, ["kept", "fleeting", "kept"]);
}

#[test]
fn the_farewell_comes_last_and_is_waited_for() {
    let mut world = World::new(&[]);
    world.settle();
    world.session.set_state("s", b"last".to_vec()).expect("fits");
    world.session.end(Millis::from_secs(2), world.now);
    world.drain();
    assert_eq!(world.session.ended(), None);
    while world.send() | world.ack(0) {}
    assert_eq!(world.session.ended(), Some(true));
    assert!(world.said_goodbye);
    assert_eq!(world.retained.get("s").map(|p| text(p)), Some("last"));
    assert_eq!(world.retained.get("b/status").map(|p| text(p)), Some("offline"));
}

#[test]
fn the_farewell_is_not_waited_for_for_ever() {
    let mut world = World::new(&[]);
    world.settle();
    world.session.end(Millis::from_secs(2), world.now);
    world.drain();
    world.pass(Millis::from_secs(2));
    assert_eq!(world.session.ended(), Some(false));
    assert!(!world.open);

    let mut waiting = World::new(&[]);
    waiting.kill(DownKind::Refused);
    waiting.session.end(Millis::from_secs(2), waiting.now);
    assert_eq!(waiting.session.ended(), Some(false), "nobody to say it to");
}
