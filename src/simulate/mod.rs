//! Runs the real controller in virtual time: takes days of sun and house load, returns what the car would have charged.
//!
//! ```text
//! Trace ──second by second──▶ sim::plant::Plant ──flows──▶ Meters ──readings──▶ control::Controller
//!                                    ▲                  charger's report ──────▶        │
//!                                    └───────────────── pilot ◀───────── orders ────────┘
//! ```
//! Pure except for reading traces: no clock, no network, and randomness only from the setup's seed, so two runs give the same bytes. It
//! knows the controller and the plant, which do not know each other. Left out: MQTT and Modbus; the charger here obeys at once.

mod engine;
mod meters;
mod plot;
mod rows;
mod scenario;
mod setup;
mod trace;

pub use engine::{Nobody, Observer, Second, Simulation, Totals};
pub use meters::{Burst, Meters, MetersOptions};
pub use plot::Plot;
pub use rows::RowWriter;
pub use scenario::Scenario;
pub use setup::{Setup, SetupError, reference};
pub use trace::{Trace, TraceError, TraceRow};
