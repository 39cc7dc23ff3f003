//! The loop on its own, without a broker and without lines.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use control::{ChargerId, ChargerReport, Input, Milliamps, Millis, Reachability, Tick, Vehicle};
use tokio::sync::{oneshot, watch};

use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::*;
use crate::charger::driver::Notice;
use crate::config::Environment;
use crate::model::request::{Answer, Origin, Setting};
use crate::model::status::{BrokerState, InputState};
use crate::mqtt::trouble::DownKind;

mod kept;

/// A daemon with this number of chargers. Nothing answers on their lines, which have ended.
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
    let (_, requests) = mpsc::channel(1);
    let wiring = Wiring { clock: Clock::start(1), requests, status: watch::channel(None).0 };
    let mut daemon = Daemon::start(config, wiring).unwrap();
    for (_, mut bus) in std::mem::take(&mut daemon.buses) {
        bus.send(BusCommand::Shutdown);
        bus.ended().await;
    }
    while daemon.bus_events.try_recv().is_ok() {}
    daemon
}

fn message(topic: &str, payload: &[u8]) -> Event {
    Event::Message { topic: topic.to_owned(), payload: payload.to_vec(), retained: false }
}

/// Sends the loop a user's request, as the socket does.
async fn ask(daemon: &mut Daemon, charger: Option<&str>, key: &str, value: &str) -> Option<Answer> {
    let setting = Setting::parse(charger, key, value.as_bytes()).unwrap();
    let (reply, answer) = oneshot::channel();
    let now = daemon.clock.now();
    daemon.hub.requests.set(&setting, Origin::Socket, Some(reply), now);
    daemon.hub.settle(now);
    answer.await.ok()
}

/// Counts the lines that the system log keeps at level info.
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
        ..ChargerReport::silent(charger, Tick(1), Reachability::Online)
    }
}

/// Home Assistant may send any number of commands at once; each may change the order of every charger.
#[tokio::test]
async fn a_burst_of_commands_is_no_bug() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(15, folder.path()).await;
    for id in daemon.hub.config.chargers.keys() {
        daemon.bus_sender.try_send(BusEvent::Report(waits(*id))).unwrap();
    }
    let (sender, events) = mpsc::channel(64);
    daemon.set_events = events;
    for number in 0..64 {
        let topic = format!("{}/set/current", daemon.hub.config.publish.base_topic);
        let payload = if number == 63 {
            b"9"
        } else if number % 2 == 0 {
            b"7"
        } else {
            b"8"
        }
        .to_vec();
        sender.try_send(message(&topic, &payload)).unwrap();
    }
    daemon.take_the_rest();
    // Commands faster than a person can give them are thinned out; the newest is carried out in time.
    let later = daemon.clock.now() + Millis::from_secs(5);
    daemon.hub.settle(later);
    let snapshot = daemon.hub.controller.snapshot();
    assert!(snapshot.chargers.values().all(|view| view.setpoint == Milliamps(9_000)));
}

/// An automation that repeats the same command or a wrong one every few seconds does not fill the SD card.
#[tokio::test]
async fn a_command_that_comes_again_and_again_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let lines = Arc::new(AtomicUsize::new(0));
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(Count(Arc::clone(&lines))));
    for payload in [&b"sideways"[..], b"off"] {
        for _ in 0..100 {
            let topic = format!("{}/set/mode", daemon.hub.config.publish.base_topic);
            daemon.hub.set(&message(&topic, payload), daemon.clock.now());
            daemon.hub.settle(daemon.clock.now());
        }
    }
    drop(guard);
    assert_eq!(lines.load(Ordering::Relaxed), 2);
}

/// A flood of up to 10,000 messages per second of each kind for 20 s, depending on the machine: log, stored state and journal grow within
/// known limits, and the newest message wins.
#[tokio::test]
async fn a_flood_fills_neither_log_nor_card_nor_journal() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let lines = Arc::new(AtomicUsize::new(0));
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(Count(Arc::clone(&lines))));
    let base = daemon.hub.config.publish.base_topic.clone();
    let (start, mut stored, mut told, mut published) = (daemon.clock.now(), 0, 0, 0);
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
        let event = message(&topic, payload.as_bytes());
        daemon.hub.intake.handle(&event, now);
        daemon.hub.requests.handle(&event, now);
        told += std::iter::from_fn(|| daemon.hub.intake.poll(now)).count();
        while let Some(granted) = daemon.hub.requests.poll(now) {
            told += 1;
            daemon.hub.grant(granted, now);
        }
        published += std::iter::from_fn(|| daemon.hub.requests.poll_refused()).count();
        daemon.hub.intake.handle_timeout(now);
        daemon.hub.requests.handle_timeout(now);
        let before = daemon.hub.keeper.stored_at;
        daemon.show(now);
        stored += usize::from(daemon.hub.keeper.stored_at != before);
    }
    drop(guard);
    let lines = lines.load(Ordering::Relaxed);
    assert!(told <= 15 + 2 * 30, "{told} facts for controller and journal");
    assert!(published <= 10 + 4, "{published} refusals published");
    assert!(stored <= 5 + keeper::URGENT_STORES as usize, "stored {stored} times");
    assert!(lines <= 100, "{lines} lines");
    let end = start + Millis::from_secs(30);
    let last: Vec<_> = std::iter::from_fn(|| daemon.hub.intake.poll(end)).collect();
    let newest = control::Reading { source: control::Source::Grid, value: Some(1_998), retained: false };
    assert!(last.contains(&newest), "{last:?}");
}

/// Users see the same warnings in Home Assistant as in the log.
#[tokio::test]
async fn a_silence_is_a_warning_in_the_state() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let start = daemon.clock.now();
    daemon.hub.intake.link(true, start);
    daemon.hub.intake.handle_timeout(start + Millis::from_secs(119));
    assert!(daemon.hub.intake.warnings(start).is_empty());
    let now = start + Millis::from_secs(120);
    daemon.hub.intake.handle_timeout(now);
    let warnings = daemon.hub.intake.warnings(now);
    assert!(
        matches!(&warnings[..], [one] if one.contains("access list") && one.contains("powerwall_site_now")),
        "{warnings:?}"
    );
    assert_eq!(daemon.hub.intake.statuses(now)[0].state, InputState::Never);
    let topic = "homeassistant/sensor/powerwall_site_now/state";
    daemon.hub.intake.handle(&message(topic, b"1.5"), now);
    assert!(daemon.hub.intake.warnings(now).is_empty());
    assert_eq!(daemon.hub.intake.statuses(now)[0].state, InputState::Live);
    // Home Assistant has no automation for requests: logged once, and shown.
    for request in 0..30 {
        daemon.hub.intake.asked(now + Millis::from_secs(10 * request));
    }
    let warnings = daemon.hub.intake.warnings(now);
    assert!(matches!(&warnings[..], [one] if one.contains("/refresh are not answered")), "{warnings:?}");
}

/// Following the advice and reloading the configuration removes the warning.
#[tokio::test]
async fn a_warning_does_not_outlive_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let now = daemon.clock.now();
    daemon.hub.site(&Event::Unheard { why: Some("the access list".to_owned()) }, daemon.clock.now());
    for request in 0..30 {
        daemon.hub.intake.asked(now + Millis::from_secs(10 * request));
    }
    assert_eq!(daemon.hub.intake.warnings(now).len(), 2);
    let mut config = daemon.hub.config.clone();
    config.control.sampling.refresh_every = None;
    daemon.reload(config).await.unwrap();
    assert_eq!(daemon.hub.intake.warnings(now), ["the access list"], "the broker is the same");
    let mut config = daemon.hub.config.clone();
    config.mqtt.username = Some(crate::config::Secret("gateway".to_owned()));
    daemon.reload(config).await.unwrap();
    assert_eq!(daemon.hub.intake.warnings(now), Vec::<String>::new());
}

/// Unavailable sources do not send new values, which does not mean that the automation is missing.
#[tokio::test]
async fn requests_count_only_while_the_sources_are_there() {
    let folder = tempfile::tempdir().unwrap();
    for (payload, unanswered) in [("unavailable", false), ("1.5", true)] {
        let mut daemon = daemon(1, folder.path()).await;
        let now = daemon.clock.now();
        let topic = daemon.hub.config.inputs[&control::Source::Grid].topics[0].clone();
        daemon.hub.intake.handle(&message(&topic, payload.as_bytes()), now);
        for request in 0..30 {
            daemon.hub.intake.asked(now + Millis::from_secs(10 * request));
        }
        let said = daemon.hub.intake.warnings(now).iter().any(|text| text.contains("requests for fresh samples"));
        assert_eq!(said, unanswered, "{payload}");
    }
}

/// If something ends that must keep running, the loop returns the reason and the program exits with code 70.
#[tokio::test]
async fn an_unexpected_end_is_fatal() {
    let folder = tempfile::tempdir().unwrap();
    let (_keep, asked) = mpsc::channel(1);
    let mut without_broker = daemon(1, folder.path()).await;
    without_broker.asked = asked;
    without_broker.site_events = mpsc::channel(1).1;
    let ended = without_broker.turns().await;
    assert_eq!(ended, Ended::Broken { what: "the MQTT task has ended".to_owned() });

    let (_keep, asked) = mpsc::channel(1);
    let mut without_line = daemon(1, folder.path()).await;
    without_line.asked = asked;
    without_line.open_buses().unwrap();
    without_line.buses.values().for_each(|bus| bus.send(BusCommand::Shutdown));
    let ended = without_line.turns().await;
    assert!(matches!(&ended, Ended::Broken { what } if what.contains("thread of a line")), "{ended:?}");
}

/// The shutdown uses the controller again, and the bug that made the loop panic is still there.
#[tokio::test]
async fn a_loop_that_panics_again_and_again_still_ends_in_good_order() {
    let folder = tempfile::tempdir().unwrap();
    let (_keep, asked) = mpsc::channel(1);
    let mut daemon = daemon(1, folder.path()).await;
    daemon.asked = asked;
    daemon.open_buses().unwrap();
    daemon.hub.controller.broken = true;
    let ended = Box::pin(daemon.live()).await;
    assert_eq!(ended, Ended::Broken { what: "the loop panicked".to_owned() });
}

/// The text of the log.
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

/// A silent wallbox occupies its line for some seconds at a reload: the new line waits for it, and nothing false is logged about that.
#[tokio::test]
async fn a_line_that_is_opened_anew_waits_for_the_old_one() {
    let said = Arc::new(std::sync::Mutex::new(String::new()));
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Lines(said.clone())));
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let (_stop, asked) = mpsc::channel(1);
    daemon.asked = asked;
    let options = crate::sim::wallbox::WallboxOptions::default();
    let wallbox = crate::sim::wallbox::Wallbox::new(options);
    let port = crate::sim::port::WallboxPort::open(wallbox, daemon.clock, None).unwrap();
    port.wallbox().fault(crate::sim::wallbox::Fault::Silent, None);
    let link = LinkConfig::Serial { path: port.path().to_owned() };
    let mut config = daemon.hub.config.clone();
    config.chargers.get_mut(&ChargerId(0)).unwrap().link = link.clone();
    daemon.reload(config.clone()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    config.chargers.get_mut(&ChargerId(0)).unwrap().poll = Millis(2_000);
    daemon.reload(config).await.unwrap();
    assert!(daemon.buses.is_empty(), "the old line needs more time than the loop waits");
    // The wait for a line that never ends is limited.
    let due = std::mem::replace(&mut daemon.closing_by, daemon.clock.now());
    let ended = daemon.turns().await;
    assert!(matches!(&ended, Ended::Broken { what } if what.contains("did not end")), "{ended:?}");
    daemon.closing_by = due;
    // Run the loop for some seconds, until the old line has ended and the new one is open.
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

/// A request through the socket is answered with what is in force or why nothing was done; a refused MQTT message is answered on `error`.
#[tokio::test]
async fn a_request_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(2, folder.path()).await;
    let now = daemon.clock.now();
    for charger in [ChargerId(0), ChargerId(1)] {
        daemon.hub.controller.handle(Input::Report(waits(charger)), now);
    }
    let answer = ask(&mut daemon, Some("c1"), "mode", "off").await.unwrap().unwrap();
    assert_eq!(answer, "c1: 0.0 A (off): switched off");
    let answer = ask(&mut daemon, None, "mode", "fast").await.unwrap().unwrap();
    assert!(answer.starts_with("c0: ") && answer.contains("\nc1: ") && answer.contains("(fast)"), "{answer}");
    let refused = ask(&mut daemon, Some("garage"), "mode", "off").await.unwrap().unwrap_err();
    assert_eq!(refused.to_string(), "unknown charger \"garage\": use one of c0, c1, or none for all");
    assert!(daemon.hub.requests.poll_refused().is_none(), "who asked has the answer");
}

/// Of requests that come too fast, the last is carried out, and the others are answered that a later one replaced them.
#[tokio::test]
async fn a_request_that_is_overtaken_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let now = daemon.clock.now();
    let mut answers = Vec::new();
    for number in 0..14 {
        let (reply, answer) = oneshot::channel();
        let setting = Setting::parse(None, "current", if number % 2 == 0 { b"7" } else { b"8" }).unwrap();
        daemon.hub.requests.set(&setting, Origin::Socket, Some(reply), now);
        daemon.hub.settle(now);
        answers.push(answer);
    }
    let due = daemon.hub.requests.poll_timeout().unwrap();
    daemon.hub.settle(due);
    let told: Vec<_> = answers.iter_mut().map(|answer| answer.try_recv().is_ok()).collect();
    let overtaken: Vec<_> = told.iter().enumerate().filter(|(_, told)| !**told).map(|(number, _)| number).collect();
    assert_eq!(overtaken, [10, 11, 12], "ten at once, and the last");
}

/// For a wallbox that does not answer, the status shows since when, why, and the time of the next attempt.
#[tokio::test]
async fn the_status_tells_of_each_link_since_when_why_and_when_it_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let (status, shown) = watch::channel(None);
    daemon.outputs = Outputs::new(&daemon.hub.config, status);
    let charger = ChargerId(0);
    let now = daemon.clock.now();
    let report = |link, at| BusEvent::Report(ChargerReport { link, ..ChargerReport::silent(charger, at, link) });
    let lost = Notice::LinkLost { failure: crate::charger::codec::Failure::Timeout };
    let why = lost.to_string();
    daemon.hub.bus(&report(Reachability::Offline, now), daemon.clock.now());
    daemon.hub.bus(&BusEvent::Notice { charger, notice: lost }, daemon.clock.now());
    daemon.hub.bus(&BusEvent::NextTry { charger, at: Some(now + Millis(10_000)) }, daemon.clock.now());
    // What the line itself says is more than that the charger is gone with it.
    let gone = Notice::LinkLost { failure: crate::charger::codec::Failure::Gone };
    daemon.hub.bus(&BusEvent::Notice { charger, notice: gone }, daemon.clock.now());
    daemon.hub.site(
        &Event::Down { kind: DownKind::Refused, why: "refused".to_owned(), retry_in: Millis(8_000) },
        daemon.clock.now(),
    );
    daemon.show(now + Millis(3_000));
    let seen = shown.borrow().clone().unwrap();
    let link = &seen.chargers[0].link;
    assert_eq!((link.why.as_ref(), link.next_try), (Some(&why), Some(now + Millis(10_000))));
    let BrokerState::Disconnected { why, next_try } = &seen.broker.state else { panic!("{:?}", seen.broker) };
    assert!(why == "refused" && *next_try >= now + Millis(8_000));
    daemon.hub.site(&Event::Up, daemon.clock.now());
    daemon.hub.bus(&BusEvent::NextTry { charger, at: None }, daemon.clock.now());
    daemon.hub.bus(&BusEvent::Report(waits(charger)), daemon.clock.now());
    daemon.show(now + Millis(5_000));
    let seen = shown.borrow().clone().unwrap();
    assert_eq!((seen.chargers[0].link.why.as_ref(), seen.chargers[0].link.next_try), (None, None));
    assert!(seen.chargers[0].link.since >= now, "since the report");
    assert_eq!(seen.broker.state, BrokerState::Connected);
}

/// A wallbox that answers again has lost what was wrong with it; a reload that leaves the lines alone forgets nothing of them.
#[tokio::test]
async fn what_is_wrong_with_a_link_is_neither_kept_nor_forgotten_too_long() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let (status, shown) = watch::channel(None);
    daemon.outputs = Outputs::new(&daemon.hub.config, status);
    let charger = ChargerId(0);
    let report = |link, fault| {
        let silent = ChargerReport::silent(charger, Tick(1), link);
        BusEvent::Report(ChargerReport { fault, ..silent })
    };
    daemon.hub.bus(&report(Reachability::Offline, None), daemon.clock.now());
    daemon.hub.bus(&BusEvent::LineDown { charger, why: "no port".to_owned() }, daemon.clock.now());
    let mut config = daemon.hub.config.clone();
    config.publish.state_every = Millis(7_000);
    daemon.reload(config).await.unwrap();
    daemon.show(daemon.clock.now());
    let why = || shown.borrow().as_ref().unwrap().chargers[0].link.why.clone();
    assert_eq!(why().as_deref(), Some("no port"));
    daemon.hub.bus(&report(Reachability::ReadOnly, Some(control::Fault::Locked)), daemon.clock.now());
    daemon.show(daemon.clock.now());
    assert_eq!(why(), None);
}

/// A request whose sender was told that there was no time for it is not carried out later; one that waits during a reload is answered.
#[tokio::test]
async fn a_request_that_was_given_up_is_not_carried_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let now = daemon.clock.now();
    let setting = Setting::parse(None, "mode", b"off").unwrap();
    let (reply, gone) = oneshot::channel();
    drop(gone);
    daemon.hub.requests.set(&setting, Origin::Socket, Some(reply), now);
    daemon.hub.settle(now);
    assert_eq!(daemon.hub.controller.snapshot().chargers[&ChargerId(0)].mode, control::Mode::Fixed);
    let (reply, mut waiting) = oneshot::channel();
    daemon.hub.requests.set(&setting, Origin::Socket, Some(reply), now);
    let config = daemon.hub.config.clone();
    daemon.reload(config).await.unwrap();
    assert_eq!(waiting.try_recv().unwrap(), Err(crate::model::request::Refusal::Reloaded));
}
