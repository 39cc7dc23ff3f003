//! What systemd is told. Outside of systemd all of this does nothing.

use control::{Millis, Tick};
use sd_notify::NotifyState;
use tracing::warn;

/// Tells systemd how the service is doing.
#[derive(Debug)]
pub(super) struct Notifier {
    /// Time between two signs of life; `None` where systemd does not watch.
    every: Option<Millis>,
    last: Option<Tick>,
    ready: bool,
    status: String,
}

impl Notifier {
    /// Learns from the environment whether systemd watches, and how closely.
    pub(super) fn from_environment() -> Self {
        let every =
            sd_notify::watchdog_enabled().map(|limit| Millis(u64::try_from(limit.as_millis() / 2).unwrap_or(u64::MAX)));
        Self { every, last: None, ready: false, status: String::new() }
    }

    /// A decision was completed: the only thing that feeds systemd's watchdog. The first one makes the service ready.
    pub(super) fn decided(&mut self, now: Tick, status: &str) {
        let due = self.every.is_some_and(|every| self.last.is_none_or(|last| now.since(last) >= every));
        if !self.ready {
            self.ready = true;
            tell(&[NotifyState::Ready]);
        }
        if due {
            self.last = Some(now);
            tell(&[NotifyState::Watchdog]);
        }
        if status != self.status {
            status.clone_into(&mut self.status);
            tell(&[NotifyState::Status(status)]);
        }
    }

    /// The service is about to end.
    pub(super) fn stopping() {
        tell(&[NotifyState::Stopping]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "systemd cannot be told ({error})");
    }
}
