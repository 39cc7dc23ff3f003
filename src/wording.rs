//! A decision in words, the same in the log, in the topics and in `surplusd why`. Pure.
//!
//! What was decided is claimed to be in force only where the charger can be told: of one that does not answer, or that cannot be controlled,
//! it is what is wanted, and what is known is what was read back last.

use control::{ChargerView, Fault, Milliamps, Mode, Reason};

/// Whether the charger may do something else than what was decided: it does not answer, or does not do what it is told.
pub const fn is_out_of_reach(reason: &Reason) -> bool {
    matches!(reason, Reason::Offline | Reason::Fault(Fault::Unusable | Fault::Refused))
}

/// The setpoint that is in force. Of a charger out of reach: the one that was read back last, if its last report has one.
pub fn in_force(view: &ChargerView) -> Option<Milliamps> {
    if is_out_of_reach(&view.reason) { view.report.and_then(|report| report.setpoint) } else { Some(view.setpoint) }
}

/// `16.0 A (fast): fast: the maximum at once`, or `the charger does not answer; 16.0 A wanted (fast)`.
pub fn decision(setpoint: Milliamps, mode: Mode, reason: &Reason) -> String {
    if is_out_of_reach(reason) {
        format!("{reason}; {setpoint} wanted ({mode})")
    } else {
        format!("{setpoint} ({mode}): {reason}")
    }
}

/// `16.0 A`, or `16.0 A wanted`.
pub fn current(setpoint: Milliamps, reason: &Reason) -> String {
    if is_out_of_reach(reason) { format!("{setpoint} wanted") } else { setpoint.to_string() }
}
