//! The one place that asks the OS for the time. Everything else gets ticks.

use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use control::{Millis, Tick};
use tokio::time::Instant;

/// A monotonic clock. `speed` > 1 lets a day be played faster than life (the demo); everything that waits goes through it.
///
/// A clock that is faster than life stands still while its process does: at thirty times the speed of life, a machine that is busy
/// elsewhere for a second would otherwise be a wallbox that does not answer for half a minute.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    epoch: Instant,
    speed: u32,
    /// The wall clock at the epoch, in milliseconds since 1970 UTC.
    wall_ms: i64,
    /// Of a clock that is faster than life, how far it has come. One for each such clock, never freed: there is one in a process.
    played: Option<&'static Mutex<Played>>,
}

/// How far a clock that is faster than life has come.
#[derive(Debug, Clone, Copy)]
struct Played {
    /// When it was last looked at.
    seen: Instant,
    /// Real time that counted until then.
    counted: Duration,
}

/// Something took longer than [`Clock::within`] gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Of the real time between two looks at a clock that is faster than life, no more than this counts.
const STEP_MAX: Duration = Duration::from_millis(100);
/// Whoever waits for such a clock looks at it at least this often.
const LOOK_EVERY: Duration = Duration::from_millis(50);

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
        let epoch = Instant::now();
        let played =
            (speed > 1).then(|| &*Box::leak(Box::new(Mutex::new(Played { seen: epoch, counted: Duration::ZERO }))));
        Self { epoch, speed: speed.max(1), wall_ms: wall_ms(), played }
    }

    /// The present tick.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Tick {
        let now = Instant::now();
        let real = self.played.map_or_else(
            || now.saturating_duration_since(self.epoch),
            |played| played.lock().unwrap_or_else(PoisonError::into_inner).count(now),
        );
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
            let left = self.real(left);
            tokio::time::sleep(if self.played.is_some() { left.min(LOOK_EVERY) } else { left }).await;
        }
    }

    /// Gives `future` so much real time, in which this clock runs; an error if it takes longer.
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

impl Played {
    fn count(&mut self, now: Instant) -> Duration {
        self.counted += now.saturating_duration_since(self.seen).min(STEP_MAX);
        self.seen = self.seen.max(now);
        self.counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fast_clock_stands_still_while_its_process_does() {
        let (life, fast) = (Clock::start(1), Clock::start(30));
        fast.sleep(Millis::from_secs(60)).await;
        assert!((2_000..2_003).contains(&life.now().0), "{}", life.now().0);
        let before = fast.now();
        // Nobody looks at it meanwhile: the process is stopped, or its machine is busy elsewhere.
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(fast.now().since(before), Millis(3_000));
        assert!((3_000..3_003).contains(&life.now().0), "{}", life.now().0);
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
