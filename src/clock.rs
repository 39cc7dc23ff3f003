//! The one place that asks the OS for the time. Everything else is given ticks.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use control::{Millis, Tick};
use tokio::time::Instant;

/// A monotonic clock. `speed` > 1 plays a day faster than real time (the demo); everything that waits goes through this clock.
///
/// A fast clock does not run ahead of those who wait for it. Otherwise, at thirty times real time, a machine that is busy elsewhere for one
/// second would look like a wallbox that does not answer for half a minute.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    epoch: Instant,
    speed: u32,
    /// The wall clock at the epoch, in milliseconds since 1970 UTC.
    wall_ms: i64,
    /// The progress of a fast clock. Allocated once per such clock and never freed: a process has only one.
    played: Option<&'static Mutex<Played>>,
}

/// How far a fast clock has come, and who waits for it.
#[derive(Debug)]
struct Played {
    speed: u32,
    /// When it was last read.
    seen: Instant,
    /// Real time that had counted by then.
    counted: Duration,
    /// When it last advanced.
    moved: Instant,
    /// The ticks that are waited for, with the number of waiters.
    awaited: BTreeMap<Tick, u32>,
}

/// A waiter for a tick; dropped when the wait is over.
#[derive(Debug)]
pub struct Waiting {
    played: &'static Mutex<Played>,
    tick: Tick,
}

/// The error of [`Clock::within`]: the time limit has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// How far a fast clock may run past a tick that is still waited for, in real time: no timer is exact.
const AHEAD_MAX: Duration = Duration::from_millis(20);
/// How long a fast clock stands still for a waiter that does not come, in real time.
const HELD_MAX: Duration = Duration::from_secs(10);

/// Returns the wall clock, in milliseconds since 1970 UTC.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Clock {
    /// Starts a clock at tick 1 that runs `speed` times as fast as real time (at least 1).
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start(speed: u32) -> Self {
        let epoch = Instant::now();
        let new = || Played { speed, seen: epoch, counted: Duration::ZERO, moved: epoch, awaited: BTreeMap::new() };
        let played = (speed > 1).then(|| &*Box::leak(Box::new(Mutex::new(new()))));
        Self { epoch, speed: speed.max(1), wall_ms: wall_ms(), played }
    }

    /// Returns the current tick.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Tick {
        let now = Instant::now();
        let real =
            self.played.map_or_else(|| now.saturating_duration_since(self.epoch), |played| lock(played).count(now));
        let ticks = real.as_micros().saturating_mul(u128::from(self.speed)) / 1_000;
        Tick(u64::try_from(ticks).unwrap_or(u64::MAX).saturating_add(1))
    }

    /// Returns the real time that a span of ticks takes.
    pub fn real(&self, span: Millis) -> Duration {
        Duration::from_micros(span.0.saturating_mul(1_000) / u64::from(self.speed))
    }

    /// Waits until `tick` has been reached.
    pub async fn sleep_until(&self, tick: Tick) {
        let _waiting = self.waiting(tick);
        loop {
            let left = tick.since(self.now());
            if left == Millis(0) {
                return;
            }
            tokio::time::sleep(self.real(left)).await;
        }
    }

    /// Registers a waiter that waits by other means than [`Clock::sleep_until`]: a fast clock does not run far ahead of `tick` until the
    /// returned value is dropped. A clock at real time waits for nobody.
    pub fn waiting(&self, tick: Tick) -> Option<Waiting> {
        self.played.map(|played| {
            *lock(played).awaited.entry(tick).or_insert(0) += 1;
            Waiting { played, tick }
        })
    }

    /// Runs `future` for at most `limit` of real time, during which this clock runs; an error if it takes longer.
    pub async fn within<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, TooLong> {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).saturating_mul(u64::from(self.speed));
        let end = self.now() + Millis(limit);
        let mut future = pin!(future);
        tokio::select! {
            biased;
            output = &mut future => Ok(output),
            () = self.sleep_until(end) => Err(TooLong),
        }
    }

    /// Waits for a span of ticks.
    pub async fn sleep(&self, span: Millis) {
        self.sleep_until(self.now() + span).await;
    }

    /// Returns the wall clock at the tick `now`, in milliseconds since 1970 UTC. For display only: no decision depends on it. On a fast
    /// clock it is as far from the start as the ticks are.
    pub fn wall_ms(&self, now: Tick) -> i64 {
        if self.speed == 1 { wall_ms() } else { self.wall_ms.saturating_add(i64::try_from(now.0).unwrap_or(i64::MAX)) }
    }

    /// Returns how many times as fast as real time the clock runs.
    pub const fn speed(&self) -> u32 {
        self.speed
    }
}

fn lock(played: &Mutex<Played>) -> MutexGuard<'_, Played> {
    played.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Played {
    fn count(&mut self, now: Instant) -> Duration {
        if now.saturating_duration_since(self.moved) > HELD_MAX {
            self.awaited.pop_first();
        }
        let mut counted = self.counted + now.saturating_duration_since(self.seen);
        self.seen = self.seen.max(now);
        if let Some((tick, _)) = self.awaited.first_key_value() {
            let due = Duration::from_micros(tick.0.saturating_mul(1_000) / u64::from(self.speed));
            counted = counted.min(due.saturating_add(AHEAD_MAX));
        }
        if counted > self.counted {
            self.counted = counted;
            self.moved = self.seen;
        }
        self.counted
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut played = lock(self.played);
        if let Some(count) = played.awaited.get_mut(&self.tick) {
            *count -= 1;
            if *count == 0 {
                played.awaited.remove(&self.tick);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fast_clock_does_not_run_ahead_of_those_who_wait() {
        let (life, fast) = (Clock::start(1), Clock::start(30));
        fast.sleep(Millis::from_secs(60)).await;
        assert!((2_000..2_005).contains(&life.now().0), "{}", life.now().0);
        // A waiter does not come for its tick: the process is stopped, or its machine is busy elsewhere.
        let due = fast.now() + Millis::from_secs(6);
        let waiting = fast.waiting(due);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!((595..605).contains(&fast.now().since(due).0), "{}", fast.now().since(due));
        drop(waiting);
        // It goes on at its full speed.
        let before = life.now();
        fast.sleep(Millis::from_secs(30)).await;
        let took = life.now().since(before);
        assert!((1_000..1_005).contains(&took.0), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_clock_does_not_wait_for_ever() {
        let fast = Clock::start(30);
        let never = fast.waiting(fast.now());
        fast.sleep(Millis::from_secs(30)).await;
        drop(never);
        assert_eq!(fast.played.map(|played| lock(played).awaited.len()), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_real_time() {
        for clock in [Clock::start(1), Clock::start(10)] {
            let limit = Duration::from_millis(500);
            assert_eq!(clock.within(limit, tokio::time::sleep(Duration::from_millis(499))).await, Ok(()));
            assert_eq!(clock.within(limit, tokio::time::sleep(Duration::from_millis(510))).await, Err(TooLong));
            assert_eq!(clock.within(limit, std::future::pending::<()>()).await, Err(TooLong));
        }
    }
}
