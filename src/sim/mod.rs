//! Simulated surroundings: a day of weather, a house, a home battery, a car, a wallbox at byte level, a broker and Home Assistant.
//!
//! The demo and the fault tests run the real daemon against them. Because they judge the rest of the program, they share none of its code:
//! only the units of `control` and the clock are imported. Left out: electrical dynamics faster than a second, and every feature of the
//! imitated devices that `surplusd` does not use.

pub mod broker;
pub mod cable;
pub mod demo;
pub mod frames;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod home_assistant;
pub mod house;
mod packets;
pub mod pki;
pub mod plant;
pub mod port;
pub mod post;
pub mod registers;
pub mod wallbox;
pub mod weather;
