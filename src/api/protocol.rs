//! Lines of the local socket. Pure.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::request::{Answer, Refusal};

#[cfg(test)]
mod tests;

/// The version that both ends speak.
pub const VERSION: u32 = 1;
/// The longest request, in bytes.
pub const REQUEST_MAX: usize = 4_096;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Call {
    /// The status as it is.
    Status,
    /// The status now, and again whenever it changes.
    Watch,
    /// Change what the user has chosen.
    Set {
        /// `mode` or `current`.
        key: String,
        /// Its value, as a user writes it.
        value: String,
        /// For which charger; for all where it is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        charger: Option<String>,
    },
}

/// Why a line is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCall {
    /// Not a JSON object, or not one of the requests.
    #[error(
        "this is no request ({0}): send one of {{\"v\":1,\"do\":\"status\"}}, \"watch\" and \"set\" with \"key\" and \"value\""
    )]
    Malformed(String),
    /// Of another version.
    #[error("version {0} is not spoken here: send \"v\":{VERSION}, or use the surplusd that belongs to the daemon")]
    Version(String),
    /// Longer than [`REQUEST_MAX`].
    #[error("the request is longer than {REQUEST_MAX} bytes")]
    TooLong,
    /// Something is to be changed through the socket that only shows.
    #[error(
        "this socket only shows: to set something use {}, which root and the group of the service may",
        super::CONTROL
    )]
    ReadOnly,
    /// The daemon has decided nothing yet.
    #[error("surplusd has just started and knows nothing yet: try again in a second")]
    Starting,
}

impl BadCall {
    const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Version(_) => "version",
            Self::TooLong => "too-long",
            Self::ReadOnly => "read-only",
            Self::Starting => "starting",
        }
    }
}

impl Call {
    /// Reads a line.
    pub fn parse(line: &[u8]) -> Result<Self, BadCall> {
        let malformed = |error: serde_json::Error| BadCall::Malformed(error.to_string());
        let mut value: Value = serde_json::from_slice(line).map_err(malformed)?;
        let version = value.as_object_mut().and_then(|object| object.remove("v"));
        match version {
            Some(version) if version == VERSION => serde_json::from_value(value).map_err(malformed),
            Some(other) => Err(BadCall::Version(other.to_string())),
            None => Err(BadCall::Malformed("\"v\" is missing".to_owned())),
        }
    }

    /// Writes a line, with its end.
    pub fn line(&self) -> String {
        let mut value = json!(self);
        if let Value::Object(object) = &mut value {
            object.insert("v".to_owned(), VERSION.into());
        }
        format!("{value}\n")
    }
}

/// The line that answers a request for the status.
pub fn status_line(document: &Value, age_s: u64) -> String {
    format!("{}\n", json!({ "v": VERSION, "age_s": age_s, "status": document }))
}

/// The line that answers a request that was taken.
pub fn answer_line(answer: &Answer) -> String {
    match answer {
        Ok(done) => format!("{}\n", json!({ "v": VERSION, "done": done })),
        Err(refusal) => error_line(refusal.code(), &refusal.to_string()),
    }
}

/// The line that answers what is no request.
pub fn bad_call_line(bad: &BadCall) -> String {
    error_line(bad.code(), &bad.to_string())
}

fn error_line(code: &str, text: &str) -> String {
    format!("{}\n", json!({ "v": VERSION, "error": { "code": code, "text": text } }))
}

/// What the daemon answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The status, and how old it is in seconds.
    Status {
        /// The document of [`crate::model::document`].
        document: Value,
        /// Its age.
        age_s: u64,
    },
    /// It is done; what is in force now.
    Done(String),
    /// It is not done.
    Refused {
        /// For programs.
        code: String,
        /// For people.
        text: String,
    },
}

impl Reply {
    /// Reads a line of the daemon; `None` if it is none.
    pub fn parse(line: &str) -> Option<Self> {
        let mut value: Value = serde_json::from_str(line).ok()?;
        if value.get("v")? != VERSION {
            return None;
        }
        let text = |value: &Value, key: &str| Some(value.get(key)?.as_str()?.to_owned());
        if let Some(error) = value.get("error") {
            return Some(Self::Refused { code: text(error, "code")?, text: text(error, "text")? });
        }
        if let Some(done) = text(&value, "done") {
            return Some(Self::Done(done));
        }
        let age_s = value.get("age_s")?.as_u64()?;
        Some(Self::Status { document: value.get_mut("status")?.take(), age_s })
    }

    /// Whether a refusal is the fault of whoever asked, and not of the moment.
    pub fn is_wrong(code: &str) -> bool {
        let of_the_moment =
            [Refusal::Overtaken, Refusal::Busy, Refusal::Ending].iter().any(|refusal| refusal.code() == code);
        !of_the_moment && code != BadCall::Starting.code()
    }
}
