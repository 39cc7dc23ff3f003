//! Removes secrets from the text of a configuration file, even one that is not valid TOML. Everything else stays as it is.

/// Replaces a secret.
const MASK: &str = "\"(masked)\"";
/// Parts of keys whose values are secrets. Keys that end in `file` hold only names.
const SECRET: [&str; 7] = ["pass", "pwd", "user", "secret", "token", "psk", "key"];

/// Returns the text without secrets.
pub(super) fn masked(text: &str) -> String {
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
        match assignments.into_iter().find(|(key, _)| is_secret(key)) {
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

/// Whether a key's value is a secret; the key may be commented out, quoted, or part of an inline table.
fn is_secret(key: &str) -> bool {
    let last = key.rsplit([',', '{', '.', ' ', '\t', '#']).find(|part| !part.is_empty()).unwrap_or(key);
    let key = last.trim_matches(['"', '\'']).to_ascii_lowercase();
    SECRET.iter().any(|part| key.contains(part)) && !key.ends_with("file")
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
                    client-key = \"\"\"\nMIIo6\n\"\"\"\nkeep-alive-s = 30\n";
        let shown = masked(text);
        for secret in [
            "a1", "ann", "b2", "c3", "d4", "e5", "f6", "g7", "h8", "i9", "eve", "j1", "k2", "bob", "l/3", "m4", "n5",
            "MIIo6",
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
        assert_eq!(
            masked(include_str!("../../../config/examples/powerwall-heidelberg.toml")).lines().count(),
            include_str!("../../../config/examples/powerwall-heidelberg.toml").lines().count()
        );
    }
}
