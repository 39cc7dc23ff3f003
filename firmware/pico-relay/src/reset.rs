//! Resets, and the reason for the last one: kept in the watchdog's scratch register 0, which only a loss of power clears. The boot ROM uses
//! registers 4 to 7, `panic` 1 to 3.

use embassy_rp::pac;
use relay_link::ResetReason;

use crate::pins::CONTACT_BITS;

// The causes of a reset.
const PANIC: u32 = u32::from_be_bytes(*b"PANI");
const CONSOLE: u32 = u32::from_be_bytes(*b"CONS");

/// Returns the reason for this start, and clears it so that the next start is not taken for the same.
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

/// Restarts on behalf of the console.
pub(crate) fn by_console() -> ! {
    restart(CONSOLE)
}

/// Restarts after a panic or a fault.
pub(crate) fn by_panic() -> ! {
    restart(PANIC)
}

/// Opens the contacts at once, without any driver, then resets everything but the scratch registers.
fn restart(mark: u32) -> ! {
    cortex_m::interrupt::disable();
    pac::SIO.gpio_out(0).value_clr().write_value(CONTACT_BITS);
    let watchdog = pac::WATCHDOG;
    watchdog.scratch0().write_value(mark);
    // Everything except the oscillators that the reset itself needs, as in the watchdog's own driver.
    pac::PSM.wdsel().write_value(pac::psm::regs::Wdsel(0x0001_FFFC));
    watchdog.ctrl().write(|w| w.set_trigger(true));
    loop {
        cortex_m::asm::nop();
    }
}
