//! Everything simulated: a day of weather, a house, a home battery, a car, a wallbox down to its bytes, a broker and Home Assistant.
//!
//! The demo and the fault tests drive the real daemon against this. It judges the rest of the program, so it shares none of its code:
//! only the units of `control` and the clock are imported. What it leaves out: the dynamics of electricity faster than a second,
//! and every feature of the imitated devices that `surplusd` has no use for.

pub mod broker;
pub mod demo;
pub mod frames;
pub mod home_assistant;
pub mod house;
mod packets;
pub mod pki;
pub mod plant;
pub mod port;
pub mod registers;
pub mod wallbox;
pub mod weather;
