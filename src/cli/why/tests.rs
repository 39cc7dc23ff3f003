//! Explanations of a moment, and time zones.

use std::path::Path;

use clap::Parser;
use control::{Millis, Reason};

use super::*;
use crate::config::JournalConfig;
use crate::journal::tests::some_config;
use crate::journal::{Head, Journal, Record, Start};

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

/// Records three hours of a morning; returns the wall clock at the beginning.
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
    let (file, began_ms) = recorded(folder.path()).await;
    let text = why(&file, &["--at", &local(began_ms + 3 * 3_600_000 - 60_000).replace(' ', "T")], i64::MAX).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("carport at 20") && lines[0].contains(", since "), "{text}");
    for (line, begin) in
        [(1, "  because   "), (2, "  mode      solar"), (3, "  the house "), (4, "  wallbox   online, car ")]
    {
        assert!(lines[line].starts_with(begin), "{text}");
    }
    for part in [" of sun, ", " for the house without the car, ", " surplus", "; measured ", " (at 61 %), "] {
        assert!(lines[3].contains(part), "{part:?}: {text}");
    }
    assert!(lines[4].contains(" W drawn, ") && lines[4].contains("; reported "), "{text}");
    assert!(lines[5].starts_with("  the car   on 3 phase(s), "), "{text}");
    assert!(lines[6].starts_with("  before    ") && lines.len() >= 8, "{text}");
    assert!(!text.contains("journal goes until"), "{text}");
}

/// The journal is written in batches: its end is minutes old, and is described as such.
#[tokio::test]
async fn the_end_of_the_journal_is_told_with_its_age() {
    let folder = tempfile::tempdir().unwrap();
    let (file, began_ms) = recorded(folder.path()).await;
    let end_ms = began_ms + 3 * 3_600_000;
    let told = |now_ms: i64, more: &[&str]| why(&file, more, now_ms).unwrap();
    let text = told(end_ms + 492_000, &[]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("The journal goes until 20") && lines[0].contains(", 8 min "), "{text}");
    assert!(lines[0].contains("newer decisions are not stored yet, `journalctl -u surplusd` shows them"), "{text}");
    assert!(lines[1].starts_with("carport at 20") && lines[1].contains(": was "), "{text}");
    for present in [" may draw", "has not been", " is "] {
        assert!(!text.contains(present), "{present:?}: {text}");
    }
    assert_eq!(told(end_ms + 492_000, &["--at", &local(end_ms + 400_000).replace(' ', "T")]), text, "asked for later");
    let text = told(end_ms + 86_400_000, &[]);
    assert!(text.contains(", 24 h 0 min ago; surplusd has not run since then, or could not write. At that"), "{text}");
    let text = told(end_ms - 86_400_000, &[]);
    assert!(text.lines().next().unwrap().ends_with(", by a clock that was ahead of this one:"), "{text}");
}

/// A number of minutes, after which the wall clock may be set.
type Part = (u64, Option<i64>);
/// The wall clock at its beginning, and its parts.
type MadeRun<'a> = (i64, &'a [Part]);

/// Records runs with one decision per minute: each begins at a given wall-clock time and lasts some minutes, after which the clock may be
/// set. The current identifies the minute: 6.0 A at the beginning of the first run, a tenth more for each minute of any run.
async fn minutes(folder: &Path, runs: &[MadeRun<'_>]) -> PathBuf {
    let file = folder.join("journal.sqlite");
    let mut minute = 0;
    for (began_ms, parts) in runs {
        let config = JournalConfig {
            file: file.clone(),
            keep: Millis::from_secs(30 * 86_400),
            max_bytes: 64_000_000,
            batch: Millis::from_secs(600),
        };
        let journal = Journal::start(config).unwrap();
        let names = [(ChargerId(0), "carport".to_owned())].into();
        let head = Head::new(Tick(5_000), *began_ms, some_config(), names);
        assert!(journal.begin(Start::Begin, head));
        let mut tick = Tick(5_000);
        for (lasts, set_to) in *parts {
            for _ in 0..*lasts {
                let decided = Decided {
                    charger: ChargerId(0),
                    mode: Mode::Solar,
                    fixed: Milliamps(6_000),
                    setpoint: Milliamps(6_000 + minute * 100),
                    reason: Reason::Fast,
                    phases: 3,
                    starts: 0,
                };
                assert!(journal.note(tick, Record::Timeout) && journal.note(tick, Record::Decided(decided)));
                tick = tick + Millis::from_secs(60);
                minute += 1;
            }
            if let Some(wall_ms) = set_to {
                assert!(journal.note(tick, Record::Wall(*wall_ms)));
            }
        }
        assert!(journal.note(tick, Record::Timeout));
        assert!(journal.close(std::time::Duration::from_secs(120)).await);
    }
    file
}

/// A charger that does not answer is not known to have been allowed anything.
#[tokio::test]
async fn what_was_not_proven_is_told_as_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("journal.sqlite");
    let config = JournalConfig {
        file: file.clone(),
        keep: Millis::from_secs(30 * 86_400),
        max_bytes: 64_000_000,
        batch: Millis::from_secs(600),
    };
    let journal = Journal::start(config).unwrap();
    let names = [(ChargerId(0), "car\nport\u{1b}".to_owned())].into();
    assert!(journal.begin(Start::Begin, Head::new(Tick(5_000), NOON_MS, some_config(), names)));
    let mut tick = Tick(5_000);
    for reason in [Reason::Fast, Reason::Offline] {
        let decided = Decided {
            charger: ChargerId(0),
            mode: Mode::Fast,
            fixed: Milliamps(6_000),
            setpoint: Milliamps(16_000),
            reason,
            phases: 3,
            starts: 0,
        };
        assert!(journal.note(tick, Record::Timeout) && journal.note(tick, Record::Decided(decided)));
        tick = tick + Millis::from_secs(60);
    }
    assert!(journal.note(tick, Record::Timeout));
    assert!(journal.close(std::time::Duration::from_secs(120)).await);
    let text = why(&file, &[], NOON_MS + 5 * MINUTE_MS).unwrap();
    assert!(text.contains("car\\u{a}port\\u{1b} at "), "a name that is none of surplusd's: {text:?}");
    for part in [
        ": could not be controlled (16.0 A wanted), since ",
        "  because   the charger does not answer\n",
        "  the charger does not answer; 16.0 A wanted\n",
    ] {
        assert!(text.contains(part), "{part:?}: {text}");
    }
    assert!(!text.contains("was allowed"), "{text}");
    let text = why(&file, &["--at", &local(NOON_MS + MINUTE_MS / 2).replace(' ', "T")], NOON_MS + MINUTE_MS).unwrap();
    assert!(text.contains(": was allowed 16.0 A"), "{text}");
}

const MINUTE_MS: i64 = 60_000;
/// A noon in November 2026.
const NOON_MS: i64 = 1_795_608_000_000;
/// April 1986.
const LONG_AGO_MS: i64 = 513_000_000_000;
/// 2035.
const FAR_AHEAD_MS: i64 = 2_060_000_000_000;

#[track_caller]
fn assert_told(file: &Path, minute: i64, expected: &str) {
    let asked = local(NOON_MS + minute * MINUTE_MS + 30_000).replace(' ', "T");
    let text = why(file, &["--at", &asked], NOON_MS + 600 * MINUTE_MS).unwrap();
    let (told, rest) = text.split_once(": was allowed ").unwrap();
    assert_eq!(told, format!("carport at {}", local(NOON_MS + minute * MINUTE_MS)), "minute {minute}: {text}");
    assert!(rest.starts_with(expected), "minute {minute}, {expected}: {text}");
}

/// The clock was in 1986 for one run, and in 2035 for another.
#[tokio::test]
async fn a_clock_that_was_wrong_for_a_run_does_not_hide_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let runs: [MadeRun<'_>; 4] = [
        (NOON_MS, &[(30, None)]),
        (LONG_AGO_MS, &[(20, None)]),
        (FAR_AHEAD_MS, &[(10, None)]),
        (NOON_MS + 70 * MINUTE_MS, &[(30, None)]),
    ];
    let file = minutes(folder.path(), &runs).await;
    for (minute, expected) in [(0, "6.0 A"), (5, "6.5 A"), (29, "8.9 A"), (70, "12.0 A"), (99, "14.9 A")] {
        assert_told(&file, minute, expected);
    }
    let at = |minute: i64| local(NOON_MS + minute * MINUTE_MS).replace(' ', "T");
    let text = why(&file, &["--at", &at(50)], NOON_MS + 600 * MINUTE_MS).unwrap();
    assert!(text.starts_with("Nothing is recorded of that time: after ") && text.contains("of 1986-"), "{text}");
    assert!(text.contains(": was allowed 8.9 A"), "{text}");
    let text = why(&file, &[], NOON_MS + 105 * MINUTE_MS).unwrap();
    assert!(
        text.starts_with(&format!("The journal goes until {}, 5 min 0 s ago; ", local(NOON_MS + 100 * MINUTE_MS))),
        "{text}"
    );
    let text = why(&file, &["--at", &local(LONG_AGO_MS + 30_000).replace(' ', "T")], NOON_MS).unwrap();
    assert!(text.contains(": was allowed 9.0 A"), "what was recorded by that clock can be asked for: {text}");
}

/// The clock was set in the middle of a batch: a board without one that starts in 1986, and an excursion of minutes either way.
#[tokio::test]
async fn a_clock_that_was_set_within_a_batch_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |minute: i64| NOON_MS + minute * MINUTE_MS;
    let runs: [MadeRun<'_>; 2] = [
        (
            LONG_AGO_MS,
            &[
                (2, Some(at(2))),
                (10, Some(FAR_AHEAD_MS)),
                (3, Some(at(15))),
                (5, Some(LONG_AGO_MS)),
                (4, Some(at(24))),
                (16, None),
            ],
        ),
        (at(60), &[(10, None)]),
    ];
    let file = minutes(folder.path(), &runs).await;
    for (minute, expected) in
        [(2, "6.2 A"), (11, "7.1 A"), (15, "7.5 A"), (19, "7.9 A"), (24, "8.4 A"), (39, "9.9 A"), (60, "10.0 A")]
    {
        assert_told(&file, minute, expected);
    }
    let text = why(&file, &["--at", &local(at(13)).replace(' ', "T")], at(600)).unwrap();
    assert!(
        text.contains(&format!("after {} the clock was set, and the next record is of 2035-", local(at(11)))),
        "{text}"
    );
    let text = why(&file, &["--at", &local(at(45)).replace(' ', "T")], at(600)).unwrap();
    assert!(
        text.starts_with(&format!("Nothing is recorded between {} and {}: ", local(at(40)), local(at(60)))),
        "{text}"
    );
    // It has charged for this reason for 41 minutes, whatever the clock showed meanwhile.
    let text = why(&file, &["--at", &local(at(39)).replace(' ', "T")], at(600)).unwrap();
    assert!(text.contains("the clock was set from 1986-") && !text.contains("h 0 min)"), "{text}");
    let error = why(&file, &["--at", "1980-01-01T00:00"], at(600)).unwrap_err();
    assert!(error.to_string().starts_with("the journal begins at 1986-"), "{error}");
}

#[tokio::test]
async fn times_outside_of_the_journal_are_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let (file, began_ms) = recorded(folder.path()).await;
    let at = |ms: i64| local(ms).replace(' ', "T");
    let text = why(&file, &["--at", &at(began_ms + 86_400_000)], began_ms + 2 * 86_400_000).unwrap();
    assert!(text.starts_with("The journal goes until "), "{text}");
    let error = why(&file, &["--at", &at(began_ms - 86_400_000)], i64::MAX).unwrap_err();
    assert!(error.to_string().starts_with("the journal begins at "), "{error}");
    let error = why(&file, &["--charger", "garage"], i64::MAX).unwrap_err();
    assert_eq!(error.to_string(), "there was no such charger then; there was carport");
    for wrong in ["14", "25:00", "14:05:99", "yesterday", "2026-11-24", "2026-13-01T00:00", ""] {
        assert!(why(&file, &["--at", wrong], i64::MAX).is_err(), "{wrong}");
    }
}

/// A gap in the record, as when the daemon did not run.
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

/// An unreadable batch is not mistaken for the end of the journal.
#[tokio::test]
async fn a_batch_that_cannot_be_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (file, began_ms) = recorded(folder.path()).await;
    let connection = rusqlite::Connection::open(&file).unwrap();
    let of: i64 = connection.query_row("SELECT began_ms FROM batch WHERE id = 5", [], |row| row.get(0)).unwrap();
    for blob in ["x'00'", "zeroblob(5000000)"] {
        connection.execute(&format!("UPDATE batch SET data = {blob} WHERE id = 5"), []).unwrap();
        let at = |ms: i64| why(&file, &["--at", &local(ms).replace(' ', "T")], began_ms + 86_400_000);
        let error = at(of + 60_000).unwrap_err().to_string();
        assert!(error.contains("cannot be read") || error.contains("which surplusd never writes"), "{error}");
        assert!(at(began_ms + 60_000).unwrap().starts_with("carport at "));
    }
}

/// The same instant in three time zones. A process has only one, so each is queried in its own process.
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
    // Half past midnight UTC: in Berlin, the hour from two to three occurs twice this night.
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
