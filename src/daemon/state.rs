//! The state that survives a restart: modes, energy counters, what counts towards limits over 24 hours, and whether a wake-up pulse may
//! have left a charger locked.
//!
//! [`mod@file`] defines the stored form; [`disk`] reads and writes it.

pub(super) mod disk;
mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use std::collections::BTreeMap;

use control::{CarryOver, ChargerCarryOver, ChargerId, Milliamps, Millis, Mode, Spent, WattHours};

use crate::model::Names;

pub(crate) use disk::{Found, Saved};
pub(super) use disk::{Writer, load};
#[cfg(test)]
pub(crate) use file::parse;
pub(crate) use file::{Form, Uptime};

use super::account::Account;
use super::energy::EnergyMeter;
use super::moment::Moment;

/// How long energy counts towards the battery's budget: one day plus the quarter of an hour over which it is summed.
const COUNTS_FOR: Millis = Millis::from_secs(86_400 + 900);

/// How long the state of a charger removed from the configuration is kept, counted from its removal or from the last start.
const GONE_FOR: Millis = Millis::from_secs(86_400);
/// How many removed chargers are kept.
const GONE_MAX: usize = 16;

/// How soon something must be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Store {
    /// No need to store it.
    Never,
    /// After the pause that spares the memory card.
    Soon,
    /// At once: a crash a moment later would undo what the user chose, or forget a start.
    AtOnce,
}

/// The state that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// By name.
    chargers: BTreeMap<String, ChargerState>,
    /// Energy that the battery gave to cars in mode `solar`, each with the time until which it counts.
    drained: Vec<(Moment, WattHours)>,
    /// Energy that the battery may give before the state is stored again, with the time until which it counts.
    ahead: Option<(Moment, WattHours)>,
    /// The sum of `drained` when it was last worth storing.
    noted: WattHours,
}

/// The state kept for one charger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChargerState {
    /// The mode the user chose.
    pub(super) mode: Mode,
    /// The current of mode `fixed` the user chose.
    pub(super) fixed: Milliamps,
    /// Our own counter, which never goes back.
    pub(super) meter: EnergyMeter,
    /// It is charging, or may be until it reports otherwise.
    pub(super) running: bool,
    /// When it was last stopped.
    pub(super) stopped: Option<Moment>,
    /// For each automatic start, the time until which it counts.
    starts: Vec<Moment>,
    /// A wake-up pulse has locked the wallbox and may not have unlocked it.
    pub(super) locked: bool,
    /// The energy its cars got, for display only.
    pub(super) account: Account,
    /// Since when it has been missing from the configuration. Not stored, so it counts from each start again.
    gone: Option<Moment>,
}

impl ChargerState {
    /// Creates the state of a charger that has none. `found` says whether it may have had one that was lost.
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
    /// Creates an empty state.
    pub(crate) const fn new() -> Self {
        Self { chargers: BTreeMap::new(), drained: Vec::new(), ahead: None, noted: WattHours(0) }
    }

    /// The state kept for the charger of this name.
    pub(super) fn get(&self, name: &str) -> Option<&ChargerState> {
        self.chargers.get(name)
    }

    /// The state kept for the charger of this name, for changing it.
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut ChargerState> {
        self.chargers.get_mut(name)
    }

    /// Makes an entry for each charger of these names, with the given state if there is none yet. Recently removed chargers are kept, so
    /// that one that is put back has lost nothing.
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

    /// What to pass to the controller at `now`; the energy only if the controller does not know it already.
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

    /// Takes what counts at `now`; returns how soon it must be stored. Energy is stored ahead in steps of `step`, so that after a crash the
    /// stored energy is never less than what the battery gave.
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
