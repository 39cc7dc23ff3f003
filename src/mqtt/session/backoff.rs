//! How long to wait before the next attempt.
//!
//! The wait doubles from 0.2 s to 60 s and starts over only after a connection has lasted 30 s. Starting over at each acceptance would
//! hammer a broker that accepts and then closes at once (a second client with our id, a poison message); a restarted broker still has us
//! back within a second, as the connection before it had lasted. A broker in the household that cannot be reached is tried every 4 s or
//! sooner: a restarting machine is away for half a minute, and trying costs nobody anything.

use control::Millis;

use crate::mqtt::trouble::DownKind;

const FIRST_MS: u64 = 200;
const LONGEST_MS: u64 = 60_000;
/// The longest step for a broker in the household; with jitter the wait stays below 4 s.
const NEAR_MS: u64 = 3_000;
/// The wait when somebody must change something first: 30 to 60 s from the first failure on.
const LONG_MS: std::ops::RangeInclusive<u64> = 30_000..=LONGEST_MS;
/// How long a connection must last to count as a good one.
pub(super) const STABLE: Millis = Millis::from_secs(30);

#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
    flapping: bool,
    random: fastrand::Rng,
}

impl Backoff {
    pub(super) const fn new(random: fastrand::Rng) -> Self {
        Self { failures: 0, flapping: false, random }
    }

    /// Notes that a connection ended after this time.
    pub(super) fn lasted(&mut self, span: Millis) {
        self.flapping = span < STABLE;
        if !self.flapping {
            self.failures = 0;
        }
    }

    /// Returns whether the last connection was a short one.
    pub(super) const fn is_flapping(&self) -> bool {
        self.flapping
    }

    /// Returns the wait after a failure: the doubled step ± 25 %, so that many clients do not come back in step.
    pub(super) fn next(&mut self, kind: DownKind, near: bool) -> Millis {
        let longest = if near && kind.may_end_soon() { NEAR_MS } else { LONGEST_MS };
        let doubled = FIRST_MS.saturating_mul(1_u64.checked_shl(self.failures.min(20)).unwrap_or(u64::MAX));
        let step = doubled.min(longest);
        if doubled <= longest {
            // A failure that does not lengthen the wait does not count for failures of another kind either.
            self.failures = self.failures.saturating_add(1);
        }
        if kind.needs_a_person() {
            return Millis(self.random.u64(LONG_MS));
        }
        Millis(self.random.u64(step - step / 4..=(step + step / 4).min(LONGEST_MS)))
    }
}
