//! Bounds that the configuration enforces and the controller relies on, stated once for both.

/// The longest time between two polls of a charger, in seconds (`charger.poll-s`).
pub const POLL_MAX_S: u32 = 20;
/// The longest watchdog time of a charger, in seconds (`fail-safe.charger-watchdog-s`).
pub const WATCHDOG_MAX_S: u32 = 60;
/// The largest number of starts per day (`solar.starts-per-day-max`).
pub const STARTS_PER_DAY_MAX: u16 = 200;
