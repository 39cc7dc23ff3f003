//! Puts a [`Wallbox`] behind a real pseudo-terminal, so that the daemon can open it like an RS-485 adapter.
//!
//! The port does not hold the slave end itself, so that it notices when the daemon closes it. Linux keeps the exclusive flag (TIOCEXCL) on
//! a pseudo-terminal even after the last close, as long as its master is open, and then only root could ever open it again. So if the flag
//! is left behind, a new pseudo-terminal replaces the old one behind the link. Left out: baud rate and parity, which a pseudo-terminal does
//! not have.

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

/// How often to check whether the other end has been opened, in real time.
const LOOK: Duration = Duration::from_millis(10);
/// Longest wait for bytes or for room, in real time: after that the thread checks whether the adapter was unplugged.
const WAIT_MAX: Duration = Duration::from_millis(20);
/// If the thread could not check its port for this long, in real time, the machine was too busy.
const KEPT: Duration = Duration::from_millis(60);
/// For this long after that, incoming bytes may be requests that the master has given up meanwhile.
const AFTERMATH: Duration = Duration::from_secs(1);
/// `O_NOCTTY | O_NONBLOCK` with the values of Linux on all but the oldest architectures.
const OPEN_FLAGS: i32 = 0o400 | 0o4_000;

/// A wallbox at the end of a pseudo-terminal. Dropping it unplugs the adapter for good.
#[derive(Debug)]
pub struct WallboxPort {
    wallbox: Arc<Mutex<Wallbox>>,
    clock: Clock,
    link: Option<PathBuf>,
    device: PathBuf,
    /// The thread that moves bytes: one while plugged in, none otherwise.
    pump: Option<Running>,
}

#[derive(Debug)]
struct Running {
    pulled: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl WallboxPort {
    /// Opens a pseudo-terminal and, if `link` is given, points that link at it. [`WallboxPort::unplug`] and [`WallboxPort::replug`] keep
    /// the link's name but change the device behind it.
    pub fn open(wallbox: Wallbox, clock: Clock, link: Option<PathBuf>) -> io::Result<Self> {
        let mut port = Self { wallbox: Arc::new(Mutex::new(wallbox)), clock, link, device: PathBuf::new(), pump: None };
        port.plug()?;
        Ok(port)
    }

    /// The path that the daemon opens: the link, or the device if there is no link.
    pub fn path(&self) -> &Path {
        self.link.as_deref().unwrap_or(&self.device)
    }

    /// The wallbox itself, for injecting faults and for observation. Do not hold it across an `await`.
    pub fn wallbox(&self) -> MutexGuard<'_, Wallbox> {
        lock(&self.wallbox)
    }

    /// Another handle to the wallbox.
    pub fn share(&self) -> Arc<Mutex<Wallbox>> {
        Arc::clone(&self.wallbox)
    }

    /// Unplugs the adapter: open devices fail, and the link is removed. The wallbox keeps running. Waits until the device is closed.
    pub fn unplug(&mut self) {
        if let Some(link) = &self.link {
            // It may be missing already.
            std::fs::remove_file(link).ok();
        }
        if let Some(running) = self.pump.take() {
            running.pulled.store(true, Ordering::Relaxed);
            running.thread.join().ok();
        }
    }

    /// Plugs the adapter in again: a new device behind the same link. Unplugs it first if necessary.
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
    // A test that failed while it held the lock reports that itself.
    wallbox.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a new pseudo-terminal and points the link at it.
fn terminal(link: Option<&Path>) -> io::Result<(TTYPort, PathBuf)> {
    let (master, slave) = TTYPort::pair()?;
    // The clone is not inherited by programs started meanwhile; the original would be, and would stay open there after the unplugging.
    let master = master.try_clone_native()?;
    let device = slave.name().map(PathBuf::from);
    let device = device.ok_or_else(|| io::Error::other("the pseudo-terminal has no name"))?;
    if let Some(link) = link {
        std::fs::remove_file(link).ok();
        symlink(&device, link)?;
    }
    Ok((master, device))
}

/// Moves bytes between the wallbox and its device.
struct Pump {
    wallbox: Arc<Mutex<Wallbox>>,
    clock: Clock,
    link: Option<PathBuf>,
    master: TTYPort,
    device: PathBuf,
    /// Whether the device is open at the other end, as far as is known.
    anybody: bool,
    /// Set when the adapter has been unplugged.
    pulled: Arc<AtomicBool>,
    /// When the thread last checked for bytes.
    looked: Tick,
    /// When the thread last came too late to check.
    kept: Option<Tick>,
}

impl Pump {
    fn run(mut self) {
        let mut buffer = [0_u8; 256];
        while !self.pulled.load(Ordering::Relaxed) {
            let due = self.send_due();
            let wait = due.map_or(WAIT_MAX, |tick| self.clock.real(tick.since(self.clock.now())).min(WAIT_MAX));
            // A timeout of 0 would mean no timeout.
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
                // EIO: the other end is not open.
                Ok(_) | Err(_) => {
                    self.anybody = false;
                    self.clear_mark();
                    thread::sleep(LOOK);
                }
            }
        }
    }

    /// Whether bytes may have been in the pseudo-terminal for longer than the master waits for a reply.
    fn is_late(&mut self) -> bool {
        let now = self.clock.now();
        if self.clock.real(now.since(self.looked)) > KEPT {
            self.kept = Some(now);
        }
        self.looked = now;
        self.kept.is_some_and(|kept| self.clock.real(now.since(kept)) < AFTERMATH)
    }

    /// Puts a new pseudo-terminal behind the link if the old one still has the exclusive flag of a process that has closed it.
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

    /// Sends all replies that are due; returns when the next one is.
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
            // If nobody listens, the reply is lost, as on a real line; it must not wait for whoever opens the device next.
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

    /// Proves something only if the tests do not run as root, whom the flag does not stop.
    #[tokio::test]
    async fn a_mark_left_behind_does_not_lock_the_port_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let stable = dir.path().join("rs485");
        let wallbox = Wallbox::new(WallboxOptions::default());
        let port = WallboxPort::open(wallbox, Clock::start(1), Some(stable.clone())).unwrap();
        for _ in 0..3 {
            // As a daemon that finds its device busy: it retries.
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
