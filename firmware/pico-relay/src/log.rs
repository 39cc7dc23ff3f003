//! Lines for the console.
//!
//! They go through a queue, because code at interrupt level also writes lines and nothing may wait for a slow serial port: a line that
//! finds the queue full is dropped and counted.

use core::fmt::Write as _;

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use heapless::String;
use portable_atomic::{AtomicU32, Ordering};

/// A line; longer ones are cut off.
pub(crate) type Line = String<96>;

static LINES: Channel<CriticalSectionRawMutex, Line, 12> = Channel::new();
static DROPPED: AtomicU32 = AtomicU32::new(0);

/// Queues a formatted line for the console.
macro_rules! line {
    ($($argument:tt)*) => { $crate::log::say(format_args!($($argument)*)) };
}
pub(crate) use line;

/// Queues a line; called by [`line!`].
pub(crate) fn say(arguments: core::fmt::Arguments<'_>) {
    let mut line = Line::new();
    // An overlong line is cut off.
    let _ = line.write_fmt(arguments);
    if LINES.try_send(line).is_err() {
        DROPPED.add(1, Ordering::Relaxed);
    }
}

/// Returns the next line to write.
pub(crate) async fn next() -> Line {
    LINES.receive().await
}

/// Returns the number of lines dropped since the last call.
pub(crate) fn take_dropped() -> u32 {
    DROPPED.swap(0, Ordering::Relaxed)
}
