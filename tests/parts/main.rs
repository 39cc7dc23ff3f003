//! Faults of real parts against the built daemon: `scripts/test-faults` runs them, one by one or all together. Each case prints one line
//! with what it measured, and fails if the daemon does not keep what is stated there.
//!
//! The parts are a Mosquitto with TLS, a pseudo-terminal with the simulated wallbox, and files on real file systems; everything happens on
//! loopback addresses and in mount and network namespaces that the script makes.
#![expect(clippy::disallowed_methods, reason = "real time is what is measured")]

#[cfg(test)]
mod adapter;
#[cfg(test)]
mod broker;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod home;
#[cfg(test)]
#[path = "../common/house.rs"]
#[expect(dead_code, reason = "the fast suite uses all of it")]
mod house;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod memory;
#[cfg(test)]
#[path = "../common/mosquitto.rs"]
#[expect(dead_code, reason = "the fast suite uses all of it")]
mod mosquitto;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod stream;
