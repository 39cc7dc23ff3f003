//! Whether a home battery that charges would give way to the car.
//!
//! What a battery takes is surplus only as far as it takes less when the car takes more. A battery that is told to charge (Storm Watch,
//! a raised reserve, time-based control) takes the same whatever the car does, and the grid pays for the car. The plain sign is grid
//! import while the battery charges: one that follows the site's surplus would reduce its charging first. It needs a second or two to
//! do so, and meters are not always read at one moment, so it takes three such samples in a row without a move of the battery, or one
//! half a minute after the car rose and the grid with it.

use super::response::Moved;
use crate::units::Watts;

/// Less than this is noise of the meters or the battery's control.
const SOME: Watts = Watts(200);
/// A change of the battery by this much shows that it follows.
const FOLLOWS: Watts = Watts(300);
/// A car's rise by this much tells in one sample.
const RISE: Watts = Watts(2_000);
/// So many samples in a row with import while it charges tell.
const IMPORTING: u8 = 3;
/// So many samples in a row without charging end the verdict.
const IDLE: u8 = 2;

/// What a sample says of the battery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Yield {
    /// Nothing speaks against it.
    Gives,
    /// It keeps charging whatever the car does.
    Keeps,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    grid: Watts,
    battery: Watts,
    cars: Watts,
}

/// What the battery did over the last samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatteryYield {
    /// Samples in a row with import while it charged.
    importing: u8,
    keeps: bool,
    idle: u8,
    /// The sample to compare with.
    last: Option<Seen>,
}

impl BatteryYield {
    pub(crate) const fn new() -> Self {
        Self { importing: 0, keeps: false, idle: 0, last: None }
    }

    /// Takes one sample of meters that agree.
    pub(crate) fn sample(&mut self, grid: Watts, battery: Watts, cars: Watts, moved: Moved) -> Yield {
        let seen = Seen { grid, battery, cars };
        let last = self.last;
        let charging = battery < -SOME;
        let importing = charging && grid > SOME;
        self.idle = if charging { 0 } else { self.idle.saturating_add(1) };
        self.importing = if importing { self.importing.saturating_add(1) } else { 0 };
        // While the car moves, or its move is not in the meters yet, the comparison waits.
        let settled = moved == Moved::Long;
        if settled || (moved == Moved::Seen && !importing) {
            self.last = Some(seen);
        }
        if self.keeps {
            let followed = last.is_some_and(|last| follows(last, seen));
            if followed || self.idle >= IDLE {
                self.keeps = false;
                self.importing = 0;
            }
        } else if importing
            && last.is_some_and(|last| {
                (settled && car_rose(last, seen)) || (self.importing >= IMPORTING && stays(last, seen))
            })
        {
            self.keeps = true;
            self.last = Some(seen);
        }
        if self.keeps { Yield::Keeps } else { Yield::Gives }
    }
}

/// The battery took over most of a change of the rest of the house.
fn follows(last: Seen, seen: Seen) -> bool {
    let battery = seen.battery - last.battery;
    let grid = seen.grid - last.grid;
    battery.0.saturating_abs() >= FOLLOWS.0 && battery.0.saturating_abs() > grid.0.saturating_abs().saturating_mul(2)
}

/// The battery does not charge less than before.
fn stays(last: Seen, seen: Seen) -> bool {
    seen.battery - last.battery < FOLLOWS
}

/// The car rose, the grid with it, and the battery did not move.
fn car_rose(last: Seen, seen: Seen) -> bool {
    let rise = seen.cars - last.cars;
    let (grid, battery) = (seen.grid - last.grid, seen.battery - last.battery);
    rise >= RISE && i64::from(grid.0) * 4 >= i64::from(rise.0) * 3 && battery.0.saturating_abs() * 10 < rise.0
}
