//! Bounds on what others can make this program do: how often it acts, and how many log lines it writes. Pure.

use std::collections::BTreeMap;

use control::{Millis, Tick};

use crate::config::visible;

#[cfg(test)]
mod tests;

/// Allows a burst, and after that one action per interval.
#[derive(Debug, Clone)]
pub struct Bucket {
    burst: u32,
    every: Millis,
    /// When the whole burst is available again.
    full_at: Tick,
}

impl Bucket {
    /// Creates a bucket that allows `burst` actions (1 or more) at once, then one per `every`.
    pub const fn new(burst: u32, every: Millis) -> Self {
        Self { burst, every, full_at: Tick(0) }
    }

    /// Returns whether one more is allowed at `now`; if so, counts it.
    pub fn take(&mut self, now: Tick) -> bool {
        let allowed = self.next() <= now;
        if allowed {
            self.full_at = self.full_at.max(now) + self.every;
        }
        allowed
    }

    /// Returns when the next one is allowed.
    pub const fn next(&self) -> Tick {
        self.full_at.before(Millis(self.every.0.saturating_mul(self.burst.saturating_sub(1) as u64)))
    }
}

/// Limits the rate of one kind of log line. Lines left out are counted, and the count is logged later.
#[derive(Debug, Clone)]
pub struct Lines {
    bucket: Bucket,
    left_out: u64,
}

impl Lines {
    /// Creates a limit that allows `burst` lines at once, then one per `every`.
    pub const fn new(burst: u32, every: Millis) -> Self {
        Self { bucket: Bucket::new(burst, every), left_out: 0 }
    }

    /// Returns the number of lines left out since the last one if a line may be written now, or `None` if this one is to be left out as
    /// well.
    pub fn line(&mut self, now: Tick) -> Option<u64> {
        if self.bucket.take(now) {
            return Some(std::mem::take(&mut self.left_out));
        }
        self.left_out = self.left_out.saturating_add(1);
        None
    }

    /// Returns the number of other lines left out if a line that was left out may be written by now. For lines that report a state, so that
    /// the latest one is not the one that is missing.
    pub fn late(&mut self, now: Tick) -> Option<u64> {
        self.bucket.take(now).then(|| std::mem::take(&mut self.left_out).saturating_sub(1))
    }

    /// Returns when a line may report the number of lines left out; `None` if there are none.
    pub fn due(&self) -> Option<Tick> {
        (self.left_out > 0).then(|| self.bucket.next())
    }

    /// Returns the number of lines left out, once a line may report it. To be polled.
    pub fn rest(&mut self, now: Tick) -> Option<u64> {
        (self.left_out > 0 && self.bucket.take(now)).then(|| std::mem::take(&mut self.left_out))
    }
}

/// Formats `" (12 lines like this were left out)"`, or nothing.
pub fn left_out(count: u64) -> String {
    if count == 0 { String::new() } else { format!(" ({count} lines like this were left out)") }
}

/// Passes values on as they come, but each key no more often than its limit allows: of those that come too fast only the newest is kept,
/// and passed on when it is due.
#[derive(Debug)]
pub struct Pace<K, V> {
    burst: u32,
    every: Millis,
    slots: BTreeMap<K, Slot<V>>,
}

#[derive(Debug)]
struct Slot<V> {
    bucket: Bucket,
    waiting: Option<V>,
}

impl<K: Ord, V> Pace<K, V> {
    /// Creates a pace that passes on `burst` values per key at once, then one per `every`. Keys are never removed, so there must be few.
    pub const fn new(burst: u32, every: Millis) -> Self {
        Self { burst, every, slots: BTreeMap::new() }
    }

    /// Takes a value; returns it if it may be passed on now.
    pub fn offer(&mut self, key: K, value: V, now: Tick) -> Option<V> {
        let (burst, every) = (self.burst, self.every);
        let new = || Slot { bucket: Bucket::new(burst, every), waiting: None };
        let slot = self.slots.entry(key).or_insert_with(new);
        if slot.bucket.take(now) {
            // A value still waiting is older.
            slot.waiting = None;
            return Some(value);
        }
        slot.waiting = Some(value);
        None
    }

    /// Returns the next value that is due. To be called until it returns `None`.
    pub fn poll(&mut self, now: Tick) -> Option<V> {
        let due = |slot: &mut Slot<V>| {
            if slot.waiting.is_some() && slot.bucket.take(now) { slot.waiting.take() } else { None }
        };
        self.slots.values_mut().find_map(due)
    }

    /// Returns when [`Self::poll`] has something.
    pub fn poll_timeout(&self) -> Option<Tick> {
        self.slots.values().filter(|slot| slot.waiting.is_some()).map(|slot| slot.bucket.next()).min()
    }

    /// Takes everything that waits.
    pub fn take_waiting(&mut self) -> impl Iterator<Item = V> {
        self.slots.values_mut().filter_map(|slot| slot.waiting.take())
    }

    /// Drops the waiting values of all keys that are `obsolete`.
    pub fn forget(&mut self, obsolete: impl Fn(&K) -> bool) {
        for (_, slot) in self.slots.iter_mut().filter(|(key, _)| obsolete(key)) {
            slot.waiting = None;
        }
    }
}

/// Quotes the beginning of a text from outside, with all characters made visible that a terminal might obey or not show.
pub fn excerpt(text: &[u8]) -> String {
    const SHOWN: usize = 64;
    let start = text.get(..SHOWN).unwrap_or(text);
    let dots = if text.len() > SHOWN { "…" } else { "" };
    visible(&format!("{:?}{dots}", String::from_utf8_lossy(start)))
}
