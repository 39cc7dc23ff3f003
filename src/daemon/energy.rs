//! An energy counter built from the wallbox's own, which cannot always be trusted.
//!
//! The wallbox's counter may disappear for a while, lose its high word, restart from zero after a mains failure, wrap, or belong to a
//! different wallbox. Our counter only advances by what the wallbox could have delivered in the time that has passed.
//!
//! ```text
//!            an advance that the wallbox could deliver: counted
//!          ┌────┐
//!          ▼    │            any other reading: nothing is counted
//!  base ───┴────┘ ───────────────────────────────────────────────▶ base and doubt
//!   ▲  ▲                                                             │   │
//!   │  └──── a reading that the base explains: counted from the base ┘   │
//!   └──── a minute of readings that explain each other: a new base, counted from their first one
//! ```
//!
//! The very first base needs that minute as well: a false one would distort the total permanently, because a published total cannot be
//! taken back. Until then nothing is published.

use control::{Millis, Tick, WattHours, Watts};

/// Watt-milliseconds per watt-hour.
const WMS_PER_WH: i64 = 3_600_000;
/// Counters move in steps and late: a reading may make up for the energy of this much time.
const BURST: Millis = Millis::from_secs(60);
/// How long a new counter must be consistent before it becomes the base.
const DOUBT: Millis = Millis::from_secs(60);
/// Wallboxes count in 32 bits; their counter wraps here.
const WRAP: i64 = 1 << 32;
/// Read from registers that have no value: all bits set.
const NO_VALUE: i64 = WRAP - 1;
/// Largest plausible counter, in Wh; larger readings are ignored, which also keeps sums far from overflow.
const RAW_MAX: i64 = 100_000_000_000_000;

/// Counts what a charger delivered, from readings of its own counter.
///
/// Never goes back, and never advances by more than the given power could have delivered since the previous reading, plus what [`BURST`]
/// allows for a counter that moves in steps. The total never exceeds what the time since the first reading allows, plus 1 Wh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EnergyMeter {
    total: i64,
    /// The last reading of the charger's counter that was believed.
    base: Option<i64>,
    /// Time between the last believed reading and the first one of this process, if `base` is from before a restart.
    away: Option<Millis>,
    /// When this process took its last reading.
    read_at: Option<Tick>,
    /// Energy that may still be counted, in watt-milliseconds.
    credit: i64,
    /// The part of `credit` that does not lapse with a believed reading.
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

/// The counter was replaced: counting continues from a different value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Replaced {
    /// The last believed reading of the old counter.
    pub(super) from: WattHours,
    /// The first believed reading of the new counter.
    pub(super) to: WattHours,
}

impl EnergyMeter {
    /// Creates a meter that has counted nothing yet. It starts at the value of the charger's own counter.
    pub(super) const fn new() -> Self {
        Self { total: 0, base: None, away: None, read_at: None, credit: 0, burst: 0, doubt: None }
    }

    /// Continues after a restart from the total counted, the charger's counter at that time, and an upper bound on how long ago that was.
    pub(super) fn resume(total: WattHours, base: Option<WattHours>, away: Millis) -> Self {
        Self {
            total: total.0.clamp(0, RAW_MAX),
            base: base.map(|base| base.0).filter(|base| (0..=RAW_MAX).contains(base)),
            away: Some(away),
            ..Self::new()
        }
    }

    /// The total counted; `None` before the very first believed reading.
    pub(super) fn total(&self) -> Option<WattHours> {
        (self.base.is_some() || self.total > 0).then_some(WattHours(self.total))
    }

    /// The reading of the charger's counter when ours last advanced.
    pub(super) fn base(&self) -> Option<WattHours> {
        self.base.map(WattHours)
    }

    /// Takes a reading of the charger's counter. `power` is the most that the charger can deliver.
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

    /// Adds to the credit what the charger could have delivered at `power` since the last reading.
    fn earn(&mut self, power: Watts, now: Tick) {
        let passed = self.read_at.map_or(self.away.take().unwrap_or(Millis(0)), |at| now.since(at));
        self.read_at = Some(now);
        let power = i64::from(power.positive().0);
        let energy = |span: Millis| power.saturating_mul(i64::try_from(span.0).unwrap_or(i64::MAX));
        self.burst = energy(BURST);
        // A long silence earns all of its time, until the next believed reading.
        let most = self.burst.max(energy(passed)).max(self.credit);
        self.credit = self.credit.saturating_add(energy(passed)).min(most);
    }

    /// The advance from one reading to a later one, also across a wrap of the 32-bit counter; `None` if the charger could not have
    /// delivered it.
    fn affordable(&self, from: i64, to: i64) -> Option<i64> {
        let advance = if to < from { to.saturating_sub(from).saturating_add(WRAP) } else { to.saturating_sub(from) };
        // Readings are whole watt-hours: a watt-hour begun earlier may be completed now.
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
