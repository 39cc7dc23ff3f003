//! Why the relay began anew: kept over a reset in the watchdog's scratch registers, which only a loss of power clears.
//!
//! Scratch 0 says who asked for the reset; 1 to 3 where a panic was: its line and the end of its file's name. The boot ROM uses 4 to 7.

use core::panic::PanicInfo;

use embassy_rp::pac;
use relay_link::ResetReason;

use crate::console::line;
use crate::pins::CONTACT_BITS;

const PANIC: u32 = u32::from_be_bytes(*b"PANI");
const CONSOLE: u32 = u32::from_be_bytes(*b"CONS");

/// Reads why this start happened, and forgets it so that the next one is not taken for the same.
pub(crate) fn take_reason() -> ResetReason {
    let watchdog = pac::WATCHDOG;
    let (mark, reason) = (watchdog.scratch0().read(), watchdog.reason().read());
    watchdog.scratch0().write_value(0);
    match mark {
        PANIC => ResetReason::Panic,
        CONSOLE => ResetReason::Console,
        _ if reason.timer() => ResetReason::Watchdog,
        _ if reason.force() => ResetReason::Unknown,
        _ => ResetReason::PowerOn,
    }
}

/// Says where the last panic was, if there was one since power came.
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

/// Starts anew because the console says so.
pub(crate) fn reset_by_console() -> ! {
    restart(CONSOLE)
}

#[panic_handler]
fn on_panic(info: &PanicInfo<'_>) -> ! {
    if let Some(place) = info.location() {
        remember(place.line(), place.file());
    }
    restart(PANIC)
}

/// A fault is a panic, too.
mod handler {
    #![expect(unsafe_code, reason = "what an exception handler has to look like")]

    use cortex_m_rt::{ExceptionFrame, exception};

    #[exception]
    unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
        // The program counter instead of a line.
        super::remember(frame.pc(), "fault");
        super::restart(super::PANIC)
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

/// Opens the contacts at once, without any driver, then resets everything but the scratch registers.
fn restart(mark: u32) -> ! {
    cortex_m::interrupt::disable();
    pac::SIO.gpio_out(0).value_clr().write_value(CONTACT_BITS);
    let watchdog = pac::WATCHDOG;
    watchdog.scratch0().write_value(mark);
    // All but the oscillators that the reset itself needs, as the watchdog's own driver does it.
    pac::PSM.wdsel().write_value(pac::psm::regs::Wdsel(0x0001_FFFC));
    watchdog.ctrl().write(|w| w.set_trigger(true));
    loop {
        cortex_m::asm::nop();
    }
}
