//! The driver's two doors: what it is told, and what it says.

use control::{ChargerReport, Order};

use super::Notice;
use crate::charger::codec::Outcome;
use crate::relay::{Failure as RelayFailure, RelayRequest, RelayResponse};

/// What the driver is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// What the charger may draw, and until when. `setpoint: None` keeps what the box has.
    Order(Order),
    /// Wake the car.
    Wake,
    /// A wake-up may have been cut short by a crash: unlock as soon as possible.
    Unlock,
    /// Safe current, read back, then silence.
    Shutdown,
    /// How the outstanding request ended.
    Outcome(Outcome),
    /// The line cannot be opened, or was lost.
    LineDown,
    /// The line is open and quiet; may be said again while it is.
    LineUp,
    /// How the question about the contact ended.
    Contact(Result<RelayResponse, RelayFailure>),
    /// Time has passed.
    Timeout,
}

/// What the driver says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// News for the controller.
    Report(ChargerReport),
    /// News for the log.
    Notice(Notice),
    /// To be asked of the relay whose contact switches the phases; one at a time, answer with [`Input::Contact`].
    Contact(RelayRequest),
    /// The box is not locked by a wake-up any more, or cannot be.
    WakeUpDone,
    /// Shutdown has ended; `proven` if the safe current was read back.
    ShutDown {
        /// Whether the safe current was read back.
        proven: bool,
    },
}

/// Why [`super::Driver::poll_timeout`] wants to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// There is something to ask.
    Due,
    /// The pause after a failure ends.
    Retry,
    /// Measurements are due.
    Poll,
    /// A register must be looked at again, or may be written again.
    Check,
    /// The order lapses.
    Lapse,
    /// The wake-up goes on.
    WakeUp,
    /// The change of phases goes on.
    Phases,
    /// The wallbox is left alone, spoken to again, or its silence has lasted long enough.
    Silence,
    /// The time for the shutdown is over.
    Ending,
}
