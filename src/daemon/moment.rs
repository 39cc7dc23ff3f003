//! Points in time that survive a restart. They are based on the machine's uptime, because a Pi has no valid wall clock after a power cut.
//!
//! After a reboot, all that is known is that at least the current uptime has passed, so limits err on the long side.

use std::fs;

use control::Millis;

/// A point in time, in milliseconds since the machine was started; negative before that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) i64);

impl Moment {
    /// The current moment, or the start of the machine if the kernel does not report its uptime.
    pub(super) fn now() -> Self {
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        Self(milliseconds(uptime.split(' ').next().unwrap_or_default()).unwrap_or(0))
    }

    pub(super) fn since(self, earlier: Self) -> Millis {
        Millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    pub(super) fn after(self, span: Millis) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.0).unwrap_or(i64::MAX)))
    }
}

/// Parses seconds with a fraction, as found in `/proc/uptime`.
fn milliseconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    whole.parse::<i64>().ok()?.checked_mul(1_000)?.checked_add(thousandths.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_is_read_with_its_fraction() {
        for (text, ms) in [("0.05", 50), ("12345.67", 12_345_670), ("7", 7_000), ("1.2345", 1_234)] {
            assert_eq!(milliseconds(text), Some(ms), "{text}");
        }
        assert_eq!(milliseconds("x.1"), None);
        assert!(Moment::now() > Moment(0));
    }
}
