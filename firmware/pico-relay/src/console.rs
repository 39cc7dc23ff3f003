//! The console on UART0: log lines, the commands `status` and `reset`, and the settings (see [`relay_link::draft`]). It never shows
//! secrets.

use embassy_executor::task;
use embassy_futures::select::{Either, select};
use embassy_rp::uart::{BufferedUart, BufferedUartTx, Config};
use embassy_time::Instant;
use embedded_io_async::{Read as _, Write as _};
use heapless::String;
use relay_link::draft::{Draft, LINE_MAX, Missing, Wish};
use static_cell::StaticCell;

use crate::log::{self, line, say};
use crate::pins::{self, Irqs};
use crate::settings::{self, Flash};
use crate::{contacts, memory, reset};

/// Writes log lines as they come, and carries out what is typed.
#[task]
pub(crate) async fn run(pins: pins::Console, flash: Flash) {
    static TX: StaticCell<[u8; 256]> = StaticCell::new();
    // Room for a pasted PEM file, because the thread level may be busy with TLS meanwhile.
    static RX: StaticCell<[u8; 1024]> = StaticCell::new();
    static TYPING: StaticCell<Typing> = StaticCell::new();
    let (tx, rx) = (TX.init([0; 256]), RX.init([0; 1024]));
    let uart = BufferedUart::new(pins.uart, pins.tx, pins.rx, Irqs, tx, rx, Config::default());
    let (mut tx, mut rx) = uart.split();
    let typing = TYPING.init(Typing { line: String::new(), whole: true, draft: Draft::new(), flash: Some(flash) });
    if let Ok(settings) = settings::load() {
        typing.draft.begin(&settings);
    }
    loop {
        let mut byte = [0];
        match select(log::next(), rx.read(&mut byte)).await {
            Either::First(line) => write(&mut tx, &line).await,
            Either::Second(Ok(_)) => typing.take(byte[0]),
            // Noise on an unconnected line, or more bytes than could be read in time.
            Either::Second(Err(_)) => typing.whole = false,
        }
    }
}

async fn write(tx: &mut BufferedUartTx, line: &str) {
    for part in [line, "\r\n"] {
        // Writing to a serial port's buffer does not fail.
        let _ = tx.write_all(part.as_bytes()).await;
    }
    let dropped = log::take_dropped();
    if dropped > 0 {
        say(format_args!("({dropped} lines dropped)"));
    }
}

/// The line and the settings being typed.
struct Typing {
    line: String<LINE_MAX>,
    /// Whether the line has arrived in full so far.
    whole: bool,
    draft: Draft,
    flash: Option<Flash>,
}

impl Typing {
    fn take(&mut self, byte: u8) {
        if byte != b'\r' && byte != b'\n' {
            self.whole &= self.line.push(char::from(byte)).is_ok();
            return;
        }
        if self.whole {
            match self.draft.line(&self.line, &mut say) {
                Wish::Nothing => {}
                Wish::Status => status(),
                Wish::Reset => reset::by_console(),
                Wish::Save => self.save(),
            }
        } else {
            self.draft.damaged();
            line!("that line was not understood");
        }
        self.line.clear();
        self.whole = true;
    }

    /// Saves the draft and resets the chip, which opens the contacts: therefore never under load.
    fn save(&mut self) {
        if contacts::states().iter().any(|contact| contact.closed || contact.read_back) {
            return line!("not saved: a contact is closed");
        }
        match self.draft.page() {
            Ok(page) => {
                if let Some(flash) = self.flash.take() {
                    flash.replace(&page);
                }
            }
            Err(fault) => line!("not saved; {}", Missing(fault)),
        }
    }
}

fn status() {
    line!("up: {} s", Instant::now().as_secs());
    for (number, state) in (1..).zip(contacts::states()) {
        let (is, seen) =
            (if state.closed { "closed" } else { "open" }, if state.read_back { "closed" } else { "open" });
        line!("contact {} {}, seen {}, welded: {}, left: {} ms", number, is, seen, state.welded, state.left_ms);
    }
    memory::peaks();
}
