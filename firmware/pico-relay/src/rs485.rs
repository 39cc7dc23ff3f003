//! The RS-485 line: one exchange at a time. The transceiver's DE and RE share a pin, so it does not receive while it sends.
//!
//! An answer ends when it has the expected number of bytes, or with silence: an exception is shorter than the expected answer, and for an
//! unknown function the length is not known.
//!
//! Silence is detected late: the serial port delivers its bytes after every four, or when nothing has come for 32 bit times. So silence is
//! measured in characters at the line's speed, and is longer than the 3.5 of Modbus.

use embassy_futures::poll_once;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::pac;
use embassy_rp::uart::{BufferedUart, Config, Error, Parity, StopBits};
use embassy_time::{Duration, Instant, with_deadline, with_timeout};
use embedded_io_async::{Read as _, Write as _};
use relay_link::{ExchangeFailure, RS485_MAX};
use static_cell::StaticCell;

use crate::pins::{self, Irqs, RS485_RX};

/// Start, eight data bits, parity, stop.
const BITS_PER_BYTE: u64 = 11;
/// The silence that ends an answer: four bytes that the serial port may hold back, the 3.5 characters of Modbus, and as many again to allow
/// for other tasks.
const SILENT_CHARACTERS: u32 = 12;
/// The least silence, for fast lines: other tasks run in between. A longer one costs nothing if the length is known.
const SILENCE_MIN: Duration = Duration::from_millis(20);
/// The gap before a request: 3.5 characters after the last byte on the line, which may be seen up to four characters late.
const GAP_CHARACTERS: u32 = 8;
/// How long to wait for a quiet line. One that is never quiet is used all the same: the answer, or the lack of one, tells more than
/// waiting.
const LONGEST_NOISE: Duration = Duration::from_millis(500);
/// The longest time that an answer may take to begin. During an exchange nothing is received from the broker, so it must be over long
/// before the broker's keep-alive expires.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The longest time that an answer may last: 256 bytes at 1200 bits per second take 2.4 s.
const LONGEST_ANSWER: Duration = Duration::from_secs(3);

/// Counts of exchanges since the start.
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
    /// Sets up the line with 8E1, receiving.
    pub(crate) fn new(pins: pins::Rs485, baud: u32) -> Self {
        static TX: StaticCell<[u8; RS485_MAX]> = StaticCell::new();
        // Twice the longest answer, so that an answer that is too long is recognised.
        static RX: StaticCell<[u8; 2 * RS485_MAX]> = StaticCell::new();
        let mut config = Config::default();
        config.baudrate = baud;
        config.parity = Parity::ParityEven;
        config.stop_bits = StopBits::STOP1;
        let (tx, rx) = (TX.init([0; RS485_MAX]), RX.init([0; 2 * RS485_MAX]));
        let direction = Output::new(pins.direction, Level::Low);
        let uart = BufferedUart::new(pins.uart, pins.tx, pins.rx, Irqs, tx, rx, config);
        // Interrupt after 4 bytes, not 28: otherwise a long answer would come in pieces with longer pauses than the silence that ends it.
        pac::UART1.uartifls().modify(|levels| levels.set_rxiflsel(0));
        // While the transceiver sends, its receiver's output floats.
        pac::PADS_BANK0.gpio(RS485_RX).modify(|pad| pad.set_pue(true));
        Self { uart, direction, baud, counts: Counts::default() }
    }

    /// Sends a request and receives the answer.
    pub(crate) async fn exchange(
        &mut self,
        request: &[u8],
        reply_timeout_ms: u16,
        expected: u16,
        reply: &mut [u8; RS485_MAX],
    ) -> Result<usize, ExchangeFailure> {
        let timeout = Duration::from_millis(u64::from(reply_timeout_ms)).min(LONGEST_WAIT);
        self.wait_for_quiet().await;
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

    fn characters(&self, count: u32) -> Duration {
        Duration::from_micros(u64::from(count) * BITS_PER_BYTE * 1_000_000 / u64::from(self.baud))
    }

    /// Waits until the line is quiet, and discards what came: an answer that was too late, or noise. After noise the driver receives
    /// nothing more until its error has been read.
    async fn wait_for_quiet(&mut self) {
        let (gap, until) = (self.characters(GAP_CHARACTERS), Instant::now() + LONGEST_NOISE);
        let mut bytes = [0; 32];
        while Instant::now() < until && with_timeout(gap, self.uart.read(&mut bytes)).await.is_ok() {}
    }

    async fn send(&mut self, request: &[u8]) {
        self.direction.set_high();
        // Writing to a serial port's buffer does not fail.
        let _ = self.uart.write_all(request).await;
        let _ = self.uart.flush().await;
        // The last bytes are still in the FIFO (of 32) and on the wire. The answer may begin 3.5 characters after them, so this waits
        // without yielding to other tasks: 19 ms at 19200. The contacts' task has a higher priority.
        let until = Instant::now() + self.characters(33);
        while self.uart.busy() && Instant::now() < until {}
        self.forget();
        self.direction.set_low();
    }

    /// Discards the bytes that switching the direction caused on the line, without waiting for more.
    fn forget(&mut self) {
        let mut bytes = [0; 32];
        // The depth of the FIFO: there cannot be more.
        for _ in 0..32 {
            if poll_once(self.uart.read(&mut bytes)).is_pending() {
                break;
            }
        }
    }

    async fn receive(
        &mut self,
        timeout: Duration,
        expected: usize,
        reply: &mut [u8; RS485_MAX],
    ) -> Result<usize, ExchangeFailure> {
        let silence = self.characters(SILENT_CHARACTERS).max(SILENCE_MIN);
        let begins = Instant::now() + timeout;
        // Receiving must also end on a line that never falls silent, such as a shorted one.
        let ends = begins + LONGEST_ANSWER;
        let (mut length, mut failure) = (0, None);
        let mut bytes = [0; 32];
        while Instant::now() < ends {
            // Noise alone does not begin an answer: the answer is still awaited, so that it does not run into the next request.
            let until = if length == 0 { begins } else { Instant::now() + silence };
            match with_deadline(until, self.uart.read(&mut bytes)).await {
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
                // Continues until the silence, so that the rest is not taken for the next answer.
                Ok(Err(_)) => failure = failure.or(Some(ExchangeFailure::Garbage)),
            }
            if failure.is_none() && expected != 0 && length >= expected {
                break;
            }
        }
        match failure {
            Some(failure) => Err(failure),
            None if length == 0 => Err(ExchangeFailure::Timeout),
            None => Ok(length),
        }
    }
}
