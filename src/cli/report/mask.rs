//! Removes secrets from the text of a configuration file, even one that is not valid TOML. Everything else stays as it is.
//!
//! What the parser finds is removed by its place, whatever the form; then what looks like a secret in a line, for comments and for what is
//! not TOML.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Replaces a secret.
const MASK: &str = "\"(masked)\"";
/// Parts of keys whose values are secrets. Keys that end in `file` hold names, unless there is no such file.
const SECRET: [&str; 7] = ["pass", "pwd", "user", "secret", "token", "psk", "key"];

/// Returns the text without secrets; `is_file` tells whether a file of this name exists.
pub(super) fn masked(text: &str, is_file: &dyn Fn(&str) -> bool) -> String {
    let (root, _) = DeTable::parse_recoverable(text);
    let mut places = Vec::new();
    for (key, value) in root.get_ref() {
        find(key.get_ref(), value, text, is_file, &mut places);
    }
    places.sort_by_key(|place| place.start);
    let (mut shown, mut at) = (String::with_capacity(text.len()), 0);
    for place in places {
        // Where the text is no TOML, places may be anywhere.
        if let Some(before) = text.get(at..place.start).filter(|_| text.is_char_boundary(place.end)) {
            shown.extend([before, MASK]);
            at = place.end;
        }
    }
    shown.push_str(text.get(at..).unwrap_or_default());
    masked_by_line(&shown, is_file)
}

/// Finds the places of secrets: values of such keys, whatever is in them, and addresses with a login that are not written plainly.
fn find(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    text: &str,
    is_file: &dyn Fn(&str) -> bool,
    places: &mut Vec<Range<usize>>,
) {
    let inner = value.get_ref();
    if let DeValue::Table(table) = inner {
        for (name, value) in table {
            // In a table that is a secret, everything is one, except the names of files.
            let name =
                if is_secret(key, None, is_file) && !name.get_ref().ends_with("file") { key } else { name.get_ref() };
            find(name, value, text, is_file, places);
        }
    } else if is_secret(key, inner.as_str(), is_file) {
        places.push(value.span());
    } else if let DeValue::Array(array) = inner {
        for value in array {
            find(key, value, text, is_file, places);
        }
    } else if let DeValue::String(address) = inner
        && address.contains("://")
        && address.contains('@')
    {
        // A plain one is masked with its line, up to the host.
        let written = text.get(value.span()).unwrap_or_default();
        let plain = written.get(1..written.len().saturating_sub(1)).unwrap_or_default();
        if plain.contains(['\n', '"', '\'', '\\']) {
            places.push(value.span());
        }
    }
}

fn masked_by_line(text: &str, is_file: &dyn Fn(&str) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    // The end of the multi-line secret that is being left out.
    let mut until: Option<&str> = None;
    for line in text.lines() {
        if let Some(end) = until {
            if line.contains(end) {
                until = None;
            }
            continue;
        }
        // Each key is what stands between two such characters: looking further back would take time with the square of the line.
        let mut key_at = 0;
        let secret = line.match_indices('=').map(|(at, _)| at).find(|at| {
            let key = line.get(key_at..*at).unwrap_or_default();
            key_at = at + 1;
            is_secret(key, line.get(key_at..).and_then(quoted), is_file)
        });
        match secret.map(|at| line.split_at(at)) {
            Some((key, value)) => {
                let value = value.trim_start_matches('=');
                out.push_str(&without_login(key));
                out.extend(["= ", MASK]);
                let delimiter =
                    ["\"\"\"", "'''"].into_iter().find(|delimiter| value.trim_start().starts_with(delimiter));
                until = delimiter.filter(|delimiter| value.matches(delimiter).count() < 2);
            }
            None => out.push_str(&without_login(line)),
        }
        out.push('\n');
    }
    out
}

/// Whether a key's value is a secret; the key may be commented out, quoted, or part of an inline table. `value` is its text, if it has one.
pub(super) fn is_secret(key: &str, value: Option<&str>, is_file: &dyn Fn(&str) -> bool) -> bool {
    let last = key.rsplit([',', '{', '.', ' ', '\t', '#']).find(|part| !part.is_empty()).unwrap_or(key);
    let key = last.trim_matches(['"', '\'']).to_ascii_lowercase();
    let names_file = || key.ends_with("file") && value.is_some_and(is_file);
    SECRET.iter().any(|part| key.contains(part)) && !names_file()
}

/// The text of a value in quotes, as it is written.
fn quoted(value: &str) -> Option<&str> {
    let value = value.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    value.split(quote).nth(1)
}

/// A line without what stands before the `@` of an address; all of it where that may hold a `/` or a blank.
fn without_login(line: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(line.len()), line);
    while let Some((before, address)) = rest.split_once("://") {
        let (address, after) = address.split_at(address.find(['"', '\'']).unwrap_or(address.len()));
        shown.extend([before, "://"]);
        match address.rsplit_once('@') {
            Some((_, host)) => shown.extend(["(masked)@", host]),
            None => shown.push_str(address),
        }
        rest = after;
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_gone_and_the_rest_stays() {
        let text = "version = 1 # password = \"a1\"\n[mqtt]\nurl = \"mqtts://ann:b2@broker:8883\" # mqtt://c3@x\nusername = \"d4\"\n\
                    password-file = \"mqtt-password\"\n  password = 'e5'\n\"pass\" = 1\nmqtt.password=\"f6\"\n#password = \"g7\"\n\
                    x = { password = \"h8\" }\ntoken = \"\"\"\ni9\n\"\"\"\nclient-key-file = \"k\"\n\
                    mqtt = { url = \"mqtts://eve:j1@b\", username = \"k2\" }\nurl = \"mqtts://bob:l/3 m4@host\"\npasswd = \"n5\"\n\
                    client-key = \"\"\"\nMIIo6\n\"\"\"\npassword-file = \"p7\"\n#password-file='q8'\n\
                    username-file = r9\nclient-key-file = \"\"\"\nMIIs0\n\"\"\"\nkeep-alive-s = 30\n";
        let shown = masked(text, &|name| ["mqtt-password", "k"].contains(&name));
        for secret in [
            "a1", "ann", "b2", "c3", "d4", "e5", "f6", "g7", "h8", "i9", "eve", "j1", "k2", "bob", "l/3", "m4", "n5",
            "MIIo6", "p7", "q8", "r9", "MIIs0",
        ] {
            assert!(!shown.contains(secret), "{secret}: {shown}");
        }
        for kept in [
            "version = 1",
            "(masked)@broker:8883\"",
            "password-file = \"mqtt-password\"",
            "client-key-file = \"k\"",
            "keep-alive-s = 30",
        ] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
        let example = include_str!("../../../config/examples/powerwall-heidelberg.toml");
        assert_eq!(masked(example, &|_| true).lines().count(), example.lines().count());
        for hidden in [
            "passwords = [\n  \"p1\",\n  \"p1\",\n]\n",
            "[mqtt.password]\nvalue = \"p1\"\n",
            "mqtt.password.value = 'p1'\n",
            "url = \"\"\"mqtts://u:\np1@b\"\"\"\n",
            "\"pass\\u0077ord\" = \"p1\"\n",
            "url = 'mqtts://u:\"p1@b'\n",
            "users = [{ name = \"p1\" }]\n",
        ] {
            let shown = masked(&format!("a = 1\n{hidden}[solar]\nmin-share = 0.5\n"), &|_| true);
            assert!(!shown.contains("p1"), "{shown}");
            assert!(shown.starts_with("a = 1\n") && shown.ends_with("[solar]\nmin-share = 0.5\n"), "{shown}");
        }
    }

    /// However long a line is, and however many keys or addresses are in it.
    #[test]
    fn a_long_line_is_masked_soon() {
        let text = ["=".repeat(200_000), "://\"".repeat(100_000), "a@://'".repeat(50_000)].join("\n");
        assert_eq!(masked(&text, &|_| true).lines().count(), 3);
    }
}
