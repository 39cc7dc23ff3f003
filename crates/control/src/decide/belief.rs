//! How belief in the meters affects a decision: doubtful values lower the current and never raise it, and a silence is investigated.

use super::{Decision, Situation, carries, off};
use crate::charger::Charger;
use crate::facts::Sources;
use crate::judge::Doubt;
use crate::reason::Reason;
use crate::units::{Milliamps, Millis, Watts};

/// How far a charge is lowered to see whether silent meters are alive: enough to show on any meter.
const ASKING_STEP: Milliamps = Milliamps(400);

/// What is believed about the site's meters at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Belief {
    /// Whether the meters may start or raise a charge.
    pub(crate) may_rise: bool,
    /// The doubt about the meters.
    pub(crate) doubt: Option<Doubt>,
    /// Why the meters' present values count as no data.
    pub(crate) refused: Option<Doubt>,
    /// Whether too many sources are unavailable for another sample.
    pub(crate) lost: bool,
    /// Power sources without a live value.
    pub(crate) missing: Sources,
    /// Data older than this is stale.
    pub(crate) stale_after: Millis,
    /// Mean interval of the samples, if it is too long to charge by.
    pub(crate) too_slow: Option<Millis>,
    /// Whether the house runs from the home battery alone.
    pub(crate) off_grid: bool,
    /// How long the meters have only repeated themselves, if that is longer than data is valid.
    pub(crate) unchanged: Option<Millis>,
}

impl Belief {
    /// Returns the doubt that explains a shortfall of `lack`: it keeps the meters from raising the current, or withholds at least that
    /// much.
    pub(super) fn explains(&self, lack: Watts) -> Option<Doubt> {
        self.doubt.filter(|doubt| !self.may_rise || doubt.withholds() >= lack)
    }
}

/// Lets doubted meters lower the current, but never raise it.
pub(super) fn believed_rise(
    charger: &Charger,
    situation: &Situation<'_>,
    current: Milliamps,
) -> (Milliamps, Option<Reason>) {
    match situation.belief.doubt {
        Some(doubt) if !situation.belief.may_rise && current > charger.setpoint => {
            (charger.setpoint, Some(Reason::Doubted { doubt }))
        }
        Some(_) | None => (current, None),
    }
}

/// Returns why there is no sample: data is missing, or not believed.
pub(super) fn no_data(situation: &Situation<'_>) -> Reason {
    match (situation.belief.too_slow, situation.belief.doubt) {
        (Some(every), _) => Reason::SlowSamples { every, limit: situation.config.fail_safe.stop_after },
        (None, Some(doubt)) => Reason::Doubted { doubt },
        (None, None) => Reason::NoData { missing: situation.belief.missing },
    }
}

/// Decides when nothing new is known: the setpoint stays, its reason says for how long, and a silence is investigated before the data
/// counts as stale.
pub(super) fn time_passes(charger: &Charger, situation: &Situation<'_>) -> Decision {
    let age = situation.age();
    let min_off_left = || charger.min_off_left(situation.now, &situation.config.solar);
    let reason = if situation.belief.lost && charger.on() {
        Reason::DataLost { age: coarse(age) }
    } else if matches!(charger.reason, Reason::MinimumOff { .. }) {
        Reason::MinimumOff { left: min_off_left().map_or(Millis(0), coarse) }
    } else if matches!(charger.reason, Reason::MinimumOn { .. }) {
        let left = charger.min_on_left(situation.now, &situation.config.solar);
        Reason::MinimumOn { left: left.map_or(Millis(0), coarse) }
    } else {
        charger.reason
    };
    let asking = matches!(reason, Reason::Asking { .. } | Reason::DataLost { .. });
    let quiet = age.0.saturating_mul(3) > situation.belief.stale_after.0.saturating_mul(2);
    if let Reason::Holding { surplus, stop_below, left: Some(left), .. } = charger.reason
        && quiet
        && age >= left
        && charger.min_on_left(situation.now, &situation.config.solar).is_none()
        && carries(charger, situation).is_none()
    {
        // The surplus has stayed as it was for the time announced.
        return off(Reason::SunGone { surplus, stop_below });
    }
    let lower = (charger.setpoint - ASKING_STEP).max(charger.min());
    if quiet && !asking && charger.is_drawing(situation.now) && charger.setpoint > lower {
        return (lower, Reason::Asking { age: coarse(age) });
    }
    (charger.setpoint, reason)
}

/// Rounds a time up to steps of ten seconds for display, so that it does not change every second.
pub(super) const fn coarse(time: Millis) -> Millis {
    Millis(time.0.div_ceil(10_000) * 10_000)
}

/// Decides when the meters send values that are not believed: down to the minimum at once. Meters that were seen not to follow the
/// charger's current end the charge.
pub(super) fn refused(charger: &Charger, situation: &Situation<'_>, doubt: Doubt) -> Decision {
    let conclusive = match doubt {
        Doubt::CarNotSeen | Doubt::WrongSign => true,
        // The value that started the charge came from the same source and was most likely wrong in the same way.
        Doubt::OutOfRange { .. } => {
            let limit = situation.config.fail_safe.stop_after;
            charger.started_at.is_some_and(|at| situation.now.since(at) < limit)
        }
        Doubt::Imbalance { .. }
        | Doubt::HouseProduces { .. }
        | Doubt::BatteryFromGrid { .. }
        | Doubt::Jump { .. }
        | Doubt::Unconfirmed { .. } => false,
    };
    let may_stop = charger.min_on_left(situation.now, &situation.config.solar).is_none();
    if conclusive && may_stop {
        off(Reason::Doubted { doubt })
    } else {
        (charger.setpoint.min(charger.min()), Reason::Doubted { doubt })
    }
}
