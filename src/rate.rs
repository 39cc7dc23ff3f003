//! Bounds on what others can make this program do: how often it acts, and how many lines of log it writes. Pure.

use std::collections::BTreeMap;

use control::{Millis, Tick};

#[cfg(test)]
mod tests;

/// Allows a number of things at once, and after that one for each span of time.
#[derive(Debug, Clone)]
pub struct Bucket {
    burst: u32,
    every: Millis,
    /// When all of the burst is allowed again.
    full_at: Tick,
}

impl Bucket {
    /// Allows `burst` (1 or more) at once, then one for each `every`.
    pub const fn new(burst: u32, every: Millis) -> Self {
        Self { burst, every, full_at: Tick(0) }
    }

    /// Whether one more is allowed at `now`; if so it is counted.
    pub fn take(&mut self, now: Tick) -> bool {
        let allowed = self.next() <= now;
        if allowed {
            self.full_at = self.full_at.max(now) + self.every;
        }
        allowed
    }

    /// When the next one is allowed.
    pub const fn next(&self) -> Tick {
        self.full_at.before(Millis(self.every.0.saturating_mul(self.burst.saturating_sub(1) as u64)))
    }
}

/// One kind of log line, bounded in time. Lines that find no room are counted, and the count is said later.
#[derive(Debug, Clone)]
pub struct Lines {
    bucket: Bucket,
    left_out: u64,
}

impl Lines {
    /// Allows `burst` lines at once, then one for each `every`.
    pub const fn new(burst: u32, every: Millis) -> Self {
        Self { bucket: Bucket::new(burst, every), left_out: 0 }
    }

    /// Whether a line may be written: the number of lines left out since the last one, or `None` if this one is to be left out as well.
    pub fn line(&mut self, now: Tick) -> Option<u64> {
        if self.bucket.take(now) {
            return Some(std::mem::take(&mut self.left_out));
        }
        self.left_out = self.left_out.saturating_add(1);
        None
    }

    /// Whether a line that was left out may be written by now: the number of others left out. For a line that tells how things are, so that
    /// the last one is not the one that is missing.
    pub fn late(&mut self, now: Tick) -> Option<u64> {
        self.bucket.take(now).then(|| std::mem::take(&mut self.left_out).saturating_sub(1))
    }

    /// When a line may say how many were left out; `None` if none were.
    pub fn due(&self) -> Option<Tick> {
        (self.left_out > 0).then(|| self.bucket.next())
    }

    /// The number of lines left out, as soon as a line may say so. To be asked from time to time.
    pub fn rest(&mut self, now: Tick) -> Option<u64> {
        (self.left_out > 0 && self.bucket.take(now)).then(|| std::mem::take(&mut self.left_out))
    }
}

/// `" (12 lines like this were left out)"`, or nothing.
pub fn left_out(count: u64) -> String {
    if count == 0 { String::new() } else { format!(" ({count} lines like this were left out)") }
}

/// Hands things on as they come, but each key no more often than its bound allows: of what comes too fast only the newest is kept, and
/// handed on when it is due.
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
    /// Hands on `burst` of each key at once, then one for each `every`. Keys are kept for ever: there must be few.
    pub const fn new(burst: u32, every: Millis) -> Self {
        Self { burst, every, slots: BTreeMap::new() }
    }

    /// Takes something; returns it if it may be handed on now.
    pub fn offer(&mut self, key: K, value: V, now: Tick) -> Option<V> {
        let (burst, every) = (self.burst, self.every);
        let new = || Slot { bucket: Bucket::new(burst, every), waiting: None };
        let slot = self.slots.entry(key).or_insert_with(new);
        if slot.bucket.take(now) {
            // Whatever still waited is older.
            slot.waiting = None;
            return Some(value);
        }
        slot.waiting = Some(value);
        None
    }

    /// The next one that is due. To be called until it returns `None`.
    pub fn poll(&mut self, now: Tick) -> Option<V> {
        let due = |slot: &mut Slot<V>| {
            if slot.waiting.is_some() && slot.bucket.take(now) { slot.waiting.take() } else { None }
        };
        self.slots.values_mut().find_map(due)
    }

    /// When [`Self::poll`] has something.
    pub fn poll_timeout(&self) -> Option<Tick> {
        self.slots.values().filter(|slot| slot.waiting.is_some()).map(|slot| slot.bucket.next()).min()
    }

    /// Drops what waits under the keys that `obsolete` names.
    pub fn forget(&mut self, obsolete: impl Fn(&K) -> bool) {
        for (_, slot) in self.slots.iter_mut().filter(|(key, _)| obsolete(key)) {
            slot.waiting = None;
        }
    }
}

/// The beginning of a text that others wrote, quoted, with what a terminal might obey made visible.
pub fn excerpt(text: &[u8]) -> String {
    const SHOWN: usize = 64;
    let start = text.get(..SHOWN).unwrap_or(text);
    let dots = if text.len() > SHOWN { "…" } else { "" };
    format!("{:?}{dots}", String::from_utf8_lossy(start))
}
