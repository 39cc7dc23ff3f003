//! Who is shown the status after each turn, one file each. A new one is a file here and a line in [`Outputs::show`].
//!
//! Tasks of their own (the local socket, a page) take the newest status from a `watch` instead: they cannot hold up the loop.

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

/// For tasks of their own; `None` before the first turn.
pub type StatusSender = watch::Sender<Option<Arc<Status>>>;

/// What makes a change worth showing at once.
type Gist = (Mode, Milliamps, &'static str, Option<(Reachability, Vehicle, Option<Fault>)>);

fn gist(view: &ChargerView) -> Gist {
    let seen = view.report.map(|report| (report.link, report.vehicle, report.fault));
    (view.mode, view.setpoint, view.reason.code(), seen)
}

/// What is different from the turn before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// A decision was completed.
    decided: bool,
    /// Something is worth showing at once.
    notable: bool,
    /// Chargers with another mode, setpoint or kind of reason.
    chargers: BTreeSet<ChargerId>,
}

/// What was shown last.
#[derive(Debug, Default)]
struct Gists(BTreeMap<ChargerId, Gist>);

impl Gists {
    /// What is different now, which counts as shown.
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

    /// The chargers may have changed places: what was said of them says nothing any more.
    pub(super) fn forget_chargers(&mut self) {
        self.gists = Gists::default();
        self.log = Log::new();
    }

    /// The connection to the broker is another one.
    pub(super) fn moved(&self, link: &Link) {
        self.topics.moved(link);
    }

    /// Shows the status to everybody; `decided` if a decision was completed in this turn.
    pub(super) fn show(&mut self, status: Status, decided: bool, link: &Link) {
        let change = self.gists.change(&status, decided);
        self.log.show(&status, &change);
        self.topics.show(&status, &change, link);
        self.original.show(&status, link);
        self.systemd.show(&status, &change);
        self.tasks.send_replace(Some(Arc::new(status)));
    }

    /// A request over MQTT was refused.
    pub(super) fn refused(&self, refused: &Refused, link: &Link) {
        self.topics.refused(refused, link);
    }

    /// Fresh samples are wanted; returns whether anybody can be asked for them.
    pub(super) fn refresh(&self, link: &Link) -> bool {
        self.topics.refresh(link)
    }

    /// The loop is about to end.
    pub(super) fn stopping() {
        Systemd::stopping();
    }

    /// Waits for what is being stored.
    pub(super) async fn close(self) {
        self.topics.close().await;
    }
}

/// Whether something is due that is done every so often.
fn is_due(last: Option<Tick>, every: control::Millis, now: Tick) -> bool {
    last.is_none_or(|at| now.since(at) >= every)
}
