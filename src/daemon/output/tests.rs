//! What is logged when things change faster than the rate limit allows.

use std::fmt;
use std::sync::{Arc, Mutex};

use control::{Controller, Doubt, Reason};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::*;
use crate::config::{Environment, Files};

/// The messages of all log lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        event.record(&mut Message(self));
    }
}

struct Message<'a>(&'a Lines);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.0.lock().unwrap().push(format!("{value:?}"));
        }
    }
}

fn status() -> Status {
    let text = include_str!("../../../config/surplusd.toml");
    let known = crate::charger::profile::known();
    let loaded = crate::config::parse(text, "surplusd.toml".as_ref(), &Environment::default(), &known, Files::Ignore);
    Status::of(Controller::new(loaded.config.unwrap().control, Tick(1)).snapshot())
}

/// Plays ten changes per second for ten seconds, and then an hour without changes.
fn play(mut change: impl FnMut(&mut Status, u64)) -> Vec<String> {
    let (mut log, mut status) = (Log::new(), status());
    let mut gists = Gists::default();
    let lines = Lines::default();
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
    for n in 0..100 {
        change(&mut status, n);
        status.at = Tick(1_000 + 100 * n);
        log.show(&status, &gists.change(&status, true));
    }
    for second in 12..3_600 {
        status.at = Tick(1_000 * second);
        log.show(&status, &gists.change(&status, true));
    }
    drop(guard);
    let lines = lines.0.lock().unwrap();
    lines.clone()
}

#[test]
fn the_last_word_on_the_meters_is_never_left_out() {
    let lines = play(|status, n| status.site.doubt = (n % 2 == 0).then_some(Doubt::WrongSign));
    let doubts: Vec<_> = lines.iter().filter(|line| line.contains("believed")).collect();
    assert_eq!(doubts.len(), 11, "{doubts:#?}");
    assert_eq!(*doubts[10], "the meters are believed again (89 lines like this were left out)");
}

#[test]
fn the_last_decision_is_never_left_out() {
    let lines = play(|status, n| {
        let view = &mut status.chargers[0].view;
        view.mode = if n % 2 == 0 { Mode::Fast } else { Mode::Off };
    });
    let last = lines.last().unwrap();
    assert_eq!(lines.len(), 31, "{lines:#?}");
    assert!(last.starts_with("carport: 0.0 A (off)") && last.ends_with("(69 lines like this were left out)"), "{last}");
}

/// The log does not claim to know what a charger does that does not answer or does not follow its setpoint.
#[test]
fn a_setpoint_that_is_not_proven_is_not_said_to_be_in_force() {
    for (reason, says) in [
        (Reason::Offline, "the charger does not answer"),
        (
            Reason::Fault(Fault::Unusable),
            "the wallbox answers, but cannot be controlled or measured: the log says what is wrong",
        ),
        (Reason::Fault(Fault::Refused), "the charger does not keep what is written to it"),
    ] {
        let mut last = None;
        let lines = play(|status, _| {
            let view = &mut status.chargers[0].view;
            (view.mode, view.setpoint, view.reason) = (Mode::Fast, Milliamps(16_000), reason);
            last = Some(status.clone());
        });
        assert_eq!(lines, [format!("carport: {says}; 16.0 A wanted (fast)")]);
        let line = systemd::line(&last.unwrap());
        assert_eq!(line, format!("carport: fast, 16.0 A wanted, {}", reason.code()));
    }
}
