//! The targets as property tests: over their seeds, over mutations of these, and over random bytes.
//!
//! A failure tells how to repeat it. `SURPLUSD_FUZZ=TARGET:SEED` runs one mutation, `SURPLUSD_FUZZ=TARGET:FILE` a file, such as one that
//! `scripts/fuzz` has found.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fastrand::Rng;

use super::{TARGETS, Target};

/// Mutations of each target.
const MUTATIONS: u64 = 1_500;
/// Longest input made here, in bytes.
const INPUT_MAX: usize = 16 * 1024;
/// The variable that selects what is run.
const SELECTION: &str = "SURPLUSD_FUZZ";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The seeds of a target in the order of their names, with these.
fn seeds(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder().join("corpus").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| (file.display().to_string(), fs::read(file).unwrap())).collect()
}

/// Runs a target; returns whether it found nothing wrong.
fn holds(target: Target, bytes: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| target(bytes))).is_ok()
}

#[test]
fn every_target_has_its_file_and_seeds() {
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(super::tests::folder().join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("targets"), targets);
    assert_eq!(names("corpus"), targets);
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    for name in &targets {
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"targets/{name}.rs\"")), "{name}");
        let file = fs::read_to_string(folder().join(format!("targets/{name}.rs"))).unwrap();
        assert!(file.contains(&format!("surplusd::fuzz::{name}(bytes)")), "{name}");
        assert!(!seeds(name).is_empty(), "{name}");
    }
}

/// What is fuzzed is what is shipped. If this fails: `cp Cargo.lock fuzz/ && cargo metadata --manifest-path fuzz/Cargo.toml`.
#[test]
fn the_fuzzer_has_the_same_dependencies() {
    let packages = |file: PathBuf| -> BTreeSet<(String, String)> {
        let text = fs::read_to_string(file).unwrap();
        let value = |line: Option<&str>| Some(line?.split('"').nth(1)?.to_owned());
        let package = |part: &str| Some((value(part.lines().next())?, value(part.lines().nth(1))?));
        text.split("[[package]]\n").skip(1).filter_map(package).collect()
    };
    let (fuzzer, product) = (packages(folder().join("Cargo.lock")), packages(folder().join("../Cargo.lock")));
    let other: Vec<&str> = fuzzer.difference(&product).map(|(name, _)| name.as_str()).collect();
    assert_eq!(other, ["arbitrary", "jobserver", "libfuzzer-sys", "surplusd-fuzz"]);
}

#[test]
fn every_target_holds_for_its_seeds() {
    let mut failed = Vec::new();
    for (name, target) in TARGETS {
        failed.extend(
            seeds(name)
                .into_iter()
                .filter(|(_, bytes)| !holds(*target, bytes))
                .map(|(file, _)| format!("{SELECTION}={name}:{file} cargo test --lib fuzz")),
        );
    }
    assert!(failed.is_empty(), "to repeat it:\n{}", failed.join("\n"));
}

#[test]
fn every_target_holds_for_mutations_of_its_seeds() {
    let selected = std::env::var(SELECTION).ok();
    let selected = selected.as_ref().map(|selected| selected.split_once(':').expect("TARGET:SEED or TARGET:FILE"));
    let mut failed = Vec::new();
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        let numbers = match selected {
            Some((only, _)) if only != *name => continue,
            Some((_, what)) => match what.parse() {
                Ok(number) => number..number + 1,
                Err(_) => return target(&fs::read(what).unwrap()),
            },
            None => 0..MUTATIONS,
        };
        let wrong = numbers.into_iter().find(|number| !holds(*target, &mutation(&seeds, *number)));
        failed.extend(wrong.map(|number| {
            let shown = mutation(&seeds, number).escape_ascii().to_string();
            format!("{SELECTION}={name}:{number} cargo test --lib fuzz  # b\"{shown}\"")
        }));
    }
    assert!(failed.is_empty(), "to repeat it:\n{}", failed.join("\n"));
}

/// The mutation with this number: the same each time, as long as the seeds are.
fn mutation(seeds: &[(String, Vec<u8>)], number: u64) -> Vec<u8> {
    let mut random = Rng::with_seed(number);
    let random = &mut random;
    let any = |random: &mut Rng, longest: usize| -> Vec<u8> {
        let length = random.usize(0..=longest);
        std::iter::repeat_with(|| random.u8(..)).take(length).collect()
    };
    let seed = |random: &mut Rng| random.choice(seeds).map(|(_, bytes)| bytes.clone()).unwrap_or_default();
    // Few inputs are pure chance: they hardly get beyond the first check.
    let mut bytes = if random.u8(..8) == 0 { any(random, 400) } else { seed(random) };
    for _ in 0..random.u8(1..8) {
        let start = random.usize(0..=bytes.len());
        let end = random.usize(start..=bytes.len().min(start + 40));
        match random.u8(..9) {
            0 => drop(bytes.drain(start..end)),
            1 => bytes.truncate(start),
            2 => drop(bytes.splice(start..end, any(random, 20))),
            3 => {
                let other = seed(random);
                let from = random.usize(0..=other.len());
                let until = random.usize(from..=other.len());
                drop(bytes.splice(start..end, other[from..until].iter().copied()));
            }
            4 => {
                let copy = bytes[start..end].repeat(random.usize(1..4));
                drop(bytes.splice(start..start, copy));
            }
            5 => {
                let tokens = [
                    &b"0"[..],
                    b"-",
                    b"\"",
                    b"[",
                    b"{",
                    b"\n",
                    b",",
                    b".",
                    b"e999",
                    b"null",
                    b"nan",
                    b"\xff\xff\xff\xff",
                    b"18446744073709551615",
                ];
                drop(bytes.splice(start..start, random.choice(tokens).unwrap_or_default().iter().copied()));
            }
            _ => {
                for byte in bytes.iter_mut().skip(start).take(random.usize(1..4)) {
                    *byte = match random.u8(..4) {
                        0 => random.choice([0, 1, 0x7F, 0x80, 0xFF]).unwrap_or(0),
                        1 => byte.wrapping_add(1),
                        2 => *byte ^ 1 << random.u8(..8),
                        _ => random.u8(..),
                    };
                }
            }
        }
    }
    bytes.truncate(INPUT_MAX);
    bytes
}

#[test]
fn a_target_that_finds_something_is_reported() {
    let target: Target = |bytes| assert!(!bytes.contains(&b'x'));
    assert!(holds(target, b"abc") && !holds(target, b"xyz"));
    let seeds = [("seed".to_owned(), b"seed of nothing".to_vec())];
    assert_eq!(mutation(&seeds, 7), mutation(&seeds, 7));
    assert!((0..100).any(|number| mutation(&seeds, number) != seeds[0].1));
}
