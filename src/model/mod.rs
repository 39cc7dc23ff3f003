//! The words at the doors of the loop: what is asked of it ([`request`]), and what it shows ([`status`]). Plain data, below all that speak to
//! the loop or listen to it, so that a new one needs nothing of the others.
//!
//! [`document`] is the status as JSON: the same for MQTT and for the local socket.

pub mod document;
mod names;
pub mod request;
pub mod status;

pub use names::Names;
