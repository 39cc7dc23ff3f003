//! Outputs of the controller: actions for the shell, and the reason for the next timeout. Plain data.

use crate::facts::ChargerId;
use crate::units::{Milliamps, Tick};

/// An action for the shell to carry out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Set a charger's current, for a limited time.
    Order(Order),
    /// Wake the car at this charger.
    Wake(ChargerId),
    /// Ask for fresh samples of the site.
    Refresh,
}

/// A setpoint with its validity. If it is not renewed in time, the driver lets it lapse to the safe value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Which charger.
    pub charger: ChargerId,
    /// 0 or ≥ the minimum; `None` leaves the wallbox's setpoint as it is (only until its first report).
    pub setpoint: Option<Milliamps>,
    /// Phases to connect, 1 or 3; `None` where phases cannot be switched or are to stay as they are. Differs from what is connected only
    /// while the setpoint is 0 and the car was measured at rest.
    pub phases: Option<u8>,
    /// When the order lapses.
    pub valid_until: Tick,
}

/// The reason for a deadline returned by [`crate::Controller::poll_timeout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The time allowed for a burst of messages is over.
    Settle,
    /// Orders must be renewed and the age of the data judged.
    Renew,
}
