//! A message above the size limit: its topic is found and left out, and the others are read.

use super::*;

const TOPICS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const HOUR: Millis = Millis::from_secs(3_600);

impl World {
    fn reopen(&mut self) {
        while !self.open {
            let (due, _) = self.session.poll_timeout().expect("it tries again");
            self.pass(due.since(self.now));
        }
        self.accept();
    }

    /// Plays a broker that holds such messages, until the connection lasts. They come before its answer or after it. Returns the number of
    /// connections made.
    fn find(&mut self, large: &[&str], before_answer: bool) -> usize {
        for connections in 1..100 {
            self.reopen();
            let mut seen = 0;
            while self.open {
                let asked = self.subscribed.split_off(seen);
                self.subscribed.extend(asked.iter().cloned());
                seen = self.subscribed.len();
                if asked.is_empty() {
                    return connections;
                }
                if !before_answer {
                    self.signal(Signal::Subscribed(vec![true; asked.len()]));
                }
                if asked.iter().any(|topic| large.contains(&topic.as_str())) {
                    self.kill(DownKind::TooLarge);
                } else {
                    self.signal(Signal::Subscribed(vec![true; asked.len()]));
                    while self.send() | self.ack(0) {}
                    self.pass(Millis(1_500));
                }
            }
        }
        panic!("the connection never stays");
    }

    /// Waits until something more is subscribed, within an hour in which messages come.
    fn until_asked(&mut self) {
        let (before, end) = (self.subscribed.len(), self.now + HOUR);
        while self.subscribed.len() == before {
            assert!(self.now <= end, "asked within an hour");
            self.pass_with_messages(Millis::from_secs(1));
            while self.send() | self.ack(0) {}
        }
    }

    fn left_out(&self) -> Vec<&[String]> {
        let mut lists = Vec::new();
        for notice in &self.notices {
            if let Notice::LeftOut(topics) = notice {
                lists.push(topics.as_slice());
            }
        }
        lists
    }
}

#[test]
fn the_topic_of_a_message_too_large_is_left_out_and_the_others_are_read() {
    for before_answer in [true, false] {
        for large in [&["a"][..], &["f"], &["c", "d"], &["b/status", "e"], &TOPICS] {
            let mut world = World::new(&TOPICS);
            let connections = world.find(large, before_answer);
            assert!(connections <= 2 + 2 * large.len(), "{large:?}: {connections} connections");
            let mut read: Vec<&str> = world.subscribed.iter().map(String::as_str).collect();
            read.sort_unstable();
            let wanted = TOPICS.iter().chain(&["b/status"]).filter(|topic| !large.contains(topic));
            let mut wanted: Vec<&str> = wanted.copied().collect();
            wanted.sort_unstable();
            assert_eq!(read, wanted, "{large:?}");
            let lists = world.left_out();
            assert_eq!(lists.len(), large.len(), "each is said once: {lists:?}");
            assert_eq!(lists.last().map_or(0, |list| list.len()), large.len());
        }
    }
}

#[test]
fn a_topic_left_out_is_tried_every_hour_and_taken_back() {
    let mut world = World::new(&TOPICS);
    world.find(&["c"], true);
    for hour in 0..3 {
        world.until_asked();
        assert_eq!(world.subscribed.last().map(String::as_str), Some("c"), "hour {hour}: tried again");
        world.kill(DownKind::TooLarge);
        assert_eq!(world.find(&["c"], true), 1, "the others come back at once, in one packet");
        assert_eq!(world.left_out().len(), 1, "and nothing is said again");
    }
    world.until_asked();
    world.signal(Signal::Subscribed(vec![true]));
    world.pass(Millis(1_500));
    assert_eq!(world.left_out(), [&["c".to_owned()][..], &[]], "the message is gone");
    world.kill(DownKind::Closed);
    world.find(&[], true);
    assert_eq!(world.subscribed.len(), 7);
}

/// The topic is due again as a connection begins: its own subscription waits for the answer to the first one, which tells what is refused.
#[test]
fn a_topic_that_is_due_waits_for_the_answer_to_the_others() {
    let mut world = World::new(&TOPICS);
    world.find(&["c"], true);
    world.kill(DownKind::Closed);
    while !world.open || world.now < Tick(2 * HOUR.0) {
        let (due, _) = world.session.poll_timeout().expect("it tries again");
        world.pass(due.since(world.now));
        if world.open && world.now < Tick(2 * HOUR.0) {
            world.kill(DownKind::Refused);
        }
    }
    world.accept();
    world.pass(Millis(5_000));
    assert_eq!(world.subscribed.len(), 6, "not answered yet");
    assert!(world.session.poll_timeout().is_some_and(|(due, _)| due > world.now), "and nothing is due");
    let granted = [false, true, true, true, true, true];
    world.signal(Signal::Subscribed(granted.to_vec()));
    while world.send() | world.ack(0) {}
    assert!(world.notices.contains(&Notice::Refused(vec!["a".to_owned()])), "{:?}", world.notices);
    world.pass(Millis(1));
    assert_eq!(world.subscribed.last().map(String::as_str), Some("c"));
}

/// Large messages that come at any time implicate no topic unless nothing else is subscribed.
#[test]
fn a_large_message_by_chance_leaves_nothing_out() {
    let mut world = World::new(&TOPICS);
    world.find(&[], true);
    for step in 1..6 {
        world.kill(DownKind::TooLarge);
        world.reopen();
        for _ in 1..step {
            world.signal(Signal::Subscribed(vec![true]));
            world.pass(Millis(1_500));
        }
        assert_eq!(world.subscribed.len(), step);
        if step > 1 {
            world.kill(DownKind::TooLarge);
        }
        world.find(&[], true);
        assert_eq!((world.subscribed.len(), world.left_out().len()), (7, 0), "step {step}");
    }
}

#[test]
fn the_own_status_is_restored_when_another_client_overwrites_it() {
    let mut world = World::new(&["a"]);
    world.settle();
    world.pass(Millis::from_secs(50));
    for round in 0..3 {
        world.retained.insert("b/status".to_owned(), b"offline".to_vec());
        for _ in 0..50 {
            world.signal(Signal::Overwritten);
        }
        world.pass(Millis(1));
        while world.send() | world.ack(0) {}
        let status = world.retained.get("b/status").map(|payload| text(payload));
        let quarrel = round > 0;
        assert_eq!(status, Some(if quarrel { "offline" } else { "online" }), "round {round}");
        if quarrel {
            world.pass(Millis::from_secs(10));
            while world.send() | world.ack(0) {}
            assert_eq!(world.retained.get("b/status").map(|payload| text(payload)), Some("online"), "round {round}");
        }
    }
}
