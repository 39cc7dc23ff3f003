//! Turns messages under `<base>/set/` into settings. Pure. Retained ones are refused: what somebody wanted last week no longer counts.

use crate::model::Names;
use crate::model::request::{Refusal, Setting};

#[cfg(test)]
mod tests;

/// The settings, as topic levels.
const LEAVES: [&str; 2] = ["mode", "current"];

/// Returns the topics to subscribe to for commands under a base topic: exactly those that exist, so that nobody can send us anything on
/// others.
pub fn topics(base: &str, names: &Names) -> Vec<String> {
    let of = |prefix: String| LEAVES.map(|leaf| format!("{prefix}/{leaf}"));
    let each = names.iter().flat_map(|(_, name)| of(format!("{base}/set/{name}")));
    of(format!("{base}/set")).into_iter().chain(each).collect()
}

/// Reads the commands under one base topic.
#[derive(Debug)]
pub struct Commands {
    prefix: String,
}

impl Commands {
    /// Creates the reader for commands under `<base>/set/`.
    pub fn new(base: &str) -> Self {
        Self { prefix: format!("{base}/set/") }
    }

    /// Returns the setting in a message; `None` if the topic is not under `set/`, or the message is empty: somebody deletes a retained one.
    pub fn message(&self, topic: &str, payload: &[u8], retained: bool) -> Option<Result<Setting, Refusal>> {
        let key = topic.strip_prefix(&self.prefix)?;
        if payload.is_empty() {
            return None;
        }
        if retained {
            return Some(Err(Refusal::Retained { topic: topic.to_owned() }));
        }
        let (charger, key) = key.rsplit_once('/').map_or((None, key), |(name, key)| (Some(name), key));
        Some(Setting::parse(charger, key, payload))
    }
}
