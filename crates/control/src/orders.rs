//! What the controller wants done, and when it wants to be called again. Plain data.

use crate::facts::ChargerId;
use crate::units::{Milliamps, Tick};

/// What the shell is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Tell a charger what it may draw, and for how long that holds.
    Order(Order),
    /// Wake the car at this charger.
    Wake(ChargerId),
    /// Ask for fresh samples of the site.
    Refresh,
}

/// A setpoint with its validity. Not renewed in time, the driver lets it lapse to the safe value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Which charger.
    pub charger: ChargerId,
    /// 0 or ≥ the minimum; `None` leaves what the box has (only until its first report).
    pub setpoint: Option<Milliamps>,
    /// Phases to be connected, 1 or 3; `None` where there is nothing to switch, or it is to stay as it is. It differs from what is
    /// connected only while the setpoint is 0 and the car was measured at rest.
    pub phases: Option<u8>,
    /// The order lapses here.
    pub valid_until: Tick,
}

/// Why [`crate::Controller::poll_timeout`] wants to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// A burst of messages has had its time.
    Settle,
    /// Orders must be renewed, ages judged.
    Renew,
}
