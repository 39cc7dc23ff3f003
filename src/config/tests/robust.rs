//! No text makes reading panic, and there is a configuration if and only if there is no error.

use proptest::prelude::*;

use super::read;
use crate::config::Severity;

const REFERENCE: &str = include_str!("../../../config/surplusd.toml");

/// Fragments that often have a meaning in the wrong place.
const SCRAPS: [&str; 24] = [
    "\"",
    "'''",
    "\"\"\"",
    "[",
    "]]",
    "[[charger]]",
    "{",
    "}",
    "=",
    "\n",
    "\r",
    "#",
    ".",
    "-",
    "1e999",
    "nan",
    "-inf",
    "99999999999999999999",
    "0x",
    "\u{feff}",
    "ä",
    "\u{0}",
    "\t",
    "1979-05-27",
];

#[derive(Debug, Clone)]
enum Change {
    Cut { at: usize, length: usize },
    Insert { at: usize, scrap: usize },
    Copy { from: usize, length: usize, to: usize },
    SwapLines { one: usize, other: usize },
}

fn change() -> impl Strategy<Value = Change> {
    let at = || 0..REFERENCE.len();
    prop_oneof![
        (at(), 1..60_usize).prop_map(|(at, length)| Change::Cut { at, length }),
        (at(), 0..SCRAPS.len()).prop_map(|(at, scrap)| Change::Insert { at, scrap }),
        (at(), 1..200_usize, at()).prop_map(|(from, length, to)| Change::Copy { from, length, to }),
        (0..200_usize, 0..200_usize).prop_map(|(one, other)| Change::SwapLines { one, other }),
    ]
}

/// Returns the nearest character boundary at or before `at`.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn apply(text: &mut String, change: &Change) {
    match *change {
        Change::Cut { at, length } => {
            let range = boundary(text, at)..boundary(text, at + length);
            text.replace_range(range, "");
        }
        Change::Insert { at, scrap } => text.insert_str(boundary(text, at), SCRAPS[scrap]),
        Change::Copy { from, length, to } => {
            let piece = text[boundary(text, from)..boundary(text, from + length)].to_owned();
            text.insert_str(boundary(text, to), &piece);
        }
        Change::SwapLines { one, other } => {
            let mut lines: Vec<&str> = text.lines().collect();
            if one < lines.len() && other < lines.len() {
                lines.swap(one, other);
            }
            *text = lines.join("\n");
        }
    }
}

fn check(text: &str) {
    let loaded = read(text);
    let failed = loaded.findings.iter().any(|finding| finding.severity == Severity::Error);
    assert_eq!(loaded.config.is_none(), failed);
    for finding in &loaded.findings {
        assert!(finding.line >= 1 && finding.column >= 1);
        assert!(finding.line <= text.matches('\n').count() + 1);
        assert!(!finding.message.is_empty() && !finding.remedy.is_empty());
        let _ = finding.picture(text, false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutations_of_the_reference(changes in prop::collection::vec(change(), 1..8)) {
        let mut text = REFERENCE.to_owned();
        for change in &changes {
            apply(&mut text, change);
        }
        check(&text);
    }

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        check(&text);
    }

    #[test]
    fn any_value_in_any_key(line in 0..200_usize, scrap in 0..SCRAPS.len()) {
        let changed: Vec<String> = REFERENCE.lines().enumerate().map(|(number, text)| match text.split_once(" = ") {
            Some((key, _)) if number == line => format!("{key} = {}", SCRAPS[scrap]),
            _ => text.to_owned(),
        }).collect();
        check(&changed.join("\n"));
    }
}

/// Reading starts again after each mistake, and a mistake is shown with its line.
#[test]
fn a_large_file_full_of_mistakes_is_given_up_soon() {
    let keys: Vec<String> = (0..20_000).map(|number| format!("key-{number} = 1")).collect();
    let loaded = read(&format!("version = 1\n{}", keys.join("\n")));
    assert!((10..50).contains(&loaded.findings.len()), "{}", loaded.findings.len());
    assert!(loaded.findings.iter().any(|finding| finding.message == "too many findings"));
    for line in ["\r".repeat(100_000), "\r".repeat(100_000) + "“", "= ".repeat(100_000)] {
        check(&line);
        assert!(read(&line).config.is_none());
    }
}

#[test]
fn deep_nesting_is_refused() {
    for text in [format!("a = {}", "[".repeat(50_000)), format!("[{}a]", "a.".repeat(50_000)), "a={b=".repeat(50_000)] {
        check(&text);
        assert!(read(&text).config.is_none());
    }
}
