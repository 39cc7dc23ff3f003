//! What Mbed TLS needs of a C library: memory, a few string functions, and printing, which prints nothing.
//!
//! Only Mbed TLS allocates, and only while a session is set up; everything else in the firmware lives in statics and on the stack. So the
//! heap is separate memory that TLS may fill up without hurting anything but its own session.
#![expect(unsafe_code, reason = "functions called from C")]

use core::alloc::{GlobalAlloc as _, Layout};
use core::ffi::{c_char, c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;

use embedded_alloc::LlffHeap;

use crate::memory;

/// What a session needs with records of up to 16 KiB both ways, plus a reserve.
const SIZE: usize = 80 * 1_024;
const ALIGN: usize = 8;

static HEAP: LlffHeap = LlffHeap::empty();

/// Sets up the heap. To be called once, before the first session.
pub(crate) fn init() {
    static mut MEMORY: [MaybeUninit<u64>; SIZE / ALIGN] = [MaybeUninit::uninit(); SIZE / ALIGN];
    // SAFETY: called once, and nothing else knows of this memory.
    unsafe { HEAP.init((&raw mut MEMORY) as usize, SIZE) }
}

/// Returns zeroed memory. Its length is stored in front of it, for [`free`].
#[expect(clippy::cast_ptr_alignment, reason = "what the heap gives is aligned to ALIGN")]
#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    let layout = count.checked_mul(size).and_then(|length| length.checked_add(ALIGN)).map(layout);
    let Some(Some(layout)) = layout else {
        return ptr::null_mut();
    };
    // SAFETY: the layout is not empty.
    let start = unsafe { HEAP.alloc_zeroed(layout) };
    if start.is_null() {
        return ptr::null_mut();
    }
    memory::heap_in_use(HEAP.used());
    // SAFETY: there are at least ALIGN bytes at an address that is a multiple of ALIGN.
    unsafe {
        start.cast::<usize>().write(layout.size());
        start.add(ALIGN).cast()
    }
}

/// # Safety
/// `place` is null or came from [`calloc`], once.
#[expect(clippy::cast_ptr_alignment, reason = "what the heap gives is aligned to ALIGN")]
#[unsafe(no_mangle)]
unsafe extern "C" fn free(place: *mut c_void) {
    if place.is_null() {
        return;
    }
    // SAFETY: what calloc wrote, where it wrote it.
    unsafe {
        let start = place.cast::<u8>().sub(ALIGN);
        if let Some(layout) = layout(start.cast::<usize>().read()) {
            HEAP.dealloc(start, layout);
        }
    }
}

fn layout(length: usize) -> Option<Layout> {
    Layout::from_size_align(length, ALIGN).ok()
}

/// # Safety
/// Both are strings of C.
#[unsafe(no_mangle)]
unsafe extern "C" fn strcmp(left: *const u8, right: *const u8) -> c_int {
    // SAFETY: as above.
    unsafe { strncmp(left, right, usize::MAX) }
}

/// # Safety
/// Both are strings of C, or at least `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn strncmp(left: *const u8, right: *const u8, count: usize) -> c_int {
    for index in 0..count {
        // SAFETY: neither has ended before.
        let (left, right) = unsafe { (left.add(index).read(), right.add(index).read()) };
        if left != right || left == 0 {
            return c_int::from(left) - c_int::from(right);
        }
    }
    0
}

/// # Safety
/// It is a string of C.
#[unsafe(no_mangle)]
unsafe extern "C" fn strchr(text: *const u8, wanted: c_int) -> *const u8 {
    let mut place = text;
    loop {
        // SAFETY: the text has not ended before.
        let byte = c_int::from(unsafe { place.read() });
        if byte == wanted & 0xFF {
            return place;
        }
        if byte == 0 {
            return ptr::null();
        }
        // SAFETY: as above.
        place = unsafe { place.add(1) };
    }
}

/// # Safety
/// There are `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memchr(bytes: *const u8, wanted: c_int, count: usize) -> *const u8 {
    for index in 0..count {
        // SAFETY: as above.
        let place = unsafe { bytes.add(index) };
        if c_int::from(unsafe { place.read() }) == wanted & 0xFF {
            return place;
        }
    }
    ptr::null()
}

/// # Safety
/// Both are strings of C.
#[unsafe(no_mangle)]
unsafe extern "C" fn strstr(text: *const u8, part: *const u8) -> *const u8 {
    // SAFETY: as above; `place` does not go beyond the end of `text`.
    unsafe {
        let length = core::ffi::CStr::from_ptr(part.cast()).count_bytes();
        let mut place = text;
        loop {
            if strncmp(place, part, length) == 0 {
                return place;
            }
            if place.read() == 0 {
                return ptr::null();
            }
            place = place.add(1);
        }
    }
}

/// # Safety
/// There is room for `size` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn snprintf(out: *mut c_char, size: usize, _format: *const c_char) -> c_int {
    if size > 0 {
        // SAFETY: as above.
        unsafe { out.write(0) };
    }
    0
}

/// # Safety
/// There is room for `size` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn vsnprintf(out: *mut c_char, size: usize, format: *const c_char, _arguments: *mut c_void) -> c_int {
    // SAFETY: as above.
    unsafe { snprintf(out, size, format) }
}

#[unsafe(no_mangle)]
extern "C" fn puts(_text: *const c_char) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn printf(_format: *const c_char) -> c_int {
    0
}
