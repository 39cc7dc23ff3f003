//! The built program and the broker's memory: floods from outside, and topics of removed chargers.

use std::time::Duration;

use surplusd::sim::wallbox::WallboxOptions;
use tokio::time::timeout;

use crate::house::{BASE, House, sample};
use crate::mosquitto::{Peer, SOON};

/// The topics retained by the broker below ours, with their payloads.
async fn stored(house: &House) -> Vec<(String, String)> {
    house.peer().await.stored().await.into_iter().filter(|(topic, _)| topic.starts_with("surplusd/")).collect()
}

async fn until_stored(house: &House, what: &str, wish: impl Fn(&[(String, String)]) -> bool) {
    let reached = async {
        loop {
            let stored = stored(house).await;
            if wish(&stored) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let reached = timeout(SOON, reached).await.is_ok();
    assert!(reached, "{what}: {:?}\n{}", stored(house).await, house.log());
}

const GARAGE: &str =
    "[[charger]]\nname = \"garage\"\nprofile = \"heidelberg-energy-control\"\nlink = \"tcp://127.0.0.1:1\"\n";

fn without_garage(house: &House) {
    let text = std::fs::read_to_string(house.config_file()).unwrap();
    std::fs::write(house.config_file(), text.replace(GARAGE, "")).unwrap();
}

fn shows(stored: &[(String, String)], part: &str) -> bool {
    stored.iter().any(|(topic, _)| topic.contains(part))
}

/// Two chargers, then one: the topics of the other are deleted from the broker, after a restart as well as after a reload.
#[tokio::test(flavor = "multi_thread")]
async fn the_topics_of_a_charger_that_is_gone_are_deleted() {
    for restart in [true, false] {
        let mut house = House::build(WallboxOptions::default()).await;
        house.extra = GARAGE.to_owned();
        house.start();
        let both = |stored: &[(String, String)]| {
            let short = shows(stored, "state/setpoint") || stored.iter().any(|(topic, _)| topic.ends_with("/reason"));
            shows(stored, "state/garage/") && shows(stored, "state/carport/") && !short
        };
        until_stored(&house, "both", both).await;
        without_garage(&house);
        if restart {
            house.signal("TERM");
            assert_eq!(house.ended().await.code(), Some(0));
            assert!(shows(&stored(&house).await, "state/garage/"), "nobody knows yet that it will not come back");
            house.start();
        } else {
            house.signal("HUP");
        }
        let one = |stored: &[(String, String)]| {
            !shows(stored, "garage") && shows(stored, "state/carport/setpoint") && shows(stored, "state/setpoint")
        };
        until_stored(&house, "one", one).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topics_of_an_earlier_base_are_deleted() {
    let mut house = House::build(WallboxOptions::default()).await;
    house.start();
    until_stored(&house, "the old base", |stored| shows(stored, &format!("{BASE}/state/setpoint"))).await;
    let text = std::fs::read_to_string(house.config_file()).unwrap();
    let moved = text.replace("[publish]\n", "[publish]\nbase-topic = \"surplusd/new\"\n");
    std::fs::write(house.config_file(), moved).unwrap();
    house.signal("HUP");
    let moved = |stored: &[(String, String)]| !shows(stored, BASE) && shows(stored, "surplusd/new/status");
    until_stored(&house, "only the new base", moved).await;
}

/// Three thousand messages of each kind as fast as possible: the log and the stored state stay small, and the program keeps running.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_outside_fills_neither_log_nor_card() {
    let mut house = House::build(WallboxOptions::default()).await;
    house.start();
    let mut peer = house.peer().await;
    peer.expect(&format!("{BASE}/state/vehicle"), "requesting").await;
    sample(&peer, 6_900, 0);
    house.setpoint(100).await;
    let (lines, file) = (house.log().lines().count(), house.folder.path().join("state.json"));
    let written = || std::fs::metadata(&file).and_then(|file| file.modified()).ok();
    let (mut last, mut writes) = (written(), 0);
    let mut flood = Peer::watch(house.broker.door).await;
    let began = house.now_ms();
    for round in 0..30 {
        for n in 0..100 {
            let mode = if n % 2 == 0 { "fast" } else { "solar" };
            flood.publish(&format!("{BASE}/set/mode"), mode, false);
            flood.publish(&format!("{BASE}/set/mode"), format!("x{round}-{n}"), false);
            flood.publish(&format!("{BASE}/set/x{n}"), "1", false);
            flood.publish("homeassistant/sensor/powerwall_site_now/state", format!("{n}.{round:03}"), false);
        }
        flood.publish(&format!("{BASE}/set/{}", "t".repeat(60_000)), "1", round == 0);
        flood.drained().await;
        let now = written();
        writes += usize::from(now != last);
        last = now;
    }
    peer.publish(&format!("{BASE}/set/mode"), "off", false);
    house.setpoint(0).await;
    peer.expect(&format!("{BASE}/state/mode"), "off").await;
    let seconds = (house.now_ms() - began) / 1_000;
    let lines = house.log().lines().count() - lines;
    assert!(lines as u64 <= 150 + seconds, "{lines} lines in {seconds} s\n{}", house.log());
    // Five urgent ones, and then one every 5 s.
    assert!(writes as u64 <= 2 + 5 + seconds / 5, "{writes} writes in {seconds} s");
    house.assert_well_behaved();
}
