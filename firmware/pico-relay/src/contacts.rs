//! The two contacts: the one task that drives them, and that alone feeds the hardware watchdog.
//!
//! It runs at interrupt level, so TLS, flash or a loop without end at thread level do not keep a lease from running out. The watchdog is
//! fed where the outputs were just set: whatever keeps this from happening for [`PATIENCE`] resets the chip, and a reset opens the
//! contacts. If only the thread level is stuck, the contacts are safe all the same, but the relay is of no use any more: then the feeding
//! stops as well (see [`crate::health`]).

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

/// How long the outputs may go without having been looked after.
const PATIENCE: Duration = Duration::from_millis(1_000);
/// `Contacts` wants to be called ten times a second at least.
const PERIOD: Duration = Duration::from_millis(20);

static CONTACTS: CriticalSectionMutex<RefCell<Contacts>> = CriticalSectionMutex::new(RefCell::new(Contacts::new(0)));
static EXECUTOR: InterruptExecutor = InterruptExecutor::new();

/// Opens both contacts, and keeps them as their leases say from now on.
pub(crate) fn start(pins: pins::Contacts) {
    CONTACTS.lock(|contacts| contacts.replace(Contacts::new(now_ms())));
    let outputs = [Output::new(pins.outputs.0, Level::Low), Output::new(pins.outputs.1, Level::Low)];
    // A mirror contact is closed while its contactor is open (IEC 60947-4-1, Annex F): a broken wire reads as a closed contactor.
    let mirrors = [Input::new(pins.mirrors.0, Pull::Up), Input::new(pins.mirrors.1, Pull::Up)];
    let watchdog = Watchdog::new(pins.watchdog);
    // Below the interrupts of timer and serial ports, which are short, and above everything else.
    interrupt::SWI_IRQ_1.set_priority(Priority::P2);
    let spawner = EXECUTOR.start(interrupt::SWI_IRQ_1);
    match run(outputs, mirrors, watchdog) {
        Ok(token) => spawner.spawn(token),
        Err(error) => panic!("contacts: {error:?}"),
    }
}

/// Closes a contact (counted from 1) for so long; takes effect within [`PERIOD`].
pub(crate) fn lease(contact: u8, seconds: u16) -> Result<ContactState, LeaseRefusal> {
    CONTACTS.lock(|contacts| contacts.borrow_mut().lease(contact, seconds, now_ms()))
}

/// Keeps a contact that is closed closed for so long from now.
pub(crate) fn renew(contact: u8, seconds: u16) -> Result<ContactState, LeaseRefusal> {
    CONTACTS.lock(|contacts| contacts.borrow_mut().renew(contact, seconds, now_ms()))
}

/// Both as they are.
pub(crate) fn states() -> [ContactState; COUNT] {
    CONTACTS.lock(|contacts| contacts.borrow().states(now_ms()))
}

#[task]
async fn run(mut outputs: [Output<'static>; COUNT], mirrors: [Input<'static>; COUNT], mut watchdog: Watchdog) {
    watchdog.start(PATIENCE);
    // As if they had been closed, so that the console says how they are.
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

/// What gives the task its turn.
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
