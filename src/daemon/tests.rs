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
        let payload = if number == 63 {
            b"9"
        } else if number % 2 == 0 {
            b"7"
        } else {
            b"8"
        }
        .to_vec();
        sender.try_send(link::Event::Message { topic, payload, retained: false }).unwrap();
    }
    assert!(daemon.take_the_rest());
    // Commands that come faster than a hand can give them are thinned; the newest comes in time.
    let later = daemon.clock.now() + Millis::from_secs(5);
    assert!(daemon.tell_controller(later));
    let snapshot = daemon.controller.snapshot();
    assert!(snapshot.chargers.values().all(|view| view.setpoint == Milliamps(9_000)));
}

/// Nothing was locked, so nothing may look locked; and what could not be stored is stored when the disk is back.
#[tokio::test]
async fn a_disk_that_refuses_costs_the_wake_up_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let file = daemon.config.state_file.clone();
    let beside = file.with_extension("new");
    std::fs::create_dir(&beside).unwrap();
    daemon.lock(ChargerId(0), false);
    let _ = daemon.saved.recv().await.unwrap();
    daemon.lock(ChargerId(0), true);
    let saved = daemon.saved.recv().await.unwrap();
    assert!(!saved.ok);
    daemon.saved(saved);
    assert!(!daemon.state.get("c0").unwrap().locked);
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
    assert_eq!(state::load(&file).0.get("c0").unwrap().mode, control::Mode::Fast);
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
            daemon.tell_controller(daemon.clock.now());
        }
    }
    drop(guard);
    assert_eq!(lines.load(Ordering::Relaxed), 2);
}

/// A flood of 10,000 a second of each kind of message, for 20 s, as far as this machine is fast enough: log, stored state and journal
/// grow at a pace that is known beforehand, and the newest wins.
#[tokio::test]
async fn a_flood_fills_neither_log_nor_card_nor_journal() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let lines = Arc::new(AtomicUsize::new(0));
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(Count(Arc::clone(&lines))));
    let base = daemon.config.publish.base_topic.clone();
    let (start, mut stored, mut told) = (daemon.clock.now(), 0, 0);
    for n in 0..200_000_u64 {
        let now = start + Millis(n / 10);
        let (topic, payload) = match n % 5 {
            0 => (format!("{base}/set/mode"), format!("x{n}")),
            1 => (format!("{base}/set/{n}"), "fast".to_owned()),
            2 => (format!("{base}/set/mode"), if n % 2 == 0 { "fast" } else { "off" }.to_owned()),
            3 => ("homeassistant/sensor/powerwall_site_now/state".to_owned(), format!("{}.{:03}", n % 7, n % 1_000)),
            _ => (
                "homeassistant/sensor/powerwall_solar_now/state".to_owned(),
                if n % 2 == 0 { "unavailable" } else { "5" }.to_owned(),
            ),
        };
        daemon.intake.message(&topic, payload.as_bytes(), false, now);
        while let Some(fact) = daemon.intake.poll(now) {
            told += 1;
            if let intake::Told::Command(command) = fact {
                daemon.command(command, now);
            }
        }
        daemon.intake.time(now);
        let before = daemon.stored_at;
        daemon.show(now, false);
        stored += usize::from(daemon.stored_at != before);
    }
    drop(guard);
    let lines = lines.load(Ordering::Relaxed);
    assert!(told <= 15 + 2 * 30, "{told} facts for controller and journal");
    assert!(stored <= 5 + URGENT_STORES as usize, "stored {stored} times");
    assert!(lines <= 100, "{lines} lines");
    let end = start + Millis::from_secs(30);
    let last: Vec<_> = std::iter::from_fn(|| daemon.intake.poll(end)).collect();
    let newest = control::Reading { source: control::Source::Grid, value: Some(1_998), retained: false };
    assert!(last.contains(&intake::Told::Reading(newest)), "{last:?}");
}

/// Users see in Home Assistant what the log says.
#[tokio::test]
async fn a_silence_is_a_warning_in_the_state() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let start = daemon.clock.now();
    daemon.intake.link(true, start);
    daemon.intake.time(start + Millis::from_secs(119));
    assert!(daemon.intake.warnings(start).is_empty());
    let now = start + Millis::from_secs(120);
    daemon.intake.time(now);
    let warnings = daemon.intake.warnings(now);
    assert!(
        matches!(&warnings[..], [one] if one.contains("access list") && one.contains("powerwall_site_now")),
        "{warnings:?}"
    );
    assert_eq!(daemon.intake.summary(now)["grid"]["state"], "never");
    let topic = "homeassistant/sensor/powerwall_site_now/state";
    daemon.intake.message(topic, b"1.5", false, now);
    assert!(daemon.intake.warnings(now).is_empty());
    assert_eq!(daemon.intake.summary(now)["grid"]["state"], "live");
    // Home Assistant has no automation for requests: said once, and shown.
    for request in 0..30 {
        daemon.intake.asked(now + Millis::from_secs(10 * request));
    }
    let warnings = daemon.intake.warnings(now);
    assert!(matches!(&warnings[..], [one] if one.contains("/refresh are not answered")), "{warnings:?}");
}

/// Whoever follows the advice and reads the configuration again is rid of the warning.
#[tokio::test]
async fn a_warning_does_not_outlive_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let now = daemon.clock.now();
    daemon.mqtt(link::Event::Unheard { why: Some("the access list".to_owned()) });
    for request in 0..30 {
        daemon.intake.asked(now + Millis::from_secs(10 * request));
    }
    assert_eq!(daemon.intake.warnings(now).len(), 2);
    let mut config = daemon.config.clone();
    config.control.sampling.refresh_every = None;
    daemon.reload(config).await.unwrap();
    assert_eq!(daemon.intake.warnings(now), ["the access list"], "the broker is the same");
    let mut config = daemon.config.clone();
    config.mqtt.username = Some(crate::config::Secret("gateway".to_owned()));
    daemon.reload(config).await.unwrap();
    assert_eq!(daemon.intake.warnings(now), Vec::<String>::new());
}

/// Sources that are unavailable are not answered for: that says nothing of who has the automation.
#[tokio::test]
async fn requests_count_only_while_the_sources_are_there() {
    let folder = tempfile::tempdir().unwrap();
    for (payload, unanswered) in [("unavailable", false), ("1.5", true)] {
        let mut daemon = daemon(1, folder.path()).await;
        let now = daemon.clock.now();
        let topic = daemon.config.inputs[&control::Source::Grid].topics[0].clone();
        daemon.intake.message(&topic, payload.as_bytes(), false, now);
        for request in 0..30 {
            daemon.intake.asked(now + Millis::from_secs(10 * request));
        }
        let said = daemon.intake.warnings(now).iter().any(|text| text.contains("requests for fresh samples"));
        assert_eq!(said, unanswered, "{payload}");
    }
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

/// The end looks at the controller again, and a bug that made the loop panic is still there.
#[tokio::test]
async fn a_loop_that_panics_again_and_again_still_ends_in_good_order() {
    let folder = tempfile::tempdir().unwrap();
    let (_keep, controls) = mpsc::channel(1);
    let mut daemon = daemon(1, folder.path()).await;
    daemon.controls = controls;
    daemon.open_buses().unwrap();
    daemon.controller.broken = true;
    let ended = Box::pin(daemon.live()).await;
    assert_eq!(ended, Ended::Broken { what: "the loop panicked".to_owned() });
}

/// A file that is lost, and one that is damaged: a charger may have been left locked, and each is unlocked once.
#[tokio::test]
async fn what_is_not_known_of_a_charger_is_taken_for_the_worst() {
    let folder = tempfile::tempdir().unwrap();
    let mut fresh = daemon(1, folder.path()).await;
    let known = fresh.state.get("c0").unwrap();
    assert_eq!((known.locked, known.running), (true, false));
    fresh.lock(ChargerId(0), false);
    while fresh.stored < 1 {
        let saved = fresh.saved.recv().await.unwrap();
        fresh.saved(saved);
    }
    let again = daemon(1, folder.path()).await;
    assert!(!again.state.get("c0").unwrap().locked, "once is enough");

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("state.json"), "{").unwrap();
    let damaged = daemon(1, folder.path()).await;
    let known = damaged.state.get("c0").unwrap();
    assert_eq!((known.locked, known.running), (true, true));
}

fn charges(charger: ChargerId, at: Tick) -> ChargerReport {
    ChargerReport { vehicle: Vehicle::Charging, setpoint: Some(Milliamps(6_000)), at, ..waits(charger) }
}

/// As often as it is killed: a start counts, and what may just have been stopped stays stopped.
#[tokio::test]
async fn limits_survive_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let mut daemon = daemon(1, folder.path()).await;
        let now = daemon.clock.now();
        daemon.controller.handle(Input::Report(charges(ChargerId(0), now)), now);
        daemon.take_the_rest();
        daemon.show(now, true);
        assert!(daemon.state.get("c0").unwrap().running);
        let newest = daemon.writer.save(&daemon.state);
        while daemon.saved.recv().await.unwrap().generation < newest {}
        // Nothing is told to anybody: it is gone.
    }
    let mut daemon = daemon(1, folder.path()).await;
    let now = daemon.clock.now();
    daemon.controller.handle(Input::Report(waits(ChargerId(0))), now);
    daemon.take_the_rest();
    let view = daemon.controller.snapshot().chargers[&ChargerId(0)];
    assert_eq!((view.setpoint, view.reason.code()), (Milliamps(0), "minimum-off"), "{view:?}");
}

/// Waits until the file says so, as the next start would read it.
async fn until_stored(daemon: &mut Daemon, wish: impl Fn(&State) -> bool) {
    while !wish(&state::load(&daemon.config.state_file).0) {
        let saved = tokio::time::timeout(Duration::from_secs(20), daemon.saved.recv()).await;
        assert!(matches!(saved, Ok(Some(Saved { ok: true, .. }))), "{saved:?}, stored last at {:?}", daemon.stored_at);
    }
}

fn starts(state: &State, charger: ChargerId) -> usize {
    let names = BTreeMap::from([(charger, format!("c{}", charger.0))]);
    state.carry_over(&names, Moment::now(), false).chargers.get(&charger).map_or(0, |counts| counts.starts.len())
}

/// A crash a moment later neither undoes what the user chose nor forgets a start.
#[tokio::test]
async fn a_wish_and_a_start_are_stored_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let car = ChargerId(0);
    let mut now = daemon.clock.now();
    daemon.show(now, false);
    until_stored(&mut daemon, |state| state.get("c0").is_some()).await;
    for (report, wish) in [
        (waits(car), (|state| state.get("c0").unwrap().running) as fn(&State) -> bool),
        (charges(car, now), |state| starts(state, ChargerId(0)) == 1),
    ] {
        now = now + Millis(300);
        daemon.controller.handle(Input::Report(ChargerReport { at: now, ..report }), now);
        daemon.take_the_rest();
        daemon.show(now, true);
        until_stored(&mut daemon, wish).await;
    }
    let mode = |mode| control::Command::Mode { charger: None, mode };
    now = now + Millis(300);
    daemon.command(mode(control::Mode::Off), now);
    daemon.show(now, true);
    until_stored(&mut daemon, |state| state.get("c0").unwrap().mode == control::Mode::Off).await;

    // One who cannot decide wears no card, and is understood in the end.
    let mut writes = 0;
    for n in 0..20 {
        now = now + Millis(100);
        daemon.command(mode(if n % 2 == 0 { control::Mode::Fast } else { control::Mode::Slow }), now);
        let before = daemon.stored_at;
        daemon.show(now, true);
        writes += u32::from(daemon.stored_at != before);
    }
    assert!(writes <= URGENT_STORES, "{writes} writes in 2 s");
    daemon.show(now + STORE_PAUSE, false);
    until_stored(&mut daemon, |state| state.get("c0").unwrap().mode == control::Mode::Slow).await;
}

/// Another reading interval closes the lines and begins the chargers anew, not the day.
#[tokio::test]
async fn starts_survive_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let now = daemon.clock.now();
    daemon.controller.handle(Input::Report(waits(ChargerId(0))), now);
    daemon.take_the_rest();
    daemon.controller.handle(Input::Report(charges(ChargerId(0), now)), now);
    daemon.take_the_rest();
    daemon.show(now, true);
    assert_eq!(daemon.controller.snapshot().chargers[&ChargerId(0)].starts, 1);
    daemon.begin_chargers_anew();
    assert_eq!(daemon.controller.snapshot().chargers[&ChargerId(0)].starts, 1);
}

/// Taken out of the file and put back a moment later: nothing that limits it is forgotten, and what the user chose stays.
#[tokio::test]
async fn a_charger_that_is_taken_out_and_put_back_has_forgotten_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(2, folder.path()).await;
    let car = ChargerId(1);
    let now = daemon.clock.now();
    daemon.command(control::Command::Mode { charger: Some(car), mode: control::Mode::Fast }, now);
    daemon.controller.handle(Input::Report(waits(car)), now);
    daemon.take_the_rest();
    daemon.controller.handle(Input::Report(charges(car, now)), now);
    daemon.take_the_rest();
    daemon.show(now, true);
    let whole = daemon.config.clone();
    let mut less = whole.clone();
    less.chargers.remove(&car);
    less.control.chargers.remove(&car);
    for config in [less, whole] {
        daemon.reload(config).await.unwrap();
        daemon.show(daemon.clock.now(), true);
    }
    let view = daemon.controller.snapshot().chargers[&car];
    assert_eq!((view.mode, view.starts), (control::Mode::Fast, 1), "{view:?}");
    assert!(daemon.state.get("c1").unwrap().stopped.is_some(), "the minimum-off time runs");
}

/// The counter goes away for a moment: nothing is counted twice, and what is published never jumps.
#[tokio::test]
async fn an_energy_counter_that_goes_away_counts_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    assert!(daemon.energies().is_empty(), "nothing is known yet");
    let mut at = 1_000;
    for raw in [1_234_625, 1_234_625, 0, 0, 0, 1_234_625, 1_234_626] {
        at += if at == 2_000 { 60_000 } else { 1_000 };
        let report = ChargerReport { energy: Some(control::WattHours(raw)), at: Tick(at), ..waits(ChargerId(0)) };
        daemon.bus(&BusEvent::Report(report));
    }
    assert_eq!(daemon.energies()[&ChargerId(0)], control::WattHours(1_234_626));
}

/// What the log says.
struct Lines(Arc<std::sync::Mutex<String>>);

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Text<'a>(&'a mut String);
        impl tracing::field::Visit for Text<'_> {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                use std::fmt::Write;
                let _ = writeln!(self.0, "{value:?}");
            }
        }
        event.record(&mut Text(&mut self.0.lock().unwrap()));
    }
}

/// A mute wallbox holds its line for some seconds at a reload: the new line waits for it, and nothing false is said of that.
#[tokio::test]
async fn a_line_that_is_opened_anew_waits_for_the_old_one() {
    let said = Arc::new(std::sync::Mutex::new(String::new()));
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Lines(said.clone())));
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let (_stop, controls) = mpsc::channel(1);
    daemon.controls = controls;
    let options = crate::sim::wallbox::WallboxOptions::default();
    let wallbox = crate::sim::wallbox::Wallbox::new(options);
    let port = crate::sim::port::WallboxPort::open(wallbox, daemon.clock, None).unwrap();
    port.wallbox().fault(crate::sim::wallbox::Fault::Silent, None);
    let link = LinkConfig::Serial { path: port.path().to_owned() };
    let mut config = daemon.config.clone();
    config.chargers.get_mut(&ChargerId(0)).unwrap().link = link.clone();
    daemon.reload(config.clone()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    config.chargers.get_mut(&ChargerId(0)).unwrap().poll = Millis(2_000);
    daemon.reload(config).await.unwrap();
    assert!(daemon.buses.is_empty(), "the old line needs more time than the loop waits");
    // One that never ends is not waited for for ever.
    let due = std::mem::replace(&mut daemon.closing_by, daemon.clock.now());
    let ended = daemon.turns().await;
    assert!(matches!(&ended, Ended::Broken { what } if what.contains("did not end")), "{ended:?}");
    daemon.closing_by = due;
    // Some seconds of the loop's own, until the old line has ended and the new one has been opened.
    for _ in 0..30 {
        let turns = tokio::time::timeout(Duration::from_secs(1), daemon.turns()).await;
        assert!(turns.is_err(), "{turns:?}");
        if daemon.buses.contains_key(&link) {
            break;
        }
    }
    assert!(daemon.buses.contains_key(&link));
    let _ = tokio::time::timeout(Duration::from_secs(1), daemon.turns()).await;
    let said = said.lock().unwrap().clone();
    assert!(said.contains("the new ones are opened after it"), "{said}");
    assert!(!said.contains("by another name") && !said.contains("cannot be used: another"), "{said}");
}
