//! The stored form of the state: JSON, versioned. Each version has its own structs and stays readable; the newest is written.
//!
//! | version | what it added |
//! |---|---|
//! | 1 | modes, energy counters, the last stop, the lock |
//! | 2 | starts, energy from the battery, whether it is charging; times in milliseconds of one uptime |
//! | 3 | the energy each car got today and since it was plugged in, by origin |

mod v1;
mod v2;
mod v3;

use std::fs;

use control::{Millis, Mode};
use serde::Deserialize;

use super::State;
use crate::config::visible_start;
use crate::daemon::moment::Moment;

/// Longest assumed downtime if the real one is unknown: bounds how far an energy counter may have advanced meanwhile.
const DOWN: Millis = Millis::from_secs(86_400);

/// Number of characters shown of what is wrong: it quotes the file, which may be a megabyte that somebody else wrote.
const DAMAGE_MAX: usize = 200;

/// Why the file's contents cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// Not JSON, or not in the form of its version.
    #[error("{}", visible_start(.0, DAMAGE_MAX))]
    Damaged(String),
    /// Written by a later version of this program.
    #[error("it has version {0}, but this program only reads versions up to {VERSION}")]
    Newer(u32),
}

/// The version that is written.
const VERSION: u32 = 3;

/// The boot of the machine to which moments belong, and the current moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uptime {
    /// Identifies the boot; `None` if the kernel does not report it.
    pub(crate) boot: Option<String>,
    /// The current moment.
    pub(crate) now: Moment,
}

impl Uptime {
    /// Reads the current boot and moment.
    pub(crate) fn read() -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        Self { boot: boot.map(|boot| boot.trim().to_owned()), now: Moment::now() }
    }
}

/// The version only; everything else is read later.
#[derive(Debug, Deserialize)]
struct Versioned {
    version: u32,
}

/// Reads any version.
pub(crate) fn parse(text: &str, uptime: &Uptime) -> Result<State, Unreadable> {
    let damaged = |error: serde_json::Error| Unreadable::Damaged(error.to_string());
    let Versioned { version } = serde_json::from_str(text).map_err(damaged)?;
    match version {
        1 => serde_json::from_str::<v1::File>(text).map_err(damaged)?.read(uptime),
        2 => serde_json::from_str::<v2::File>(text).map_err(damaged)?.upgrade().read(uptime),
        3 => serde_json::from_str::<v3::File>(text).map_err(damaged)?.read(uptime),
        0 => Err(Unreadable::Damaged("there is no version 0".to_owned())),
        newer => Err(Unreadable::Newer(newer)),
    }
}

/// The state in the form of the newest version.
#[derive(Debug, Clone)]
pub(crate) struct Form(v3::File);

impl Form {
    /// Converts the state for storing it now.
    pub(crate) fn new(state: &State, uptime: &Uptime) -> Self {
        Self(v3::File::write(state, uptime))
    }

    /// Whether both forms have the same contents, apart from the time of writing.
    pub(crate) fn says_the_same_as(&self, other: &Self) -> bool {
        self.0 == other.0.written_at(self.0.saved_ms)
    }

    /// The text of the file.
    ///
    /// # Errors
    /// If it cannot be serialised. The caller then keeps the old file: an empty one would mean that no wallbox is locked.
    pub(crate) fn text(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(&self.0)
    }
}

fn mode(name: &str) -> Result<Mode, Unreadable> {
    Mode::from_name(name).ok_or_else(|| Unreadable::Damaged(format!("mode {name:?} is not known")))
}
