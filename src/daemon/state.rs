//! What survives a restart: modes, energy counters, what counts towards limits over 24 hours, and whether a wake-up pulse holds a charger
//! locked.
//!
//! [`mod@file`] is the stored form, [`disk`] reads and writes it.

pub(super) mod disk;
mod file;

use std::collections::BTreeMap;

use control::{CarryOver, ChargerCarryOver, ChargerId, Milliamps, Millis, Mode, Spent, WattHours};

use crate::model::Names;

pub(super) use disk::{Found, Saved, Writer, load};

use super::account::Account;
use super::energy::EnergyMeter;
use super::moment::Moment;

/// Energy counts towards the battery's budget for a day and the quarter of an hour in which it is summed.
const COUNTS_FOR: Millis = Millis::from_secs(86_400 + 900);

/// What is kept of a charger that is not in the file any more: so long after it went, or after the last start, …
const GONE_FOR: Millis = Millis::from_secs(86_400);
/// … and of so many of them.
const GONE_MAX: usize = 16;

/// How soon something is to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Store {
    /// There is no need to.
    Never,
    /// After the pause that spares the card.
    Soon,
    /// At once: a crash a moment later would undo what the user chose, or forget a start.
    AtOnce,
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// By the charger's name.
    chargers: BTreeMap<String, ChargerState>,
    /// What the battery gave to cars in mode `solar`, and until when it counts.
    drained: Vec<(Moment, WattHours)>,
    /// What the battery may give until this is stored again, and until when it counts.
    ahead: Option<(Moment, WattHours)>,
    /// The sum of `drained` when it was last worth storing.
    noted: WattHours,
}

/// What is kept of one charger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChargerState {
    /// The mode the user chose.
    pub(super) mode: Mode,
    /// The current of mode `fixed` the user chose.
    pub(super) fixed: Milliamps,
    /// Our own counter, which never goes back.
    pub(super) meter: EnergyMeter,
    /// It charges, or may do so until it is heard.
    pub(super) running: bool,
    /// When it was last stopped.
    pub(super) stopped: Option<Moment>,
    /// Automatic starts, and until when each counts.
    starts: Vec<Moment>,
    /// A wake-up pulse has locked the box, and may not have unlocked it.
    pub(super) locked: bool,
    /// What its cars got, for people.
    pub(super) account: Account,
    /// Since when it is not in the file any more. Not stored: it counts anew from each start.
    gone: Option<Moment>,
}

impl ChargerState {
    /// A charger never seen before. `found` is what became of the stored state that might have told of it.
    pub(super) const fn new(mode: Mode, fixed: Milliamps, found: Found) -> Self {
        Self {
            mode,
            fixed,
            meter: EnergyMeter::new(),
            running: matches!(found, Found::Damaged),
            stopped: None,
            starts: Vec::new(),
            locked: matches!(found, Found::Damaged | Found::Nothing),
            account: Account::new(),
            gone: None,
        }
    }
}

impl State {
    /// Nothing is known.
    pub(super) const fn new() -> Self {
        Self { chargers: BTreeMap::new(), drained: Vec::new(), ahead: None, noted: WattHours(0) }
    }

    /// What is kept of the charger of this name.
    pub(super) fn get(&self, name: &str) -> Option<&ChargerState> {
        self.chargers.get(name)
    }

    /// What is kept of the charger of this name, to be changed.
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut ChargerState> {
        self.chargers.get_mut(name)
    }

    /// Has a place for each charger of these names; makes up what is not known of them. Of the others, those that went lately are kept: one
    /// that is put back has forgotten nothing.
    pub(super) fn make_room(&mut self, names: BTreeMap<String, ChargerState>, now: Moment) {
        self.chargers.retain(|_, known| known.gone.is_none_or(|gone| now.since(gone) < GONE_FOR));
        for (name, known) in &mut self.chargers {
            known.gone = if names.contains_key(name) { None } else { known.gone.or(Some(now)) };
        }
        for (name, new) in names {
            self.chargers.entry(name).or_insert(new);
        }
        self.forget_the_longest_gone();
    }

    fn forget_the_longest_gone(&mut self) {
        let mut gone: Vec<_> =
            self.chargers.iter().filter_map(|(name, known)| Some((known.gone?, name.clone()))).collect();
        gone.sort();
        let surplus = gone.len().saturating_sub(GONE_MAX);
        for (_, name) in gone.into_iter().take(surplus) {
            self.chargers.remove(&name);
        }
    }

    /// What the controller is to be told at `now`; the energy only where it does not know it already.
    pub(super) fn carry_over(&self, names: &Names, now: Moment, energy: bool) -> CarryOver {
        let spent = |(until, energy): &(Moment, WattHours)| Spent { left: until.since(now), energy: *energy };
        let charger = |(id, name): (ChargerId, &str)| {
            let known = self.chargers.get(name)?;
            let starts = known.starts.iter().map(|until| until.since(now)).collect();
            Some((id, ChargerCarryOver { starts, may_run: known.running }))
        };
        CarryOver {
            drained: energy.then(|| self.drained.iter().map(spent).collect()),
            chargers: names.iter().filter_map(charger).collect(),
        }
    }

    /// Takes what counts at `now`; says how soon that is to be stored. Energy is stored ahead in steps of `step`: after a crash what was
    /// stored is never less than what was given.
    pub(super) fn take(&mut self, counts: &CarryOver, names: &Names, now: Moment, step: WattHours) -> Store {
        let mut worth = Store::Never;
        let mut solar = false;
        for (id, counts) in &counts.chargers {
            let Some(known) = self.chargers.get_mut(names.get(*id)) else { continue };
            let starts: Vec<Moment> = counts.starts.iter().map(|left| now.after(*left)).collect();
            if starts.last() > known.starts.last() || counts.may_run && !known.running {
                worth = Store::AtOnce;
            } else if starts != known.starts || counts.may_run != known.running {
                worth = worth.max(Store::Soon);
            }
            known.starts = starts;
            known.running = counts.may_run;
            solar |= known.running && known.mode == Mode::Solar;
        }
        if let Some(drained) = &counts.drained {
            self.drained = drained.iter().map(|spent| (now.after(spent.left), spent.energy)).collect();
        }
        let sum = WattHours(self.drained.iter().fold(0, |sum, (_, energy)| sum.saturating_add(energy.0)));
        if sum.0 >= self.noted.0.saturating_add(step.0.max(1)) {
            worth = worth.max(Store::Soon);
        }
        let changed = worth > Store::Never;
        if changed || sum < self.noted {
            self.noted = sum;
        }
        if changed || !solar {
            self.ahead = solar.then(|| (now.after(COUNTS_FOR), step));
        }
        worth
    }
}

#[cfg(test)]
mod tests;
