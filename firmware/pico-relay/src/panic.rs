//! The place of the last panic: its line and the end of its file name, kept across a reset in the watchdog's scratch registers 1 to 3,
//! which only a loss of power clears.

use core::panic::PanicInfo;

use embassy_rp::pac;

use crate::log::line;
use crate::reset;

/// Logs where the last panic was, if there was one since power-on.
pub(crate) fn report_last() {
    let watchdog = pac::WATCHDOG;
    let number = watchdog.scratch1().read();
    if number == 0 {
        return;
    }
    let name = [watchdog.scratch2().read(), watchdog.scratch3().read()].map(u32::to_be_bytes);
    if let Ok(name) = core::str::from_utf8(name.as_flattened()) {
        line!("last panic: {}:{}", name.trim_start_matches('\0'), number);
    }
}

#[panic_handler]
fn on_panic(info: &PanicInfo<'_>) -> ! {
    if let Some(place) = info.location() {
        remember(place.line(), place.file());
    }
    reset::by_panic()
}

/// Handles a fault like a panic.
mod handler {
    #![expect(unsafe_code, reason = "what an exception handler has to look like")]

    use cortex_m_rt::{ExceptionFrame, exception};

    #[exception]
    unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
        // The program counter takes the place of the line.
        super::remember(frame.pc(), "fault");
        crate::reset::by_panic()
    }
}

fn remember(line: u32, file: &str) {
    let mut name = [0; 8];
    for (place, byte) in name.iter_mut().rev().zip(file.bytes().rev()) {
        *place = byte;
    }
    let name = u64::from_be_bytes(name);
    let watchdog = pac::WATCHDOG;
    watchdog.scratch1().write_value(line);
    #[expect(clippy::cast_possible_truncation, reason = "its two halves")]
    {
        watchdog.scratch2().write_value((name >> 32) as u32);
        watchdog.scratch3().write_value(name as u32);
    }
}
