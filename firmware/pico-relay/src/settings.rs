//! The page of flash with this relay's settings. It is written when the relay is provisioned, or from the console.

use embassy_rp::Peri;
use embassy_rp::flash::{Blocking, Flash as Driver};
use embassy_rp::peripherals::FLASH;
use relay_link::settings::{FLASH_OFFSET, PAGE, Settings, SettingsFault};

use crate::reset;

/// Where the RP2040 maps its flash (RP2040 datasheet, 2.2.1).
const FLASH_BASE: u32 = 0x1000_0000;
/// End of the Pico's flash (W25Q16JV, 2 MiB), of which the page is the last sector.
const FLASH_END: u32 = 2 * 1_024 * 1_024;

/// The only writer of the page.
pub(crate) struct Flash(Driver<'static, FLASH, Blocking, { FLASH_END as usize }>);

impl Flash {
    pub(crate) fn new(flash: Peri<'static, FLASH>) -> Self {
        Self(Driver::new_blocking(flash))
    }

    /// Replaces the page and restarts, as the settings in use are gone. Takes up to half a second, during which nothing else runs. If it
    /// fails, or the power does meanwhile, the page is empty or damaged, and the relay reports that.
    pub(crate) fn replace(mut self, page: &[u8; PAGE]) -> ! {
        let _ = self.0.blocking_erase(FLASH_OFFSET, FLASH_END).and_then(|()| self.0.blocking_write(FLASH_OFFSET, page));
        reset::by_console()
    }
}

/// Reads the page. Certificates and key stay in flash and cost no RAM.
pub(crate) fn load() -> Result<Settings<'static>, SettingsFault> {
    Settings::parse(page())
}

#[expect(unsafe_code, reason = "an address is made a slice")]
fn page() -> &'static [u8] {
    let start = (FLASH_BASE + FLASH_OFFSET) as *const u8;
    // SAFETY: the sector is always mapped and readable, and memory.x keeps the program out of it. Only `Flash::replace` writes there, and
    // it does not return: nobody reads these bytes again.
    unsafe { core::slice::from_raw_parts(start, PAGE) }
}
