//! The one place that asks the OS for the time. Everything else gets ticks.

use std::time::Duration;

use control::{Millis, Tick};
use tokio::time::Instant;

/// A monotonic clock. `speed` > 1 lets a day be played faster than life (the demo); everything that waits goes through it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    epoch: Instant,
    speed: u32,
}

impl Clock {
    /// A clock that starts at tick 1 now and runs `speed` times as fast as life (at least 1).
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start(speed: u32) -> Self {
        Self { epoch: Instant::now(), speed: speed.max(1) }
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

    /// How many times as fast as life it runs.
    pub const fn speed(&self) -> u32 {
        self.speed
    }
}
