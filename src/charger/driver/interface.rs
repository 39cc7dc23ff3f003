//! The driver's interface: its inputs, its events, and the reasons for its timers.

use control::{ChargerReport, Order};

use super::Notice;
use crate::charger::codec::Outcome;
use crate::relay::{Failure as RelayFailure, RelayRequest, RelayResponse};

/// An input to the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The current that the charger may draw, and until when. `setpoint: None` keeps the wallbox's setpoint.
    Order(Order),
    /// Wake the car.
    Wake,
    /// Unlock as soon as possible: a crash may have interrupted a wake-up.
    Unlock,
    /// Write the safe current, read it back, then be silent.
    Shutdown,
    /// The result of the outstanding request.
    Outcome(Outcome),
    /// The line cannot be opened, or was lost.
    LineDown,
    /// The line is open and quiet; may be repeated while it is.
    LineUp,
    /// The relay's answer to [`Event::Contact`].
    Contact(Result<RelayResponse, RelayFailure>),
    /// Time has passed.
    Timeout,
}

/// An output of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// News for the controller.
    Report(ChargerReport),
    /// News for the log.
    Notice(Notice),
    /// A request to the relay whose contact switches the phases; one at a time, answer with [`Input::Contact`].
    Contact(RelayRequest),
    /// The wake-up is over: the wallbox is unlocked again, or cannot be locked.
    WakeUpDone,
    /// The shutdown has ended.
    ShutDown {
        /// Whether the safe current was read back.
        proven: bool,
    },
}

/// Why [`super::Driver::poll_timeout`] wants to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// A request is due.
    Due,
    /// The pause after a failure ends.
    Retry,
    /// Measurements are due.
    Poll,
    /// A register must be read again, or may be written again.
    Check,
    /// The order lapses.
    Lapse,
    /// The next step of the wake-up is due.
    WakeUp,
    /// The next step of the phase change is due.
    Phases,
    /// The wallbox is to be left alone or tried again, or the silence has lasted long enough for its watchdog.
    Silence,
    /// The time allowed for the shutdown is over.
    Ending,
}
