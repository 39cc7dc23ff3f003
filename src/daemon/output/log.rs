//! The log: a line for each decision, for each doubt about the meters, and for what a household should know about its car.

use std::collections::BTreeSet;

use control::{ChargerId, Doubt, Millis, SiteView, Tick};
use tracing::{info, warn};

use super::Change;
use super::remarks::Remarks;
use crate::model::status::{ChargerStatus, Status};
use crate::rate::{Lines, left_out};
use crate::wording;

/// Rate limit for lines about decisions: a burst, then one per span. Broken clouds need fewer; a flood of commands would write more.
const DECISIONS: (u32, Millis) = (30, Millis::from_secs(10));
/// Rate limit for lines about doubted meters.
const DOUBTS: (u32, Millis) = (10, Millis::from_secs(300));

/// Writes the log and remembers what was logged last.
#[derive(Debug)]
pub(super) struct Log {
    remarks: Remarks,
    decisions: Lines,
    /// Chargers whose last decision has not been logged yet because of the rate limit.
    unsaid: BTreeSet<ChargerId>,
    /// The current lasting doubt about the meters.
    doubted: Option<&'static str>,
    /// Whether the last change of `doubted` has not been logged yet because of the rate limit.
    doubt_unsaid: bool,
    doubts: Lines,
}

impl Log {
    pub(super) const fn new() -> Self {
        Self {
            remarks: Remarks::new(),
            decisions: Lines::new(DECISIONS.0, DECISIONS.1),
            unsaid: BTreeSet::new(),
            doubted: None,
            doubt_unsaid: false,
            doubts: Lines::new(DOUBTS.0, DOUBTS.1),
        }
    }

    /// Logs each change of mode, setpoint or kind of reason in one line. Some changes that come too fast are left out, but never the last.
    pub(super) fn show(&mut self, status: &Status, change: &Change) {
        for charger in &status.chargers {
            self.remarks.look(charger.id, &charger.name, &charger.view);
            self.decision(charger, change.chargers.contains(&charger.id), &status.site, status.at);
        }
        self.doubt(&status.site, status.at);
    }

    fn decision(&mut self, charger: &ChargerStatus, is_news: bool, site: &SiteView, now: Tick) {
        let ChargerStatus { id, name, view, .. } = charger;
        let more = if is_news {
            self.decisions.line(now)
        } else {
            self.unsaid.contains(id).then(|| self.decisions.late(now)).flatten()
        };
        let Some(more) = more.map(left_out) else {
            if is_news {
                self.unsaid.insert(*id);
            }
            return;
        };
        self.unsaid.remove(id);
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

    /// Logs a doubt about the meters when it begins, changes and ends. Doubts that pass with the next sample only show in the reason.
    fn doubt(&mut self, site: &SiteView, now: Tick) {
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
}
