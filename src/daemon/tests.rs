//! The loop's own books, without a broker and without a line.

use control::{ChargerId, ChargerReport, Link, Milliamps, Tick, Vehicle};

use super::*;
use crate::config::Environment;

/// A daemon with so many chargers, all on lines that nobody answers, which have ended.
async fn daemon(chargers: usize, folder: &std::path::Path) -> Daemon {
    let mut text = format!(
        "version = 1\nstate-file = \"{}\"\n[mqtt]\nurl = \"mqtt://127.0.0.1:1\"\n[site]\nmain-fuse-a = 250\n",
        folder.join("state.json").display()
    );
    for number in 0..chargers {
        text += &format!(
            "[[charger]]\nname = \"c{number}\"\nprofile = \"heidelberg-energy-control\"\nlink = \"tcp://127.0.0.1:{}\"\nmode = \"fixed\"\n",
            number + 1
        );
    }
    let file = folder.join("surplusd.toml");
    std::fs::write(&file, text).unwrap();
    let known: Vec<&str> = crate::charger::profile::names().collect();
    let loaded = crate::config::load(&file, &Environment::default(), &known);
    let config = loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.findings));
    let (_, controls) = mpsc::channel(1);
    let wiring = Wiring { clock: Clock::start(1), controls, snapshots: watch::channel(None).0 };
    let mut daemon = Daemon::start(config, wiring).unwrap();
    for (_, mut bus) in std::mem::take(&mut daemon.buses) {
        bus.send(BusCommand::Shutdown);
        bus.ended().await;
    }
    while daemon.bus_events.try_recv().is_ok() {}
    daemon
}

fn waits(charger: ChargerId) -> ChargerReport {
    ChargerReport {
        vehicle: Vehicle::Connected,
        setpoint: Some(Milliamps(0)),
        box_max: Some(Milliamps(16_000)),
        box_min: Some(Milliamps(6_000)),
        ..ChargerReport::silent(charger, Tick(1), Link::Online)
    }
}

/// Home Assistant may send any number of commands at once; each may change the order of every charger.
#[tokio::test]
async fn a_burst_of_commands_is_no_bug() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(15, folder.path()).await;
    for id in daemon.config.chargers.keys() {
        daemon.bus_sender.try_send(BusEvent::Report(waits(*id))).unwrap();
    }
    let (sender, events) = mpsc::channel(64);
    daemon.link_events = events;
    for number in 0..64 {
        let topic = format!("{}/set/current", daemon.config.publish.base_topic);
        let payload = if number % 2 == 0 { b"7".to_vec() } else { b"8".to_vec() };
        sender.try_send(link::Event::Message { topic, payload, retained: false }).unwrap();
    }
    assert!(daemon.take_the_rest());
    let snapshot = daemon.controller.snapshot();
    assert!(snapshot.chargers.values().all(|view| view.setpoint == Milliamps(8_000)));
}
