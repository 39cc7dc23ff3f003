//! Tests of the configuration file.

mod bad;
mod files;
mod good;
mod lines;
mod reference;
mod robust;

use std::path::Path;

use control::Milliamps;

use super::{Config, Environment, Files, Finding, KnownProfile, Loaded, parse};

/// Profile names as the caller would pass them.
const PROFILES: [KnownProfile; 2] = [
    KnownProfile { name: "heidelberg-energy-control", switches_phases: false, max: Milliamps(16_000) },
    KnownProfile { name: "amperfied-connect", switches_phases: true, max: Milliamps(16_000) },
];

/// A small file without findings. The tests of bad files replace its lines.
const BASE: &str = r#"version = 1
[mqtt]
url = "mqtts://broker.lan"
[inputs]
site-name = "my_home"
[site]
main-fuse-a = 25
[battery]
floor-soc = 20
[solar]
min-share = 0.75
[fail-safe]
stale-after-s = 90
[[charger]]
name = "carport"
profile = "heidelberg-energy-control"
link = "serial:///dev/surplusd-rs485"
unit = 1
[home-assistant]
node-id = "surplusd"
[publish]
state-every-s = 10
"#;

/// Reads a text, without the warning that `BASE` has no login: `logins` tests that.
fn read(text: &str) -> Loaded {
    whoever_it_is(parse(text, Path::new("test.toml"), &Environment::default(), &PROFILES, Files::Ignore))
}

fn whoever_it_is(mut loaded: Loaded) -> Loaded {
    loaded.findings.retain(|finding| !finding.message.starts_with("without a login"));
    loaded
}

/// Returns the configuration of a text that must have no findings.
#[track_caller]
fn good(text: &str) -> Config {
    let loaded = read(text);
    assert_eq!(lines(&loaded.findings), "");
    loaded.config.expect("no finding is an error")
}

/// `BASE` with line `number` (from 1) replaced.
fn with_line(number: usize, line: &str) -> String {
    let mut lines: Vec<&str> = BASE.lines().collect();
    lines[number - 1] = line;
    lines.join("\n") + "\n"
}

fn lines(findings: &[Finding]) -> String {
    findings.iter().fold(String::new(), |all, finding| all + &finding.to_string() + "\n")
}
