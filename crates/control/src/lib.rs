//! The controller of `surplusd`: decides which current each car may draw, and why.
//!
//! A pure state machine. It has no clock, no randomness, no I/O, no logging and no serialization: facts and the time go in, decisions come
//! out. The same inputs at the same ticks produce bit-identical actions, so the daemon, the simulation, the flight recorder's replay and
//! the tests all drive this one type.
//!
//! The contract, in the order of use:
//! 1. [`Controller::handle`] passes in an input; [`Controller::handle_timeout`] passes in the time.
//! 2. After every call of step 1, [`Controller::poll_action`] is called until it returns `None`.
//! 3. [`Controller::poll_timeout`] returns when `handle_timeout` is due next, and why.
//! 4. [`Controller::snapshot`] returns what is known and decided.
//!
//! Ticks never go backwards; wall-clock time is unknown here.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate self as control;

mod band;
mod battery_charge_limit;
mod budget;
mod car;
mod charger;
mod config;
mod contactor;
mod controller;
mod decide;
mod facts;
mod floor;
mod history;
mod input;
mod judge;
mod meter_delay;
mod orders;
mod overdraw;
mod pause;
mod phases;
mod power;
pub mod ranges;
mod reason;
mod sample;
mod sharing;
mod site;
mod switching;
#[cfg(test)]
mod testing;
mod units;
mod uptake;
mod view;

pub use budget::Spent;
pub use config::{BatteryPolicy, ChargerConfig, Config, FailSafe, GroupId, PhaseSwitching, Sampling, SolarPolicy};
pub use controller::Controller;
pub use facts::{ChargerId, ChargerReport, Fault, Mode, Reachability, Reading, Source, Sources, Vehicle};
pub use input::{CarryOver, ChargerCarryOver, Command, Input, Restore};
pub use judge::Doubt;
pub use orders::{Action, Order, Wake};
pub use overdraw::Overdrawn;
pub use reason::Reason;
pub use units::{Milliamps, Millis, Percent, Permille, Tick, Volts, WattHours, Watts};
pub use uptake::Needs;
pub use view::{ChargerView, SiteView, Snapshot};
