//! The state file. It is replaced as a whole (new file written next to it, synced, renamed) on a separate thread, so that a slow SD card
//! does not hold up the loop. An unreadable file in its place is moved aside and logged once; charging continues without it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::State;
use super::file::{Form, Unreadable, Uptime, parse};

/// Largest file that is read. A charger takes about 10 kB at most, with 200 starts and two days of slots, so a larger file is not ours.
const SIZE_MAX: u64 = 1 << 20;
/// How many damaged files are kept; after that the last one is replaced.
const ASIDE_MAX: u32 = 5;

/// What follows from the loss of the state.
const LOST: &str =
    "modes and limits start over, and each charger is unlocked once because it may have been left locked";

/// What became of the stored state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// It was read.
    Whole,
    /// There was none: the first start, or it was deleted. A charger may have been left locked.
    Nothing,
    /// There was something that could not be read. A charger may have been left locked, and may just have been stopped.
    Damaged,
}

/// Why the state could not be read.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
    #[error("it cannot be read: {0}")]
    Disk(#[from] io::Error),
    #[error("it is {0}, not a file")]
    Kind(&'static str),
    #[error("it is larger than {SIZE_MAX} bytes")]
    Large,
    #[error("it is not UTF-8")]
    Text,
}

/// Reads the state; an unreadable file is moved aside.
pub(in crate::daemon) fn load(path: &Path) -> (State, Found) {
    let problem = match read(path) {
        Ok(state) => return (state, Found::Whole),
        Err(Problem::Disk(error)) if error.kind() == io::ErrorKind::NotFound => return (State::new(), Found::Nothing),
        Err(problem) => problem,
    };
    match set_aside(path) {
        Ok(aside) => {
            let aside = aside.display();
            warn!(
                path = %path.display(), aside = %aside,
                "the stored state cannot be used ({problem}) and is now at {aside}; {LOST}"
            );
        }
        Err(error) => {
            warn!(
                path = %path.display(), %error,
                "the stored state cannot be used ({problem}), and cannot be set aside either ({error}); {LOST}"
            );
        }
    }
    (State::new(), Found::Damaged)
}

fn read(path: &Path) -> Result<State, Problem> {
    // Checked before opening, because opening a pipe would block until something writes to it.
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(Problem::Kind("a folder"));
    }
    if !kind.is_file() {
        return Err(Problem::Kind("a device or a pipe"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(Problem::Large);
    }
    let text = String::from_utf8(bytes).map_err(|_| Problem::Text)?;
    Ok(parse(&text, &Uptime::read())?)
}

/// Renames the file to the first free name of `….damaged-1` to `….damaged-5`.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let name = |number: u32| {
        let mut name = OsString::from(path);
        name.push(format!(".damaged-{number}"));
        PathBuf::from(name)
    };
    let free = (1..=ASIDE_MAX).map(name).find(|aside| fs::symlink_metadata(aside).is_err());
    let aside = free.unwrap_or_else(|| name(ASIDE_MAX));
    fs::rename(path, &aside)?;
    Ok(aside)
}

pub(in crate::daemon) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    let written = write_new(&beside, text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // Half a file is useless, and the disk may be full.
        let _ = fs::remove_file(&beside);
    }
    written?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Writes a new file. Anything already there, such as a pipe or a symbolic link, is removed and not written to.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) | Ok(()) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A finished attempt to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Saved {
    /// The form that it is about, and with it all earlier ones.
    pub(crate) generation: u64,
    /// Why the state is not on the disk, in a sentence; `None` if it is.
    pub(crate) trouble: Option<String>,
}

/// Stores the state on a separate thread; only the newest form counts.
#[derive(Debug)]
pub(in crate::daemon) struct Writer {
    mailbox: Arc<Mailbox>,
    saved: mpsc::Receiver<Saved>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub(in crate::daemon) fn start(path: PathBuf) -> io::Result<Self> {
        let mailbox = Arc::new(Mailbox { place: Mutex::new(Place::Empty), changed: Condvar::new() });
        let (told, saved) = mpsc::channel(16);
        let theirs = Arc::clone(&mailbox);
        thread::Builder::new().name("state".to_owned()).spawn(move || write_all(&path, &theirs, &told))?;
        Ok(Self { mailbox, saved })
    }

    /// Stores a form, in place of an older one whose turn has not come.
    pub(in crate::daemon) fn write(&self, generation: u64, form: Form) {
        self.mailbox.put(Place::Job(generation, form));
    }

    /// Waits for the end of the next attempt to store; `None` if the thread has ended. May be dropped and called again.
    pub(in crate::daemon) async fn next(&mut self) -> Option<Saved> {
        self.saved.recv().await
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.mailbox.put(Place::Closed);
    }
}

/// Hands states over to the thread. It holds one state: if the disk hangs, a newer state replaces the waiting one.
#[derive(Debug)]
struct Mailbox {
    place: Mutex<Place>,
    changed: Condvar,
}

#[derive(Debug)]
enum Place {
    Empty,
    Job(u64, Form),
    /// No more states will come.
    Closed,
}

impl Mailbox {
    fn put(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
        self.changed.notify_one();
    }

    /// Waits for a state; `None` when no more will come.
    fn take(&self) -> Option<(u64, Form)> {
        let empty = |place: &mut Place| matches!(place, Place::Empty);
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let mut place = self.changed.wait_while(place, empty).unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *place, Place::Empty) {
            Place::Job(generation, form) => Some((generation, form)),
            Place::Empty | Place::Closed => None,
        }
    }
}

fn write_all(path: &Path, mailbox: &Mailbox, told: &mpsc::Sender<Saved>) {
    let mut failing = false;
    while let Some((generation, form)) = mailbox.take() {
        let result = form.text().map_err(io::Error::from).and_then(|text| replace(path, &text));
        let trouble =
            result.err().map(|error| format!("mode and counters cannot be stored ({error}); charging goes on"));
        match &trouble {
            Some(why) if !failing => warn!(path = %path.display(), "{why}"),
            None if failing => info!("mode and counters can be stored again"),
            Some(_) | None => {}
        }
        failing = trouble.is_some();
        if told.blocking_send(Saved { generation, trouble }).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
