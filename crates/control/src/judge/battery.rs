//! Whether a home battery that charges would give way to the car.
//!
//! The power a battery takes is surplus only if it takes less when the car takes more. A battery commanded to charge (Storm Watch, a raised
//! reserve, time-based control) takes the same whatever the car does, and the car's power comes from the grid. The clear sign is grid
//! import while the battery charges: one that follows the site's surplus would reduce its charging first. It needs some seconds to do so,
//! and meters are not always read at the same moment, so the import must last for [`LASTS`] and three samples without a change of the
//! battery's power, or be there half a minute after the car's power rose and the grid's with it.
//!
//! The verdict ends when the battery gives way after all, within [`WINDOW`], or no longer charges. A battery that takes less and less as it
//! fills changes more slowly.

use super::balance::REMEMBERED;
use super::evidence::Moved;
use crate::units::{Millis, Tick, Watts};

/// Less than this is noise of the meters or the battery's control.
const SOME: Watts = Watts(200);
/// A change of the battery by this much shows that it follows.
const FOLLOWS: Watts = Watts(300);
/// A rise of a car's power by this much is conclusive in one sample.
const RISE: Watts = Watts(2_000);
/// Number of samples in a row with import while it charges that are conclusive …
const IMPORTING: u8 = 3;
/// … if they span this time: a battery that follows has adjusted by then.
const LASTS: Millis = Millis::from_secs(25);
/// Changes within this time, or from one sample to the next, are one move.
const WINDOW: Millis = Millis::from_secs(30);
/// Number of samples in a row without charging that end the verdict.
const IDLE: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    at: Tick,
    grid: Watts,
    battery: Watts,
    cars: Watts,
}

/// Behaviour of the battery over the last samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatteryYield {
    /// Samples in a row with import while it charged, and the first of them.
    importing: u8,
    onset: Option<Seen>,
    keeps: bool,
    /// The last sample.
    last: Option<Seen>,
    idle: u8,
    /// The last sample in which the cars had long been steady.
    steady: Option<Seen>,
    /// The sample from which the next move is measured.
    from: Option<Seen>,
}

impl BatteryYield {
    pub(crate) const fn new() -> Self {
        Self { importing: 0, onset: None, keeps: false, last: None, idle: 0, steady: None, from: None }
    }

    /// Returns grid power and the battery's charging power while it keeps charging whatever the car does: as last seen, within
    /// [`REMEMBERED`].
    pub(crate) fn keeps(&self, now: Tick) -> Option<(Watts, Watts)> {
        let last = self.last.filter(|last| self.keeps && now.since(last.at) < REMEMBERED)?;
        Some((last.grid, (-last.battery).positive()))
    }

    /// Takes one sample.
    pub(crate) fn sample(&mut self, at: Tick, (grid, battery): (Watts, Watts), cars: Watts, moved: Moved) {
        let seen = Seen { at, grid, battery, cars };
        let charging = battery < -SOME;
        let importing = charging && grid > SOME;
        self.idle = if charging { 0 } else { self.idle.saturating_add(1) };
        self.importing = if importing { self.importing.saturating_add(1) } else { 0 };
        self.onset = self.onset.filter(|_| importing).or(importing.then_some(seen));
        let from = *self.from.get_or_insert(seen);
        let steady = self.steady;
        // While the car moves, or its move is not in the meters yet, the comparison waits.
        let settled = moved == Moved::Long;
        if settled || (moved == Moved::Seen && !importing) {
            self.steady = Some(seen);
        }
        if self.keeps {
            self.keeps = !(gives_way(from, seen) || self.idle >= IDLE);
        } else {
            let rose = settled && importing && steady.is_some_and(|steady| car_rose(steady, seen));
            let lasts = |onset: Seen| self.importing >= IMPORTING && at.since(onset.at) >= LASTS && stays(onset, seen);
            self.keeps = rose || self.onset.is_some_and(lasts);
        }
        if at.since(from.at) >= WINDOW || gives_way(from, seen) {
            self.from = Some(seen);
        }
        self.last = Some(seen);
    }
}

/// Whether the battery took over most of a change in the rest of the house, or relieved the grid by taking less.
fn gives_way(from: Seen, seen: Seen) -> bool {
    let (battery, grid) = (seen.battery - from.battery, seen.grid - from.grid);
    let took_over = battery.0.saturating_abs() > grid.0.saturating_abs().saturating_mul(2);
    let relieved = battery > Watts::ZERO && grid < Watts::ZERO;
    battery.0.saturating_abs() >= FOLLOWS.0 && (took_over || relieved)
}

/// Whether the battery charges no less than when the import began.
fn stays(onset: Seen, seen: Seen) -> bool {
    seen.battery - onset.battery < FOLLOWS
}

/// Whether the car's power rose, the grid's with it, and the battery's did not change.
fn car_rose(steady: Seen, seen: Seen) -> bool {
    let rise = seen.cars - steady.cars;
    let (grid, battery) = (seen.grid - steady.grid, seen.battery - steady.battery);
    rise >= RISE && i64::from(grid.0) * 4 >= i64::from(rise.0) * 3 && battery.0.saturating_abs() * 10 < rise.0
}
