//! The RS-485 line: one exchange at a time. The transceiver's DE and RE lie on one pin, so it does not hear itself while it sends.
//!
//! An answer ends when it has as many bytes as were expected, or with silence: an exception is shorter than what was asked for, and of
//! an unknown function the length is not known.

use embassy_rp::gpio::{Level, Output};
use embassy_rp::pac;
use embassy_rp::uart::{BufferedUart, Config, Error, Parity, StopBits};
use embassy_time::{Duration, Instant, with_timeout};
use embedded_io_async::{Read as _, ReadReady as _, Write as _};
use relay_link::{ExchangeFailure, RS485_MAX};
use static_cell::StaticCell;

use crate::pins::{self, Irqs, RS485_RX};

/// Start, eight data bits, parity, stop.
const BITS_PER_BYTE: u64 = 11;
/// Modbus wants 3.5 characters (2 ms at 19200); the serial port itself hands over what came after 32 bit times only, and other tasks run
/// in between. Longer costs nothing where the length is known.
const SILENCE: Duration = Duration::from_millis(20);
/// While an exchange lasts the broker is not listened to, so it must be over long before the broker's patience is.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// 256 bytes at 1200 bits per second take 2.4 s.
const LONGEST_ANSWER: Duration = Duration::from_secs(3);

/// What went over the line since the start.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) exchanges: u32,
    pub(crate) timeouts: u32,
    pub(crate) garbage: u32,
}

/// The line.
pub(crate) struct Rs485 {
    uart: BufferedUart,
    direction: Output<'static>,
    baud: u32,
    pub(crate) counts: Counts,
}

impl Rs485 {
    /// 8E1, receiving.
    pub(crate) fn new(pins: pins::Rs485, baud: u32) -> Self {
        static TX: StaticCell<[u8; RS485_MAX]> = StaticCell::new();
        // Twice the longest answer: what is too much is seen as such.
        static RX: StaticCell<[u8; 2 * RS485_MAX]> = StaticCell::new();
        let mut config = Config::default();
        config.baudrate = baud;
        config.parity = Parity::ParityEven;
        config.stop_bits = StopBits::STOP1;
        let (tx, rx) = (TX.init([0; RS485_MAX]), RX.init([0; 2 * RS485_MAX]));
        let direction = Output::new(pins.direction, Level::Low);
        let uart = BufferedUart::new(pins.uart, pins.tx, pins.rx, Irqs, tx, rx, config);
        // While the transceiver sends, its receiver's output floats.
        pac::PADS_BANK0.gpio(RS485_RX).modify(|pad| pad.set_pue(true));
        Self { uart, direction, baud, counts: Counts::default() }
    }

    /// Sends, and takes what answers.
    pub(crate) async fn exchange(
        &mut self,
        request: &[u8],
        reply_timeout_ms: u16,
        expected: u16,
        reply: &mut [u8; RS485_MAX],
    ) -> Result<usize, ExchangeFailure> {
        let timeout = Duration::from_millis(u64::from(reply_timeout_ms)).min(LONGEST_WAIT);
        self.send(request).await;
        let result = self.receive(timeout, usize::from(expected), reply).await;
        self.counts.exchanges = self.counts.exchanges.wrapping_add(1);
        match result {
            Err(ExchangeFailure::Timeout) => self.counts.timeouts = self.counts.timeouts.wrapping_add(1),
            Err(_) => self.counts.garbage = self.counts.garbage.wrapping_add(1),
            Ok(_) => {}
        }
        result
    }

    async fn send(&mut self, request: &[u8]) {
        self.direction.set_high();
        // Writing to a serial port's buffer does not fail.
        let _ = self.uart.write_all(request).await;
        let _ = self.uart.flush().await;
        // The last bytes are still in the FIFO (of 32) and on the wire. Whoever answers may begin 3.5 characters after them, so this waits
        // without giving way to other tasks: 18 ms at the most.
        let until = Instant::now() + Duration::from_micros(33 * BITS_PER_BYTE * 1_000_000 / u64::from(self.baud));
        while self.uart.busy() && Instant::now() < until {}
        self.discard().await;
        self.direction.set_low();
    }

    /// Forgets what came before the line was given free: an answer that was too late, and what switching the direction made of the line.
    async fn discard(&mut self) {
        let mut bytes = [0; 16];
        while let Ok(true) = self.uart.read_ready() {
            // An error is discarded as well.
            let _ = self.uart.read(&mut bytes).await;
        }
    }

    async fn receive(
        &mut self,
        timeout: Duration,
        expected: usize,
        reply: &mut [u8; RS485_MAX],
    ) -> Result<usize, ExchangeFailure> {
        let (mut length, mut failure, mut patience) = (0, None, timeout);
        // A line that never falls silent, as a shorted one, must end as well.
        let until = Instant::now() + timeout + LONGEST_ANSWER;
        while Instant::now() < until {
            let mut bytes = [0; 32];
            match with_timeout(patience, self.uart.read(&mut bytes)).await {
                Err(_) => break,
                Ok(Ok(count)) => {
                    for byte in bytes.iter().take(count) {
                        match reply.get_mut(length) {
                            Some(place) => *place = *byte,
                            None => failure = Some(ExchangeFailure::Overrun),
                        }
                        length += 1;
                    }
                }
                Ok(Err(Error::Overrun)) => failure = Some(ExchangeFailure::Overrun),
                // Goes on to the silence, so that the rest is not taken for the next answer.
                Ok(Err(_)) => failure = failure.or(Some(ExchangeFailure::Garbage)),
            }
            if failure.is_none() && expected != 0 && length >= expected {
                break;
            }
            patience = SILENCE;
        }
        match failure {
            Some(failure) => Err(failure),
            None if length == 0 => Err(ExchangeFailure::Timeout),
            None => Ok(length),
        }
    }
}
