//! How long and how often: from the environment, as set by `scripts/test-faults`.

use std::fmt::Display;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Returns a number from the environment.
fn number<T: FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}")),
        Err(_) => default,
    }
}

/// How long memory is watched.
pub(crate) fn minutes() -> u64 {
    number("FAULTS_MINUTES", 4)
}

/// How often the daemon is killed.
pub(crate) fn kills() -> usize {
    number("FAULTS_KILLS", 200)
}

/// The seed of everything random.
pub(crate) fn seed() -> u64 {
    number("FAULTS_SEED", fastrand::u64(..1_000_000))
}

/// `stale-after-s` and `stop-after-s`: by default shorter than those of the program (90 and 300), and about in proportion.
pub(crate) fn data_limits() -> (u32, u32) {
    (number("FAULTS_STALE_S", 18), number("FAULTS_STOP_S", 60))
}

/// Whether mounts and firewall rules made here are nobody else's.
pub(crate) fn in_namespaces() -> bool {
    number("FAULTS_NAMESPACES", 0_u8) == 1
}

/// Prints the line of a case.
pub(crate) fn say(case: &str, figures: impl Display) {
    println!("== {case}: {figures}");
}

/// Says that a case was left out.
pub(crate) fn skip(case: &str) {
    say(case, "SKIPPED, it needs namespaces of its own: run scripts/test-faults as root");
}

/// A stopwatch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch(Instant);

impl Watch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn read(self) -> Duration {
        self.0.elapsed()
    }

    pub(crate) fn seconds(self) -> f64 {
        self.read().as_secs_f64()
    }
}

/// Runs a program that must succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) {
    let output = std::process::Command::new(program).args(arguments).output().unwrap_or_else(|error| {
        panic!("{program} cannot be started: {error}");
    });
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The resident memory of a process, in KiB.
pub(crate) fn rss_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5)");
    line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("proc(5)")
}
