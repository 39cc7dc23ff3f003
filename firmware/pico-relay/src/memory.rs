//! How much memory was ever in use. It is measured, because the stack needed by a program with many waiting tasks cannot be read off its
//! source.

use portable_atomic::{AtomicUsize, Ordering};

use crate::log::line;

const PAINT: u32 = 0x5AFE_57AC;
/// Room for the stack frame of the painting itself.
const MARGIN: usize = 256;

static HEAP_PEAK: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "symbols of the linker script")]
unsafe extern "C" {
    /// The end of the stack in cortex-m-rt's linker script; the stack grows down to it.
    static _stack_end: u32;
    /// The start of the stack.
    static _stack_start: u32;
}

/// Paints the unused stack. To be called once, before anything else.
#[expect(unsafe_code, reason = "writes below the stack pointer")]
pub(crate) fn paint_stack() {
    let here = cortex_m::register::msp::read() as usize;
    let mut place = (&raw const _stack_end).cast_mut();
    while (place as usize) < here.saturating_sub(MARGIN) {
        // SAFETY: aligned words between the end of the stack and its pointer: RAM that is nobody's yet, since interrupts that would use
        // it are not enabled before the first driver is.
        unsafe {
            place.write_volatile(PAINT);
            place = place.add(1);
        }
    }
}

/// Returns the most bytes of stack that were ever in use.
#[expect(unsafe_code, reason = "reads the stack")]
pub(crate) fn stack_peak() -> usize {
    let (mut place, start) = (&raw const _stack_end, &raw const _stack_start);
    // SAFETY: aligned words of RAM, read only; the paint ends at the latest where this function's own frame is.
    while place < start && unsafe { place.read_volatile() } == PAINT {
        place = place.wrapping_add(1);
    }
    start as usize - place as usize
}

/// Notes how many bytes of the heap are in use.
pub(crate) fn heap_in_use(bytes: usize) {
    HEAP_PEAK.fetch_max(bytes, Ordering::Relaxed);
}

/// Returns the most bytes of heap that were ever in use.
pub(crate) fn heap_peak() -> usize {
    HEAP_PEAK.load(Ordering::Relaxed)
}

/// Logs the most memory that was ever in use, in bytes.
pub(crate) fn peaks() {
    line!("peaks: stack {} heap {}", stack_peak(), heap_peak());
}
