//! The page of flash that makes this Pico one particular relay. It is written when the relay is provisioned, never by this firmware.

use relay_link::settings::{FLASH_OFFSET, PAGE, Settings, SettingsFault};

/// Where the RP2040 maps its flash (RP2040 datasheet, 2.2.1).
const FLASH_BASE: u32 = 0x1000_0000;

/// Reads the page. Certificates and key stay where they are, in flash, and cost no RAM.
pub(crate) fn load() -> Result<Settings<'static>, SettingsFault> {
    Settings::parse(page())
}

#[expect(unsafe_code, reason = "an address is made a slice")]
fn page() -> &'static [u8] {
    let start = (FLASH_BASE + FLASH_OFFSET) as *const u8;
    // SAFETY: the sector is mapped and readable all the time, memory.x keeps the program out of it, and nothing here writes to flash.
    unsafe { core::slice::from_raw_parts(start, PAGE) }
}
