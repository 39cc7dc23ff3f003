//! Fuzz target: a configuration file in a report, which others will read.
#![expect(clippy::missing_panics_doc, reason = "a target reports by a panic")]

use toml::{Table, Value};

use super::mask::{is_secret, masked};

/// What stands for a secret in the seeds.
const SECRET: &str = "s3cr3t-t0ken";

/// Any text as a configuration. If the secret is in the value of a key for secrets, or in the login of an address, it is not shown.
pub fn mask(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let shown = masked(text, &|_| false);
    assert!(shown.len() <= 8 * text.len() + 100, "{} bytes of {}", shown.len(), text.len());
    // More than once, it may be in a comment as well, where nothing tells that it is one.
    if text.matches(SECRET).count() != 1 {
        return;
    }
    let Ok(table) = text.parse::<Table>() else { return };
    if table.iter().any(|(key, value)| holds_secret(key, value)) {
        assert!(!shown.contains(SECRET), "{shown}");
    }
}

fn holds_secret(key: &str, value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(SECRET) && (is_secret(key, None, &|_| false) || is_login(text)),
        Value::Array(values) => values.iter().any(|value| holds_secret(key, value)),
        Value::Table(table) => table.iter().any(|(name, value)| {
            let name = if is_secret(key, None, &|_| false) && !name.ends_with("file") { key } else { name };
            holds_secret(name, value)
        }),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => false,
    }
}

/// Whether the secret is before the `@` of an address.
fn is_login(text: &str) -> bool {
    let login = text.split_once("://").and_then(|(_, address)| address.rsplit_once('@'));
    login.is_some_and(|(login, _)| login.contains(SECRET))
}
