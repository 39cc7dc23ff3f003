//! Whether a wallbox answers most requests. Single failures are cured by a retry; frequent failures are reported.

use super::{Notice, Trouble};

/// Number of recent requests that are considered.
const WINDOW: u32 = 32;
/// Failures among them from which the wallbox is reported as unreliable.
const MANY: u32 = 8;
/// Below this number of failures it counts as reliable again.
const FEW: u32 = 3;
/// Consecutive failed polls after which a wallbox that answers other requests counts as lost, because nothing is known of its car.
const UNMEASURED_MAX: u8 = 5;

/// The most recent requests to a connected wallbox.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reliability {
    /// One bit per request, set if it failed; the newest is the lowest bit.
    failed: u32,
    asked: u32,
    said: bool,
    /// Consecutive failed polls.
    unmeasured: u8,
}

impl Reliability {
    pub(super) const fn new() -> Self {
        Self { failed: 0, asked: 0, said: false, unmeasured: 0 }
    }

    /// The wallbox has connected.
    pub(super) const fn begin(&mut self) {
        self.unmeasured = 0;
    }

    /// Records the end of a request; returns a notice if the reliability has changed.
    pub(super) fn ended(&mut self, failed: bool) -> Option<Notice> {
        self.failed = self.failed << 1 | u32::from(failed);
        self.asked = (self.asked + 1).min(WINDOW);
        let failures = self.failed.count_ones();
        if !self.said && failures >= MANY {
            self.said = true;
            return Some(Notice::Trouble(Trouble::Unreliable { failed: failures, asked: self.asked }));
        }
        if self.said && failures < FEW {
            self.said = false;
            return Some(Notice::Trouble(Trouble::Reliable));
        }
        None
    }

    /// Records the end of a poll; returns true if too many have failed in a row.
    pub(super) fn polled(&mut self, failed: bool) -> bool {
        self.unmeasured = if failed { self.unmeasured.saturating_add(1) } else { 0 };
        self.unmeasured >= UNMEASURED_MAX
    }
}
