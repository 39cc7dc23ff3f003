//! The lines on the local socket, in both directions.
#![expect(clippy::missing_panics_doc, reason = "a target reports by a panic")]

use super::pieces::assert_showable;
use crate::api::protocol::{BadCall, Call, Reply, bad_call_line};
use crate::cli::plain::plain;
use crate::cli::status::page::page;
use crate::model::request::Setting;

/// A client's request.
pub fn call(bytes: &[u8]) {
    match Call::parse(bytes) {
        Ok(call) => {
            let line = call.line();
            assert!(line.ends_with('\n') && line.lines().count() == 1, "{line:?}");
            assert_eq!(Call::parse(line.as_bytes()).as_ref(), Ok(&call));
            if let Call::Set { key, value, charger } = &call
                && let Err(refusal) = Setting::parse(charger.as_deref(), key, value.as_bytes())
            {
                assert_showable(&refusal.to_string(), 2_000);
            }
        }
        Err(bad) => assert_bad_call(&bad, bytes.len()),
    }
}

/// The answer to what is no request is a line that the client understands, no longer than the request by much.
fn assert_bad_call(bad: &BadCall, length: usize) {
    let line = bad_call_line(bad);
    assert!(line.ends_with('\n') && line.lines().count() == 1, "{line:?}");
    assert!(line.len() <= 16 * length + 1_000, "{} bytes for {length}", line.len());
    assert!(matches!(Reply::parse(&line), Some(Reply::Refused { .. })), "{line}");
}

/// The daemon's answer, and the page that shows it.
pub fn reply(bytes: &[u8]) {
    let Ok(line) = std::str::from_utf8(bytes) else { return };
    match Reply::parse(line) {
        Some(Reply::Status { document, age_s }) => {
            let lines = page(&document, age_s);
            assert!(lines.iter().map(String::len).sum::<usize>() <= 40 * line.len() + 4_000);
            assert!(lines.iter().all(|line| !plain(line).contains(|c: char| c.is_control() && c != '\n')));
        }
        Some(Reply::Refused { code, .. }) => {
            Reply::is_wrong(&code);
        }
        Some(Reply::Done(_)) | None => {}
    }
}
