//! The stored form of the state: JSON, versioned. Each version has its own structs and is read for ever; the newest is written.
//!
//! | version | what came with it |
//! |---|---|
//! | 1 | modes, energy counters, the last stop, the lock |
//! | 2 | starts, what the battery gave, whether it charges; times in milliseconds of one uptime |
//! | 3 | what each car got today and since it was plugged in, and where from |

mod v1;
mod v2;
mod v3;

use std::fs;

use control::{Millis, Mode};
use serde::Deserialize;

use super::State;
use crate::daemon::moment::Moment;

/// What passed at most while the machine was down for an unknown time: bounds what an energy counter may have advanced meanwhile.
const DOWN: Millis = Millis::from_secs(86_400);

/// Why a file is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// Not JSON, or not what is expected of this version.
    #[error("{0}")]
    Damaged(String),
    /// Written by a later version of this program.
    #[error("it is of version {0}, and this program knows versions up to {VERSION}")]
    Newer(u32),
}

/// The version that is written.
const VERSION: u32 = 3;

/// The run of the machine to which moments belong, and the present moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Uptime {
    /// Differs after each start of the machine; `None` where the kernel does not tell.
    pub(super) boot: Option<String>,
    /// The present.
    pub(super) now: Moment,
}

impl Uptime {
    /// The present run.
    pub(super) fn read() -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        Self { boot: boot.map(|boot| boot.trim().to_owned()), now: Moment::now() }
    }
}

/// Only what tells the versions apart; everything else is looked at later.
#[derive(Debug, Deserialize)]
struct Versioned {
    version: u32,
}

/// Reads any version.
pub(super) fn parse(text: &str, uptime: &Uptime) -> Result<State, Unreadable> {
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
pub(super) struct Form(v3::File);

impl Form {
    /// The state as it is to be stored now.
    pub(super) fn new(state: &State, uptime: &Uptime) -> Self {
        Self(v3::File::write(state, uptime))
    }

    /// Whether it says the same as another one, whenever that was written.
    pub(super) fn says_the_same_as(&self, other: &Self) -> bool {
        self.0 == other.0.written_at(self.0.saved_ms)
    }

    /// The text of the file.
    ///
    /// # Errors
    /// If it cannot be serialised. The caller keeps the old file then: an empty one would say that no wallbox is locked.
    pub(super) fn text(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(&self.0)
    }
}

fn mode(name: &str) -> Result<Mode, Unreadable> {
    Mode::from_name(name).ok_or_else(|| Unreadable::Damaged(format!("mode {name:?} is not known")))
}
