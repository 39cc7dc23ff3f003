//! How several chargers share the surplus and the fuse. Pure functions over all of them.

use alloc::collections::BTreeMap;

use crate::charger::{Charger, FIRST_ANSWER, Origin};
use crate::facts::{ChargerId, Mode, Vehicle};
use crate::units::{Milliamps, Millis, Tick, Watts};

/// Time from allowing a charge until current flows.
const STARTUP: Millis = Millis::from_secs(60);

/// A car that takes less than its offer is left this much more than it takes, so that it can take more again.
const LEFT_FREE: Milliamps = Milliamps(2_000);

/// Returns the surplus that the others have: cars that do not charge by surplus or cannot be controlled, with what they draw, and those
/// before this one, or found charging and not judged yet.
pub(crate) fn claimed_by_others(chargers: &BTreeMap<ChargerId, Charger>, id: ChargerId, now: Tick) -> Watts {
    let others = chargers.values().filter(|charger| charger.id != id);
    others
        .map(|other| match other.mode {
            Mode::Off | Mode::Solar | Mode::SlowSolar if other.only_watched() => other.drew_at(now),
            Mode::Slow | Mode::Fast | Mode::Fixed => other.drew_at(now),
            Mode::Solar | Mode::SlowSolar if other.id < id || other.origin == Origin::Adopted => other.claimed(now),
            Mode::Off | Mode::Solar | Mode::SlowSolar => Watts::ZERO,
        })
        .sum()
}

/// Returns what the others leave of the site's `limit`, by what each of them may draw at this moment; `running` is the time since the
/// start.
///
/// A wallbox that has not answered since the start may continue with the current it had before; what the others have then is known to fit
/// beside it. So none of them rises at first, and only if it stays silent for long must they make room for all that it may have.
pub(crate) fn site_left(
    chargers: &BTreeMap<ChargerId, Charger>,
    id: ChargerId,
    limit: Milliamps,
    running: Millis,
) -> Milliamps {
    let others = chargers.values().filter(|charger| charger.id != id);
    let waits = running <= FIRST_ANSWER && others.clone().any(Charger::may_still_run);
    let counted = others.filter(|other| !(waits && other.may_still_run()));
    let used = counted.fold(Milliamps::ZERO, |sum, other| sum + other.may_draw());
    let left = limit - used;
    if waits { left.min(chargers.get(&id).map_or(Milliamps::ZERO, Charger::told)) } else { left }
}

impl Charger {
    /// Returns what it draws or, if it was just started or raised, is about to draw. A car that has not taken its offer for a while will
    /// not do so soon.
    pub(crate) fn claimed(&self, now: Tick) -> Watts {
        let charging = self.vehicle(now) == Vehicle::Charging;
        let starting = self.started_at.is_some_and(|at| now.since(at) < STARTUP);
        if !self.on() || !(charging || starting) {
            return Watts::ZERO;
        }
        let offered = self.power_of(self.setpoint);
        let lately = self.moved_at.is_none_or(|at| now.since(at) < STARTUP);
        let drawn = self.history.at(now).filter(|_| !starting && !lately);
        drawn.map_or(offered, |drawn| offered.min(drawn + self.power_of(LEFT_FREE)))
    }
}
