//! Messages under `<base>/set/` to wishes of the user. Pure. Retained ones are refused: a wish of last week is none.

use std::collections::BTreeMap;

use control::{ChargerId, Command, Milliamps, Mode};
use thiserror::Error;

use super::decimal::Decimal;
use crate::rate::excerpt;

#[cfg(test)]
mod tests;

/// Highest current that can be set, in milliamperes: the largest single-car wallbox.
const MAX_CURRENT: Milliamps = Milliamps(32_000);

/// What to subscribe to for commands under a base topic: exactly the topics that there are, so that nobody can send us anything on others.
pub fn topics(base: &str, names: &BTreeMap<ChargerId, String>) -> Vec<String> {
    let of = |prefix: String| LEAVES.map(|leaf| format!("{prefix}/{leaf}"));
    let each = names.values().flat_map(|name| of(format!("{base}/set/{name}")));
    of(format!("{base}/set")).into_iter().chain(each).collect()
}

/// What can be set.
const LEAVES: [&str; 2] = ["mode", "current"];

/// Why a message is no command.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommandError {
    /// Nothing can be set there.
    #[error(
        "unknown topic {topic:?}: mode and current can be set, for one charger as <name>/mode and <name>/current; chargers: {chargers}"
    )]
    Topic {
        /// As received.
        topic: String,
        /// All chargers.
        chargers: String,
    },
    /// Not a mode.
    #[error("unknown mode {got:?}: off, solar, slow, slow+solar, fast, fixed")]
    Mode {
        /// As received, cut.
        got: String,
    },
    /// Not a current.
    #[error("not a current {got:?}: amperes from 6 to 32, such as 10 or 12.5")]
    Current {
        /// As received, cut.
        got: String,
    },
}

/// The commands of one base topic.
#[derive(Debug)]
pub struct Commands {
    prefix: String,
    chargers: BTreeMap<String, ChargerId>,
    retained_seen: bool,
}

impl Commands {
    /// Commands under `<base>/set/` for these chargers, by name.
    pub fn new(base: &str, names: &BTreeMap<ChargerId, String>) -> Self {
        let chargers = names.iter().map(|(id, name)| (name.clone(), *id)).collect();
        Self { prefix: format!("{base}/set/"), chargers, retained_seen: false }
    }

    /// The wish in a message. `None` where the topic is not under `set/`, the message is retained (said once),
    /// or empty (somebody deletes a retained one).
    pub fn message(&mut self, topic: &str, payload: &[u8], retained: bool) -> Option<Result<Command, CommandError>> {
        let key = topic.strip_prefix(&self.prefix)?;
        if retained {
            if !self.retained_seen {
                self.retained_seen = true;
                let topic = excerpt(topic.as_bytes());
                tracing::warn!("ignoring the retained command on {topic}: send commands without the retain flag");
            }
            return None;
        }
        if payload.is_empty() {
            return None;
        }
        Some(self.parse(topic, key, payload))
    }

    fn parse(&self, topic: &str, key: &str, payload: &[u8]) -> Result<Command, CommandError> {
        let unknown = || CommandError::Topic {
            topic: topic.chars().take(100).collect(),
            chargers: self.chargers.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        };
        let (charger, leaf) = match key.rsplit_once('/') {
            None => (None, key),
            Some((name, leaf)) => (Some(*self.chargers.get(name).ok_or_else(unknown)?), leaf),
        };
        match leaf {
            "mode" => Ok(Command::Mode { charger, mode: mode(payload)? }),
            "current" => Ok(Command::FixedCurrent { charger, current: current(payload)? }),
            _ => Err(unknown()),
        }
    }
}

fn mode(payload: &[u8]) -> Result<Mode, CommandError> {
    let text = text(payload);
    Mode::from_name(&text.to_ascii_lowercase()).ok_or(CommandError::Mode { got: text })
}

/// Amperes, rounded down to 0.1 A: a current is never rounded up.
fn current(payload: &[u8]) -> Result<Milliamps, CommandError> {
    let text = text(payload);
    let milliamps =
        Decimal::parse(&text).and_then(|amps| amps.truncated(3)).and_then(|value| u32::try_from(value).ok());
    match milliamps.map(Milliamps) {
        Some(current) if (Milliamps::PILOT_MIN..=MAX_CURRENT).contains(&current) => {
            Ok(current.floor_to(Milliamps(100)))
        }
        Some(_) | None => Err(CommandError::Current { got: text }),
    }
}

/// The payload as text without white space and JSON quotes around it, cut to what an error message can show.
fn text(payload: &[u8]) -> String {
    let start = payload.get(..64).unwrap_or(payload);
    let text = String::from_utf8_lossy(start);
    let text = text.trim();
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text).trim().to_owned()
}
