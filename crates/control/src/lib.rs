//! The controller of `surplusd`: which current each car may draw, and why.
//!
//! A pure state machine. It has no clock, no randomness, no I/O, no logging and no serialization: facts and the time go in,
//! decisions come out. The same inputs at the same ticks give bit-identical actions, so the daemon, the simulation,
//! the flight recorder's replay and the tests all drive this one type.
//!
//! The contract, in the order of use:
//! 1. [`Controller::handle`] tells it something; [`Controller::handle_timeout`] tells it that time has passed.
//! 2. [`Controller::poll_action`] is called until it returns `None`, after every call of step 1.
//! 3. [`Controller::poll_timeout`] says when it wants to be called next, and why.
//! 4. [`Controller::snapshot`] shows what was decided.
//!
//! Ticks never go back; wall time is unknown here.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate self as control;

mod alignment;
mod appetite;
mod band;
mod budget;
mod car;
mod charger;
mod config;
mod contactor;
mod controller;
mod decide;
mod floor;
mod history;
mod judge;
mod overdraw;
mod pause;
mod phases;
mod power;
mod reason;
mod sharing;
mod site;
mod switching;
#[cfg(test)]
mod testing;
mod types;
mod units;
mod uptake;

pub use config::{BatteryPolicy, ChargerConfig, Config, FailSafe, GroupId, PhaseSwitching, Sampling, SolarPolicy};
pub use controller::Controller;
pub use judge::{Doubt, Sources};
pub use reason::Reason;
pub use types::{
    Action, CarryOver, ChargerCarryOver, ChargerId, ChargerReport, ChargerView, Command, Fault, Input, Link, Mode,
    Needs, Order, Overdrawn, Reading, Restore, SiteView, Snapshot, Source, Spent, Vehicle, Wake,
};
pub use units::{Milliamps, Millis, Percent, Permille, Tick, Volts, WattHours, Watts};
