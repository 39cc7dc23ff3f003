//! `surplusd` charges an electric car from the sun. In reading order:
//! `config` (the file), `model` (the words at the doors of the loop), `mqtt` (Home Assistant), `charger` (the wallbox), `daemon` (the loop),
//! `api` (the local socket), `journal` (what it did, and why),
//! `relay` (Pico W relays), `sim` (everything simulated), `simulate` (the controller on it in virtual time), `tls` (certificates), `cli` (commands),
//! `regular` (files that a user names), `rate` (how often something is done or said),
//! `wording` (what was decided, in words).

pub mod api;
pub mod charger;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
mod decimal;
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
