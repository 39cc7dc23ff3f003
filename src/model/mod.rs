//! The types at the edge of the loop: the requests it takes ([`request`]) and the status it shows ([`status`]). Plain data that every input
//! and output of the loop builds on, so that a new one needs nothing from the others.
//!
//! [`document`] is the status as JSON, the same for MQTT and the local socket.

pub mod document;
mod names;
pub mod request;
pub mod status;

pub use names::Names;
