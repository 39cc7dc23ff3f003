//! Firmware of the relay: a Raspberry Pi Pico W that provides an RS-485 line and two contacts where the gateway's cable does not reach.
//!
//! ```text
//!  interrupt level  contacts ──feeds──▶ hardware watchdog          nothing below can hold this up
//!                      ▲ leases (behind a critical section)
//!  thread level     broker ── relay (RelayHandler) ── rs485        console, net (Wi-Fi, LED), health
//! ```
//! The relay decides nothing. It does what a `relay_link` frame requests and forgets it when the lease runs out; without a gateway, a
//! broker, a network or settings it keeps its contacts open. The dangerous fault (a contact that stays closed) is prevented by one small
//! task at interrupt level, because the thread level is busy for more than a second at a time while TLS calculates.
#![no_std]
#![no_main]
#![deny(unsafe_code)]
#![warn(missing_docs, unreachable_pub, clippy::pedantic)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod backoff;
mod broker;
mod console;
mod contacts;
mod health;
mod led;
mod libc;
mod log;
mod memory;
mod net;
mod nvram;
mod panic;
mod pins;
mod random;
mod relay;
mod reset;
mod rs485;
mod settings;
mod tls;

use embassy_executor::Spawner;
use rand_core::Rng as _;
use relay_link::settings::{Settings, SettingsFault};
use relay_link::{Endpoint, ResetReason};

use crate::broker::Broker;
use crate::log::line;
use crate::pins::Board;
use crate::relay::Relay;
use crate::rs485::Rs485;
use crate::settings::Flash;
use crate::tls::Identity;

/// Version of this firmware, as the protocol carries it.
pub(crate) const VERSION: [u8; 3] = [0, 1, 0];

#[embassy_executor::main(executor = "embassy_rp::executor::Executor", entry = "cortex_m_rt::entry")]
async fn main(spawner: Spawner) {
    memory::paint_stack();
    let board = Board::new(embassy_rp::init(embassy_rp::config::Config::default()));
    let reset = reset::take_reason();
    contacts::start(board.contacts);
    line!("surplusd pico-relay {}.{}.{}", VERSION[0], VERSION[1], VERSION[2]);
    line!("reset: {}", reset.name());
    panic::report_last();
    spawn(spawner, console::run(board.console, Flash::new(board.flash)));
    let settings = settings::load();
    spawn(spawner, health::run(board.health, settings.is_ok()));
    match settings {
        Ok(settings) => {
            line!("settings: {}", settings.id);
            bring_up(spawner, settings, board.wifi, board.rs485, reset).await;
        }
        Err(SettingsFault::Empty) => line!("settings: none; provision it, or `set` and `save` here"),
        Err(fault) => line!("settings: none ({:?})", fault),
    }
}

/// Starts everything that needs settings.
async fn bring_up(
    spawner: Spawner,
    settings: Settings<'static>,
    wifi: pins::Wifi,
    rs485: pins::Rs485,
    reset: ResetReason,
) {
    let mut generator = random::generator();
    let endpoint = Endpoint::new(generator.next_u32());
    let (control, stack) = net::start(spawner, wifi, &settings, generator.next_u64()).await;
    spawn(spawner, net::run(control, stack, settings));
    match Identity::new(&settings, generator) {
        Ok(identity) => {
            let relay = Relay { line: Rs485::new(rs485, settings.baud), reset };
            spawn(spawner, broker::run(Broker { stack, settings, identity, relay, endpoint }));
        }
        Err(fault) => line!("broker: {}", fault),
    }
}

/// Spawns a task. Each task is started once, at boot, so there is always room for it.
fn spawn<S>(spawner: Spawner, token: Result<embassy_executor::SpawnToken<S>, embassy_executor::SpawnError>) {
    match token {
        Ok(token) => spawner.spawn(token),
        Err(error) => panic!("task: {error:?}"),
    }
}
