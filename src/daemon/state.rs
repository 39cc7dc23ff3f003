//! What survives a restart: modes, energy counters, the time of the last stop, and whether a wake-up pulse holds a charger locked.
//!
//! One small JSON file, replaced as a whole (written beside, synced, renamed), on a thread of its own: a slow SD card does not
//! hold up the loop. A file that cannot be read is set aside and said once; charging goes on without it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use control::{Milliamps, Millis, Mode, WattHours};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tracing::{info, warn};

/// Format of the file. A newer one is not touched, but set aside.
const VERSION: u32 = 1;

/// The stored form of everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File1 {
    version: u32,
    chargers: BTreeMap<String, Charger1>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Charger1 {
    mode: String,
    fixed_ma: u32,
    energy_wh: i64,
    energy_raw_wh: Option<i64>,
    stopped: Option<Uptime>,
    locked: bool,
}

/// A point in time that outlives the process but not the machine's uptime: never the wall clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Uptime {
    boot: String,
    seconds: u64,
}

impl Uptime {
    /// Now, or `None` where the kernel does not tell.
    pub(super) fn now() -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        let seconds = uptime.split(['.', ' ']).next()?.parse().ok()?;
        Some(Self { boot: boot.trim().to_owned(), seconds })
    }

    /// Time passed since then; `None` if the machine was restarted in between.
    pub(super) fn elapsed(&self) -> Option<Millis> {
        let now = Self::now().filter(|now| now.boot == self.boot)?;
        Some(Millis::from_secs(now.seconds.saturating_sub(self.seconds)))
    }
}

/// What is kept of one charger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChargerState {
    /// The mode the user chose.
    pub(super) mode: Mode,
    /// The current of mode `fixed` the user chose.
    pub(super) fixed: Milliamps,
    /// Our own counter, which never goes back.
    pub(super) energy: WattHours,
    /// The box's counter when ours was last advanced.
    pub(super) energy_raw: Option<WattHours>,
    /// When it was last stopped.
    pub(super) stopped: Option<Uptime>,
    /// A wake-up pulse has locked the box, and may not have unlocked it.
    pub(super) locked: bool,
}

impl ChargerState {
    /// A charger never seen before.
    pub(super) const fn new(mode: Mode, fixed: Milliamps) -> Self {
        Self { mode, fixed, energy: WattHours(0), energy_raw: None, stopped: None, locked: false }
    }

    /// Takes the box's counter. What it counted since the last time is added; a counter that went back (a mains failure loses what
    /// was not stored) adds nothing.
    pub(super) fn count(&mut self, raw: WattHours) {
        if let Some(before) = self.energy_raw {
            self.energy = WattHours(self.energy.0 + (raw.0 - before.0).max(0));
        } else if self.energy == WattHours(0) {
            self.energy = raw;
        }
        self.energy_raw = Some(raw);
    }
}

/// What is kept, by the charger's name.
pub(super) type State = BTreeMap<String, ChargerState>;

/// Reads the file; empty if there is none.
pub(super) fn load(path: &Path) -> State {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return State::new(),
        Err(error) => {
            warn!(%error, path = %path.display(), "the stored state cannot be read; starting without it ({error})");
            return State::new();
        }
    };
    match parse(&text) {
        Ok(state) => state,
        Err(error) => {
            let aside = path.with_extension("unreadable");
            let kept = fs::rename(path, &aside).is_ok();
            warn!(%error, kept, path = %path.display(), "the stored state is damaged ({error}); set aside, starting without it");
            State::new()
        }
    }
}

fn parse(text: &str) -> Result<State, String> {
    let file: File1 = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if file.version != VERSION {
        return Err(format!("version {} is not {VERSION}", file.version));
    }
    let charger = |(name, stored): (String, Charger1)| {
        let mode = Mode::from_name(&stored.mode).ok_or_else(|| format!("mode {:?} is not known", stored.mode))?;
        let state = ChargerState {
            mode,
            fixed: Milliamps(stored.fixed_ma),
            energy: WattHours(stored.energy_wh),
            energy_raw: stored.energy_raw_wh.map(WattHours),
            stopped: stored.stopped,
            locked: stored.locked,
        };
        Ok((name, state))
    };
    file.chargers.into_iter().map(charger).collect()
}

fn render(state: &State) -> String {
    let charger = |(name, state): (&String, &ChargerState)| {
        let stored = Charger1 {
            mode: state.mode.name().to_owned(),
            fixed_ma: state.fixed.0,
            energy_wh: state.energy.0,
            energy_raw_wh: state.energy_raw.map(|energy| energy.0),
            stopped: state.stopped.clone(),
            locked: state.locked,
        };
        (name.clone(), stored)
    };
    let file = File1 { version: VERSION, chargers: state.iter().map(charger).collect() };
    serde_json::to_string_pretty(&file).unwrap_or_default()
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// A finished attempt to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Saved {
    /// Which [`Writer::save`] it answers; later ones answer earlier ones too.
    pub(super) generation: u64,
    /// Whether it is on the disk.
    pub(super) ok: bool,
}

/// Stores on a thread of its own; only the newest state counts.
#[derive(Debug)]
pub(super) struct Writer {
    desk: Arc<Desk>,
    generation: u64,
    last: String,
}

impl Writer {
    /// Starts the thread. Each finished attempt is told through the channel.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn start(path: PathBuf) -> io::Result<(Self, mpsc::Receiver<Saved>)> {
        let desk = Arc::new(Desk { place: Mutex::new(Place::Empty), changed: Condvar::new() });
        let (told, saved) = mpsc::channel(16);
        let theirs = Arc::clone(&desk);
        thread::Builder::new().name("state".to_owned()).spawn(move || write_all(&path, &theirs, &told))?;
        Ok((Self { desk, generation: 0, last: String::new() }, saved))
    }

    /// The last attempt has failed: the next [`Self::save`] tries again, whether anything has changed or not.
    pub(super) fn forget(&mut self) {
        self.last.clear();
    }

    /// Has the state stored, if it differs from the last one; returns the generation to wait for.
    pub(super) fn save(&mut self, state: &State) -> u64 {
        let text = render(state);
        if text != self.last {
            self.generation += 1;
            self.desk.put(Place::Job(self.generation, text.clone()));
            self.last = text;
        }
        self.generation
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.desk.put(Place::Closed);
    }
}

/// Where states are handed over. It has one place: with a disk that hangs, a newer state takes the place of the waiting one.
#[derive(Debug)]
struct Desk {
    place: Mutex<Place>,
    changed: Condvar,
}

#[derive(Debug)]
enum Place {
    Empty,
    Job(u64, String),
    /// Nothing more will come.
    Closed,
}

impl Desk {
    fn put(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
        self.changed.notify_one();
    }

    /// Waits for a state; `None` when no more will come.
    fn take(&self) -> Option<(u64, String)> {
        let empty = |place: &mut Place| matches!(place, Place::Empty);
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let mut place = self.changed.wait_while(place, empty).unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *place, Place::Empty) {
            Place::Job(generation, text) => Some((generation, text)),
            Place::Empty | Place::Closed => None,
        }
    }
}

fn write_all(path: &Path, desk: &Desk, told: &mpsc::Sender<Saved>) {
    let mut failing = false;
    while let Some((generation, text)) = desk.take() {
        let result = replace(path, &text);
        match &result {
            Err(error) if !failing => {
                warn!(%error, path = %path.display(), "mode and counters cannot be stored ({error}); charging goes on");
            }
            Ok(()) if failing => info!("mode and counters can be stored again"),
            Err(_) | Ok(()) => {}
        }
        failing = result.is_err();
        if told.blocking_send(Saved { generation, ok: !failing }).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let charger = ChargerState {
            mode: Mode::SlowSolar,
            fixed: Milliamps(8_000),
            energy: WattHours(12),
            energy_raw: Some(WattHours(3_000)),
            stopped: Uptime::now(),
            locked: true,
        };
        State::from([("carport".to_owned(), charger)])
    }

    #[test]
    fn comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        replace(&path, &render(&state())).unwrap();
        assert_eq!(load(&path), state());
    }

    #[test]
    fn damage_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        for bad in ["", "{", "{\"version\":2,\"chargers\":{}}", "\u{0}\u{0}", "{\"version\":1,\"chargers\":{\"a\":{}}}"]
        {
            let path = folder.path().join("state.json");
            fs::write(&path, bad).unwrap();
            assert!(load(&path).is_empty(), "{bad}");
            assert!(!path.exists());
            assert_eq!(fs::read_to_string(path.with_extension("unreadable")).unwrap(), bad);
        }
    }

    #[test]
    fn a_counter_that_goes_back_adds_nothing() {
        let mut charger = state().remove("carport").unwrap();
        charger.count(WattHours(3_100));
        charger.count(WattHours(50));
        charger.count(WattHours(60));
        assert_eq!((charger.energy, charger.energy_raw), (WattHours(122), Some(WattHours(60))));
    }

    #[test]
    fn the_last_stop_is_known_within_one_uptime() {
        let now = Uptime::now().unwrap();
        let earlier = Uptime { seconds: now.seconds.saturating_sub(20), ..now.clone() };
        assert!((20_000..80_000).contains(&earlier.elapsed().unwrap().0), "and what the test takes");
        assert_eq!(Uptime { boot: "another".to_owned(), seconds: 1 }.elapsed(), None);
    }

    #[tokio::test]
    async fn the_newest_is_stored_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let (mut writer, mut saved) = Writer::start(path.clone()).unwrap();
        let mut newest = 0;
        for energy in 0..50 {
            let mut state = state();
            state.get_mut("carport").unwrap().energy = WattHours(energy);
            newest = writer.save(&state);
        }
        while saved.recv().await.unwrap() != (Saved { generation: newest, ok: true }) {}
        assert_eq!(load(&path)["carport"].energy, WattHours(49));
        assert_eq!(writer.save(&load(&path)), newest, "nothing new, nothing written");
    }

    #[tokio::test]
    async fn a_disk_that_refuses_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, mut saved) = Writer::start(folder.path().join("missing/state.json")).unwrap();
        let generation = writer.save(&state());
        assert_eq!(saved.recv().await, Some(Saved { generation, ok: false }));
    }
}
