//! What was recorded is reproduced; differences are found.

use std::path::Path;

use control::{Milliamps, Millis, Mode, Order};

use super::*;
use crate::config::JournalConfig;
use crate::journal::Batch;
use crate::journal::batch::Builder;

const MORNING: u64 = 9 * 3_600;

fn config(folder: &Path) -> JournalConfig {
    JournalConfig {
        file: folder.join("journal.sqlite"),
        keep: Millis::from_secs(30 * 86_400),
        max_bytes: 64_000_000,
        batch: Millis::from_secs(600),
    }
}

fn replay(file: &Path, number: Option<i64>) -> (u8, String) {
    let mut out = Vec::new();
    let args = Args { file: file.to_owned(), run: number, ..Args::default() };
    let code = run(&args, &Environment::default(), &mut out).unwrap();
    (code, String::from_utf8(out).unwrap())
}

type Tamper = fn(&Record) -> Change;

/// A change to a record of a journal.
enum Change {
    None,
    LeaveOut,
    To(Record),
}

fn left_out(it: bool) -> Change {
    if it { Change::LeaveOut } else { Change::None }
}

/// Changes the first record of a journal that `change` selects.
fn tamper(file: &Path, change: Tamper) {
    let connection = rusqlite::Connection::open(file).unwrap();
    let ids: Vec<i64> = Reader::open(file).unwrap().batches(1).unwrap();
    for id in ids {
        let blob: Vec<u8> =
            connection.query_row("SELECT data FROM batch WHERE id = ?1", [id], |row| row.get(0)).unwrap();
        let batch = Batch::unpack(&blob).unwrap();
        let mut builder = Builder::new(batch.start, batch.head.clone());
        let mut done = false;
        for record in batch.records() {
            let (tick, record) = record.unwrap();
            match if done { Change::None } else { change(&record) } {
                Change::None => builder.push(tick, &record),
                Change::LeaveOut => done = true,
                Change::To(other) => {
                    done = true;
                    builder.push(tick, &other);
                }
            }
        }
        if done {
            connection
                .execute("UPDATE batch SET data = ?2 WHERE id = ?1", rusqlite::params![id, builder.pack()])
                .unwrap();
            return;
        }
    }
    panic!("there is no such record");
}

#[tokio::test]
async fn the_same_facts_give_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    for _ in 0..2 {
        crate::daemon::record(config.clone(), MORNING, 3 * 3_600).await;
    }
    let (code, text) = replay(&config.file, None);
    assert_eq!((code, text.lines().count()), (exit::OK, 2), "{text}");
    assert!(text.lines().all(|line| line.ends_with("actions and reasons: all the same")), "{text}");
    let (code, text) = replay(&config.file, Some(2));
    assert_eq!((code, text.starts_with("run 2 of surplusd ")), (exit::OK, true), "{text}");
    let args = Args { file: config.file, run: Some(3), ..Args::default() };
    let error = run(&args, &Environment::default(), &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "there is no run 3; the journal has 1, 2");
}

/// A journal of 0.1.0 can be replayed by every later version, which may decide differently and then reports that.
#[test]
fn a_journal_of_format_1_is_replayed() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/journal-v1.sqlite");
    let (code, text) = replay(&golden, None);
    assert!(text.starts_with("run 1 of surplusd 0.1.0, "), "{text}");
    assert!(text.contains("the journal was written by another version, surplusd 0.1.0 (format 1)"), "{text}");
    if code == exit::OK {
        assert!(text.contains(": 4429 inputs, 2132 actions and reasons: all the same"), "{text}");
    } else {
        assert_eq!(code, exit::DIFFERENT, "{text}");
        assert!(text.contains(", which may decide otherwise: ") && text.contains("    recorded: "), "{text}");
    }
}

/// Changed on purpose: the difference is shown together with its possible cause.
#[test]
fn a_difference_to_another_version_is_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("journal.sqlite");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/journal-v1.sqlite"), &file).unwrap();
    tamper(&file, |record| left_out(matches!(record, Record::Action(_))));
    rusqlite::Connection::open(&file).unwrap().execute("UPDATE run SET version = '0.0.9'", []).unwrap();
    let (code, text) = replay(&file, None);
    assert_eq!(code, exit::DIFFERENT, "{text}");
    assert!(
        text.contains("another version, surplusd 0.0.9 (format ") && text.contains("no proof of a fault"),
        "{text}"
    );
    assert!(text.contains("    recorded: ") && text.contains("    now: "), "{text}");
    // What stands where the version should cannot look like a result.
    let forged = "UPDATE run SET version = '0.0.9' || char(10) || 'run 2: all the same' || char(27)";
    rusqlite::Connection::open(&file).unwrap().execute(forged, []).unwrap();
    let (_, again) = replay(&file, None);
    assert_eq!(again, text.replace("0.0.9", "0.0.9\\u{a}run 2: all the same\\u{1b}"));
}

/// Nothing is reported as the same if nothing could be read.
#[test]
fn what_cannot_be_read_is_not_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("journal.sqlite");
    let told = |blob: Vec<u8>| {
        std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/journal-v1.sqlite"), &file).unwrap();
        rusqlite::Connection::open(&file).unwrap().execute("UPDATE batch SET data = ?1", [blob]).unwrap();
        let args = Args { file: file.clone(), ..Args::default() };
        run(&args, &Environment::default(), &mut Vec::new()).unwrap_err().to_string()
    };
    assert_eq!(
        told(vec![0]),
        "nothing of run 1 can be replayed: batch 6 of the journal cannot be read: it does not unpack"
    );
    let newer = crate::journal::batch::deflate(&[9, 0]);
    assert!(told(newer).contains("it was written by a newer surplusd (format 9, this one reads up to "));
}

#[tokio::test]
async fn an_order_that_would_be_another_is_the_first_difference() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    crate::daemon::record(config.clone(), MORNING, 3 * 3_600).await;
    tamper(&config.file, |record| {
        let Record::Action(Action::Order(order)) = record else { return Change::None };
        if order.setpoint <= Some(Milliamps(7_000)) {
            return Change::None;
        }
        let order = Order { setpoint: Some(Milliamps(15_900)), ..*order };
        Change::To(Record::Action(Action::Order(order)))
    });
    let (code, text) = replay(&config.file, None);
    assert_eq!(code, exit::DIFFERENT, "{text}");
    assert!(text.contains("recorded: order to carport: 15.9 A, until tick"), "{text}");
    assert!(text.contains("now:      order to carport: 7."), "{text}");
    assert!(text.contains("carport then: 7.") && text.contains("of surplus, "), "{text}");
}

/// Every kind of change: an output left out, an input left out, another reason.
#[tokio::test]
async fn whatever_is_missing_or_changed_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    crate::daemon::record(config.clone(), MORNING, 3 * 3_600).await;
    let good = std::fs::read(&config.file).unwrap();
    let changes: [(&str, Tamper); 4] = [
        ("an order left out", |record| left_out(matches!(record, Record::Action(_)))),
        ("a time left out", |record| left_out(matches!(record, Record::Timeout))),
        ("a reading left out", |record| left_out(matches!(record, Record::Input(Input::Reading(_))))),
        ("another mode", |record| {
            let Record::Decided(decided) = record else { return Change::None };
            Change::To(Record::Decided(Decided { mode: Mode::Fast, ..*decided }))
        }),
    ];
    for (what, change) in changes {
        std::fs::write(&config.file, &good).unwrap();
        tamper(&config.file, change);
        let (code, text) = replay(&config.file, None);
        assert_eq!(code, exit::DIFFERENT, "{what}: {text}");
    }
}

/// The beginning of a run was deleted because of its age: after a day of warm-up the rest is compared.
#[tokio::test]
async fn a_run_without_its_beginning_is_compared_after_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    crate::daemon::record(config.clone(), MORNING, 60 * 3_600).await;
    let connection = rusqlite::Connection::open(&config.file).unwrap();
    connection.execute("DELETE FROM batch WHERE id < 10", []).unwrap();
    let (code, text) = replay(&config.file, None);
    assert_eq!(code, exit::OK, "{text}");
    assert!(!text.contains(" 0 actions"), "{text}");
    assert!(text.contains("min in all), and are not compared"), "{text}");
    // And an unreadable batch in the middle.
    connection.execute("UPDATE batch SET data = x'00' WHERE id = 20", []).unwrap();
    let (code, text) = replay(&config.file, None);
    assert_eq!((code, text.contains(" 0 actions")), (exit::OK, false), "{text}");
    assert!(text.contains("batch 20 of the journal cannot be read: it does not unpack"), "{text}");
}

#[test]
fn what_is_no_journal_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x");
    let error = |file: &Path| {
        run(&Args { file: file.to_owned(), ..Args::default() }, &Environment::default(), &mut Vec::new()).unwrap_err()
    };
    assert!(error(&file).to_string().contains("does not exist"));
    for bytes in [&b"not a database, but a text that is long enough to look like something"[..], b""] {
        std::fs::write(&file, bytes.repeat(20)).unwrap();
        assert!(error(&file).to_string().ends_with("is not a surplusd journal"));
    }
}

/// The numbers in a row of the table: measured, with the original settings, with the new ones.
fn line(text: &str, name: &str) -> Vec<f64> {
    let line =
        text.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[tokio::test]
async fn other_settings_are_tried_on_the_recorded_day() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    crate::daemon::record(config.clone(), MORNING, 5 * 3_600).await;
    let new = folder.path().join("new.toml");
    let with = |solar: &str| {
        let rest = "[[charger]]\nname = \"car\"\nprofile = \"heidelberg-energy-control\"\nlink = \"tcp://x:1\"\n";
        std::fs::write(&new, format!("version = 1\n[mqtt]\nurl = \"mqtt://x\"\n[solar]\n{solar}\n{rest}")).unwrap();
        let args = Args { file: config.file.clone(), config: Some(new.clone()), ..Args::default() };
        let mut out = Vec::new();
        let code = run(&args, &Environment::default(), &mut out);
        (code, String::from_utf8(out).unwrap())
    };

    let (code, text) = with("");
    assert_eq!(code.unwrap(), exit::OK);
    let [measured, then, now] = line(&text, "into the car")[..] else { panic!("{text}") };
    // The recorded wallbox fluctuates and needs no time to start; the simulated car is the plant's.
    assert!((measured - then).abs() < 0.1 * measured && then > 5.0, "{text}");
    let [.., same_then, same_now] = line(&text, "starts")[..] else { panic!("{text}") };
    assert_eq!((then, same_then), (now, same_now), "the same settings: {text}");
    assert!(text.contains("Samples every 30 s, as was usual."), "{text}");

    let (_, text) = with("min-share = 0.5\nstart-cost-wh = 2000");
    let [_, then, now] = line(&text, "into the car")[..] else { panic!("{text}") };
    assert!(now > then, "a lower share charges more: {text}");
    let (_, text) = with("starts-per-day-max = 1");
    let [.., now] = line(&text, "starts")[..] else { panic!("{text}") };
    assert!(now <= 1.0 && text.contains("starts used"), "{text}");

    let connection = rusqlite::Connection::open(&config.file).unwrap();
    connection.execute("UPDATE batch SET data = x'00' WHERE id = 3", []).unwrap();
    let (code, text) = with("");
    assert!(code.unwrap() == exit::OK && text.contains("1 batch(es) cannot be read"), "{text}");

    let (code, _) = with("min-share = 5");
    assert!(code.unwrap_err().to_string().contains("new.toml:5:"), "a mistake is told with its place");
}
