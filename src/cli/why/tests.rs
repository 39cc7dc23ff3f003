//! What is told of a moment, and in which time zone.

use std::path::Path;

use clap::Parser;
use control::Millis;

use super::*;
use crate::config::JournalConfig;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    why: Args,
}

fn why(file: &Path, more: &[&str], now_ms: i64) -> anyhow::Result<String> {
    let line = ["why", "--journal", file.to_str().unwrap()].into_iter().chain(more.iter().copied());
    let args = Line::try_parse_from(line)?.why;
    let mut out = Vec::new();
    at_time(&args, &Environment::default(), now_ms, &mut out)?;
    Ok(String::from_utf8(out)?)
}

/// Three hours of a morning; returns the wall clock at the beginning.
async fn recorded(folder: &Path) -> (PathBuf, i64) {
    let file = folder.join("journal.sqlite");
    let config = JournalConfig {
        file: file.clone(),
        keep: Millis::from_secs(30 * 86_400),
        max_bytes: 64_000_000,
        batch: Millis::from_secs(600),
    };
    crate::daemon::record(config, 9 * 3_600, 3 * 3_600).await;
    let connection = rusqlite::Connection::open(&file).unwrap();
    let began_ms = connection.query_row("SELECT min(began_ms) FROM batch", [], |row| row.get(0)).unwrap();
    (file, began_ms)
}

#[tokio::test]
async fn the_moment_is_told_with_its_numbers_and_what_led_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = recorded(folder.path()).await;
    let text = why(&file, &[], i64::MAX).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("carport at 20") && lines[0].contains(", since "), "{text}");
    for (line, begin) in
        [(1, "  because   "), (2, "  mode      solar"), (3, "  the house "), (4, "  the box   online, car ")]
    {
        assert!(lines[line].starts_with(begin), "{text}");
    }
    for part in [" of sun, ", " for the house without the car, ", " surplus", "; measured ", " (at 61 %), "] {
        assert!(lines[3].contains(part), "{part:?}: {text}");
    }
    assert!(lines[4].contains(" W drawn, ") && lines[4].contains("; said "), "{text}");
    assert!(lines[5].starts_with("  the car   on 3 phase(s), "), "{text}");
    assert!(lines[6].starts_with("  before    ") && lines.len() >= 8, "{text}");
    assert!(!text.contains("journal goes until"), "{text}");
}

#[tokio::test]
async fn times_outside_of_the_journal_are_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let (file, began_ms) = recorded(folder.path()).await;
    let at = |ms: i64| local(ms).replace(' ', "T");
    let text = why(&file, &["--at", &at(began_ms + 86_400_000)], i64::MAX).unwrap();
    assert!(text.starts_with("The journal goes until "), "{text}");
    let error = why(&file, &["--at", &at(began_ms - 86_400_000)], i64::MAX).unwrap_err();
    assert!(error.to_string().starts_with("the journal begins at "), "{error}");
    let error = why(&file, &["--charger", "garage"], i64::MAX).unwrap_err();
    assert_eq!(error.to_string(), "there was no such charger then; there was carport");
    for wrong in ["14", "25:00", "14:05:99", "yesterday", "2026-11-24", "2026-13-01T00:00", ""] {
        assert!(why(&file, &["--at", wrong], i64::MAX).is_err(), "{wrong}");
    }
}

/// A hole in the record, as of a daemon that did not run.
#[tokio::test]
async fn a_hole_is_told_with_its_edges() {
    let folder = tempfile::tempdir().unwrap();
    let (file, began_ms) = recorded(folder.path()).await;
    let connection = rusqlite::Connection::open(&file).unwrap();
    let hour = 3_600_000;
    connection.execute("UPDATE batch SET began_ms = began_ms + ?1, start = 'gap' WHERE id > 8", [hour]).unwrap();
    let last: i64 = connection.query_row("SELECT ended_ms FROM batch WHERE id = 8", [], |row| row.get(0)).unwrap();
    assert!(last < began_ms + 3 * hour);
    let text = why(&file, &["--at", &local(last + hour / 2).replace(' ', "T")], i64::MAX).unwrap();
    assert!(text.starts_with("Nothing is recorded between "), "{text}");
}

/// The same instant in three zones. A process has one zone, so each is asked in a process of its own.
#[test]
fn times_are_local() {
    let program = std::env::current_exe().unwrap();
    for (zone, expected) in [
        ("UTC", "2026-10-25 00:30:00 1792895400000 1792888200000"),
        ("Europe/Berlin", "2026-10-25 02:30:00 1792888200000 1792881000000"),
        ("America/New_York", "2026-10-24 20:30:00 1792909800000 1792902600000"),
    ] {
        let mut command = std::process::Command::new(&program);
        command.args(["cli::why::tests::in_a_zone", "--exact", "--ignored", "--nocapture"]).env("TZ", zone);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&format!("zone: {expected}\n")), "{zone}: {text}");
    }
}

#[test]
#[ignore = "is run by the test above with TZ set"]
fn in_a_zone() {
    // Half past midnight UTC: in Berlin this night has the hour from two to three twice.
    let now_ms = 1_792_888_200_000;
    let at = |text: &str| At::parse(text).unwrap().wall_ms(now_ms + 86_400_000).unwrap();
    println!("zone: {} {} {}", local(now_ms), at("2026-10-25T02:30"), at("2026-10-25T00:30:00"));
}

#[test]
fn a_time_of_day_is_the_last_one_that_has_been() {
    let day = 86_400_000;
    let noon = At::parse("2026-11-24T12:00").unwrap().wall_ms(0).unwrap();
    let at = |text: &str| At::parse(text).unwrap().wall_ms(noon).unwrap();
    assert_eq!(at("12:00"), noon);
    assert_eq!(at("11:59:30"), noon - 30_000);
    assert_eq!(at("12:01"), noon + 60_000 - day);
}

#[test]
fn where_the_journal_is_comes_from_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("surplusd.toml");
    let good = include_str!("../../../config/examples/no-battery.toml");
    std::fs::write(&file, format!("{good}\n[journal]\nfile = \"/srv/j.sqlite\"\n")).unwrap();
    assert_eq!(configured(&file, &Environment::default()).unwrap(), Path::new("/srv/j.sqlite"));
    std::fs::write(&file, format!("{good}\n[journal]\nenabled = false\n")).unwrap();
    let error = configured(&file, &Environment::default()).unwrap_err();
    assert!(error.to_string().ends_with("switches the journal off"), "{error}");
    let error = configured(&folder.path().join("none"), &Environment::default()).unwrap_err();
    assert!(error.to_string().ends_with("name the journal with --journal FILE"), "{error}");
}
