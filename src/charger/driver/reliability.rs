//! Whether a wallbox answers most of what it is asked. Single failures are overcome by asking again; many of them are said.

use super::{Notice, Trouble};

/// Requests that are looked back upon.
const WINDOW: u32 = 32;
/// So many failures among them are said; fewer than the other number, and that is over.
const MANY: u32 = 8;
const FEW: u32 = 3;
/// Polls in vain, in a row, after which a wallbox that answers other requests counts as lost: nothing is known of its car.
const UNMEASURED_MAX: u8 = 5;

/// The last requests to a wallbox that is connected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reliability {
    /// One bit for each of the last requests, the newest lowest: it failed.
    failed: u32,
    asked: u32,
    said: bool,
    /// Polls in vain, in a row.
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

    /// A request has ended; the news, if that is any.
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

    /// A poll has ended; true if there were too many in vain.
    pub(super) fn polled(&mut self, failed: bool) -> bool {
        self.unmeasured = if failed { self.unmeasured.saturating_add(1) } else { 0 };
        self.unmeasured >= UNMEASURED_MAX
    }
}
