//! Names, topics and addresses: pure checks of text that return the reason if they fail.

use std::net::Ipv6Addr;

use super::text::unseen;

/// Longest topic to subscribe to or publish, in bytes. MQTT allows 65535; Home Assistant's stay well below 200.
const TOPIC_MAX: usize = 256;

/// Returns the candidate most similar to `word`, if any is similar at all.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase().replace('_', "-");
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let apart = distance(&word, candidate);
            let part = word.len() >= 3 && (candidate.starts_with(&word) || word.starts_with(candidate));
            let near = part || apart <= (word.chars().count().max(candidate.len()) / 3).max(1);
            near.then_some((apart, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// Number of characters to insert, remove, replace or swap with their neighbour to get from one word to the other (optimal string
/// alignment).
fn distance(from: &str, to: &str) -> usize {
    // No typing error is longer; this bounds the work on hostile text.
    if from.len() > 64 {
        return usize::MAX;
    }
    let to: Vec<char> = to.chars().collect();
    // Row i holds the distances of the first i characters of `from` to every prefix of `to`.
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    let mut last = None;
    for (i, a) in from.chars().enumerate() {
        let mut next = vec![i + 1];
        let mut left = i + 1;
        for (j, b) in to.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&row, j) + usize::from(a != *b)).min(at(&row, j + 1) + 1).min(left + 1);
            if let Some(k) = j.checked_sub(1)
                && last == Some(*b)
                && to.get(k) == Some(&a)
            {
                best = best.min(at(&before, k) + 1);
            }
            next.push(best);
            left = best;
        }
        before = row;
        row = next;
        last = Some(a);
    }
    row.last().copied().unwrap_or(usize::MAX)
}

/// Whether the text is 1 … `max` characters, all of them letters, digits, `-` or `_`.
pub(super) fn is_id(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Whether the text is 1 … `max` characters, all of them lower-case letters, digits or `-`.
pub(super) fn is_label(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Why the text cannot be a topic without wildcards.
pub(super) fn topic_fault(topic: &str) -> Option<&'static str> {
    if topic.is_empty() {
        Some("the topic is empty")
    } else if topic.contains(['+', '#']) {
        Some("the topic has a wildcard, but one source is one topic")
    } else if topic.len() > TOPIC_MAX {
        Some("the topic is longer than 256 bytes")
    } else if topic.contains(unseen) {
        Some("the topic contains a control character or an invisible one")
    } else if topic.trim() != topic {
        Some("the topic begins or ends with a blank")
    } else if topic.starts_with('$') {
        Some("topics that begin with $ are the broker's own")
    } else {
        None
    }
}

/// Why the text cannot be a topic prefix.
pub(super) fn prefix_fault(prefix: &str) -> Option<&'static str> {
    if prefix.starts_with('/') || prefix.ends_with('/') || prefix.contains("//") {
        return Some("it has an empty level: a slash at its beginning, at its end, or two in a row");
    }
    topic_fault(prefix)
}

/// Whether `topic` is `prefix` or below it.
pub(super) fn is_within(topic: &str, prefix: &str) -> bool {
    topic.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Why the text cannot be a JSON pointer (RFC 6901).
pub(super) fn pointer_fault(pointer: &str) -> Option<&'static str> {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Some("a JSON pointer begins with a slash");
    }
    let escapes_end = |rest: &str| rest.starts_with(['0', '1']);
    if !pointer.split('~').skip(1).all(escapes_end) {
        return Some("in a JSON pointer `~` is written ~0 (and a slash within a name ~1)");
    }
    None
}

/// Parses a host with an optional port: `host`, `host:port`, `[::1]:port`. An IPv6 address is returned without brackets.
pub(super) fn host_and_port(text: &str) -> Result<(String, Option<u16>), &'static str> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or("the bracket of the IPv6 address is not closed")?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err("this is not an IPv6 address");
        }
        let port = match port.strip_prefix(':') {
            Some(port) => Some(port),
            None if port.is_empty() => None,
            None => return Err("after the IPv6 address only `:port` may follow"),
        };
        (host, port)
    } else if text.matches(':').count() > 1 {
        return Err("an IPv6 address must be in brackets");
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if host.is_empty() {
        return Err("the host is missing");
    }
    if host.len() > 253 || !host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':')) {
        return Err("the host contains characters that no host name has");
    }
    let port = match port {
        None => None,
        // `u16` would also accept a plus sign.
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => match port.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            Ok(_) | Err(_) => return Err("the port must be within 1 … 65535"),
        },
        Some(_) => return Err("the port must be a number"),
    };
    Ok((host.to_owned(), port))
}
