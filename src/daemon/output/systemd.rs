//! Notifications to systemd. Without systemd all of this does nothing.

use control::{Millis, Tick};
use sd_notify::NotifyState;
use tracing::warn;

use super::Change;
use crate::model::status::{ChargerStatus, Status};
use crate::wording;

/// Reports the state of the service to systemd.
#[derive(Debug)]
pub(super) struct Systemd {
    /// Time between two watchdog notifications; `None` if systemd's watchdog is off.
    every: Option<Millis>,
    last: Option<Tick>,
    ready: bool,
    status: String,
}

impl Systemd {
    /// Reads from the environment whether systemd's watchdog is on, and its time limit.
    pub(super) fn from_environment() -> Self {
        let every =
            sd_notify::watchdog_enabled().map(|limit| Millis(u64::try_from(limit.as_millis() / 2).unwrap_or(u64::MAX)));
        Self { every, last: None, ready: false, status: String::new() }
    }

    /// Notifies systemd after a completed decision, which is the only thing that feeds its watchdog. The first one makes the service ready.
    pub(super) fn show(&mut self, status: &Status, change: &Change) {
        if !change.decided {
            return;
        }
        let due = self.every.is_some_and(|every| self.last.is_none_or(|last| status.at.since(last) >= every));
        if !self.ready {
            self.ready = true;
            tell(&[NotifyState::Ready]);
        }
        if due {
            self.last = Some(status.at);
            tell(&[NotifyState::Watchdog]);
        }
        let line = line(status);
        if line != self.status {
            tell(&[NotifyState::Status(&line)]);
            self.status = line;
        }
    }

    /// Announces that the service is about to end.
    pub(super) fn stopping() {
        tell(&[NotifyState::Stopping]);
    }
}

/// The status line shown by `systemctl status`.
pub(super) fn line(status: &Status) -> String {
    let charger = |charger: &ChargerStatus| {
        let view = &charger.view;
        let current = wording::current(view.setpoint, &view.reason);
        format!("{}: {}, {current}, {}", charger.name, view.mode, view.reason.code())
    };
    status.chargers.iter().map(charger).collect::<Vec<_>>().join("; ")
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "systemd cannot be notified ({error})");
    }
}
