//! Firmware of the relay: a Raspberry Pi Pico W that carries an RS-485 line and two contacts to where the gateway's cable does not reach.
//!
//! ```text
//!  interrupt level  contacts ──feeds──▶ hardware watchdog          nothing below can hold this up
//!                      ▲ leases (behind a critical section)
//!  thread level     broker ── relay (RelayHandler) ── rs485        console, net (Wi-Fi, LED), health
//! ```
//! The relay decides nothing. It does what a frame of `relay_link` asks and forgets it when the lease runs out; without a gateway, a
//! broker, a network or settings it keeps its contacts open. What must not happen (a contact that stays closed) is kept from happening
//! by one small task at interrupt level, because the thread level is busy for more than a second while TLS calculates.
#![no_std]
#![no_main]
#![deny(unsafe_code)]
#![warn(missing_docs, unreachable_pub, clippy::pedantic)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod console;
mod contacts;
mod health;
mod memory;
mod panic;
mod pins;
mod settings;

use embassy_executor::Spawner;
use relay_link::settings::SettingsFault;

use crate::console::line;
use crate::pins::Board;

/// Version of this firmware, as the protocol carries it.
pub(crate) const VERSION: [u8; 3] = [0, 1, 0];

#[embassy_executor::main(executor = "embassy_rp::executor::Executor", entry = "cortex_m_rt::entry")]
async fn main(spawner: Spawner) {
    memory::paint_stack();
    let board = Board::new(embassy_rp::init(embassy_rp::config::Config::default()));
    let reset = panic::take_reason();
    contacts::start(board.contacts);
    line!("surplusd pico-relay {}.{}.{}", VERSION[0], VERSION[1], VERSION[2]);
    line!("reset: {}", reset.name());
    panic::report_last();
    spawn(spawner, console::run(board.console));
    spawn(spawner, health::run(board.health));
    match settings::load() {
        Ok(settings) => line!("settings: {}", settings.id),
        Err(SettingsFault::Empty) => line!("settings: none"),
        Err(fault) => line!("settings: none ({:?})", fault),
    }
}

/// Every task is started once, at boot, so there is always room for it.
fn spawn<S>(spawner: Spawner, token: Result<embassy_executor::SpawnToken<S>, embassy_executor::SpawnError>) {
    match token {
        Ok(token) => spawner.spawn(token),
        Err(error) => panic!("task: {error:?}"),
    }
}
