//! Restrictions by the broker, and how soon a nearby broker is reached again.

use super::*;

fn said(world: &World) -> Vec<&Notice> {
    let is = |notice: &&Notice| !matches!(notice, Notice::Up { .. } | Notice::Down { .. } | Notice::Steady { .. });
    world.notices.iter().filter(is).collect()
}

fn granted(world: &mut World, granted: &[bool]) {
    world.accept();
    world.signal(Signal::Subscribed(granted.to_vec()));
    while world.send() | world.ack(0) {}
}

/// A lying broker answers the subscription ten thousand times, and refuses it on each of a thousand connections.
#[test]
fn a_refused_subscription_is_said_when_it_changes() {
    let mut world = World::new(&["a", "c"]);
    for _ in 0..1_000 {
        granted(&mut world, &[true, false, true]);
        for _ in 0..10 {
            world.signal(Signal::Subscribed(vec![false, false, false]));
        }
        world.signal(Signal::Heard);
        world.kill(DownKind::Closed);
        world.pass(Millis::from_secs(61));
    }
    granted(&mut world, &[false, false, true]);
    world.kill(DownKind::Closed);
    world.pass(Millis::from_secs(61));
    granted(&mut world, &[true, true, true]);
    let (c, both) = (vec!["c".to_owned()], vec!["a".to_owned(), "c".to_owned()]);
    assert_eq!(said(&world), [&Notice::Refused(c), &Notice::Refused(both), &Notice::Granted]);
}

/// MQTT 3.1.1 acknowledges a publication that is not allowed: only the missing echo reveals it.
#[test]
fn what_does_not_come_back_is_said_once() {
    let mut world = World::new(&["a"]);
    for _ in 0..3 {
        granted(&mut world, &[true, true]);
        world.pass(Millis::from_secs(40));
        world.kill(DownKind::Closed);
        world.pass(Millis::from_secs(61));
    }
    assert_eq!(said(&world), [&Notice::Unheard("b/status".to_owned())]);
    world.session.end(Millis(1_000), world.now);
    granted(&mut world, &[true, true]);
    world.session.end(Millis(1_000), world.now);
    world.drain();
    while world.send() | world.ack(0) {}
    assert_ne!(world.session.ended(), Some(true), "the farewell goes nowhere either");
}

#[test]
fn what_comes_back_is_not_worth_a_line_unless_it_did_not() {
    let mut world = World::new(&["a"]);
    granted(&mut world, &[true, true]);
    world.signal(Signal::Heard);
    world.pass(Millis::from_secs(50));
    assert!(said(&world).is_empty());
    world.kill(DownKind::Closed);
    world.pass(Millis::from_secs(61));
    world.accept();
    world.signal(Signal::Heard); // before the acknowledgement, as brokers do
    while world.send() | world.ack(0) {}
    world.pass(Millis::from_secs(50));
    assert!(said(&world).is_empty());
    world.kill(DownKind::Closed);
    world.pass(Millis::from_secs(61));
    granted(&mut world, &[true, true]);
    world.pass(Millis::from_secs(50));
    world.signal(Signal::Heard);
    assert_eq!(said(&world), [&Notice::Unheard("b/status".to_owned()), &Notice::HeardAgain]);
}

/// The broker has got a stricter access list while the connection lasts: nothing comes any more, and nothing says why.
#[test]
fn after_a_silence_the_own_status_is_published_again_to_see_whether_it_comes_back() {
    let mut world = World::new(&["a"]);
    let probed = |world: &mut World| {
        let before = world.next_packet;
        while world.send() | world.ack(0) {}
        world.next_packet - before
    };
    granted(&mut world, &[true, true]);
    world.signal(Signal::Heard);
    for _ in 0..10 {
        world.pass(Millis::from_secs(59));
        world.signal(Signal::Message);
    }
    assert_eq!(probed(&mut world), 0, "messages come: there is nothing to find out");
    world.pass(Millis::from_secs(20));
    for _ in 0..3 {
        world.pass(Millis::from_secs(40));
        assert_eq!(probed(&mut world), 1);
        world.signal(Signal::Heard);
        world.pass(Millis::from_secs(20));
    }
    assert!(said(&world).is_empty(), "it is only quiet");
    world.pass(Millis::from_secs(40));
    assert_eq!(probed(&mut world), 1);
    world.pass(Millis::from_secs(10));
    assert_eq!(said(&world), [&Notice::Unheard("b/status".to_owned())]);
    // Asked again every minute, although other topics may be readable.
    for _ in 0..5 {
        world.signal(Signal::Message);
        world.pass(Millis::from_secs(50));
        assert_eq!(probed(&mut world), 1);
        world.pass(Millis::from_secs(10));
    }
    world.signal(Signal::Heard);
    assert_eq!(said(&world), [&Notice::Unheard("b/status".to_owned()), &Notice::HeardAgain]);
}

#[test]
fn a_reading_that_is_refused_says_nothing_about_writing() {
    let mut world = World::new(&["a"]);
    granted(&mut world, &[true, false]);
    world.pass(Millis::from_secs(100));
    assert_eq!(said(&world), [&Notice::Refused(vec!["b/status".to_owned()])]);
}

/// A broker in the household is away for half a minute when it restarts, and may hang: it is reached within 5 s of its return, again and
/// again.
#[test]
fn a_broker_that_is_near_is_back_soon() {
    let restarts = [DownKind::Refused, DownKind::NameNotFound, DownKind::Unreachable, DownKind::ServiceUnavailable];
    let hangs = [DownKind::TimedOut, DownKind::NoGreeting, DownKind::NoAck, DownKind::KeepAlive];
    let kinds = restarts.into_iter().chain(hangs);
    for kind in kinds {
        let mut world = World::new(&[]);
        world.signal(Signal::Near(true));
        world.settle();
        world.pass_with_messages(Millis::from_secs(3_600));
        world.kill(DownKind::Closed);
        for _ in 0..100 {
            let wait = world.retry();
            assert!(wait < Millis(4_000), "{kind:?}: {wait}");
            world.pass(wait);
            world.kill(kind);
        }
        let tries = world.notices.iter().filter(|notice| matches!(notice, Notice::Down { .. })).count();
        assert_eq!(tries, 101);
    }
}

/// Trouble that waiting does not cure, and a broker that accepts us and then throws us out, are not hammered, however near they are.
#[test]
fn near_is_no_reason_to_hammer() {
    for kind in [DownKind::BadLogin, DownKind::NotAuthorized, DownKind::TlsUnknownCa, DownKind::WantsTls] {
        let mut world = World::new(&[]);
        world.signal(Signal::Near(true));
        world.kill(kind);
        assert!(world.retry() >= Millis(30_000), "{kind:?}");
    }
    let mut world = World::new(&[]);
    world.signal(Signal::Near(true));
    for _ in 0..20 {
        world.accept();
        world.kill(DownKind::Closed);
        let wait = world.retry();
        world.pass(wait);
    }
    assert!(world.retry() > Millis(40_000));
    // One early close after a long outage is no reason for a long wait.
    let mut world = World::new(&[]);
    world.signal(Signal::Near(true));
    for kind in [[DownKind::Refused; 30].as_slice(), &[DownKind::ClosedEarly]].concat() {
        world.kill(kind);
        let wait = world.retry();
        world.pass(wait);
    }
    assert!(world.retry() < Millis(10_000), "{}", world.retry());
}

/// Reasons that alternate are not news.
#[test]
fn each_reason_is_said_once_in_an_outage() {
    let mut world = World::new(&[]);
    for round in 0..100 {
        world.kill(if round % 2 == 0 { DownKind::Refused } else { DownKind::TimedOut });
        let wait = world.retry();
        world.pass(wait);
    }
    let edges = world.notices.iter().filter(|notice| matches!(notice, Notice::Down { edge: true, .. }));
    assert_eq!(edges.count(), 2);
}

#[test]
fn a_state_that_is_gone_is_deleted_and_forgotten() {
    let mut world = World::new(&[]);
    world.session.set_state("s/old", b"1".to_vec()).unwrap();
    world.settle();
    world.kill(DownKind::Closed);
    world.session.clear_state("s/old").unwrap();
    world.session.clear_state("s/older").unwrap();
    assert!(world.session.take_cleared().is_empty(), "not before the broker has acknowledged it");
    world.settle();
    assert_eq!(world.session.take_cleared(), ["s/old", "s/older"]);
    assert_eq!(world.retained.get("s/old").map(Vec::len), Some(0));
    world.retained.clear();
    world.kill(DownKind::Closed);
    world.settle();
    assert!(!world.retained.contains_key("s/old"), "not said again");
    world.session.clear_state("s/old").unwrap();
    world.session.set_state("s/old", b"2".to_vec()).unwrap();
    world.settle();
    assert!(world.session.take_cleared().is_empty(), "it is back");
    assert_eq!(world.retained.get("s/old").map(|p| text(p)), Some("2"));
}
