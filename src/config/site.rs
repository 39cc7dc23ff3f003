//! Checks `[site]`, `[battery]`, `[solar]`, `[fail-safe]` and `[sampling]`: the controller's settings, and whether they fit together.

use control::ranges::{STARTS_PER_DAY_MAX, WATCHDOG_MAX_S};
use control::{BatteryPolicy, FailSafe, Milliamps, Millis, Permille, Sampling, SolarPolicy, WattHours, Watts};

use super::file;
use super::report::Report;

/// Largest current of any charger, in amperes: three-phase wallboxes of 22 kW.
pub(super) const CHARGER_MAX_A: f64 = 32.0;
/// Phase to neutral, in volts (IEC 60038).
const NOMINAL_V: u64 = 230;
/// Shortest sensible limit for stale data: Home Assistant's Powerwall integration polls every 30 s, and one message may be lost.
const STALE_SENSIBLE: Millis = Millis::from_secs(60);

/// The house's connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site {
    /// Upper limit per phase for all chargers together.
    pub(super) limit: Milliamps,
    /// Power that the connection can carry.
    pub(super) connection: Watts,
    pub(super) phases: u8,
}

/// What happens when something fails: without data, and without us.
#[derive(Debug, Clone, Copy)]
pub(super) struct Safety {
    pub(super) fail_safe: FailSafe,
    pub(super) watchdog: Millis,
    pub(super) charger_current: Milliamps,
}

/// Checks `[site]`.
pub(super) fn site(report: &mut Report, site: &file::Site) -> Option<Site> {
    let fuse = report.fuse("site.main-fuse-a", site.main_fuse_a, 6.0..=250.0);
    let limit = match site.charger_limit_a {
        Some(limit) => report.current("site.charger-limit-a", limit, 250.0),
        None => fuse,
    };
    if let (Some(limit), Some(fuse)) = (limit, fuse)
        && limit > fuse
    {
        let message = format!("the chargers may not draw more than the main fuse of {fuse}");
        report.error("site.charger-limit-a", message, "lower it, or leave it out");
    }
    let phases = phases(report, "site.phases", site.phases);
    let (fuse, phases) = (fuse?, phases?);
    let watts = u64::from(fuse.0) * u64::from(phases) * NOMINAL_V / 1_000;
    Some(Site { limit: limit?.min(fuse), connection: Watts(i32::try_from(watts).unwrap_or(i32::MAX)), phases })
}

/// Checks a number of phases: 1 or 3.
fn phases(report: &mut Report, path: &str, value: f64) -> Option<u8> {
    let phases: u8 = report.whole(path, value, 1.0..=3.0)?;
    if phases == 2 {
        report.error(path, "no house is connected with two phases", "use 1 or 3");
        return None;
    }
    Some(phases)
}

/// Checks `[battery]`. There is a policy even without a home battery; the controller then has nothing to apply it to.
pub(super) fn battery(report: &mut Report, battery: &file::Battery) -> Option<BatteryPolicy> {
    const PRIORITY: &str = "battery.priority-soc";
    const BUFFER: &str = "battery.buffer-soc";
    const FLOOR: &str = "battery.floor-soc";
    let priority = report.percent(PRIORITY, battery.priority_soc);
    let buffer = report.percent(BUFFER, battery.buffer_soc);
    let floor = report.percent(FLOOR, battery.floor_soc);
    if let (Some(priority), Some(buffer)) = (priority, buffer) {
        let place = if report.given(PRIORITY) { PRIORITY } else { BUFFER };
        if priority > buffer {
            let message = format!(
                "the thresholds cross: below {priority} the battery is filled first, and from {buffer} it carries the car"
            );
            report.error(place, message, "keep `priority-soc` below `buffer-soc`");
        } else if priority == buffer {
            let message = format!("around {priority} the battery would be filled and emptied by turns");
            report.warning(place, message, "keep `priority-soc` some percent below `buffer-soc`");
        }
    }
    if let (Some(floor), Some(buffer)) = (floor, buffer)
        && floor > buffer
    {
        let place = if report.given(FLOOR) { FLOOR } else { BUFFER };
        let message =
            format!("from {buffer} the battery may carry the car, but never at or below the floor of {floor}");
        report.error(place, message, "keep `floor-soc` below `buffer-soc`");
    }
    if let (Some(floor), Some(priority)) = (floor, priority)
        && priority.0 > 0
        && floor > priority
    {
        let place = if report.given(FLOOR) { FLOOR } else { PRIORITY };
        let message = format!("from {priority} to {floor} the battery neither comes first nor may it help");
        report.warning(place, message, "keep `floor-soc` at or below `priority-soc`, or set the latter to 0");
    }
    let max_charge = report.whole("battery.max-charge-w", battery.max_charge_w, 0.0..=100_000.0);
    let drain_budget = report.whole("battery.drain-budget-wh", battery.drain_budget_wh, 0.0..=100_000.0);
    if !battery.present {
        for key in [PRIORITY, BUFFER, FLOOR, "battery.max-charge-w", "battery.drain-budget-wh"] {
            if report.given(key) {
                report.warning(key, "it has no effect without a home battery", "leave it out, or `present = false`");
            }
        }
    }
    Some(BatteryPolicy {
        priority_soc: priority?,
        buffer_soc: buffer?,
        floor_soc: floor?,
        max_charge: Watts(max_charge?),
        drain_budget: WattHours(drain_budget?),
    })
}

/// Checks `[solar]`.
pub(super) fn solar(report: &mut Report, solar: &file::Solar) -> Option<SolarPolicy> {
    let min_share = report.share("solar.min-share", solar.min_share, 0.5..=1.0);
    let start_cost = report.whole("solar.start-cost-wh", solar.start_cost_wh, 0.0..=2_000.0);
    let starts_per_day_max =
        report.whole("solar.starts-per-day-max", solar.starts_per_day_max, 1.0..=f64::from(STARTS_PER_DAY_MAX));
    let min_on = report.seconds("solar.min-on-s", solar.min_on_s, 0.0..=3_600.0);
    let min_off = report.seconds("solar.min-off-s", solar.min_off_s, 30.0..=3_600.0);
    Some(SolarPolicy {
        min_share: Permille(min_share?),
        start_cost: WattHours(start_cost?),
        starts_per_day_max: starts_per_day_max?,
        min_on: min_on?,
        min_off: min_off?,
    })
}

/// Checks `[sampling]`.
pub(super) fn sampling(report: &mut Report, sampling: &file::Sampling) -> Option<Sampling> {
    let settle = report.millis("sampling.settle-ms", sampling.settle_ms, 0.0..=5_000.0);
    let meter_age = report.millis("sampling.meter-age-ms", sampling.meter_age_ms, 0.0..=60_000.0);
    let refresh_every = report.seconds_or_never("sampling.refresh-every-s", sampling.refresh_every_s, 1.0..=600.0);
    Some(Sampling { settle: settle?, meter_age: meter_age?, refresh_every: refresh_every.ok()? })
}

/// Checks `[fail-safe]`. `highest` is the largest current of any charger, in amperes.
pub(super) fn safety(report: &mut Report, fail_safe: &file::FailSafe, highest: f64) -> Option<Safety> {
    const STALE: &str = "fail-safe.stale-after-s";
    const STOP: &str = "fail-safe.stop-after-s";
    let stale_after = report.seconds(STALE, fail_safe.stale_after_s, 5.0..=3_600.0);
    let stop_after = report.seconds(STOP, fail_safe.stop_after_s, 10.0..=7_200.0);
    if let (Some(stale), Some(stop)) = (stale_after, stop_after) {
        let place = if report.given(STOP) { STOP } else { STALE };
        if stale >= stop {
            let message = format!("data is stale after {stale}, which must come before the stop after {stop}");
            report.error(place, message, "keep `stale-after-s` below `stop-after-s`");
        }
        if stale < STALE_SENSIBLE {
            let message = format!("the Powerwall integration speaks every 30 s: {stale} is one lost message");
            report.warning(STALE, message, "use 60 or more, unless your meters speak more often");
        }
    }
    let blind_solar = blind(report, "fail-safe.blind-current-a", fail_safe.blind_current_a, highest);
    let blind_slow = blind(report, "fail-safe.blind-current-slow-a", fail_safe.blind_current_slow_a, highest);
    let blind_fast = blind(report, "fail-safe.blind-current-fast-a", fail_safe.blind_current_fast_a, highest);
    let blind_fixed = blind(report, "fail-safe.blind-current-fixed-a", fail_safe.blind_current_fixed_a, highest);
    let off_grid = blind(report, "fail-safe.off-grid-current-a", fail_safe.off_grid_current_a, highest);
    let watchdog =
        report.seconds("fail-safe.charger-watchdog-s", fail_safe.charger_watchdog_s, 4.0..=f64::from(WATCHDOG_MAX_S));
    let current = report.current_or_zero("fail-safe.charger-current-a", fail_safe.charger_current_a, 16.0);
    Some(Safety {
        fail_safe: FailSafe {
            stale_after: stale_after?,
            stop_after: stop_after?,
            blind_solar: blind_solar?,
            blind_slow: blind_slow?,
            blind_fast: blind_fast?,
            blind_fixed: blind_fixed?,
            off_grid: off_grid?,
        },
        watchdog: watchdog?,
        charger_current: current?,
    })
}

/// Checks a current limit for times without data. A value that the user wrote must not exceed the chargers' maximum; the default may,
/// because the maximum applies anyway.
fn blind(report: &mut Report, path: &str, value: f64, highest: f64) -> Option<Milliamps> {
    let max = if report.given(path) { highest } else { CHARGER_MAX_A };
    report.current_or_zero(path, value, max)
}
