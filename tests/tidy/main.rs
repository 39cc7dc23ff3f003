//! House rules that no compiler checks: allowed imports, sizes, secrets, reasons for dependencies, links in documents.
#![expect(clippy::expect_used, reason = "a rule that cannot be checked must fail loudly")]

mod circles;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Parts of the tree, and what their product code must not name.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("crates/control/src", &["std::", "tokio", "serde", "tracing", "surplusd"]),
    ("crates/relay-link/src", &["std::", "tokio", "serde", "tracing", "surplusd::", "control::", "extern crate alloc"]),
    ("src/config", &["tokio", "crate::mqtt", "crate::charger", "crate::daemon", "crate::sim", "crate::cli", "tracing"]),
    ("src/charger/profile", &["tokio", "crate::mqtt", "crate::daemon", "crate::sim"]),
    ("src/charger/codec", &["tokio", "crate::mqtt", "crate::daemon", "crate::sim"]),
    ("src/charger/driver", &["tokio", "crate::mqtt", "crate::daemon", "crate::sim", "Controller"]),
    ("src/charger/line", &["tokio", "crate::mqtt", "crate::daemon", "crate::sim", "Controller"]),
    ("src/charger/bus", &["crate::mqtt", "crate::sim", "Controller"]),
    ("src/mqtt/input", &["rumqttc", "tokio", "crate::daemon", "crate::charger"]),
    ("src/mqtt/command", &["rumqttc", "tokio", "crate::daemon", "crate::charger"]),
    ("src/mqtt/state", &["rumqttc", "tokio", "crate::daemon", "crate::charger"]),
    ("src/mqtt/session", &["rumqttc", "tokio", "crate::daemon", "crate::charger"]),
    ("src/mqtt/link", &["Controller", "crate::charger", "crate::sim"]),
    (
        "src/relay",
        &["rumqttc", "crate::mqtt", "crate::charger", "crate::daemon", "crate::sim", "crate::cli", "Controller"],
    ),
    ("src/tls", &["crate::mqtt", "crate::charger", "crate::daemon", "crate::sim"]),
    ("src/sim/", &["Controller", "crate::charger", "crate::config", "crate::mqtt", "crate::cli", "crate::simulate"]),
    (
        "src/simulate",
        &["tokio", "crate::charger", "crate::mqtt", "crate::daemon", "crate::cli", "tracing", "std::time"],
    ),
    (
        "src/model",
        &["crate::mqtt", "crate::charger", "crate::daemon", "crate::sim", "crate::cli", "rumqttc", "tracing"],
    ),
    (
        "src/api",
        &["crate::mqtt", "crate::charger", "crate::daemon", "crate::sim", "crate::cli", "Controller", "rumqttc"],
    ),
    // A turn does not depend on who sends to the loop or who listens to it.
    ("src/daemon/turn", &["topic", "Relay", "relay", "BTreeMap", "base_topic", "payload"]),
    ("src/daemon/output", &["crate::daemon::turn", "Recorder", "Keeper", "crate::charger"]),
    ("src/daemon", &["clap", "crate::sim", "crate::simulate", "crate::cli", "rumqttc", "tokio_modbus", "tokio_serial"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files of the tree except build products, in order, with paths relative to the root.
fn tree() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("readable") {
            let path = entry.expect("readable").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            // In a worktree, `.git` is a file that contains a path of the machine.
            if matches!(name.as_str(), ".git" | "target" | ".cache" | "node_modules" | "proptest-regressions") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path.strip_prefix(root()).expect("below the root").to_owned());
            }
        }
    }
    files.sort();
    assert!(files.len() > 50, "the tree was not found");
    files
}

fn read(file: &Path) -> String {
    String::from_utf8_lossy(&fs::read(root().join(file)).expect("readable")).into_owned()
}

fn rust() -> impl Iterator<Item = (String, String)> {
    let sources = tree().into_iter().filter(|file| file.extension().is_some_and(|ending| ending == "rs"));
    sources.map(|file| (file.display().to_string(), read(&file)))
}

fn is_test(file: &str) -> bool {
    file.contains("tests") || file.contains("testing") || file.contains("fake_box") || file.starts_with("benches/")
}

/// The product part of a file: everything before its tests, without comments.
fn product(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).fold(String::new(), |sum, line| sum + line + "\n")
}

#[test]
fn nobody_imports_what_it_must_not() {
    let mut wrong = Vec::new();
    for (file, text) in rust().filter(|(file, _)| !is_test(file)) {
        for (part, names) in FORBIDDEN.iter().filter(|(part, _)| file.starts_with(part)) {
            for name in names.iter().filter(|name| product(&text).contains(**name)) {
                wrong.push(format!("{file}: {part} must not name {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_controller_is_no_std_and_without_dependencies() {
    let manifest = read(Path::new("crates/control/Cargo.toml"));
    assert!(!manifest.contains("[dependencies]") && !manifest.contains("[features]"));
    assert!(read(Path::new("crates/control/src/lib.rs")).contains("#![no_std]"));
}

#[test]
fn files_stay_small() {
    let long = rust().map(|(file, text)| (text.lines().count(), file)).filter(|(count, file)| {
        // Tables of cases grow; the code that they test does not.
        *count > if is_test(file) { FILE_LINES_MAX * 2 } else { FILE_LINES_MAX }
    });
    let long: Vec<_> = long.collect();
    assert!(long.is_empty(), "files over {FILE_LINES_MAX} lines: {long:?}");
}

#[test]
fn functions_stay_small() {
    let mut long = Vec::new();
    for (file, text) in rust().filter(|(file, _)| !is_test(file)) {
        let mut open: Option<(usize, usize, String)> = None;
        for (number, line) in text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let head = line.trim_start();
            if open.is_none() && (head.starts_with("fn ") || head.contains(" fn ")) && head.ends_with('{') {
                open = Some((number, indent, head.to_owned()));
            } else if let Some((start, depth, name)) = &open
                && head == "}"
                && indent == *depth
            {
                if number - start > FUNCTION_LINES_MAX {
                    long.push(format!("{file}:{}: {} lines: {name}", start + 1, number - start));
                }
                open = None;
            }
        }
    }
    assert!(long.is_empty(), "functions over {FUNCTION_LINES_MAX} lines:\n{}", long.join("\n"));
}

#[test]
fn no_secret_and_no_machine_in_the_tree() {
    let marks = [["PRIVATE", " KEY-----\nM"].concat(), ["/wo", "rk/"].concat(), ["/ro", "ot/"].concat()];
    let mut found = Vec::new();
    for file in tree() {
        let text = read(&file);
        found.extend(
            marks.iter().filter(|mark| text.contains(*mark)).map(|mark| format!("{}: {mark:?}", file.display())),
        );
        let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if file.starts_with("certs") && ending != "md" {
            found.push(format!("{}: only documentation belongs there", file.display()));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = read(Path::new("Cargo.toml"));
    let mut section = String::new();
    let mut before = "";
    let mut bare = Vec::new();
    for line in manifest.lines() {
        if let Some(name) = line.strip_prefix('[') {
            name.clone_into(&mut section);
        } else if section.contains("dependencies]") && line.contains('=') && !before.starts_with('#') {
            bare.push(line.to_owned());
        }
        before = line;
    }
    assert!(bare.is_empty(), "dependencies without a reason above them: {bare:?}");
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for file in tree().into_iter().filter(|file| file.extension().is_some_and(|ending| ending == "md")) {
        let text = read(&file);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            let here = file.parent().unwrap_or(Path::new(""));
            if !target.contains("://") && !target.is_empty() && !root().join(here).join(target).exists() {
                broken.push(format!("{}: {link}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The memory of the process holds the password and the key; the watchdog ends it with `SIGABRT`.
#[test]
fn the_unit_leaves_no_secret_behind() {
    let unit = read(Path::new("systemd/surplusd.service"));
    for line in ["UMask=0077", "LimitCORE=0"] {
        assert!(unit.lines().any(|other| other == line), "{line} is missing");
    }
}

/// What is printed may come from elsewhere: arguments, files, certificates. Standard output is passed through [`surplusd::cli::plain`] in
/// `main`, standard error where it is written to.
#[test]
fn nothing_but_text_goes_to_standard_error() {
    let plain = |line: &str| line.contains("Plain(") || line.contains("is_terminal");
    let mut raw = Vec::new();
    for (file, text) in rust().filter(|(file, _)| file.starts_with("src/") && !is_test(file)) {
        let lines = product(&text);
        let wrong =
            lines.lines().filter(|line| line.contains("io::stderr()") && !plain(line) || line.contains("eprint"));
        raw.extend(wrong.map(|line| format!("{file}: {}", line.trim())));
    }
    assert!(raw.is_empty(), "not through `Plain`:\n{}", raw.join("\n"));
}

/// What replaces the verification of certificates stands in two places: one that only explains refusals, and one that sends nothing.
#[test]
fn certificates_are_verified_by_the_library() {
    let places = rust().filter(|(file, text)| file.starts_with("src/") && product(text).contains(".dangerous()"));
    let places: Vec<String> = places.map(|(file, _)| file).collect();
    assert_eq!(places, ["src/mqtt/link/diagnose.rs", "src/tls/mod.rs"]);
}

/// A setting without a use is a broken promise. `config::tests::reference` tests that each key reaches its setting.
#[test]
fn every_setting_is_used() {
    let definitions: [(&str, &str, &[&str]); 2] = [
        ("src/config/domain.rs", "src/", &["src/config", "src/cli/check"]),
        ("crates/control/src/config.rs", "crates/control/src/", &["crates/control/src/config.rs"]),
    ];
    let mut unused = Vec::new();
    for (definition, below, but) in definitions {
        let used: String = rust()
            .filter(|(file, _)| {
                file.starts_with(below) && !is_test(file) && !but.iter().any(|but| file.starts_with(but))
            })
            .map(|(_, text)| product(&text))
            .collect();
        let words: std::collections::BTreeSet<&str> = used.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let text = read(Path::new(definition));
        let fields = text.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(": "));
        let fields: Vec<&str> = fields.map(|(name, _)| name).filter(|name| !name.contains(' ')).collect();
        assert!(fields.len() > 20, "the settings were not found");
        unused.extend(
            fields.into_iter().filter(|name| !words.contains(name)).map(|name| format!("{definition}: {name}")),
        );
    }
    assert!(unused.is_empty(), "settings without effect: {unused:?}");
}

/// The table in docs/safety.md names tests; they must exist.
#[test]
fn the_safety_ladder_names_real_tests() {
    let safety = read(Path::new("docs/safety.md"));
    let sources: BTreeMap<String, String> = rust().collect();
    // The table; below the next heading is what no test can cover.
    let ladder = safety.split("\n## ").next().unwrap_or_default();
    let last_column = ladder.lines().filter(|line| line.starts_with('|')).filter_map(|line| line.rsplit('|').nth(1));
    let named: Vec<&str> = last_column.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() >= 8, "the table was not found");
    for name in named {
        let there = sources.values().any(|text| text.contains(&format!("fn {name}(")));
        assert!(there, "{name} is no test");
    }
}
