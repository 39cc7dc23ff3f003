use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;

use super::{Event, LinkSetup, spawn};
use crate::clock::Clock;
use crate::config::MqttConfig;
use crate::mqtt::trouble::DownKind;

fn nobody_there() -> LinkSetup {
    LinkSetup {
        mqtt: MqttConfig {
            host: "127.0.0.1".to_owned(),
            port: 1, // tcpmux: nobody has it
            tls: None,
            username: None,
            password: None,
            client_id: "t".to_owned(),
            keep_alive_s: 5,
        },
        status_topic: Some("t/status".to_owned()),
    }
}

#[tokio::test]
async fn an_unexpected_end_of_the_task_is_seen() {
    let (mut link, [mut events]) = spawn(nobody_there(), [Vec::new()], Clock::start(1));
    for _ in 0..2 {
        let event = timeout(Duration::from_secs(60), events.recv()).await.expect("in time");
        assert!(matches!(event, Some(Event::Down { .. })), "it lives and tries: {event:?}");
        assert_eq!(link.ended().now_or_never(), None);
    }
    link.task.abort_all();
    assert!(timeout(Duration::from_secs(60), link.ended()).await.is_ok());
    while let Some(event) = events.recv().await {
        assert!(matches!(event, Event::Down { .. }), "and the channel ends: {event:?}");
    }
}

#[tokio::test]
async fn a_faster_clock_does_not_hurry_the_network() {
    let life = Clock::start(1);
    let (_link, [mut events]) = spawn(nobody_there(), [Vec::new()], Clock::start(1_000));
    let mut waits = Vec::new();
    while waits.len() < 3 {
        let event = timeout(Duration::from_secs(60), events.recv()).await.expect("in time").expect("it lives");
        let Event::Down { kind: DownKind::Refused, retry_in, .. } = event else { panic!("{event:?}") };
        waits.push((life.now(), retry_in));
    }
    for pair in waits.windows(2) {
        let [(before, wait), (after, _)] = pair else { panic!("two") };
        assert!(after.since(*before) >= *wait, "waited {wait} of real time");
    }
}
