//! The charger's energy counter, as far as it can be believed.
//!
//! The wallbox's own counter may go away for a while, lose its high word, start from zero after a mains failure, wrap, or be another
//! wallbox's. Our counter only advances by what the wallbox could have carried in the time that has passed.
//!
//! ```text
//!            advance that the wallbox could carry: counted
//!          ┌────┐
//!          ▼    │            any other reading: nothing is counted
//!  base ───┴────┘ ───────────────────────────────────────────────▶ base and doubt
//!   ▲  ▲                                                             │   │
//!   │  └──── a reading that the base explains: counted from the base ┘   │
//!   └──── a minute of readings that explain each other: a new base, counted from their first one
//! ```
//!
//! The very first base needs that minute as well: what is false then would be counted from for ever, as a published total cannot be taken
//! back. Until then nothing is published.

use control::{Millis, Tick, WattHours, Watts};

/// Watt-milliseconds in a watt-hour.
const WMS_PER_WH: i64 = 3_600_000;
/// Counters move in steps, and late: up to this much time's energy may be made up for.
const BURST: Millis = Millis::from_secs(60);
/// A counter that is new must be consistent for this long before it is taken as the base.
const DOUBT: Millis = Millis::from_secs(60);
/// Wallboxes count in 32 bits.
const WRAP: i64 = 1 << 32;
/// What registers say that have no value.
const NO_VALUE: i64 = WRAP - 1;
/// A counter above this number of watt-hours is no counter; keeps sums far from overflow.
const RAW_MAX: i64 = 100_000_000_000_000;

/// Counts what a charger delivered, from readings of its own counter. Never goes back, and never advances by more than the given power
/// could have delivered since the reading before, plus what [`BURST`] allows for a counter that moves in steps. In all it is never more
/// than the time since the first reading allows, and one watt-hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EnergyMeter {
    total: i64,
    /// The counter's last reading that was believed.
    base: Option<i64>,
    /// Time between the last believed reading and the first one of this process, where `base` is from before.
    away: Option<Millis>,
    /// The last reading of this process.
    read_at: Option<Tick>,
    /// Energy that may still be counted, in watt-milliseconds.
    credit: i64,
    /// What of it does not lapse with a reading that is believed.
    burst: i64,
    doubt: Option<Doubt>,
}

/// Readings that the base does not explain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Doubt {
    first: i64,
    last: i64,
    since: Tick,
}

/// The counter was replaced: it goes on from another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Replaced {
    /// The last reading of the old one.
    pub(super) from: WattHours,
    /// The present reading.
    pub(super) to: WattHours,
}

impl EnergyMeter {
    /// A meter that has counted nothing yet. It begins at the charger's own counter.
    pub(super) const fn new() -> Self {
        Self { total: 0, base: None, away: None, read_at: None, credit: 0, burst: 0, doubt: None }
    }

    /// Goes on after a restart: with what was counted, the charger's counter at that time, and how long ago that was at most.
    pub(super) fn resume(total: WattHours, base: Option<WattHours>, away: Millis) -> Self {
        Self {
            total: total.0.clamp(0, RAW_MAX),
            base: base.map(|base| base.0).filter(|base| (0..=RAW_MAX).contains(base)),
            away: Some(away),
            ..Self::new()
        }
    }

    /// What was counted; `None` before the first reading ever that was believed.
    pub(super) fn total(&self) -> Option<WattHours> {
        (self.base.is_some() || self.total > 0).then_some(WattHours(self.total))
    }

    /// The charger's counter when ours was last advanced.
    pub(super) fn base(&self) -> Option<WattHours> {
        self.base.map(WattHours)
    }

    /// Takes a reading of the charger's counter. `power`: the most that the charger can carry.
    pub(super) fn read(&mut self, raw: WattHours, power: Watts, now: Tick) -> Option<Replaced> {
        self.earn(power, now);
        let raw = raw.0;
        if !(0..=RAW_MAX).contains(&raw) || raw == NO_VALUE {
            return None;
        }
        if let Some(base) = self.base
            && let Some(advance) = self.affordable(base, raw)
        {
            self.count(advance, raw);
            return None;
        }
        let doubt = self.doubt.filter(|doubt| self.affordable(doubt.last, raw).is_some());
        let doubt = doubt.map_or(Doubt { first: raw, last: raw, since: now }, |doubt| Doubt { last: raw, ..doubt });
        self.doubt = Some(doubt);
        if now.since(doubt.since) < DOUBT {
            return None;
        }
        let replaced = self.base.map(|base| Replaced { from: WattHours(base), to: WattHours(raw) });
        let advance = self.affordable(doubt.first, raw).unwrap_or(0);
        if self.base.is_none() && self.total == 0 {
            self.total = raw;
            self.count(0, raw);
        } else {
            self.count(advance, raw);
        }
        replaced
    }

    /// Time has passed in which the charger could carry `power`.
    fn earn(&mut self, power: Watts, now: Tick) {
        let passed = self.read_at.map_or(self.away.take().unwrap_or(Millis(0)), |at| now.since(at));
        self.read_at = Some(now);
        let power = i64::from(power.positive().0);
        let energy = |span: Millis| power.saturating_mul(i64::try_from(span.0).unwrap_or(i64::MAX));
        self.burst = energy(BURST);
        // A long silence earns all of its time, until the next reading that is believed.
        let most = self.burst.max(energy(passed)).max(self.credit);
        self.credit = self.credit.saturating_add(energy(passed)).min(most);
    }

    /// From one reading to a later one, if the charger could have carried that: also across the end of a 32-bit counter.
    fn affordable(&self, from: i64, to: i64) -> Option<i64> {
        let advance = if to < from { to.saturating_sub(from).saturating_add(WRAP) } else { to.saturating_sub(from) };
        // Readings are whole watt-hours: what was begun before may be finished now.
        let most = self.credit.saturating_add(WMS_PER_WH - 1);
        (advance >= 0 && advance.saturating_mul(WMS_PER_WH) <= most).then_some(advance)
    }

    fn count(&mut self, advance: i64, raw: i64) {
        self.total = self.total.saturating_add(advance);
        self.credit = self.credit.saturating_sub(advance.saturating_mul(WMS_PER_WH)).min(self.burst);
        self.base = Some(raw);
        self.doubt = None;
    }
}

#[cfg(test)]
mod tests;
