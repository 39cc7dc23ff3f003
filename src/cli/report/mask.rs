//! Removes secrets from the text of a configuration file, even one that is not valid TOML. Everything else stays as it is.

/// Replaces a secret.
const MASK: &str = "\"(masked)\"";
/// Parts of keys whose values are secrets. Keys that end in `file` hold names, unless there is no such file.
const SECRET: [&str; 7] = ["pass", "pwd", "user", "secret", "token", "psk", "key"];

/// Returns the text without secrets; `is_file` tells whether a file of this name exists.
pub(super) fn masked(text: &str, is_file: &dyn Fn(&str) -> bool) -> String {
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
        let assignments = line.match_indices('=').map(|(at, _)| line.split_at(at));
        match assignments.into_iter().find(|(key, value)| is_secret(key, value, is_file)) {
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

/// Whether a value, which begins with its `=`, is a secret; the key may be commented out, quoted, or part of an inline table.
fn is_secret(key: &str, value: &str, is_file: &dyn Fn(&str) -> bool) -> bool {
    let last = key.rsplit([',', '{', '.', ' ', '\t', '#']).find(|part| !part.is_empty()).unwrap_or(key);
    let key = last.trim_matches(['"', '\'']).to_ascii_lowercase();
    let names_file = || key.ends_with("file") && quoted(value.trim_start_matches('=')).is_some_and(is_file);
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
    let Some((before, address)) = line.split_once("://") else { return line.to_owned() };
    let end = address.find(['"', '\'']).unwrap_or(address.len());
    let (address, rest) = address.split_at(end);
    let address = address.rsplit_once('@').map_or_else(|| address.to_owned(), |(_, host)| format!("(masked)@{host}"));
    format!("{before}://{address}{}", without_login(rest))
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
    }
}
