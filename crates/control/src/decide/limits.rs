//! Limits that car, wallbox and site put on a wish.

use super::{Decision, Situation, off};
use crate::charger::Charger;
use crate::facts::Mode;
use crate::reason::Reason;
use crate::units::Milliamps;

/// Keeps the offer from following the surplus while the car does not take it, and says so in the reason.
pub(super) fn steady(charger: &Charger, situation: &Situation<'_>, (wish, reason): Decision) -> Decision {
    let now = situation.now;
    let uptake = &charger.car.uptake;
    let offered = match charger.mode {
        Mode::Solar | Mode::SlowSolar => {
            uptake.steady(wish, charger.min(), charger.max(), charger.car.contactor.is_calm(now), now)
        }
        Mode::Off | Mode::Slow | Mode::Fast | Mode::Fixed => wish,
    };
    let takes_from = uptake.needs().map(|needs| needs.takes_from);
    match uptake.leaves(now) {
        Some(drawn) if offered > Milliamps::ZERO && reason.is_of_the_offer() => {
            // While a higher current is being tried, it is not yet known whether the car takes nothing of that either.
            let of = uptake.refused().map_or(offered, |refused| refused.min(offered));
            (offered, Reason::NotTaken { offered: of, drawn, takes_from })
        }
        Some(_) | None => (offered, reason),
    }
}

/// Whether the house runs from its battery and the current allowed then is too low for any charge.
pub(super) fn nothing_off_grid(charger: &Charger, situation: &Situation<'_>) -> bool {
    situation.belief.off_grid && situation.config.fail_safe.off_grid < charger.min()
}

/// Limits a wish to what the charger and the site can carry.
pub(super) fn limited(charger: &Charger, situation: &Situation<'_>, (wish, reason): Decision) -> Decision {
    if wish == Milliamps::ZERO {
        return (wish, reason);
    }
    if nothing_off_grid(charger, situation) {
        return off(Reason::OffGrid);
    }
    let idle = situation.config.chargers.len() > 1 && charger.idle(situation.now);
    let wish = if idle { wish.min(charger.min()) } else { wish };
    let off_grid = if situation.belief.off_grid { situation.config.fail_safe.off_grid } else { charger.max() };
    let limit = charger.max().min(situation.site_left).floor_to(charger.config.step);
    if limit < charger.min() {
        off(Reason::SiteLimit)
    } else if wish > off_grid && off_grid <= limit {
        (off_grid.floor_to(charger.config.step), Reason::OffGrid)
    } else if wish > limit {
        (limit, if limit < charger.max() { Reason::SiteLimit } else { reason })
    } else {
        (wish, reason)
    }
}
