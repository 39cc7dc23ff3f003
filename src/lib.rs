//! `surplusd` charges an electric car from the sun. In reading order: `config` (the configuration file), `model` (types exchanged with the
//! main loop), `mqtt` (Home Assistant), `charger` (the wallbox), `daemon` (the main loop), `api` (the local socket), `journal` (records
//! what was done, and why), `relay` (Pico W relays), `sim` (simulated devices and house), `simulate` (the controller on them in virtual
//! time), `tls` (certificates), `cli` (commands), `regular` (reads files named by the user), `rate` (rate limits), `wording` (decisions in
//! plain words).

pub mod api;
pub mod charger;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
mod decimal;
#[cfg(test)]
mod fault_sim;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod journal;
pub mod model;
pub mod mqtt;
pub mod rate;
pub mod regular;
pub mod relay;
pub mod sim;
pub mod simulate;
pub mod tls;
pub mod wording;
