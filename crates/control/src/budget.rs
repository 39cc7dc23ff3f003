//! Two limits over any 24 hours, without a calendar: energy the home battery gives to the cars, and automatic starts.
//!
//! Both are sliding windows: what was counted leaves the window 24 hours later, not at midnight and not evenly. Both survive a restart as
//! remaining times ([`Spent`]), because ticks mean nothing to the next process.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::ranges::STARTS_PER_DAY_MAX;
use crate::units::{Millis, Tick, WattHours, Watts};

/// Energy that counts towards a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Remaining time for which it counts.
    pub left: Millis,
    /// The amount, at least 0.
    pub energy: WattHours,
}

/// The window of both limits.
pub(crate) const DAY: Millis = Millis::from_secs(86_400);
/// Watt-milliseconds in a watt-hour.
const WMS_PER_WH: i64 = 3_600_000;
/// Energy is summed in slots of this length. A slot leaves the window 24 hours after its end, so nothing leaves too early.
const SLOT: Millis = Millis::from_secs(900);
/// Slots kept: those of 24 hours, and as many again for restarts, each of which begins a new slot. At the bound the two oldest are merged,
/// and leave the window when the younger of them would have.
const SLOTS_MAX: usize = 2 * 97;
/// Longest time without a decision in which a car may have drawn: its order lapses after 10 s, and a wallbox that cannot be lowered falls
/// back within twice its watchdog's time (60 s at most) and half a minute (docs/safety.md).
const UNWATCHED_MAX: Millis = Millis::from_secs(160);
/// This fraction of the budget is kept for what the battery gives unasked, between a cloud and the sample that shows it.
const RESERVE_DIVISOR: i64 = 10;
/// Largest budget, in watt-hours; also bounds what one step can add.
const SIZE_MAX_WH: i64 = 1_000_000;

/// Energy counted in one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    /// When it leaves the window.
    until: Tick,
    /// Watt-milliseconds.
    energy: i64,
}

/// The time since the last sample of the site. How it is to be counted is known only when the next sample arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    /// Power the cars could draw without the battery, according to the sample it began with; `None` before the first sample.
    free: Option<Watts>,
    /// Energy the cars drew in it, in watt-milliseconds.
    drew: i64,
    /// Time in which they drew, in milliseconds.
    drawing: i64,
    /// Energy counted of it so far, in watt-milliseconds.
    counted: i64,
}

impl Stretch {
    const fn new(free: Option<Watts>) -> Self {
        Self { free, drew: 0, drawing: 0, counted: 0 }
    }

    /// Returns the energy the battery gave in it if the cars could draw `free` without the battery all the time.
    fn with(&self, free: Watts) -> i64 {
        self.drew.saturating_sub(i64::from(free.0).saturating_mul(self.drawing)).clamp(0, self.drew)
    }
}

/// Energy that the home battery may give to the cars within any 24 hours.
///
/// The cars' draw is known every second, the site only at its samples. In between, the battery is assumed to give what the cars draw beyond
/// what the last sample left them; if the next sample leaves them less, all the time in between is counted by that one. So a late sample
/// counts in full, but never more than the cars drew. Before the first sample everything they draw is counted; that sample corrects it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DrainBudget {
    /// Watt-milliseconds.
    size: i64,
    /// The oldest first.
    slots: VecDeque<Slot>,
    /// When time last passed, and what the cars drew then.
    passed: Option<(Tick, Watts)>,
    stretch: Stretch,
    closed: bool,
    spent: bool,
}

impl DrainBudget {
    pub(crate) fn new(size: WattHours) -> Self {
        let mut new = Self {
            size: 0,
            slots: VecDeque::new(),
            passed: None,
            stretch: Stretch::new(None),
            closed: false,
            spent: false,
        };
        new.resize(size);
        new
    }

    /// Takes a new size; what was counted stays counted.
    pub(crate) fn resize(&mut self, size: WattHours) {
        self.size = size.0.clamp(0, SIZE_MAX_WH) * WMS_PER_WH;
        self.closed = false;
        self.spent = false;
        self.judge();
    }

    /// Handles the passing of time, at the end of which the cars draw `cars`.
    pub(crate) fn pass(&mut self, now: Tick, cars: Watts) {
        let cars = cars.positive();
        let (since, before) = self.passed.unwrap_or((now, cars));
        self.passed = Some((now, cars));
        // The larger draw counts for the time between two moments, as it is not known when the draw changed.
        let drew = i64::from(cars.max(before).0);
        let span = i64::try_from(now.since(since).min(UNWATCHED_MAX).0).unwrap_or(i64::MAX);
        self.stretch.drew = self.stretch.drew.saturating_add(drew.saturating_mul(span));
        self.stretch.drawing = self.stretch.drawing.saturating_add(if drew > 0 { span } else { 0 });
        let free = self.stretch.free.map_or(0, |free| i64::from(free.0));
        self.count((drew - free).clamp(0, drew).saturating_mul(span), now);
        self.judge();
    }

    /// Takes a sample of the site, according to which the cars could draw `free` without the battery; call after [`Self::pass`] with the
    /// same `now`.
    pub(crate) fn sample(&mut self, now: Tick, free: Watts) {
        let by_this = self.stretch.with(free);
        let due = if self.stretch.free.is_some() { by_this.max(self.stretch.counted) } else { by_this };
        self.count(due - self.stretch.counted, now);
        self.stretch = Stretch::new(Some(free));
        self.judge();
    }

    /// Counts energy, or takes back what was overcounted in the present stretch.
    fn count(&mut self, energy: i64, now: Tick) {
        while self.slots.front().is_some_and(|slot| slot.until <= now) {
            self.slots.pop_front();
        }
        if energy == 0 {
            return;
        }
        self.stretch.counted = self.stretch.counted.saturating_add(energy);
        let open = self.slots.back_mut().filter(|slot| energy < 0 || now + DAY < slot.until);
        if let Some(slot) = open {
            slot.energy = slot.energy.saturating_add(energy).max(0);
        } else if energy > 0 {
            self.push(Slot { until: now + SLOT + DAY, energy });
        }
    }

    /// Returns what counts now, for use after a restart, rounded up to whole watt-hours.
    pub(crate) fn counted(&self, now: Tick) -> Vec<Spent> {
        let whole = |energy: i64| WattHours(energy.saturating_add(WMS_PER_WH - 1) / WMS_PER_WH);
        let left = self.slots.iter().filter(|slot| slot.until > now && slot.energy > 0);
        left.map(|slot| Spent { left: slot.until.since(now), energy: whole(slot.energy) }).collect()
    }

    /// Replaces what counts now with what counted before a restart.
    pub(crate) fn carry_over(&mut self, counted: &[Spent], now: Tick) {
        let mut counted: Vec<Spent> = counted.to_vec();
        counted.sort_by_key(|spent| spent.left);
        self.slots.clear();
        self.stretch.counted = 0;
        for Spent { left, energy } in counted {
            let energy = energy.0.clamp(0, SIZE_MAX_WH) * WMS_PER_WH;
            self.push(Slot { until: now + left.min(DAY + SLOT), energy });
        }
        self.judge();
    }

    fn push(&mut self, slot: Slot) {
        if self.slots.len() >= SLOTS_MAX
            && let Some(oldest) = self.slots.pop_front()
            && let Some(next) = self.slots.front_mut()
        {
            next.energy = next.energy.saturating_add(oldest.energy);
        }
        self.slots.push_back(slot);
    }

    fn used(&self) -> i64 {
        self.slots.iter().fold(0, |sum, slot| sum.saturating_add(slot.energy))
    }

    /// Judges the two limits. A limit that was reached counts as reached until a tenth of the budget is available again. A budget of 0 is
    /// for users who want nothing deliberately taken from the battery; if it were ever used up, there would be no charging at all.
    fn judge(&mut self) {
        let used = self.used();
        let reached = |line: i64, before: bool| used >= if before { line - self.size / 10 } else { line };
        self.closed = self.size == 0 || reached(self.size - self.size / RESERVE_DIVISOR, self.closed);
        self.spent = self.size > 0 && reached(self.size, self.spent);
    }

    /// Whether nothing more may deliberately be taken from the battery.
    pub(crate) const fn closed(&self) -> bool {
        self.closed
    }

    /// Whether all of it is used.
    pub(crate) const fn spent(&self) -> bool {
        self.spent
    }
}

/// Starts within the last 24 hours. At the bound the oldest is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Starts {
    /// When each leaves the window, the oldest first.
    until: VecDeque<Tick>,
}

/// Number of starts remembered: as many as a day may have.
const STARTS_MAX: usize = STARTS_PER_DAY_MAX as usize;

impl Starts {
    pub(crate) const fn new() -> Self {
        Self { until: VecDeque::new() }
    }

    pub(crate) fn note(&mut self, now: Tick) {
        self.push(now + DAY);
    }

    fn push(&mut self, until: Tick) {
        if self.until.len() == STARTS_MAX {
            self.until.pop_front();
        }
        self.until.push_back(until);
    }

    pub(crate) fn count(&self, now: Tick) -> u16 {
        let recent = self.until.iter().filter(|until| **until > now).count();
        u16::try_from(recent).unwrap_or(u16::MAX)
    }

    /// Returns the remaining time of each start that counts.
    pub(crate) fn left(&self, now: Tick) -> Vec<Millis> {
        self.until.iter().filter(|until| **until > now).map(|until| until.since(now)).collect()
    }

    /// Replaces the known starts with those from before a restart.
    pub(crate) fn carry_over(&mut self, left: &[Millis], now: Tick) {
        let mut left = left.to_vec();
        left.sort();
        self.until.clear();
        for left in left {
            self.push(now + left.min(DAY));
        }
    }
}

#[cfg(test)]
mod tests;
