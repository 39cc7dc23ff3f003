//! What the LED shows. It is wired to the Wi-Fi chip, so [`crate::net`] switches it; this module only decides what is shown, and in which
//! pattern.
//!
//! | LED | |
//! |---|---|
//! | dark | no settings, or just joining |
//! | a flash a second | no Wi-Fi, or no address |
//! | half a second on, half off | network, but no broker |
//! | steady | at the broker; goes out for a blink with each exchange on the RS-485 line |
//! | three flashes and a pause | a contact is welded |
//! | flickers | identify |
//!
//! In [`meaning`], earlier cases hide later ones: whoever stands in front of the relay and asked it to identify itself comes first.

use embassy_time::{Duration, Instant};
use portable_atomic::{AtomicBool, AtomicU32, Ordering};

use crate::contacts;

/// Shortest time between two changes of the LED.
pub(crate) const TICK: Duration = Duration::from_millis(100);

static AT_BROKER: AtomicBool = AtomicBool::new(false);
static RELAYED: AtomicBool = AtomicBool::new(false);
static BLINKED: AtomicBool = AtomicBool::new(false);
static IDENTIFY_UNTIL_S: AtomicU32 = AtomicU32::new(0);

/// The state of the network, as known to [`crate::net`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// No Wi-Fi, or no address.
    Away,
    /// An address.
    Here,
}

/// What the LED shows, most important first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    Identify,
    Welded,
    NoNetwork,
    NoBroker,
    Relaying,
    Idle,
}

/// Notes whether the relay is connected to the broker.
pub(crate) fn set_at_broker(at_broker: bool) {
    AT_BROKER.store(at_broker, Ordering::Relaxed);
}

/// Notes an exchange on the RS-485 line.
pub(crate) fn relayed() {
    RELAYED.store(true, Ordering::Relaxed);
}

/// Flickers for this many seconds.
pub(crate) fn identify(seconds: u8) {
    // The current second is not counted.
    IDENTIFY_UNTIL_S.store(now_s() + 1 + u32::from(seconds), Ordering::Relaxed);
}

/// Returns the most important thing to show now. To be called once per tick.
pub(crate) fn meaning(network: Network) -> Meaning {
    // Never two blinks in a row: during continuous exchanges the LED would seem dark.
    let relayed = !BLINKED.load(Ordering::Relaxed) && RELAYED.swap(false, Ordering::Relaxed);
    BLINKED.store(relayed, Ordering::Relaxed);
    if now_s() < IDENTIFY_UNTIL_S.load(Ordering::Relaxed) {
        Meaning::Identify
    } else if contacts::states().iter().any(|contact| contact.welded) {
        Meaning::Welded
    } else if network == Network::Away {
        Meaning::NoNetwork
    } else if !AT_BROKER.load(Ordering::Relaxed) {
        Meaning::NoBroker
    } else if relayed {
        Meaning::Relaying
    } else {
        Meaning::Idle
    }
}

/// Returns whether the LED is lit in this tick.
pub(crate) fn lit(meaning: Meaning, tick: u32) -> bool {
    let tick = tick % 10;
    match meaning {
        Meaning::Identify => tick.is_multiple_of(2),
        Meaning::Welded => matches!(tick, 0 | 2 | 4),
        Meaning::NoNetwork => tick == 0,
        Meaning::NoBroker => tick < 5,
        Meaning::Relaying => false,
        Meaning::Idle => true,
    }
}

fn now_s() -> u32 {
    u32::try_from(Instant::now().as_secs()).unwrap_or(u32::MAX)
}
