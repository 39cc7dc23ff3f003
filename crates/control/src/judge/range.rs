//! Checks values against the capacity of the house's connection, and remembers sources that exceeded it.
//!
//! A unit that changes unnoticed (kilowatts become watts) makes values a thousand times too large. Most of them are impossible; small ones,
//! such as 9 W read as 9 kW, are not. So a source that has just reported something impossible is not believed when it reports something
//! possible, and when two sources of a group do it, nothing from that group is believed. A source that does it repeatedly is disbelieved
//! for longer each time.

use alloc::collections::BTreeMap;

use super::doubt::Doubt;
use crate::config::{Config, GroupId};
use crate::facts::Source;
use crate::units::{Millis, Tick, Watts};

/// Fuses carry half as much again for a while, and meters are not exact.
const GRID_PERMILLE: i64 = 1_500;
/// Roof and battery are not bound by the connection, but are built to its size.
const BEHIND_METER_PERMILLE: i64 = 2_500;
/// How long a source is not believed after a single impossible value: two samples of a Powerwall, plus a margin.
const SINGLE: Millis = Millis::from_secs(75);
/// After a second one within [`REMEMBERED`]: until this long after the last, doubled with each further bout, [`BOUTS_MAX`] times at most.
const REPEATED: Millis = Millis::from_secs(600);
/// How long an impossible value is remembered.
const REMEMBERED: Millis = Millis::from_secs(7_200);
/// Largest number of doublings of [`REPEATED`].
const BOUTS_MAX: u8 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Excess {
    at: Tick,
    value: i32,
    /// Whether it was reported more than once.
    repeated: bool,
    /// Number of bouts before this one.
    bouts: u8,
    /// Whether the source has reported nothing else since.
    last_word: bool,
}

/// Impossible values, by source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    excess: BTreeMap<Source, Excess>,
}

/// Returns the largest possible power of a source, in either direction.
pub(crate) fn bound(source: Source, connection: Watts) -> Option<Watts> {
    let permille = match source {
        Source::Grid => GRID_PERMILLE,
        Source::Solar | Source::Battery | Source::Load => BEHIND_METER_PERMILLE,
        Source::BatterySoc | Source::GridStatus | Source::Heartbeat => return None,
    };
    let watts = i64::from(connection.0) * permille / 1_000;
    Some(Watts(i32::try_from(watts).unwrap_or(i32::MAX)))
}

/// Whether the house's connection can carry it.
pub(crate) fn is_possible(source: Source, value: i32, config: &Config) -> bool {
    bound(source, config.connection).is_none_or(|bound| value.saturating_abs() <= bound.0)
}

impl Range {
    pub(crate) const fn new() -> Self {
        Self { excess: BTreeMap::new() }
    }

    /// Whether a live value may be believed as far as its size goes.
    pub(crate) fn admits(&mut self, source: Source, value: i32, now: Tick, config: &Config) -> bool {
        if is_possible(source, value, config) {
            if let Some(excess) = self.excess.get_mut(&source) {
                excess.last_word = false;
            }
            return !self.in_force(source, now);
        }
        let known = self.excess.get(&source).filter(|excess| now.since(excess.at) < REMEMBERED);
        let another = known.is_some() && !self.in_force(source, now);
        let bouts = known.map_or(0, |excess| excess.bouts).saturating_add(u8::from(another)).min(BOUTS_MAX);
        self.excess.insert(source, Excess { at: now, value, repeated: known.is_some(), bouts, last_word: true });
        false
    }

    /// Whether a group is closed as a whole: two of its sources recently reported something impossible.
    pub(crate) fn closes(&self, group: GroupId, now: Tick, config: &Config) -> bool {
        let of_group = |source: &&Source| config.sources.get(source) == Some(&group);
        self.excess.keys().filter(of_group).filter(|source| self.in_force(**source, now)).count() >= 2
    }

    /// Returns the newest impossible value that still has an effect.
    pub(crate) fn doubt(&self, now: Tick) -> Option<Doubt> {
        let in_force = self.excess.iter().filter(|(source, _)| self.in_force(**source, now));
        let (source, excess) = in_force.max_by_key(|(_, excess)| excess.at)?;
        Some(Doubt::OutOfRange { source: *source, value: Watts(excess.value) })
    }

    fn in_force(&self, source: Source, now: Tick) -> bool {
        let holds = |excess: &Excess| if excess.repeated { Millis(REPEATED.0 << excess.bouts) } else { SINGLE };
        self.excess.get(&source).is_some_and(|excess| excess.last_word || now.since(excess.at) < holds(excess))
    }
}
