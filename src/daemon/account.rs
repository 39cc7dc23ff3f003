//! Accounts for the energy a car got today and since it was plugged in, and where it came from. Pure; for display only, not for control.
//!
//! A charger's power is assumed constant from one look to the next. Solar power serves the house first and then the cars; the home battery
//! serves what is left, and then the grid. Several chargers share each source in proportion to what they draw.

use control::{ChargerReport, ChargerView, Millis, SiteView, Snapshot, Source, Tick, Vehicle, Watts};
use jiff::civil::Date;

use super::moment::Moment;
use crate::model::status::Tally;

/// Longest time between two looks that is counted: the loop looks every few seconds, and what happened in a longer gap is unknown.
const GAP_MAX: Millis = Millis::from_secs(30);
/// Oldest sample of the site that still tells where the energy comes from.
const SAMPLE_MAX: Millis = Millis::from_secs(120);
/// How long after the start a wall clock that shows an earlier day than before is ignored: a Pi without a battery-backed clock must first
/// get the time from the network.
const CLOCK_UNSET: Millis = Millis::from_secs(900);

/// The account of one charger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    /// The day of `today`; `None` before the first look.
    pub(super) day: Option<Date>,
    /// Energy since midnight of that day.
    pub(super) today: Tally,
    /// When the car was plugged in, and its energy since then.
    pub(super) session: Option<(Moment, Tally)>,
    /// Whether the car was charging at the last look; `None` before the first.
    charging: Option<bool>,
}

/// Where the energy of all cars comes from: powers in watts whose sum is what the cars draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    solar: i32,
    battery: i32,
    grid: i32,
}

/// What a look needs to know besides the charger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Time since the last look.
    pub(super) span: Millis,
    /// Where the energy came from in that time; `None` if unknown.
    pub(super) origin: Option<Origin>,
    /// The current moment.
    pub(super) moment: Moment,
    /// The current local day by the wall clock.
    pub(super) day: Option<Date>,
    /// How long the daemon has run.
    pub(super) running: Millis,
}

impl Origin {
    /// Works out where the cars' energy comes from now; `None` if the meters do not tell.
    pub(super) fn of(snapshot: &Snapshot) -> Option<Self> {
        let SiteView { solar, house, battery, age, missing, .. } = snapshot.site;
        let powers = snapshot.chargers.values().filter_map(|view| power(view.report.as_ref()));
        let cars = powers.fold(0_i32, i32::saturating_add);
        let (solar, house) = (solar?.positive().0, house?.positive().0);
        // A house without a battery names none as a source; one whose battery is silent may be drawing from it.
        if age? > SAMPLE_MAX || missing.contains(Source::Battery) {
            return None;
        }
        let sun = solar.saturating_sub(house).clamp(0, cars);
        let rest = cars - sun;
        let for_house = house.saturating_sub(solar).max(0);
        let given = battery.map_or(0, |power| power.positive().0).saturating_sub(for_house).clamp(0, rest);
        Some(Self { solar: sun, battery: given, grid: rest - given })
    }

    const fn all(self) -> i32 {
        self.solar.saturating_add(self.battery).saturating_add(self.grid)
    }
}

impl Account {
    /// Creates an empty account.
    pub(super) const fn new() -> Self {
        Self { day: None, today: Tally::ZERO, session: None, charging: None }
    }

    /// Restores an account stored before a restart.
    pub(super) const fn resume(day: Option<Date>, today: Tally, session: Option<(Moment, Tally)>) -> Self {
        Self { day, today, session, charging: None }
    }

    /// Adds what happened since the last look.
    pub(super) fn look(&mut self, view: &ChargerView, look: &Look) {
        self.turn_page(look);
        let report = view.report.as_ref();
        match report.map(|report| report.vehicle) {
            Some(Vehicle::Absent) => self.session = None,
            Some(Vehicle::Connected | Vehicle::Requesting | Vehicle::Charging) => {
                self.session.get_or_insert((look.moment, Tally::ZERO));
            }
            Some(Vehicle::Unknown) | None => {}
        }
        // A wallbox that is lost for a moment says nothing of a start.
        let known = report.map(|report| report.vehicle).filter(|vehicle| *vehicle != Vehicle::Unknown);
        let charging = known.map(|vehicle| vehicle == Vehicle::Charging);
        let begins = self.charging == Some(false) && charging == Some(true);
        self.charging = charging.or(self.charging);
        let drawn = part(power(report).unwrap_or(0), look);
        for tally in [Some(&mut self.today), self.session.as_mut().map(|(_, tally)| tally)].into_iter().flatten() {
            *tally = sum(tally, &drawn);
            tally.starts = tally.starts.saturating_add(u32::from(begins));
        }
    }

    /// Resets `today` when a new day has begun.
    fn turn_page(&mut self, look: &Look) {
        let Some(day) = look.day else { return };
        let earlier = self.day.is_some_and(|known| day < known) && look.running < CLOCK_UNSET;
        if self.day != Some(day) && !earlier {
            self.day = Some(day);
            self.today = Tally::ZERO;
        }
    }
}

/// Splits the energy of a charger drawing this power by origin.
fn part(power: i32, look: &Look) -> Tally {
    let energy = |watts: i64| u64::try_from(watts).unwrap_or(0).saturating_mul(look.span.0.min(GAP_MAX.0));
    match look.origin.filter(|origin| origin.all() > 0) {
        None => Tally { unknown_mj: energy(power.into()), ..Tally::ZERO },
        Some(origin) => {
            let share = |of: i32| i64::from(of) * i64::from(power) / i64::from(origin.all());
            let (solar, battery) = (share(origin.solar), share(origin.battery));
            let grid = i64::from(power) - solar - battery;
            Tally { solar_mj: energy(solar), battery_mj: energy(battery), grid_mj: energy(grid), ..Tally::ZERO }
        }
    }
}

fn sum(one: &Tally, other: &Tally) -> Tally {
    Tally {
        solar_mj: one.solar_mj.saturating_add(other.solar_mj),
        battery_mj: one.battery_mj.saturating_add(other.battery_mj),
        grid_mj: one.grid_mj.saturating_add(other.grid_mj),
        unknown_mj: one.unknown_mj.saturating_add(other.unknown_mj),
        starts: one.starts,
    }
}

/// The power the car draws, in watts; never below zero.
fn power(report: Option<&ChargerReport>) -> Option<i32> {
    Some(report?.power?.positive().min(Watts(1_000_000)).0)
}

/// The local day of a wall-clock time given in milliseconds since 1970 UTC.
fn local_day(wall_ms: i64) -> Option<Date> {
    let at = jiff::Timestamp::from_millisecond(wall_ms).ok()?;
    Some(at.to_zoned_datetime(jiff::tz::TimeZone::system()).date())
}

/// Time between two look-ups of the local day: not every turn, because each one reads the system's time zone.
const DAY_EVERY: Millis = Millis::from_secs(10);

/// The local day, cached for [`DAY_EVERY`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Calendar {
    day: Option<Date>,
    at: Option<Tick>,
}

impl Calendar {
    pub(super) const fn new() -> Self {
        Self { day: None, at: None }
    }

    /// Returns the day at `now`; `wall_ms` reads the wall clock.
    pub(super) fn day(&mut self, now: Tick, wall_ms: impl FnOnce() -> i64) -> Option<Date> {
        if self.at.is_none_or(|at| now.since(at) >= DAY_EVERY) {
            self.at = Some(now);
            self.day = local_day(wall_ms());
        }
        self.day
    }
}

#[cfg(test)]
mod tests;
