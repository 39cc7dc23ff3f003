//! What a car got today and since it was plugged in, and where it came from. Pure; for people, steers nothing.
//!
//! A charger's power is taken as it stands from one look to the next. The sun serves the house first and then the cars, then the home
//! battery serves what is left, then the grid; several chargers share each of them by what they draw.

use control::{ChargerReport, ChargerView, Millis, SiteView, Snapshot, Tick, Vehicle, Watts};
use jiff::civil::Date;

use super::moment::Moment;
use crate::model::status::Tally;

/// What passes between two looks counts up to this: the loop looks at least every few seconds, and after a longer gap it is not known what was.
const GAP_MAX: Millis = Millis::from_secs(30);
/// A sample of the site that is older says nothing of where the energy comes from.
const SAMPLE_MAX: Millis = Millis::from_secs(120);
/// A wall clock that shows an earlier day than before is not believed for so long after the start: a Pi without a battery has yet to ask for
/// the time.
const CLOCK_UNSET: Millis = Millis::from_secs(900);

/// The account of one charger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    /// The day of `today`; `None` before the first look.
    pub(super) day: Option<Date>,
    /// Since midnight of that day.
    pub(super) today: Tally,
    /// Since the car was plugged in, and when that was.
    pub(super) session: Option<(Moment, Tally)>,
    /// Whether it charged at the last look; `None` before the first.
    charging: Option<bool>,
}

/// Where the energy of all cars comes from, in watts that add up to what they draw.
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
    /// Where the energy came from in that time; `None` where it is not known.
    pub(super) origin: Option<Origin>,
    /// The present moment.
    pub(super) moment: Moment,
    /// The present local day, as the wall clock has it.
    pub(super) day: Option<Date>,
    /// How long the daemon has run.
    pub(super) running: Millis,
}

impl Origin {
    /// Where the cars' energy comes from at this moment; `None` where the meters do not tell.
    pub(super) fn of(snapshot: &Snapshot) -> Option<Self> {
        let SiteView { solar, house, battery, age, .. } = snapshot.site;
        let powers = snapshot.chargers.values().filter_map(|view| power(view.report.as_ref()));
        let cars = powers.fold(0_i32, i32::saturating_add);
        let (solar, house) = (solar?.positive().0, house?.positive().0);
        if age? > SAMPLE_MAX {
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
    /// Nothing yet.
    pub(super) const fn new() -> Self {
        Self { day: None, today: Tally::ZERO, session: None, charging: None }
    }

    /// What was stored before a restart.
    pub(super) const fn resume(day: Option<Date>, today: Tally, session: Option<(Moment, Tally)>) -> Self {
        Self { day, today, session, charging: None }
    }

    /// Takes what has passed since the last look.
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
        let charging = report.map(|report| report.vehicle == Vehicle::Charging);
        let begins = self.charging == Some(false) && charging == Some(true);
        self.charging = charging.or(self.charging);
        let drawn = part(power(report).unwrap_or(0), look);
        for tally in [Some(&mut self.today), self.session.as_mut().map(|(_, tally)| tally)].into_iter().flatten() {
            *tally = sum(tally, &drawn);
            tally.starts = tally.starts.saturating_add(u32::from(begins));
        }
    }

    /// A new day begins at zero.
    fn turn_page(&mut self, look: &Look) {
        let Some(day) = look.day else { return };
        let earlier = self.day.is_some_and(|known| day < known) && look.running < CLOCK_UNSET;
        if self.day != Some(day) && !earlier {
            self.day = Some(day);
            self.today = Tally::ZERO;
        }
    }
}

/// What a charger that draws this power got.
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

/// What the car draws, in watts; never below zero.
fn power(report: Option<&ChargerReport>) -> Option<i32> {
    Some(report?.power?.positive().min(Watts(1_000_000)).0)
}

/// The local day of a time on the wall clock, in milliseconds since 1970 UTC.
pub(super) fn local_day(wall_ms: i64) -> Option<Date> {
    let at = jiff::Timestamp::from_millisecond(wall_ms).ok()?;
    Some(at.to_zoned_datetime(jiff::tz::TimeZone::system()).date())
}

/// When the local day is to be looked up again: rarely, as that reads the system's time zone.
pub(super) const DAY_EVERY: Millis = Millis::from_secs(10);

/// The local day, looked up from time to time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calendar {
    day: Option<Date>,
    at: Option<Tick>,
}

impl Calendar {
    pub(super) const fn new() -> Self {
        Self { day: None, at: None }
    }

    /// The day at `now`, where `wall_ms` tells the time.
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
