//! What the disk and its owner can do to the file.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use control::{Millis, Tick};
use rusqlite::Connection;

use super::some_config;
use crate::config::JournalConfig;
use crate::journal::reader::{ReadError, Reader};
use crate::journal::store::{Bounds, Store, Trouble};
use crate::journal::{Head, Journal, Record, Start};

fn config(folder: &Path, batch_s: u64) -> JournalConfig {
    JournalConfig {
        file: folder.join("journal.sqlite"),
        keep: Millis::from_secs(30 * 86_400),
        max_bytes: 64_000_000,
        batch: Millis::from_secs(batch_s),
    }
}

/// Begins a run at `from`, with a wall clock that started in 1970.
fn begin(journal: &Journal, from: u64) {
    let wall_ms = i64::try_from(from).unwrap() * 1_000;
    let head = Head::new(Tick(from * 1_000), wall_ms, some_config(), [].into());
    assert!(journal.begin(Start::Begin, head));
}

/// Records once per second, waiting for the thread as happens over a real day.
fn seconds(journal: &Journal, range: std::ops::Range<u64>) {
    for second in range {
        assert!(journal.note(Tick(second * 1_000), Record::Timeout));
        if second % 100 == 0 {
            while !journal.is_idle() {
                std::thread::yield_now();
            }
        }
    }
    while !journal.is_idle() {
        std::thread::yield_now();
    }
}

async fn close(journal: Journal) {
    assert!(journal.close(Duration::from_secs(60)).await);
}

/// Returns all ticks of a run in seconds, and how each of its batches starts.
fn all(file: &Path, run: i64) -> (Vec<u64>, Vec<Start>) {
    let reader = Reader::open(file).unwrap();
    let batches = reader.batches(run).unwrap().into_iter().map(|id| reader.batch(id).unwrap());
    let mut ticks = Vec::new();
    let starts = batches.map(|batch| {
        ticks.extend(batch.records().map(|record| record.unwrap().0.0 / 1_000));
        batch.start
    });
    let starts = starts.collect();
    (ticks, starts)
}

fn integrity(file: &Path) -> String {
    Connection::open(file).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn batches_follow_each_other_and_an_orderly_end_keeps_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), 600);
    for run in 1..=2 {
        let journal = Journal::start(config.clone()).unwrap();
        begin(&journal, 0);
        seconds(&journal, 1..1_500);
        close(journal).await;
        let (ticks, starts) = all(&config.file, run);
        assert_eq!(ticks, (1..1_500).collect::<Vec<_>>());
        assert_eq!(starts, [Start::Begin, Start::Follows, Start::Follows]);
    }
    let reader = Reader::open(&config.file).unwrap();
    assert_eq!(reader.runs().unwrap().len(), 2);
    assert_eq!((reader.earliest_ms().unwrap(), reader.last().unwrap()), (Some(0), Some(6)));
    assert_eq!(reader.batches_around(601_000).unwrap(), [5, 4, 2]);
}

/// Runs an ignored test of this file in a separate process, optionally through a shell that prepares its environment.
fn child(name: &str, folder: &Path, shell: Option<&str>) -> Command {
    let test = format!("journal::tests::disk::{name}");
    let program = std::env::current_exe().unwrap();
    let mut command = if let Some(script) = shell {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-ec", script, "sh"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.args([test.as_str(), "--exact", "--ignored", "--nocapture"]).env("SURPLUSD_TEST_FOLDER", folder);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn folder_of_the_child() -> Option<PathBuf> {
    std::env::var_os("SURPLUSD_TEST_FOLDER").map(PathBuf::from)
}

#[test]
#[ignore = "is run, and killed, by the next test"]
fn writes_until_it_is_killed() {
    let Some(folder) = folder_of_the_child() else { return };
    let journal = Journal::start(config(&folder, 10)).unwrap();
    begin(&journal, 0);
    seconds(&journal, 1..u64::MAX / 2_000);
}

fn kill_9(mut child: Child) {
    // SIGKILL, like a power cut: nothing in the process runs after it.
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Ten times, at moments unrelated to its writes.
#[test]
fn kill_9_in_mid_write_loses_the_last_batch_and_corrupts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), 10).file;
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut hot = 0;
    for round in 1..=10_i64 {
        let child = child("writes_until_it_is_killed", folder.path(), None).spawn().unwrap();
        // It has started and stored something; the moment of the kill is then random.
        let stored = || Reader::open(&file).ok().and_then(|reader| Some(reader.batches(round).ok()?.len()));
        while stored().unwrap_or(0) < 3 {
            std::thread::yield_now();
        }
        for _ in 0..random.u32(0..2_000_000) {
            std::hint::spin_loop();
        }
        kill_9(child);
        let left = std::fs::metadata(folder.path().join("journal.sqlite-journal"));
        hot += u32::from(left.is_ok_and(|left| left.len() > 0));
        assert_eq!(integrity(&file), "ok", "round {round}, seed {seed}");
        let (ticks, starts) = all(&file, round);
        assert_eq!(ticks, (1..=ticks.len() as u64).collect::<Vec<_>>(), "round {round}, seed {seed}");
        assert!(starts.len() >= 3 && starts[0] == Start::Begin, "round {round}, seed {seed}");
        assert!(starts[1..].iter().all(|start| *start == Start::Follows), "round {round}, seed {seed}");
    }
    println!("{hot} of 10 kills fell into a write (seed {seed})");
    assert!(!folder.path().join("journal.sqlite.set-aside").exists());
}

/// A power cut in the middle of a write leaves a file that only the daemon puts right: a reader says so, also to root.
#[tokio::test]
async fn a_write_cut_off_is_undone_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), 100);
    let journal = Journal::start(config.clone()).unwrap();
    begin(&journal, 0);
    seconds(&journal, 1..1_000);
    close(journal).await;
    let cut = folder.path().join("cut.sqlite");
    let writer = Connection::open(&config.file).unwrap();
    // A cache of one page, so that the file is written to before the transaction ends.
    writer.execute_batch("PRAGMA journal_mode = TRUNCATE; PRAGMA cache_size = 1; BEGIN IMMEDIATE;").unwrap();
    writer.execute("UPDATE batch SET data = zeroblob(length(data) + 60000)", []).unwrap();
    std::fs::copy(&config.file, &cut).unwrap();
    std::fs::copy(folder.path().join("journal.sqlite-journal"), folder.path().join("cut.sqlite-journal")).unwrap();
    drop(writer);
    let error = Reader::open(&cut).unwrap_err();
    assert!(matches!(error, ReadError::Interrupted), "{error}");
    assert!(error.to_string().ends_with("start surplusd, which puts it right"), "{error}");
    let again = Journal::start(JournalConfig { file: cut.clone(), ..config }).unwrap();
    close(again).await;
    assert_eq!(all(&cut, 1).0, (1..1_000).collect::<Vec<_>>());
    assert_eq!(integrity(&cut), "ok");
}

#[tokio::test]
async fn a_folder_that_comes_later_is_used_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder.path().join("later"), 100);
    let journal = Journal::start(config.clone()).unwrap();
    begin(&journal, 0);
    seconds(&journal, 1..150);
    std::fs::create_dir(folder.path().join("later")).unwrap();
    seconds(&journal, 150..350);
    close(journal).await;
    let (ticks, starts) = all(&config.file, 1);
    assert_eq!(ticks, (100..350).collect::<Vec<_>>());
    assert_eq!(starts, [Start::Gap(99), Start::Follows, Start::Follows]);
}

#[tokio::test]
#[ignore = "is run by the next test, on a disk that becomes full, then read-only, then good again"]
async fn goes_on_with_a_disk_that_refuses() {
    let Some(folder) = folder_of_the_child() else { return };
    let mount = |how: &str| {
        let done = Command::new("mount").args(["-o", how]).arg(&folder).status();
        assert!(done.unwrap().success(), "{how}");
    };
    let config = config(&folder, 100);
    let journal = Journal::start(config.clone()).unwrap();
    begin(&journal, 0);
    seconds(&journal, 1..250);
    let ballast = folder.join("ballast");
    let full = std::fs::write(&ballast, vec![1; 1 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    seconds(&journal, 250..550);
    assert!(
        journal.trouble().unwrap().contains("cannot be written (database or disk is full)"),
        "{:?}",
        journal.trouble()
    );
    std::fs::remove_file(&ballast).unwrap();
    seconds(&journal, 550..750);
    assert_eq!(journal.trouble(), None);
    close(journal).await;
    assert_eq!(integrity(&config.file), "ok");
    let (ticks, starts) = all(&config.file, 1);
    assert_eq!(ticks, (1..200).chain(500..750).collect::<Vec<_>>(), "{starts:?}");
    assert_eq!(starts[2], Start::Gap(300), "{starts:?}");

    mount("remount,ro");
    let journal = Journal::start(config.clone()).unwrap();
    begin(&journal, 0);
    seconds(&journal, 1..250);
    mount("remount,rw");
    seconds(&journal, 250..350);
    close(journal).await;
    let (ticks, starts) = all(&config.file, 2);
    assert_eq!((ticks, starts[0]), ((200..350).collect::<Vec<_>>(), Start::Gap(199)));
    println!("it went on");
}

/// On a separate disk of 256 KB, which is filled up and made read-only while in use.
#[test]
fn a_full_or_read_only_disk_costs_history_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=256k none \"$SURPLUSD_TEST_FOLDER\"; exec \"$@\"";
    let output = child("goes_on_with_a_disk_that_refuses", folder.path(), Some(script)).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("it went on"), "{text}");
}

#[tokio::test]
async fn a_damaged_journal_is_set_aside_and_a_new_one_begun() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), 100);
    let aside = folder.path().join("journal.sqlite.set-aside");
    let record = async || {
        let journal = Journal::start(config.clone()).unwrap();
        begin(&journal, 0);
        seconds(&journal, 1..1_000);
        close(journal).await;
    };
    record().await;
    let good = std::fs::read(&config.file).unwrap();
    let mut torn = good.clone();
    torn[1_024..3_072].fill(0x55);
    let newer = {
        Connection::open(&config.file).unwrap().pragma_update(None, "user_version", 99).unwrap();
        std::fs::read(&config.file).unwrap()
    };
    for bad in [vec![7; 5_000], torn, good[..good.len() / 2].to_vec(), newer] {
        std::fs::write(&config.file, &bad).unwrap();
        record().await;
        assert_eq!(std::fs::read(&aside).unwrap(), bad);
        assert_eq!((all(&config.file, 1).0.len(), integrity(&config.file).as_str()), (999, "ok"));
    }
}

/// Damage while the file is open is noticed at the next batch that meets it.
#[tokio::test]
async fn damage_while_it_runs_is_noticed_and_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), 100);
    let journal = Journal::start(config.clone()).unwrap();
    begin(&journal, 0);
    seconds(&journal, 1..950);
    let size = std::fs::metadata(&config.file).unwrap().len();
    std::fs::write(&config.file, vec![0x55; usize::try_from(size).unwrap()]).unwrap();
    seconds(&journal, 950..1_950);
    close(journal).await;
    assert!(folder.path().join("journal.sqlite.set-aside").exists());
    assert_eq!(integrity(&config.file), "ok");
    let (ticks, starts) = all(&config.file, 1);
    assert_eq!(ticks.last(), Some(&1_949));
    assert!(matches!(starts[0], Start::Gap(_)), "{starts:?}");
}

#[tokio::test]
async fn the_database_of_another_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), 100);
    Connection::open(&config.file).unwrap().execute_batch("CREATE TABLE states (id INTEGER)").unwrap();
    let before = std::fs::read(&config.file).unwrap();
    let journal = Journal::start(config.clone()).unwrap();
    begin(&journal, 0);
    seconds(&journal, 1..1_000);
    close(journal).await;
    assert_eq!(std::fs::read(&config.file).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let error = Reader::open(&config.file).unwrap_err();
    assert!(error.to_string().ends_with("is not a surplusd journal"), "{error}");
}

/// Forged files with our marks: views, computed columns and endless values.
#[test]
fn what_only_looks_like_a_journal_is_refused() {
    const MARKS: &str = "PRAGMA application_id = 1936879724; PRAGMA user_version = 1;";
    const RUN: &str = "CREATE TABLE run (id INTEGER PRIMARY KEY, began_ms INTEGER, version TEXT);";
    const ENDLESS: &str = "AS WITH RECURSIVE n(id) AS (VALUES (1) UNION ALL SELECT id + 1 FROM n) SELECT id";
    const BATCH: &str = "CREATE TABLE batch (id INTEGER PRIMARY KEY, run INTEGER, start TEXT, began_ms INTEGER, ended_ms INTEGER, span_ms INTEGER";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("journal.sqlite");
    let made = |script: &str| {
        let _ = std::fs::remove_file(&file);
        Connection::open(&file).unwrap().execute_batch(&format!("{MARKS} {script}")).unwrap();
    };
    for script in [
        String::new(),
        RUN.to_owned(),
        format!("CREATE VIEW run {ENDLESS}, 0 AS began_ms, '' AS version FROM n; {BATCH}, data BLOB);"),
        format!(
            "{RUN} CREATE VIEW batch {ENDLESS}, 1 AS run, 'begin' AS start, 0 AS began_ms, 0 AS ended_ms, 0 AS span_ms, x'' AS data FROM n;"
        ),
        format!("{RUN} {BATCH}, data BLOB AS (zeroblob(900000000)));"),
        format!("{RUN} {BATCH}, data BLOB); CREATE VIEW more {ENDLESS} FROM n;"),
        format!("{RUN} {BATCH}, data BLOB); CREATE TRIGGER more AFTER INSERT ON batch BEGIN DELETE FROM run; END;"),
        format!("{RUN} CREATE TABLE batch (id INTEGER PRIMARY KEY, data BLOB);"),
    ] {
        made(&script);
        let before = std::fs::read(&file).unwrap();
        let error = Reader::open(&file).unwrap_err();
        assert!(error.to_string().ends_with("is not a surplusd journal"), "{script}: {error}");
        let bounds = Bounds { keep: Millis::from_secs(86_400), size: 64_000_000 };
        let error = Store::open(&file, bounds).unwrap_err();
        assert!(matches!(error, Trouble::Foreign), "{script}: {error}");
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }
    for other in ["/dev/zero", "/"] {
        let error = Reader::open(Path::new(other)).unwrap_err();
        assert!(error.to_string().ends_with("is not a surplusd journal"), "{error}");
    }
}

/// Besides compressed zeros, a value that is itself too large is also rejected, before it is read.
#[tokio::test]
async fn values_that_are_too_large_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), 100);
    let journal = Journal::start(config.clone()).unwrap();
    begin(&journal, 0);
    seconds(&journal, 1..300);
    close(journal).await;
    let connection = Connection::open(&config.file).unwrap();
    connection.execute("UPDATE batch SET data = zeroblob(5000000) WHERE id = 2", []).unwrap();
    let reader = Reader::open(&config.file).unwrap();
    assert!(reader.batch(1).is_ok());
    let error = reader.batch(2).unwrap_err();
    assert!(error.to_string().contains("a value of more than 1048576 bytes"), "{error}");
    connection.execute("UPDATE run SET version = hex(zeroblob(5000000))", []).unwrap();
    let error = reader.runs().unwrap_err();
    assert!(error.to_string().contains("a value of more than 1048576 bytes"), "{error}");
}

#[tokio::test]
async fn the_oldest_goes_by_recorded_time_and_by_size() {
    let folder = tempfile::tempdir().unwrap();
    let config = JournalConfig { keep: Millis::from_secs(10_000), ..config(folder.path(), 100) };
    let journal = Journal::start(config.clone()).unwrap();
    begin(&journal, 0);
    // The clock of a board without a battery jumps by half a century: no reason to delete anything.
    assert!(journal.note(Tick(500), Record::Wall(1_800_000_000_000)));
    seconds(&journal, 1..40_000);
    close(journal).await;
    let (ticks, starts) = all(&config.file, 1);
    // Up to 32 more batches wait for the next pruning.
    assert!((10_000..13_400).contains(&ticks.len()), "{}", ticks.len());
    assert_eq!((ticks.last(), starts[0]), (Some(&39_999), Start::Follows));

    let config = JournalConfig { max_bytes: 60_000, keep: Millis::from_secs(1_000_000), ..config };
    let journal = Journal::start(config.clone()).unwrap();
    begin(&journal, 0);
    seconds(&journal, 1..40_000);
    close(journal).await;
    let size = std::fs::metadata(&config.file).unwrap().len();
    assert!(size < 110_000, "{size}");
    let reader = Reader::open(&config.file).unwrap();
    assert_eq!(reader.runs().unwrap().len(), 1, "a run without batches is gone");
    assert_eq!(all(&config.file, 2).0.last(), Some(&39_999));
}

/// As `why` reads it: while the daemon is writing, and from a read-only folder.
#[tokio::test]
async fn it_is_read_while_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), 100);
    let journal = Journal::start(config.clone()).unwrap();
    begin(&journal, 0);
    seconds(&journal, 1..201);
    let reader = Reader::open(&config.file).unwrap();
    let before = reader.batches(1).unwrap();
    assert!(!before.is_empty());
    seconds(&journal, 201..1_000);
    assert!(reader.batches(1).unwrap().len() > before.len());
    assert_eq!(reader.batch(before[0]).unwrap().start, Start::Begin);
    close(journal).await;
    assert!(matches!(Reader::open(&folder.path().join("none")), Err(ReadError::Missing(_))));
}
