//! The wallbox. In reading order: `profile` (the register map, as data), `codec` (requests, and whether an answer matches),
//! `driver` (one charger, a pure state machine), `line` (several drivers on one line, pure), `bus` (I/O and waiting).
//!
//! Only `bus` does I/O and only `bus` depends on tokio. Nothing here knows about MQTT or the controller's internals.

pub mod bus;
pub mod codec;
pub mod driver;
pub mod line;
mod log;
pub mod profile;

#[cfg(test)]
pub(crate) mod fake_box;
