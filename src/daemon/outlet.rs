//! What leaves the loop for people: log lines on change, retained topics, the original controller's message.

use std::collections::{BTreeMap, BTreeSet};

use control::{
    ChargerId, ChargerView, Doubt, Fault, Link as ChargerLink, Milliamps, Millis, Mode, SiteView, Snapshot, Tick,
    Vehicle, WattHours, Watts,
};
use tracing::{info, warn};

use super::intake::Intake;
use super::published::Published;
use super::remarks::Remarks;
use crate::config::PublishConfig;
use crate::mqtt::link::Link;
use crate::mqtt::state;
use crate::rate::{Lines, left_out};
use crate::wording;

#[cfg(test)]
mod tests;

/// The original controller publishes its charger's power this often.
const CHARGER_POWER_EVERY: Millis = Millis::from_secs(30);
/// What is to be stored is looked at this often, for the energy counters and for what could not be stored before: a few hundred bytes,
/// hardly any wear.
const STORE_EVERY: Millis = Millis::from_secs(900);

/// Lines about decisions: so many at once, then one for each span. A nervous sky needs fewer, a flood of commands would write more.
const DECISIONS: (u32, Millis) = (30, Millis::from_secs(10));
/// Lines about meters that are doubted.
const DOUBTS: (u32, Millis) = (10, Millis::from_secs(300));

/// What makes a change worth saying at once.
type Gist = (Mode, Milliamps, &'static str, Option<(ChargerLink, Vehicle, Option<Fault>)>);

fn gist(view: &ChargerView) -> Gist {
    let seen = view.report.map(|report| (report.link, report.vehicle, report.fault));
    (view.mode, view.setpoint, view.reason.code(), seen)
}

/// Remembers what was said last.
#[derive(Debug)]
pub(super) struct Outlet {
    config: PublishConfig,
    names: BTreeMap<ChargerId, String>,
    said: BTreeMap<ChargerId, Gist>,
    setpoints: BTreeMap<ChargerId, Milliamps>,
    remarks: Remarks,
    decisions: Lines,
    /// Chargers whose last decision found no room in the log yet.
    unsaid: BTreeSet<ChargerId>,
    /// The doubt of the meters, and whether it found no room in the log yet.
    doubted: Option<&'static str>,
    doubt_unsaid: bool,
    doubts: Lines,
    /// It was said that something cannot be published.
    unpublished: bool,
    published: Published,
    was_up: bool,
    stated_at: Option<Tick>,
    power_at: Option<Tick>,
    stored_at: Option<Tick>,
}

impl Outlet {
    pub(super) const fn new(config: PublishConfig, names: BTreeMap<ChargerId, String>, published: Published) -> Self {
        Self {
            config,
            names,
            said: BTreeMap::new(),
            setpoints: BTreeMap::new(),
            remarks: Remarks::new(),
            decisions: Lines::new(DECISIONS.0, DECISIONS.1),
            unsaid: BTreeSet::new(),
            doubted: None,
            doubt_unsaid: false,
            doubts: Lines::new(DOUBTS.0, DOUBTS.1),
            unpublished: false,
            published,
            was_up: false,
            stated_at: None,
            power_at: None,
            stored_at: None,
        }
    }

    pub(super) fn reconfigure(&mut self, config: PublishConfig, names: BTreeMap<ChargerId, String>) {
        self.config = config;
        self.names = names;
        self.stated_at = None;
    }

    /// The connection to the broker is another one.
    pub(super) fn moved(&self, link: &Link) {
        self.published.repeat(link);
    }

    /// Waits for what is being stored.
    pub(super) async fn close(self) {
        self.published.close().await;
    }

    /// The chargers may have changed places: what was said of them says nothing any more.
    pub(super) fn forget_chargers(&mut self) {
        self.said.clear();
        self.unsaid.clear();
        self.remarks = Remarks::new();
        self.setpoints.clear();
    }

    /// Whether this setpoint is a stop.
    pub(super) fn stopped(&mut self, id: ChargerId, setpoint: Milliamps) -> bool {
        let before = self.setpoints.insert(id, setpoint);
        setpoint == Milliamps::ZERO && before.is_some_and(|before| before > Milliamps::ZERO)
    }

    /// Says what has changed; returns whether it is time to store what has changed.
    pub(super) fn show(
        &mut self,
        snapshot: &Snapshot,
        energies: &BTreeMap<ChargerId, WattHours>,
        now: Tick,
        link: &Link,
        link_up: bool,
        intake: &Intake,
    ) -> bool {
        let changed = self.log(snapshot, now);
        let due = self.stated_at.is_none_or(|at| now.since(at) >= self.config.state_every);
        if changed || due {
            self.stated_at = Some(now);
            self.publish(snapshot, energies, now, link, intake);
        }
        self.published.turn(link);
        self.charger_power(snapshot, now, link, link_up);
        self.store_due(now)
    }

    fn publish(
        &mut self,
        snapshot: &Snapshot,
        energies: &BTreeMap<ChargerId, WattHours>,
        now: Tick,
        link: &Link,
        intake: &Intake,
    ) {
        let base = &self.config.base_topic;
        let health = state::Health { inputs: intake.summary(now), warnings: intake.warnings(now) };
        let mut topics = BTreeSet::from([format!("{base}/status")]);
        for (topic, payload) in state::messages(base, &self.names, snapshot, energies, &health) {
            if let Err(error) = link.set_state(&topic, payload)
                && !std::mem::replace(&mut self.unpublished, true)
            {
                warn!(%error, topic, "cannot be published on {topic}: {error}");
            }
            topics.insert(topic);
        }
        self.published.set(topics, link);
    }

    /// One line for `systemctl status`.
    pub(super) fn status_line(&self, snapshot: &Snapshot) -> String {
        let charger = |(id, view): (&ChargerId, &ChargerView)| {
            let name = self.names.get(id).map_or("?", String::as_str);
            let current = wording::current(view.setpoint, &view.reason);
            format!("{name}: {}, {current}, {}", view.mode, view.reason.code())
        };
        snapshot.chargers.iter().map(charger).collect::<Vec<_>>().join("; ")
    }

    /// Each change of mode, setpoint, kind of reason or state of the charger is one line. Of changes that come too fast some are left out,
    /// but never the last.
    fn log(&mut self, snapshot: &Snapshot, now: Tick) -> bool {
        let mut changed = false;
        for (id, view) in &snapshot.chargers {
            let new = gist(view);
            let name = self.names.get(id).map_or("?", String::as_str);
            self.remarks.look(*id, name, view);
            let old = self.said.insert(*id, new);
            changed |= old != Some(new);
            let is_news = old.is_none_or(|old| (old.0, old.1, old.2) != (new.0, new.1, new.2));
            let more = if is_news {
                self.decisions.line(now)
            } else {
                self.unsaid.contains(id).then(|| self.decisions.late(now)).flatten()
            };
            let Some(more) = more.map(left_out) else {
                if is_news {
                    self.unsaid.insert(*id);
                }
                continue;
            };
            self.unsaid.remove(id);
            let site = &snapshot.site;
            info!(
                charger = name,
                mode = view.mode.name(),
                setpoint_ma = view.setpoint.0,
                reason = view.reason.code(),
                grid_w = site.grid.map(|power| power.0),
                solar_w = site.solar.map(|power| power.0),
                battery_w = site.battery.map(|power| power.0),
                house_w = site.house.map(|power| power.0),
                surplus_w = site.surplus.map(|power| power.0),
                "{name}: {}{more}",
                wording::decision(view.setpoint, view.mode, &view.reason)
            );
        }
        self.log_doubt(&snapshot.site, now);
        changed
    }

    /// What is doubted of the meters: a line when a doubt begins, becomes another, and ends. Those that pass with the next sample are left
    /// to the reason.
    fn log_doubt(&mut self, site: &SiteView, now: Tick) {
        let lasting = match site.doubt {
            Some(Doubt::Imbalance { .. }) if site.imbalance.is_none() => None,
            Some(Doubt::Jump { .. } | Doubt::Unconfirmed { .. }) | None => None,
            Some(doubt) => Some(doubt),
        };
        let code = lasting.map(Doubt::code);
        let is_news = std::mem::replace(&mut self.doubted, code) != code;
        let more =
            if is_news { self.doubts.line(now) } else { self.doubt_unsaid.then(|| self.doubts.late(now)).flatten() };
        self.doubt_unsaid = (is_news || self.doubt_unsaid) && more.is_none();
        let Some(more) = more.map(left_out) else { return };
        if let Some(doubt) = lasting {
            warn!(doubt = doubt.code(), "the meters are not believed: {doubt}{more}");
        } else {
            info!("the meters are believed again{more}");
        }
    }

    /// `{"chargeP": n, "unit": "W"}`, while there is a broker to hear it.
    fn charger_power(&mut self, snapshot: &Snapshot, now: Tick, link: &Link, link_up: bool) {
        let Some(topic) = &self.config.charger_power_topic else { return };
        let first = link_up && !self.was_up;
        self.was_up = link_up;
        let due = self.power_at.is_none_or(|at| now.since(at) >= CHARGER_POWER_EVERY);
        let powers: Option<Watts> =
            snapshot.chargers.values().map(|view| view.report.and_then(|report| report.power)).sum();
        if let Some(power) = powers.filter(|_| link_up && (due || first)) {
            self.power_at = Some(now);
            let _ = link.publish(topic, state::charger_power(power));
        }
    }

    fn store_due(&mut self, now: Tick) -> bool {
        let due = self.stored_at.is_none_or(|at| now.since(at) >= STORE_EVERY);
        if due {
            self.stored_at = Some(now);
        }
        due
    }
}
