//! The loop's own books, without a broker and without a line.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use control::{ChargerId, ChargerReport, Link, Milliamps, Tick, Vehicle};

use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::*;
use crate::config::Environment;

/// A daemon with so many chargers, all on lines that nobody answers, which have ended.
async fn daemon(chargers: usize, folder: &std::path::Path) -> Daemon {
    let mut text = format!(
        "version = 1\nstate-file = \"{}\"\n[mqtt]\nurl = \"mqtt://127.0.0.1:1\"\n[site]\nmain-fuse-a = 250\n[journal]\nfile = \"{}\"\n",
        folder.join("state.json").display(),
        folder.join("journal.sqlite").display()
    );
    let charger = |number| {
        let port = number + 1;
        format!(
            "[[charger]]\nname = \"c{number}\"\nprofile = \"heidelberg-energy-control\"\nlink = \"tcp://127.0.0.1:{port}\"\n"
        ) + "mode = \"fixed\"\n"
    };
    text.extend((0..chargers).map(charger));
    let file = folder.join("surplusd.toml");
    std::fs::write(&file, text).unwrap();
    let known = crate::charger::profile::known();
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

/// Counts what a journal at level info would keep.
struct Count(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Count {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        self.0.fetch_add(usize::from(*event.metadata().level() <= tracing::Level::INFO), Ordering::Relaxed);
    }
}

fn waits(charger: ChargerId) -> ChargerReport {
    ChargerReport {
        vehicle: Vehicle::Connected,
        setpoint: Some(Milliamps(0)),
        connected: None,
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

/// Nothing was locked, so nothing may look locked; and what could not be stored is stored when the disk is back.
#[tokio::test]
async fn a_disk_that_refuses_costs_the_wake_up_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let file = daemon.config.state_file.clone();
    let beside = file.with_extension("new");
    std::fs::create_dir(&beside).unwrap();
    daemon.lock(ChargerId(0), true);
    let saved = daemon.saved.recv().await.unwrap();
    assert!(!saved.ok);
    daemon.saved(saved);
    assert!(!daemon.state["c0"].locked);
    std::fs::remove_dir(&beside).unwrap();
    daemon.state.get_mut("c0").unwrap().mode = control::Mode::Off;
    daemon.writer.save(&daemon.state);
    let saved = daemon.saved.recv().await.unwrap();
    daemon.saved(saved);
    std::fs::create_dir(&beside).unwrap();
    daemon.state.get_mut("c0").unwrap().mode = control::Mode::Fast;
    daemon.writer.save(&daemon.state);
    let saved = daemon.saved.recv().await.unwrap();
    assert!(!saved.ok);
    daemon.saved(saved);
    std::fs::remove_dir(&beside).unwrap();
    let generation = daemon.writer.save(&daemon.state);
    let saved = tokio::time::timeout(Duration::from_secs(60), daemon.saved.recv()).await.expect("it is tried again");
    assert_eq!(saved, Some(Saved { generation, ok: true }));
    assert_eq!(state::load(&file)["c0"].mode, control::Mode::Fast);
}

/// An automation that says the same every few seconds, or something wrong, fills no SD card.
#[tokio::test]
async fn a_command_that_comes_again_and_again_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let lines = Arc::new(AtomicUsize::new(0));
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(Count(Arc::clone(&lines))));
    for payload in [&b"sideways"[..], b"off"] {
        for _ in 0..100 {
            let topic = format!("{}/set/mode", daemon.config.publish.base_topic);
            daemon.message(&topic, payload, false);
        }
    }
    drop(guard);
    assert_eq!(lines.load(Ordering::Relaxed), 2);
}

/// Something that must not end has ended: the loop says so, and the program ends with code 70.
#[tokio::test]
async fn an_unexpected_end_is_fatal() {
    let folder = tempfile::tempdir().unwrap();
    let (_keep, controls) = mpsc::channel(1);
    let mut without_broker = daemon(1, folder.path()).await;
    without_broker.controls = controls;
    without_broker.link_events = mpsc::channel(1).1;
    let ended = without_broker.turns().await;
    assert_eq!(ended, Ended::Broken { what: "the MQTT task has ended".to_owned() });

    let (_keep, controls) = mpsc::channel(1);
    let mut without_line = daemon(1, folder.path()).await;
    without_line.controls = controls;
    without_line.open_buses().unwrap();
    without_line.buses.values().for_each(|bus| bus.send(BusCommand::Shutdown));
    let ended = without_line.turns().await;
    assert!(matches!(&ended, Ended::Broken { what } if what.contains("thread of a line")), "{ended:?}");
}
