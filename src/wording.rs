//! Puts a decision into words, the same in the log, in the topics and in `surplusd why`. Pure.
//!
//! A decision is said to be in force only if the charger can be controlled. For one that does not answer or cannot be controlled, the
//! decision is only what is wanted, and what is known is the last read-back.

use control::{ChargerView, Fault, Milliamps, Mode, Reason};

/// Returns whether the charger may do something other than what was decided, because it does not answer or cannot be controlled.
pub const fn is_out_of_reach(reason: &Reason) -> bool {
    matches!(reason, Reason::Offline | Reason::Fault(Fault::Unusable | Fault::Refused))
}

/// Returns the setpoint in force. For a charger out of reach: the one last read back, if its last report has one.
pub fn in_force(view: &ChargerView) -> Option<Milliamps> {
    if is_out_of_reach(&view.reason) { view.report.and_then(|report| report.setpoint) } else { Some(view.setpoint) }
}

/// Formats `16.0 A (fast): fast: the maximum at once`, or `the charger does not answer; 16.0 A wanted (fast)`.
pub fn decision(setpoint: Milliamps, mode: Mode, reason: &Reason) -> String {
    if is_out_of_reach(reason) {
        format!("{reason}; {setpoint} wanted ({mode})")
    } else {
        format!("{setpoint} ({mode}): {reason}")
    }
}

/// Formats `16.0 A`, or `16.0 A wanted`.
pub fn current(setpoint: Milliamps, reason: &Reason) -> String {
    if is_out_of_reach(reason) { format!("{setpoint} wanted") } else { setpoint.to_string() }
}
