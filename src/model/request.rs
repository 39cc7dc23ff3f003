//! Requests to the loop, from any source, and its answers. Requests are parsed and checked here, the same way for all sources.

use control::{Milliamps, Mode};
use thiserror::Error;
use tokio::sync::oneshot;

use super::Names;
use crate::config::Config;
use crate::decimal::Decimal;

#[cfg(test)]
mod tests;

/// Highest current that can be requested: that of the largest single-car wallbox. The controller enforces the limits of each charger.
const MAX_CURRENT: Milliamps = Milliamps(32_000);

/// A request to the loop.
#[derive(Debug)]
pub struct Request {
    /// What is requested.
    pub wish: Wish,
    /// Where the request comes from.
    pub origin: Origin,
    /// Receives the answer, once; `None` if no answer is needed.
    pub reply: Option<oneshot::Sender<Answer>>,
}

/// Where a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A message under `<base>/set/`.
    Mqtt {
        /// Topic of the message.
        topic: String,
    },
    /// A program on this machine, through the control socket.
    Socket,
    /// A signal, or the program that runs the loop.
    Process,
}

impl Origin {
    /// The name used in the log.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Mqtt { .. } => "MQTT",
            Self::Socket => "surplusd set",
            Self::Process => "the process",
        }
    }
}

/// What can be requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Shut down in order.
    Stop,
    /// Apply a new configuration.
    Reload(Box<Config>),
    /// Change a user's setting.
    Set(Setting),
}

/// A change of a user's setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Name of the charger; `None` for all chargers.
    pub charger: Option<String>,
    /// The new value.
    pub value: Value,
}

/// A setting and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// The charging mode.
    Mode(Mode),
    /// The current of mode `fixed`.
    Current(Milliamps),
}

/// The answer to a request: a sentence that says what is now decided, or why nothing was done.
pub type Answer = Result<String, Refusal>;

/// Why nothing was done. The text says what happened, then what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Unknown setting.
    #[error("unknown setting {got:?}: use mode or current")]
    Key {
        /// As received, cut.
        got: String,
    },
    /// Unknown charger.
    #[error("unknown charger {got:?}: use one of {known}, or none for all")]
    Charger {
        /// As received, cut.
        got: String,
        /// The names of all chargers.
        known: String,
    },
    /// Not a mode.
    #[error("unknown mode {got:?}: use off, solar, slow, slow+solar, fast or fixed")]
    Mode {
        /// As received, cut.
        got: String,
    },
    /// Not a current.
    #[error("not a current {got:?}: use amperes from 6 to 32, such as 10 or 12.5")]
    Current {
        /// As received, cut.
        got: String,
    },
    /// The broker has stored the message: it may be of last week.
    #[error(
        "a retained command is not carried out: send it without the retain flag, and delete this one (`mosquitto_pub -r -n -t {topic}`)"
    )]
    Retained {
        /// Topic of the message, one of those that are subscribed.
        topic: String,
    },
    /// A later request for the same setting came before this one's turn.
    #[error("a later request replaced it: of requests that come too fast, only the last is carried out")]
    Overtaken,
    /// The loop did not answer in time.
    #[error("surplusd has too many requests waiting: try again in some seconds")]
    Busy,
    /// The daemon is shutting down.
    #[error("surplusd is ending: try again when it has started")]
    Ending,
    /// The configuration was read again before this one's turn.
    #[error("the configuration was read again meanwhile, and chargers may have changed places: try again")]
    Reloaded,
}

impl Refusal {
    /// The name used in documents.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Key { .. } => "unknown-setting",
            Self::Charger { .. } => "unknown-charger",
            Self::Mode { .. } => "unknown-mode",
            Self::Current { .. } => "not-a-current",
            Self::Retained { .. } => "retained",
            Self::Overtaken => "overtaken",
            Self::Busy => "busy",
            Self::Reloaded => "reloaded",
            Self::Ending => "ending",
        }
    }
}

impl Setting {
    /// Parses a setting: `key` is `mode` or `current`, `text` its value, optionally surrounded by white space or JSON quotes.
    pub fn parse(charger: Option<&str>, key: &str, text: &[u8]) -> Result<Self, Refusal> {
        let value = match key {
            "mode" => Value::Mode(mode(text)?),
            "current" => Value::Current(current(text)?),
            _ => return Err(Refusal::Key { got: cut(key.as_bytes()) }),
        };
        Ok(Self { charger: charger.map(str::to_owned), value })
    }

    /// Converts the setting to a command for the controller.
    pub fn command(&self, names: &Names) -> Result<control::Command, Refusal> {
        let id = |name: &String| {
            let known = || Refusal::Charger { got: cut(name.as_bytes()), known: names.list() };
            names.id(name).ok_or_else(known)
        };
        let charger = self.charger.as_ref().map(id).transpose()?;
        Ok(match self.value {
            Value::Mode(mode) => control::Command::Mode { charger, mode },
            Value::Current(current) => control::Command::FixedCurrent { charger, current },
        })
    }
}

fn mode(text: &[u8]) -> Result<Mode, Refusal> {
    let text = cut(text);
    Mode::from_name(&text.to_ascii_lowercase()).ok_or(Refusal::Mode { got: text })
}

/// Parses amperes, rounded down to 0.1 A: a current is never rounded up.
fn current(text: &[u8]) -> Result<Milliamps, Refusal> {
    let text = cut(text);
    let milliamps =
        Decimal::parse(&text).and_then(|amps| amps.truncated(3)).and_then(|value| u32::try_from(value).ok());
    match milliamps.map(Milliamps) {
        Some(current) if (Milliamps::PILOT_MIN..=MAX_CURRENT).contains(&current) => {
            Ok(current.floor_to(Milliamps(100)))
        }
        Some(_) | None => Err(Refusal::Current { got: text }),
    }
}

/// Returns the text without white space and JSON quotes around it, cut to what an error message can show. A cut text ends with an ellipsis, so
/// that its beginning is not taken for all of it.
fn cut(text: &[u8]) -> String {
    const SHOWN: usize = 64;
    let start = text.get(..SHOWN).unwrap_or(text);
    let shown = String::from_utf8_lossy(start);
    if text.len() > SHOWN {
        return format!("{shown}…");
    }
    let text = shown.trim();
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text).trim().to_owned()
}
