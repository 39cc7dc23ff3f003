//! The wiring, in one table, and the interrupts that belong to it.
//!
//! | GPIO | pin | use |
//! |---|---|---|
//! | 0, 1 | 1, 2 | console, UART0 TX and RX, 115200 8N1 |
//! | 3 | 5 | direction of the RS-485 transceiver (DE and RE together), high: send |
//! | 4, 5 | 6, 7 | RS-485 line, UART1 TX and RX |
//! | 6, 7 | 9, 10 | contact 1 and 2, high: closed; 10 kΩ to ground |
//! | 8, 9 | 11, 12 | mirror contact 1 and 2, closes to ground while the contactor is open |
//! | 23, 24, 25, 29 | – | Wi-Fi chip, on the board |
//!
//! The RS-485 pins are those of the earlier board V0.6, so its transceiver can be reused. The contacts are on pins that the earlier board
//! leaves free and that become inputs on a reset, so that the resistors to ground open the contacts.

use embassy_rp::peripherals::{
    ADC, ADC_TEMP_SENSOR, DMA_CH0, FLASH, PIN_0, PIN_1, PIN_3, PIN_4, PIN_5, PIN_6, PIN_7, PIN_8, PIN_9, PIN_23,
    PIN_24, PIN_25, PIN_29, PIO0, UART0, UART1, WATCHDOG,
};
use embassy_rp::{Peri, Peripherals, bind_interrupts, dma, pio, uart};

bind_interrupts!(pub(crate) struct Irqs {
    UART0_IRQ => uart::BufferedInterruptHandler<UART0>;
    PIO0_IRQ_0 => pio::InterruptHandler<PIO0>;
    DMA_IRQ_0 => dma::InterruptHandler<DMA_CH0>;
    UART1_IRQ => uart::BufferedInterruptHandler<UART1>;
});

/// The GPIOs of the two contacts as bits, for opening them without any driver when everything else has failed.
pub(crate) const CONTACT_BITS: u32 = 1 << 6 | 1 << 7;
/// GPIO of the RS-485 receiver, which needs a pull-up while the transceiver's receiver is off.
pub(crate) const RS485_RX: usize = 5;

/// All peripherals, grouped by user.
pub(crate) struct Board {
    pub(crate) console: Console,
    pub(crate) flash: Peri<'static, FLASH>,
    pub(crate) contacts: Contacts,
    pub(crate) health: Health,
    pub(crate) rs485: Rs485,
    pub(crate) wifi: Wifi,
}

/// For [`crate::console`].
pub(crate) struct Console {
    pub(crate) uart: Peri<'static, UART0>,
    pub(crate) tx: Peri<'static, PIN_0>,
    pub(crate) rx: Peri<'static, PIN_1>,
}

/// For [`crate::contacts`].
pub(crate) struct Contacts {
    pub(crate) outputs: (Peri<'static, PIN_6>, Peri<'static, PIN_7>),
    pub(crate) mirrors: (Peri<'static, PIN_8>, Peri<'static, PIN_9>),
    pub(crate) watchdog: Peri<'static, WATCHDOG>,
}

/// For [`crate::health`].
pub(crate) struct Health {
    pub(crate) adc: Peri<'static, ADC>,
    pub(crate) sensor: Peri<'static, ADC_TEMP_SENSOR>,
}

/// For [`crate::rs485`].
pub(crate) struct Rs485 {
    pub(crate) uart: Peri<'static, UART1>,
    pub(crate) tx: Peri<'static, PIN_4>,
    pub(crate) rx: Peri<'static, PIN_5>,
    pub(crate) direction: Peri<'static, PIN_3>,
}

/// For [`crate::net`].
pub(crate) struct Wifi {
    pub(crate) power: Peri<'static, PIN_23>,
    pub(crate) data: Peri<'static, PIN_24>,
    pub(crate) select: Peri<'static, PIN_25>,
    pub(crate) clock: Peri<'static, PIN_29>,
    pub(crate) pio: Peri<'static, PIO0>,
    pub(crate) dma: Peri<'static, DMA_CH0>,
}

impl Board {
    /// Hands out the peripherals.
    pub(crate) fn new(p: Peripherals) -> Self {
        Self {
            console: Console { uart: p.UART0, tx: p.PIN_0, rx: p.PIN_1 },
            flash: p.FLASH,
            contacts: Contacts { outputs: (p.PIN_6, p.PIN_7), mirrors: (p.PIN_8, p.PIN_9), watchdog: p.WATCHDOG },
            health: Health { adc: p.ADC, sensor: p.ADC_TEMP_SENSOR },
            rs485: Rs485 { uart: p.UART1, tx: p.PIN_4, rx: p.PIN_5, direction: p.PIN_3 },
            wifi: Wifi {
                power: p.PIN_23,
                data: p.PIN_24,
                select: p.PIN_25,
                clock: p.PIN_29,
                pio: p.PIO0,
                dma: p.DMA_CH0,
            },
        }
    }
}
