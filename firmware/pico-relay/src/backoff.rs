//! How long to wait before the next attempt: twice as long each time, up to a minute, with jitter, so that several relays do not all come
//! back to a restarted broker at once.

use embassy_rp::clocks::RoscRng;
use embassy_time::Duration;

const FIRST_S: u64 = 1;
const LAST_S: u64 = 60;

/// The state of the back-off.
pub(crate) struct Backoff {
    next_s: u64,
}

impl Backoff {
    /// Creates a back-off that starts with the shortest wait.
    pub(crate) const fn new() -> Self {
        Self { next_s: FIRST_S }
    }

    /// Notes a success: the next wait is the shortest again.
    pub(crate) fn reset(&mut self) {
        self.next_s = FIRST_S;
    }

    /// Notes a failure and returns how long to wait: 1 to 1.5 times the nominal wait.
    pub(crate) fn fail(&mut self) -> Duration {
        let wait_ms = self.next_s * 1_000;
        self.next_s = (2 * self.next_s).min(LAST_S);
        Duration::from_millis(wait_ms + wait_ms * u64::from(RoscRng::next_u8()) / 512)
    }
}
