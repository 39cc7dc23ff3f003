//! The simulated wallbox at the master end of a pseudo-terminal, with a stopwatch: it notes when the last byte of each setpoint frame was
//! read, and when the bus was free for it.

use std::io::{self, Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use control::Tick;
use serialport::{SerialPort, TTYPort};
use surplusd::clock::Clock;
use surplusd::sim::frames::{Ask, Parser};
use surplusd::sim::plant::CarSignal;
use surplusd::sim::wallbox::{Wallbox, WallboxOptions};

/// Pause between a reply and the next request (`gap-ms` of the register map).
pub(crate) const GAP: Duration = Duration::from_millis(100);
/// The register that sets the current.
const SETPOINT: u16 = 261;
/// The longest wait for bytes.
const WAIT_MAX: Duration = Duration::from_millis(20);

/// A write of the setpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    /// When its last byte was read.
    pub(crate) at: Instant,
    /// The earliest time that the rules of the bus allowed: the end of the last reply before it, plus [`GAP`].
    pub(crate) free_from: Instant,
    /// The setpoint, in tenths of an ampere.
    pub(crate) deciamps: u16,
}

/// What the car draws on each phase while it charges, in amperes: less than is ever offered, and always the same, so that the setpoint
/// follows the surplus alone. A car that draws nothing would soon be offered a constant current.
const DRAWN: f64 = 5.0;

/// The wallbox. Ends when dropped.
pub(crate) struct Line {
    pub(crate) written: Receiver<Written>,
    /// What the car draws now, in watts.
    pub(crate) drawn: Arc<AtomicI32>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Line {
    /// A wallbox with a car that draws [`DRAWN`]; the device is at `link`.
    pub(crate) fn open(link: &Path) -> anyhow::Result<Self> {
        let (master, slave) = TTYPort::pair()?;
        symlink(slave.name().context("a pseudo-terminal without a name")?, link)?;
        // The daemon must be the only one that has it open.
        drop(slave);
        let (sender, written) = channel();
        let (stop, drawn) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI32::new(0)));
        let pump = Pump {
            master,
            wallbox: Wallbox::new(WallboxOptions { voltages: [230; 3], ..WallboxOptions::default() }),
            parser: Parser::new(20),
            clock: Clock::start(1),
            free_from: Instant::now(),
            sender,
            stop: Arc::clone(&stop),
            drawn: Arc::clone(&drawn),
        };
        let thread = thread::Builder::new().name("wallbox".to_owned()).spawn(move || pump.run())?;
        Ok(Self { written, drawn, stop, thread: Some(thread) })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Pump {
    master: TTYPort,
    wallbox: Wallbox,
    parser: Parser,
    clock: Clock,
    free_from: Instant,
    sender: Sender<Written>,
    stop: Arc<AtomicBool>,
    drawn: Arc<AtomicI32>,
}

impl Pump {
    fn run(mut self) {
        let mut buffer = [0; 256];
        while !self.stop.load(Ordering::Relaxed) {
            let now = self.clock.now();
            let amps = if self.wallbox.allowed_deciamps() > 0 { [DRAWN; 3] } else { [0.0; 3] };
            self.wallbox.tick(now.0, CarSignal { plugged: true, asks: true, amps });
            #[expect(clippy::cast_possible_truncation, reason = "some thousand watts")]
            self.drawn.store((amps.iter().sum::<f64>() * 230.0) as i32, Ordering::Relaxed);
            self.answer(now);
            let due = self.wallbox.next_reply_ms().map_or(WAIT_MAX, |at| self.clock.real(Tick(at).since(now)));
            // A timeout of 0 would mean no timeout.
            let _ = self.master.set_timeout(due.clamp(Duration::from_millis(1), WAIT_MAX));
            match self.master.read(&mut buffer) {
                Ok(count) => self.hear(buffer.get(..count).unwrap_or(&[]), Instant::now()),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                // The other end is not open.
                Err(_) => thread::sleep(WAIT_MAX),
            }
        }
    }

    fn answer(&mut self, now: Tick) {
        while let Some(reply) = self.wallbox.poll_reply(now.0) {
            let _ = self.master.write_all(&reply);
            self.free_from = Instant::now() + GAP;
        }
    }

    fn hear(&mut self, bytes: &[u8], at: Instant) {
        let now = self.clock.now().0;
        self.wallbox.bytes(now, bytes);
        for request in self.parser.push(now, bytes) {
            let Ask::Write { start: SETPOINT, values: Some(values), .. } = request.ask else { continue };
            if let [deciamps] = values[..] {
                let _ = self.sender.send(Written { at, free_from: self.free_from, deciamps });
            }
        }
    }
}
