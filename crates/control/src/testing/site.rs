//! The configuration that tests start from, both those in this crate and those in `tests`.

use alloc::collections::BTreeMap;

use control::*;

pub(crate) const CAR: ChargerId = ChargerId(0);

/// A site with grid, solar, battery and load in one group, and one charger on three phases.
pub(crate) fn config() -> Config {
    let charger = ChargerConfig {
        max: Milliamps(16_000),
        min: Milliamps(6_000),
        safe: Milliamps(0),
        step: Milliamps(100),
        phases: 3,
        mode: Mode::Solar,
        fixed: Milliamps(8_000),
        wake_after: Some(Millis::from_secs(300)),
        switching: None,
    };
    Config {
        sources: Source::ALL.into_iter().map(|source| (source, GroupId(0))).collect(),
        sampling: Sampling {
            settle: Millis(200),
            meter_age: Millis(2_000),
            refresh_every: Some(Millis::from_secs(10)),
        },
        battery: BatteryPolicy {
            priority_soc: Percent(0),
            buffer_soc: Percent(100),
            floor_soc: Percent(20),
            max_charge: Watts(5_000),
            drain_budget: WattHours(3_000),
        },
        solar: SolarPolicy {
            min_share: Permille(750),
            start_cost: WattHours(100),
            starts_per_day_max: 20,
            min_on: Millis::from_secs(60),
            min_off: Millis::from_secs(60),
        },
        fail_safe: FailSafe {
            stale_after: Millis::from_secs(90),
            stop_after: Millis::from_secs(300),
            blind_solar: Milliamps(0),
            blind_slow: Milliamps(6_000),
            blind_fast: Milliamps(10_000),
            blind_fixed: Milliamps(8_000),
            off_grid: Milliamps(0),
        },
        site_limit: Milliamps(25_000),
        connection: Watts(17_250),
        chargers: BTreeMap::from([(CAR, charger)]),
    }
}
