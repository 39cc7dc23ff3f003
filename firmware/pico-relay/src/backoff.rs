//! How long to wait before the next attempt: twice as long each time, up to a minute, with jitter, so that several relays do not come
//! back to a restarted broker all at once.

use embassy_rp::clocks::RoscRng;
use embassy_time::Duration;

const FIRST_S: u64 = 1;
const LAST_S: u64 = 60;

/// The next wait.
pub(crate) struct Backoff {
    next_s: u64,
}

impl Backoff {
    /// From the beginning.
    pub(crate) const fn new() -> Self {
        Self { next_s: FIRST_S }
    }

    /// It worked.
    pub(crate) fn reset(&mut self) {
        self.next_s = FIRST_S;
    }

    /// It did not; returns how long to wait: between all and one and a half of what it should be.
    pub(crate) fn fail(&mut self) -> Duration {
        let wait_ms = self.next_s * 1_000;
        self.next_s = (2 * self.next_s).min(LAST_S);
        Duration::from_millis(wait_ms + wait_ms * u64::from(RoscRng::next_u8()) / 512)
    }
}
