//! Lines for the console.
//!
//! They go through a queue, because code at interrupt level writes some as well, and nothing waits for a slow serial port: a line that
//! finds the queue full is dropped and counted.

use core::fmt::Write as _;

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use heapless::String;
use portable_atomic::{AtomicU32, Ordering};

/// A line; what is longer is cut off.
pub(crate) type Line = String<96>;

static LINES: Channel<CriticalSectionRawMutex, Line, 12> = Channel::new();
static DROPPED: AtomicU32 = AtomicU32::new(0);

/// Puts a formatted line on the console.
macro_rules! line {
    ($($argument:tt)*) => { $crate::log::say(format_args!($($argument)*)) };
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

/// The next line to write.
pub(crate) async fn next() -> Line {
    LINES.receive().await
}

/// How many lines were dropped since the last call.
pub(crate) fn take_dropped() -> u32 {
    DROPPED.swap(0, Ordering::Relaxed)
}
