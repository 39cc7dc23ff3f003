//! The console on UART0: lines about what happens, and two commands, `status` and `reset`. It says no secrets, and takes no settings.
//!
//! Lines go through a queue, since interrupt level writes some as well, and nobody waits for a slow serial port: what finds the queue
//! full is dropped, and their number is said.

use core::fmt::Write as _;

use embassy_executor::task;
use embassy_futures::select::{Either, select};
use embassy_rp::uart::{BufferedUart, BufferedUartTx, Config};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use embassy_time::Instant;
use embedded_io_async::{Read as _, Write as _};
use heapless::String;
use portable_atomic::{AtomicU32, Ordering};
use static_cell::StaticCell;

use crate::pins::{self, Irqs};
use crate::{contacts, memory, panic};

/// A line; what is longer is cut off.
pub(crate) type Line = String<96>;

static LINES: Channel<CriticalSectionRawMutex, Line, 12> = Channel::new();
static DROPPED: AtomicU32 = AtomicU32::new(0);

/// Puts a formatted line on the console.
macro_rules! line {
    ($($argument:tt)*) => { $crate::console::say(format_args!($($argument)*)) };
}
pub(crate) use line;

/// What [`line!`] calls.
pub(crate) fn say(arguments: core::fmt::Arguments<'_>) {
    let mut line = Line::new();
    // Cut off where it is full.
    let _ = line.write_fmt(arguments);
    if LINES.try_send(line).is_err() {
        DROPPED.add(1, Ordering::Relaxed);
    }
}

/// Writes lines as they come, and does what is typed.
#[task]
pub(crate) async fn run(pins: pins::Console) {
    static TX: StaticCell<[u8; 256]> = StaticCell::new();
    static RX: StaticCell<[u8; 64]> = StaticCell::new();
    let (tx, rx) = (TX.init([0; 256]), RX.init([0; 64]));
    let uart = BufferedUart::new(pins.uart, pins.tx, pins.rx, Irqs, tx, rx, Config::default());
    let (mut tx, mut rx) = uart.split();
    let mut typed = String::<16>::new();
    loop {
        let mut byte = [0];
        match select(LINES.receive(), rx.read(&mut byte)).await {
            Either::First(line) => write(&mut tx, &line).await,
            Either::Second(Ok(_)) => take(byte[0], &mut typed),
            // Noise of a line that nobody holds.
            Either::Second(Err(_)) => typed.clear(),
        }
    }
}

async fn write(tx: &mut BufferedUartTx, line: &str) {
    for part in [line, "\r\n"] {
        // Writing to a serial port's buffer does not fail.
        let _ = tx.write_all(part.as_bytes()).await;
    }
    let dropped = DROPPED.swap(0, Ordering::Relaxed);
    if dropped > 0 {
        say(format_args!("({dropped} lines dropped)"));
    }
}

/// Takes one typed byte; a line too long to be a command is none.
fn take(byte: u8, typed: &mut String<16>) {
    match byte {
        b'\r' | b'\n' => {
            match typed.as_str() {
                "" => {}
                "status" => status(),
                "reset" => panic::reset_by_console(),
                _ => line!("commands: status, reset"),
            }
            typed.clear();
        }
        _ => {
            if typed.push(char::from(byte)).is_err() {
                typed.clear();
            }
        }
    }
}

fn status() {
    line!("up: {} s", Instant::now().as_secs());
    for (number, state) in (1..).zip(contacts::states()) {
        let (is, seen) =
            (if state.closed { "closed" } else { "open" }, if state.read_back { "closed" } else { "open" });
        line!("contact {} {}, seen {}, welded: {}, left: {} ms", number, is, seen, state.welded, state.left_ms);
    }
    peaks();
}

/// The most memory that was ever in use, in bytes.
pub(crate) fn peaks() {
    line!("peaks: stack {} heap {}", memory::stack_peak(), memory::heap_peak());
}
