//! What the belief in the meters does to a decision: what is doubted lowers and never raises, and a silence is looked into.

use super::{Decision, Situation, carries, off};
use crate::charger::Charger;
use crate::facts::Sources;
use crate::judge::Doubt;
use crate::reason::Reason;
use crate::units::{Milliamps, Millis, Watts};

/// By how much a charge is lowered to see whether silent meters are alive: a change that any of them shows.
const ASKING_STEP: Milliamps = Milliamps(400);

/// What is believed of the site's meters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Belief {
    /// It may start or raise a charge.
    pub(crate) may_rise: bool,
    /// What is doubted of the meters.
    pub(crate) doubt: Option<Doubt>,
    /// Why what the meters say now counts as no data.
    pub(crate) refused: Option<Doubt>,
    /// Too many sources are unavailable for another sample.
    pub(crate) lost: bool,
    /// Power sources of which no live value is known.
    pub(crate) missing: Sources,
    /// Data older than this is stale.
    pub(crate) stale_after: Millis,
    /// The rhythm of the samples, where it is too slow to charge by.
    pub(crate) too_slow: Option<Millis>,
    /// The house runs from the home battery alone.
    pub(crate) off_grid: bool,
    /// For how long the meters have only repeated themselves, if that is longer than data counts.
    pub(crate) unchanged: Option<Millis>,
}

impl Belief {
    /// The doubt that a lack of this much is owed to: without it, the meters may not raise the current, or would show enough.
    pub(super) fn explains(&self, lack: Watts) -> Option<Doubt> {
        self.doubt.filter(|doubt| !self.may_rise || doubt.withholds() >= lack)
    }
}

/// What is doubted may lower the current, never raise it.
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

/// Why there is no sample: what is not known, or what is not believed.
pub(super) fn no_data(situation: &Situation<'_>) -> Reason {
    match (situation.belief.too_slow, situation.belief.doubt) {
        (Some(every), _) => Reason::SlowSamples { every, limit: situation.config.fail_safe.stop_after },
        (None, Some(doubt)) => Reason::Doubted { doubt },
        (None, None) => Reason::NoData { missing: situation.belief.missing },
    }
}

/// Nothing new is known: the setpoint stays, its reason says how long, and a silence is looked into before the data counts as stale.
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
        // The surplus has stayed as it was for as long as was said.
        return off(Reason::SunGone { surplus, stop_below });
    }
    let lower = Milliamps(charger.setpoint.0.saturating_sub(ASKING_STEP.0)).max(charger.min());
    if quiet && !asking && charger.is_drawing(situation.now) && charger.setpoint > lower {
        return (lower, Reason::Asking { age: coarse(age) });
    }
    (charger.setpoint, reason)
}

/// Time as it is shown: in steps of ten seconds, so that it is not news every second.
pub(super) const fn coarse(time: Millis) -> Millis {
    Millis(time.0.div_ceil(10_000) * 10_000)
}

/// The meters speak and are not believed: down to the minimum at once. Meters that were seen not to follow the charger end the charge.
pub(super) fn refused(charger: &Charger, situation: &Situation<'_>, doubt: Doubt) -> Decision {
    let conclusive = match doubt {
        Doubt::CarNotSeen | Doubt::WrongSign => true,
        // What it started on was of the same source, and most likely of the same kind.
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
