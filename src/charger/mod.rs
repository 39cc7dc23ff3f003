//! The wallbox. In reading order: `profile` (the register map, as data), `codec` (requests and what answers mean),
//! `driver` (one charger, a pure state machine), `line` (several drivers on one line, pure), `bus` (moves bytes and waits).
//!
//! Only `bus` does I/O and only `bus` knows tokio. Nothing here knows MQTT or the controller's inside.

pub mod bus;
pub mod codec;
pub mod driver;
pub mod line;
mod log;
pub mod profile;

#[cfg(test)]
pub(crate) mod fake_box;
