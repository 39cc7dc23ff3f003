//! Puts a [`Wallbox`] behind a real pseudo-terminal, so that the daemon opens it like an RS-485 adapter.
//!
//! The port does not hold the slave end itself, so it sees when the daemon closes it. Linux leaves the exclusive mark (TIOCEXCL) on a
//! pseudo-terminal even after the last close, as long as its master lives, and then nobody but root could ever open it again. So where the
//! mark is left behind, a new pseudo-terminal takes the place of the old one behind the link. Left out: baud rate and parity, which a
//! pseudo-terminal does not have.

use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use control::{Millis, Tick};
use serialport::{SerialPort, TTYPort};

use super::wallbox::Wallbox;
use crate::clock::Clock;

/// How often it is looked for somebody at the other end while nobody is, in real time.
const LOOK: Duration = Duration::from_millis(10);
/// The longest wait for bytes or for room, in real time: then it is looked whether the adapter was pulled out.
const WAIT_MAX: Duration = Duration::from_millis(20);
/// A thread that did not get to look at its port for this long, in real time, was kept from it by the machine …
const KEPT: Duration = Duration::from_millis(60);
/// … and what comes within this time after it may be requests that the master has given up meanwhile.
const AFTERMATH: Duration = Duration::from_secs(1);
/// `O_NOCTTY | O_NONBLOCK` as Linux has them on every machine but the oldest families.
const OPEN_FLAGS: i32 = 0o400 | 0o4_000;

/// A wallbox at the end of a pseudo-terminal. Dropping it is pulling out the adapter for good.
#[derive(Debug)]
pub struct WallboxPort {
    wallbox: Arc<Mutex<Wallbox>>,
    clock: Clock,
    link: Option<PathBuf>,
    device: PathBuf,
    /// One thread while plugged in, none while not.
    pump: Option<Running>,
}

#[derive(Debug)]
struct Running {
    pulled: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl WallboxPort {
    /// Opens a pseudo-terminal, and points `link` at it where one is wanted: the link stays the same through [`WallboxPort::unplug`] and
    /// [`WallboxPort::replug`], the device behind it does not.
    pub fn open(wallbox: Wallbox, clock: Clock, link: Option<PathBuf>) -> io::Result<Self> {
        let mut port = Self { wallbox: Arc::new(Mutex::new(wallbox)), clock, link, device: PathBuf::new(), pump: None };
        port.plug()?;
        Ok(port)
    }

    /// What the daemon opens: the link, or the device where there is none.
    pub fn path(&self) -> &Path {
        self.link.as_deref().unwrap_or(&self.device)
    }

    /// The box itself, for faults and observation. Do not hold it across an `await`.
    pub fn wallbox(&self) -> MutexGuard<'_, Wallbox> {
        lock(&self.wallbox)
    }

    /// Another handle to the box.
    pub fn share(&self) -> Arc<Mutex<Wallbox>> {
        Arc::clone(&self.wallbox)
    }

    /// Pulls out the adapter: open devices fail, the link is gone. The box lives on. Waits until the device is closed.
    pub fn unplug(&mut self) {
        if let Some(link) = &self.link {
            // Missing is what is wanted.
            std::fs::remove_file(link).ok();
        }
        if let Some(running) = self.pump.take() {
            running.pulled.store(true, Ordering::Relaxed);
            running.thread.join().ok();
        }
    }

    /// Puts it back: a new device, the same link. Pulls it out first where it is in.
    pub fn replug(&mut self) -> io::Result<()> {
        self.unplug();
        self.plug()
    }

    fn plug(&mut self) -> io::Result<()> {
        let (master, device) = terminal(self.link.as_deref())?;
        self.device.clone_from(&device);
        let pulled = Arc::new(AtomicBool::new(false));
        let (wallbox, clock, link) = (Arc::clone(&self.wallbox), self.clock, self.link.clone());
        let pump = Pump {
            wallbox,
            link,
            master,
            device,
            anybody: false,
            pulled: Arc::clone(&pulled),
            looked: clock.now(),
            kept: None,
            clock,
        };
        let thread = thread::Builder::new().name("wallbox".to_owned()).spawn(move || pump.run())?;
        self.pump = Some(Running { pulled, thread });
        Ok(())
    }
}

impl Drop for WallboxPort {
    fn drop(&mut self) {
        self.unplug();
    }
}

fn lock(wallbox: &Mutex<Wallbox>) -> MutexGuard<'_, Wallbox> {
    // A test that failed while it held the box says so itself.
    wallbox.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A new pseudo-terminal, with the link pointing at it.
fn terminal(link: Option<&Path>) -> io::Result<(TTYPort, PathBuf)> {
    let (master, slave) = TTYPort::pair()?;
    // A clone is not inherited by programs that are started meanwhile; the original would be, and outlive the unplugging in them.
    let master = master.try_clone_native()?;
    let device = slave.name().map(PathBuf::from);
    let device = device.ok_or_else(|| io::Error::other("the pseudo-terminal has no name"))?;
    if let Some(link) = link {
        std::fs::remove_file(link).ok();
        symlink(&device, link)?;
    }
    Ok((master, device))
}

/// Moves bytes between the box and its device.
struct Pump {
    wallbox: Arc<Mutex<Wallbox>>,
    clock: Clock,
    link: Option<PathBuf>,
    master: TTYPort,
    device: PathBuf,
    /// Whether somebody has the device open, as far as is known.
    anybody: bool,
    /// The adapter has been pulled out.
    pulled: Arc<AtomicBool>,
    /// When it was last looked for bytes.
    looked: Tick,
    /// When this thread was last kept from looking.
    kept: Option<Tick>,
}

impl Pump {
    fn run(mut self) {
        let mut buffer = [0_u8; 256];
        while !self.pulled.load(Ordering::Relaxed) {
            let due = self.send_due();
            let wait = due.map_or(WAIT_MAX, |tick| self.clock.real(tick.since(self.clock.now())).min(WAIT_MAX));
            // A wait of 0 would be for ever.
            self.master.set_timeout(wait.max(Duration::from_millis(1))).ok();
            let look = self.clock.now() + Millis(u64::from(self.clock.speed()) * 20);
            let waiting = self.anybody.then(|| self.clock.waiting(look));
            let read = self.master.read(&mut buffer);
            drop(waiting);
            let late = self.is_late();
            match read {
                Ok(length) if length > 0 => {
                    self.anybody = true;
                    let bytes = buffer.get(..length).unwrap_or(&[]);
                    let mut wallbox = lock(&self.wallbox);
                    let now_ms = self.clock.now().0;
                    if late { wallbox.late_bytes(now_ms, bytes) } else { wallbox.bytes(now_ms, bytes) }
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                // EIO: nobody has it open.
                Ok(_) | Err(_) => {
                    self.anybody = false;
                    self.clear_mark();
                    thread::sleep(LOOK);
                }
            }
        }
    }

    /// Whether bytes may have lain in the pseudo-terminal for longer than the master waits for an answer.
    fn is_late(&mut self) -> bool {
        let now = self.clock.now();
        if self.clock.real(now.since(self.looked)) > KEPT {
            self.kept = Some(now);
        }
        self.looked = now;
        self.kept.is_some_and(|kept| self.clock.real(now.since(kept)) < AFTERMATH)
    }

    /// Puts a new pseudo-terminal behind the link where the old one bears the mark of somebody who is gone.
    fn clear_mark(&mut self) {
        let Some(link) = &self.link else { return };
        let open = std::fs::OpenOptions::new().read(true).write(true).custom_flags(OPEN_FLAGS).open(&self.device);
        if open.is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
            && let Ok((master, device)) = terminal(Some(link))
        {
            self.master = master;
            self.device = device;
        }
    }

    /// Sends what is due; says when the next reply will be.
    fn send_due(&mut self) -> Option<Tick> {
        loop {
            let now_ms = self.clock.now().0;
            let reply = {
                let mut wallbox = lock(&self.wallbox);
                match wallbox.poll_reply(now_ms) {
                    Some(reply) => reply,
                    None => return wallbox.next_reply_ms().map(Tick),
                }
            };
            // With nobody listening it is lost, as on a real line; it must not wait for the next to open the device.
            if self.anybody {
                self.master.set_timeout(WAIT_MAX).ok();
                self.master.write_all(&reply).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_serial::SerialStream;

    use super::*;
    use crate::sim::wallbox::WallboxOptions;

    const STATE: [u8; 8] = [0x01, 0x04, 0x00, 0x05, 0x00, 0x01, 0x21, 0xcb];

    fn open(path: &Path) -> tokio_serial::Result<SerialStream> {
        SerialStream::open(&tokio_serial::new(path.display().to_string(), 19_200).parity(tokio_serial::Parity::Even))
    }

    async fn ask(line: &mut SerialStream) -> io::Result<[u8; 7]> {
        let mut reply = [0; 7];
        AsyncWriteExt::write_all(line, &STATE).await?;
        tokio::time::timeout(Duration::from_secs(60), AsyncReadExt::read_exact(line, &mut reply)).await??;
        Ok(reply)
    }

    #[tokio::test]
    async fn a_box_answers_through_its_device_and_survives_being_unplugged() {
        let dir = tempfile::tempdir().unwrap();
        let stable = dir.path().join("rs485");
        let clock = Clock::start(1);
        let mut port = WallboxPort::open(Wallbox::new(WallboxOptions::default()), clock, Some(stable.clone())).unwrap();
        assert_eq!(port.path(), stable);
        let mut line = open(&stable).unwrap();
        assert_eq!(ask(&mut line).await.unwrap()[..5], [1, 4, 2, 0, 2]);
        drop(line);
        let mut line = open(&stable).unwrap();
        assert_eq!(ask(&mut line).await.unwrap()[..5], [1, 4, 2, 0, 2]);

        port.unplug();
        assert!(open(&stable).is_err());
        assert!(ask(&mut line).await.is_err());
        drop(line);

        port.replug().unwrap();
        let mut line = open(&stable).unwrap();
        assert!(ask(&mut line).await.is_ok());
        assert_eq!(port.wallbox().log().count(), 6, "three requests, three replies");
        drop(port);
        assert!(!stable.exists());
    }

    /// Shows its point where the tests do not run as root, whom the mark does not stop.
    #[tokio::test]
    async fn a_mark_left_behind_does_not_lock_the_port_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let stable = dir.path().join("rs485");
        let wallbox = Wallbox::new(WallboxOptions::default());
        let port = WallboxPort::open(wallbox, Clock::start(1), Some(stable.clone())).unwrap();
        for _ in 0..3 {
            // As a daemon does that finds its device busy: it tries again.
            let mut line = loop {
                match open(port.path()) {
                    Ok(line) => break line,
                    Err(error) => assert_ne!(error.kind(), tokio_serial::ErrorKind::InvalidInput),
                }
                tokio::time::sleep(LOOK).await;
            };
            while ask(&mut line).await.is_err() {
                line = open(port.path()).unwrap();
            }
            drop(line);
        }
    }
}
