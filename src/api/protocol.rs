//! The lines sent over the local socket. Pure.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::document::json_text;
use crate::model::request::{Answer, Refusal};

#[cfg(test)]
mod tests;

/// Version of the protocol.
pub const VERSION: u32 = 1;
/// Longest request, in bytes.
pub const REQUEST_MAX: usize = 4_096;

/// A client's request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Call {
    /// Get the current status.
    Status,
    /// Get the status now, and again whenever it changes.
    Watch,
    /// Change a user's setting.
    Set {
        /// `mode` or `current`.
        key: String,
        /// Its value, as a user writes it.
        value: String,
        /// Name of the charger; all chargers if missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        charger: Option<String>,
    },
}

/// Why a line is not a valid request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCall {
    /// Not a JSON object, or an unknown request.
    #[error(
        "this is not a request ({0}): send one of {{\"v\":1,\"do\":\"status\"}}, \"watch\" and \"set\" with \"key\" and \"value\""
    )]
    Malformed(String),
    /// The request has another version.
    #[error("version {0} is not supported here: send \"v\":{VERSION}, or use the surplusd that belongs to the daemon")]
    Version(String),
    /// Longer than [`REQUEST_MAX`].
    #[error("the request is longer than {REQUEST_MAX} bytes")]
    TooLong,
    /// A change was requested through the read-only socket.
    #[error(
        "this socket is read-only: to change a setting use {}, which is for root and the group of the service",
        super::CONTROL
    )]
    ReadOnly,
    /// The daemon has not completed its first turn yet.
    #[error("surplusd has just started and has no status yet: try again in a second")]
    Starting,
    /// There are too many connections already.
    #[error("too many programs are connected to this socket: try again when some have ended")]
    Crowded,
}

impl BadCall {
    const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Version(_) => "version",
            Self::TooLong => "too-long",
            Self::ReadOnly => "read-only",
            Self::Starting => "starting",
            Self::Crowded => "crowded",
        }
    }
}

impl Call {
    /// Parses a line.
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

    /// Formats the request as a line, including the newline.
    pub fn line(&self) -> String {
        let mut value = json!(self);
        if let Value::Object(object) = &mut value {
            object.insert("v".to_owned(), VERSION.into());
        }
        format!("{value}\n")
    }
}

/// Formats the answer to a request for the status.
pub fn status_line(document: &Value, age_s: u64) -> String {
    json_text(&json!({ "v": VERSION, "age_s": age_s, "status": document })) + "\n"
}

/// Formats the answer to a valid request.
pub fn answer_line(answer: &Answer) -> String {
    match answer {
        Ok(done) => json_text(&json!({ "v": VERSION, "done": done })) + "\n",
        Err(refusal) => error_line(refusal.code(), &refusal.to_string()),
    }
}

/// Formats the answer to an invalid request.
pub fn bad_call_line(bad: &BadCall) -> String {
    error_line(bad.code(), &bad.to_string())
}

fn error_line(code: &str, text: &str) -> String {
    json_text(&json!({ "v": VERSION, "error": { "code": code, "text": text } })) + "\n"
}

/// The daemon's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The status and its age.
    Status {
        /// The document of [`crate::model::document`].
        document: Value,
        /// Age of the status, in seconds.
        age_s: u64,
    },
    /// The request was carried out; says what is now decided.
    Done(String),
    /// The request was not carried out.
    Refused {
        /// Reason for programs.
        code: String,
        /// Reason for people.
        text: String,
    },
}

impl Reply {
    /// Parses a line from the daemon; `None` if it is not an answer.
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

    /// Whether the request itself is wrong, so that repeating it later would not help.
    pub fn is_wrong(code: &str) -> bool {
        let of_the_moment = [Refusal::Overtaken, Refusal::Busy, Refusal::Reloaded, Refusal::Ending]
            .iter()
            .any(|refusal| refusal.code() == code);
        !of_the_moment && ![BadCall::Starting, BadCall::Crowded].iter().any(|bad| bad.code() == code)
    }
}
