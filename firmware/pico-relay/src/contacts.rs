//! The two contacts, and the one task that drives them and is the only one to feed the hardware watchdog.
//!
//! The task runs at interrupt level, so neither TLS nor flash nor an endless loop at thread level can keep a lease from running out. It
//! feeds the watchdog right after setting the outputs: anything that prevents this for [`PATIENCE`] resets the chip, and a reset opens the
//! contacts. If only the thread level is stuck, the contacts are still safe but the relay is useless, so the feeding stops as well (see
//! [`crate::health`]).

use core::cell::RefCell;

use embassy_executor::task;
use embassy_rp::executor::InterruptExecutor;
use embassy_rp::gpio::{Input, Level, Output, Pull};
use embassy_rp::interrupt;
use embassy_rp::interrupt::{InterruptExt, Priority};
use embassy_rp::watchdog::Watchdog;
use embassy_sync::blocking_mutex::CriticalSectionMutex;
use embassy_time::{Duration, Instant, Timer};
use relay_link::contacts::CONTACTS as COUNT;
use relay_link::{ContactState, Contacts, LeaseRefusal};

use crate::log::line;
use crate::{health, pins};

/// How long the outputs may go without an update before the watchdog resets the chip.
const PATIENCE: Duration = Duration::from_millis(1_000);
/// Period of the task; `Contacts` must be called at least ten times a second.
const PERIOD: Duration = Duration::from_millis(20);

static CONTACTS: CriticalSectionMutex<RefCell<Contacts>> = CriticalSectionMutex::new(RefCell::new(Contacts::new(0)));
static EXECUTOR: InterruptExecutor = InterruptExecutor::new();

/// Opens both contacts, and from now on drives them according to their leases.
pub(crate) fn start(pins: pins::Contacts) {
    CONTACTS.lock(|contacts| contacts.replace(Contacts::new(now_ms())));
    let outputs = [Output::new(pins.outputs.0, Level::Low), Output::new(pins.outputs.1, Level::Low)];
    // A mirror contact is closed while its contactor is open (IEC 60947-4-1, Annex F): a broken wire reads as a closed contactor.
    let mirrors = [Input::new(pins.mirrors.0, Pull::Up), Input::new(pins.mirrors.1, Pull::Up)];
    let watchdog = Watchdog::new(pins.watchdog);
    // Below the interrupts of the timer and the serial ports, which are short, and above everything else.
    interrupt::SWI_IRQ_1.set_priority(Priority::P2);
    let spawner = EXECUTOR.start(interrupt::SWI_IRQ_1);
    match run(outputs, mirrors, watchdog) {
        Ok(token) => spawner.spawn(token),
        Err(error) => panic!("contacts: {error:?}"),
    }
}

/// Closes a contact (counted from 1) for this many seconds; takes effect within [`PERIOD`].
pub(crate) fn lease(contact: u8, seconds: u16) -> Result<ContactState, LeaseRefusal> {
    CONTACTS.lock(|contacts| contacts.borrow_mut().lease(contact, seconds, now_ms()))
}

/// Keeps a closed contact closed for this many seconds from now.
pub(crate) fn renew(contact: u8, seconds: u16) -> Result<ContactState, LeaseRefusal> {
    CONTACTS.lock(|contacts| contacts.borrow_mut().renew(contact, seconds, now_ms()))
}

/// Returns the state of both contacts.
pub(crate) fn states() -> [ContactState; COUNT] {
    CONTACTS.lock(|contacts| contacts.borrow().states(now_ms()))
}

#[task]
async fn run(mut outputs: [Output<'static>; COUNT], mirrors: [Input<'static>; COUNT], mut watchdog: Watchdog) {
    watchdog.start(PATIENCE);
    // As if they had been closed, so that the console reports their state at the start.
    let (mut said, mut said_welded) = ([true; COUNT], false);
    loop {
        let read_backs = [mirrors[0].is_high(), mirrors[1].is_high()];
        let (closed, welded) = CONTACTS.lock(|contacts| {
            let mut contacts = contacts.borrow_mut();
            (contacts.tick(now_ms(), read_backs), contacts.welded())
        });
        for (output, closed) in outputs.iter_mut().zip(closed) {
            output.set_level(if closed { Level::High } else { Level::Low });
        }
        if health::thread_level_lives() {
            watchdog.feed(PATIENCE);
        }
        for (number, (closed, said)) in (1..).zip(closed.into_iter().zip(&mut said)) {
            if closed != *said {
                line!("contact {} {}", number, if closed { "closed" } else { "open" });
                *said = closed;
            }
        }
        if welded && !said_welded {
            line!("contact welded: all stay open until the power is taken away");
            said_welded = true;
        }
        Timer::after(PERIOD).await;
    }
}

/// The interrupt handler that polls the task.
mod handler {
    #![expect(unsafe_code, reason = "what an interrupt handler has to look like")]

    use embassy_rp::interrupt;

    #[interrupt]
    unsafe fn SWI_IRQ_1() {
        // SAFETY: called from this interrupt and from nowhere else, which is only enabled once the executor is started.
        unsafe { super::EXECUTOR.on_interrupt() }
    }
}

fn now_ms() -> u64 {
    Instant::now().as_millis()
}
