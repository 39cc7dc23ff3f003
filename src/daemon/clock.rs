//! The one place that asks the OS for the time. Everything else gets ticks.

use std::time::{Duration, SystemTime};

use control::{Millis, Tick};
use tokio::time::Instant;

/// A monotonic clock. `speed` > 1 lets a day be played faster than life (the demo); everything that waits goes through it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    epoch: Instant,
    speed: u32,
    /// The wall clock at the epoch, in milliseconds since 1970 UTC.
    wall_ms: i64,
}

/// The wall clock, in milliseconds since 1970 UTC.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Clock {
    /// A clock that starts at tick 1 now and runs `speed` times as fast as life (at least 1).
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start(speed: u32) -> Self {
        Self { epoch: Instant::now(), speed: speed.max(1), wall_ms: wall_ms() }
    }

    /// The present tick.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Tick {
        let real = Instant::now().saturating_duration_since(self.epoch);
        let ticks = real.as_micros().saturating_mul(u128::from(self.speed)) / 1_000;
        Tick(u64::try_from(ticks).unwrap_or(u64::MAX).saturating_add(1))
    }

    /// The real time that a span of ticks takes.
    pub fn real(&self, span: Millis) -> Duration {
        Duration::from_micros(span.0.saturating_mul(1_000) / u64::from(self.speed))
    }

    /// Waits until `tick` has been reached.
    pub async fn sleep_until(&self, tick: Tick) {
        loop {
            let left = tick.since(self.now());
            if left == Millis(0) {
                return;
            }
            tokio::time::sleep(self.real(left)).await;
        }
    }

    /// Waits for a span of ticks.
    pub async fn sleep(&self, span: Millis) {
        self.sleep_until(self.now() + span).await;
    }

    /// The wall clock at the present tick, in milliseconds since 1970 UTC: for people, nothing is decided by it. Where a day is played
    /// faster than life it is as far from the start as the ticks are.
    pub fn wall_ms(&self, now: Tick) -> i64 {
        if self.speed == 1 { wall_ms() } else { self.wall_ms.saturating_add(i64::try_from(now.0).unwrap_or(i64::MAX)) }
    }

    /// How many times as fast as life it runs.
    pub const fn speed(&self) -> u32 {
        self.speed
    }
}
