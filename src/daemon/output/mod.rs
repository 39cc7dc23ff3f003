//! The outputs that show the status after each turn, one file each. To add one, add a file here and a line in [`Outputs::show`].
//!
//! Separate tasks (the local socket, a page) take the newest status from a `watch` instead, so they cannot hold up the loop.

mod log;
mod original;
mod published;
mod remarks;
mod systemd;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use control::{ChargerId, ChargerView, Fault, Milliamps, Mode, Reachability, Tick, Vehicle};
use tokio::sync::watch;

use super::requests::Refused;
use crate::config::Config;
use crate::model::status::Status;
use crate::mqtt::link::Link;
use log::Log;
use original::Original;
use systemd::Systemd;
use topics::Topics;

/// Publishes the newest status to other tasks; `None` before the first turn.
pub type StatusSender = watch::Sender<Option<Arc<Status>>>;

/// The part of a charger's status whose change is shown at once.
type Gist = (Mode, Milliamps, &'static str, Option<(Reachability, Vehicle, Option<Fault>)>);

fn gist(view: &ChargerView) -> Gist {
    let seen = view.report.map(|report| (report.link, report.vehicle, report.fault));
    (view.mode, view.setpoint, view.reason.code(), seen)
}

/// What changed since the previous turn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Whether a decision was completed.
    decided: bool,
    /// Whether a change is worth showing at once.
    notable: bool,
    /// Chargers whose mode, setpoint or kind of reason changed.
    chargers: BTreeSet<ChargerId>,
}

/// The gist last shown for each charger.
#[derive(Debug, Default)]
struct Gists(BTreeMap<ChargerId, Gist>);

impl Gists {
    /// Returns what changed, and counts it as shown.
    fn change(&mut self, status: &Status, decided: bool) -> Change {
        let mut change = Change { decided, ..Change::default() };
        for charger in &status.chargers {
            let new = gist(&charger.view);
            let old = self.0.insert(charger.id, new);
            change.notable |= old != Some(new);
            if old.is_none_or(|old| (old.0, old.1, old.2) != (new.0, new.1, new.2)) {
                change.chargers.insert(charger.id);
            }
        }
        change
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Outputs {
    gists: Gists,
    log: Log,
    topics: Topics,
    original: Original,
    systemd: Systemd,
    tasks: StatusSender,
}

impl Outputs {
    pub(super) fn new(config: &Config, tasks: StatusSender) -> Self {
        Self {
            gists: Gists::default(),
            log: Log::new(),
            topics: Topics::new(config),
            original: Original::new(&config.publish),
            systemd: Systemd::from_environment(),
            tasks,
        }
    }

    /// Takes a new configuration.
    pub(super) fn reconfigure(&mut self, config: &Config) {
        self.topics.reconfigure(&config.publish);
        self.original = Original::new(&config.publish);
    }

    /// Forgets what was shown about the chargers, because they may have changed places in the file.
    pub(super) fn forget_chargers(&mut self) {
        self.gists = Gists::default();
        self.log = Log::new();
    }

    /// Switches to a new connection to the broker.
    pub(super) fn moved(&self, link: &Link) {
        self.topics.moved(link);
    }

    /// Shows the status on all outputs; `decided` if a decision was completed in this turn.
    pub(super) fn show(&mut self, status: Status, decided: bool, link: &Link) {
        let change = self.gists.change(&status, decided);
        self.log.show(&status, &change);
        self.topics.show(&status, &change, link);
        self.original.show(&status, link);
        self.systemd.show(&status, &change);
        self.tasks.send_replace(Some(Arc::new(status)));
    }

    /// Publishes the refusal of a request made over MQTT.
    pub(super) fn refused(&self, refused: &Refused, link: &Link) {
        self.topics.refused(refused, link);
    }

    /// Requests fresh samples; returns whether the request could be published.
    pub(super) fn refresh(&self, link: &Link) -> bool {
        self.topics.refresh(link)
    }

    /// Announces that the loop is about to end.
    pub(super) fn stopping() {
        Systemd::stopping();
    }

    /// Waits for writes in progress.
    pub(super) async fn close(self) {
        self.topics.close().await;
    }
}

/// Whether something that is done once per `every` is due.
fn is_due(last: Option<Tick>, every: control::Millis, now: Tick) -> bool {
    last.is_none_or(|at| now.since(at) >= every)
}
