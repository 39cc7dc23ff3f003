//! The journal file, an `SQLite` database with one row per batch. Only this module writes to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use control::Millis;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};

use super::batch::Builder;
use super::record::Start;
use crate::config::visible_start;

/// Marks the file as ours ("srpl"), so that another program's database is never touched.
pub(super) const APPLICATION_ID: i64 = 0x7372_706c;
/// Version of the tables. A file with a newer one is set aside. There is no older one yet: when raising this, upgrade older files in
/// `identify`.
pub(super) const SCHEMA: i64 = 1;
/// How long a reader of the file can hold up the writer.
const BUSY: Duration = Duration::from_secs(5);
/// The file is searched for old batches once per this number of batches.
const PRUNE_EVERY: u32 = 32;
/// Batches deleted at a time while the file is too large.
const PRUNE_BATCHES: i64 = 16;
/// Free space above which the file is made smaller after pruning at the start, in pages of 1 KiB.
const FREE_MAX: i64 = 8_192;

/// Number of characters shown of what `SQLite` says: it quotes the file, which somebody else may have made.
pub(super) const SAID_MAX: usize = 200;

pub(super) const TABLES: &str = "
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    began_ms INTEGER NOT NULL, -- wall clock, milliseconds since 1970 UTC: for people
    version TEXT NOT NULL
) STRICT;
CREATE TABLE batch (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES run (id),
    start TEXT NOT NULL,       -- 'begin', 'follows' or 'gap'
    began_ms INTEGER NOT NULL, -- wall clock
    ended_ms INTEGER NOT NULL,
    span_ms INTEGER NOT NULL,  -- by the monotonic clock
    data BLOB NOT NULL         -- zlib; see src/journal/batch.rs
) STRICT;
";

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// It is damaged: to be set aside.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It was written by a newer surplusd: to be set aside.
    #[error("it was written by a newer surplusd (version {0} of its tables, this one writes {SCHEMA})")]
    Newer(i64),
    /// It was written by an older surplusd whose tables this one does not know: not to be touched.
    #[error("its tables have version {0}, which this surplusd does not know; it writes {SCHEMA}")]
    Older(i64),
    /// It is another program's database: not to be touched.
    #[error("it is the database of another program")]
    Foreign,
    /// Any other error, perhaps a temporary one.
    #[error("{0}")]
    Sql(String),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        let text = visible_start(&error.to_string(), SAID_MAX);
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(text),
            Some(_) | None => Self::Sql(text),
        }
    }
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Recorded time, not calendar time, so that a wrong wall clock deletes nothing.
    pub(super) keep: Millis,
    /// Size of the file, in bytes.
    pub(super) size: u64,
}

/// The open file.
#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
    bounds: Bounds,
    since_pruned: u32,
}

impl Store {
    /// Opens and checks the file, or creates a new one.
    pub(super) fn open(file: &Path, bounds: Bounds) -> Result<Self, Trouble> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags)?;
        connection.busy_timeout(BUSY)?;
        let (version, tables) = identify(&connection)?;
        if tables > 0 {
            let answer: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if answer != "ok" {
                return Err(Trouble::Damaged(visible_start(&answer, SAID_MAX)));
            }
        }
        // Measured over a day (tests of `daemon::recorder`): a rollback journal and small pages write 3.3 MB of pages, a write-ahead log 5.7.
        // Users without write access to the directory can also read it. FULL: stored data survives a power cut, which never corrupts it.
        connection.execute_batch(
            "PRAGMA page_size = 1024; PRAGMA journal_mode = TRUNCATE; PRAGMA synchronous = FULL; PRAGMA cache_size = -512;
             PRAGMA temp_store = MEMORY;",
        )?;
        if version == 0 {
            connection.execute_batch(&format!(
                "BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA}; {TABLES} COMMIT;"
            ))?;
        }
        let mut store = Self { connection, bounds, since_pruned: 0 };
        store.prune()?;
        store.shrink()?;
        Ok(store)
    }

    /// Adds a batch, and its run if the batch is the first of it; returns the run.
    pub(super) fn insert(&mut self, run: Option<i64>, batch: &Builder) -> Result<i64, Trouble> {
        let (first, began_ms) = batch.first();
        let now = batch.now();
        let span = i64::try_from(now.tick.since(first).0).unwrap_or(i64::MAX);
        let start = match batch.start() {
            Start::Begin => "begin",
            Start::Follows => "follows",
            Start::Gap(_) => "gap",
        };
        let data = batch.pack();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let run = if let Some(run) = run {
            run
        } else {
            let version = env!("CARGO_PKG_VERSION");
            transaction.execute("INSERT INTO run (began_ms, version) VALUES (?1, ?2)", params![began_ms, version])?;
            transaction.last_insert_rowid()
        };
        transaction.execute(
            "INSERT INTO batch (run, start, began_ms, ended_ms, span_ms, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![run, start, began_ms, now.wall_ms, span, data],
        )?;
        transaction.commit()?;
        self.since_pruned += 1;
        if self.since_pruned >= PRUNE_EVERY {
            self.prune()?;
        }
        Ok(run)
    }

    /// Deletes batches that are too old, then the oldest ones while the file is too large.
    fn prune(&mut self) -> Result<(), Trouble> {
        self.since_pruned = 0;
        let keep = i64::try_from(self.bounds.keep.0).unwrap_or(i64::MAX);
        self.connection.execute(
            "DELETE FROM batch WHERE id <= (SELECT max(id) FROM
                 (SELECT id, sum(span_ms) OVER (ORDER BY id DESC) - span_ms AS younger FROM batch) WHERE younger > ?1)",
            [keep],
        )?;
        while self.used()? > self.bounds.size {
            let gone = self.connection.execute(
                "DELETE FROM batch WHERE id IN (SELECT id FROM batch ORDER BY id LIMIT ?1)",
                [PRUNE_BATCHES],
            )?;
            if gone == 0 {
                break;
            }
        }
        self.connection.execute("DELETE FROM run WHERE id NOT IN (SELECT run FROM batch)", [])?;
        Ok(())
    }

    fn pragma(&self, name: &str) -> Result<i64, Trouble> {
        Ok(self.connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))?)
    }

    /// Bytes in use. Free pages are reused before the file grows.
    fn used(&self) -> Result<u64, Trouble> {
        let pages = self.pragma("page_count")? - self.pragma("freelist_count")?;
        Ok(u64::try_from(pages.saturating_mul(self.pragma("page_size")?)).unwrap_or(0))
    }

    /// Gives free space back to the file system after the bounds were lowered.
    fn shrink(&self) -> Result<(), Trouble> {
        if self.pragma("freelist_count")? > FREE_MAX {
            self.connection.execute_batch("VACUUM")?;
        }
        Ok(())
    }
}

/// Returns the version and the number of tables if the database is ours or empty.
fn identify(connection: &Connection) -> Result<(i64, i64), Trouble> {
    let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, version) {
        (APPLICATION_ID, SCHEMA) if has_our_tables(connection)? => Ok((version, tables)),
        (APPLICATION_ID, newer) if newer > SCHEMA => Err(Trouble::Newer(newer)),
        (APPLICATION_ID, older) if older < SCHEMA => Err(Trouble::Older(older)),
        (0, 0) if tables == 0 => Ok((0, 0)),
        (_, _) => Err(Trouble::Foreign),
    }
}

/// Whether `run` and `batch` are tables with the columns of [`TABLES`], and everything else is a table or an index. A view, a virtual table
/// or a computed column in their place could be endless.
pub(super) fn has_our_tables(connection: &Connection) -> rusqlite::Result<bool> {
    let plain = "SELECT count(*) = 0 FROM sqlite_schema WHERE type NOT IN ('table', 'index') OR rootpage = 0";
    let columns = "SELECT count(*), ifnull(group_concat(name), ''), ifnull(sum(hidden), 0) FROM pragma_table_xinfo(?1)";
    let of = |table: &str| -> rusqlite::Result<(i64, String, i64)> {
        connection.query_row(columns, [table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
    };
    let run = (3, "id,began_ms,version".to_owned(), 0);
    let batch = (7, "id,run,start,began_ms,ended_ms,span_ms,data".to_owned(), 0);
    Ok(connection.query_row(plain, [], |row| row.get(0))? && of("run")? == run && of("batch")? == batch)
}

/// Moves a file out of the way, to a name that the next one overwrites. The file that `SQLite` keeps next to it is moved along.
pub(super) fn set_aside(file: &Path) -> std::io::Result<PathBuf> {
    let beside = |path: &Path, ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let aside = beside(file, ".set-aside");
    std::fs::rename(file, &aside)?;
    let _ = std::fs::remove_file(beside(&aside, "-journal"));
    let _ = std::fs::rename(beside(file, "-journal"), beside(&aside, "-journal"));
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SQLite` quotes names of tables, and its check quotes rows.
    #[test]
    fn what_sqlite_says_is_cut_and_text() {
        for code in [rusqlite::ffi::SQLITE_CORRUPT, rusqlite::ffi::SQLITE_ERROR] {
            let quoted = format!("malformed database schema ({}\u{1b}[2J\n\u{202e})", "x".repeat(100_000));
            let said = Trouble::from(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some(quoted)))
                .to_string();
            assert!(said.contains("malformed database schema (xxx") && said.chars().count() < 250, "{said}");
            let quoted = Some("no such table: \u{1b}[2J\n\u{202e}".to_owned());
            let said =
                Trouble::from(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), quoted)).to_string();
            assert!(said.ends_with("no such table: \\u{1b}[2J\\u{a}\\u{202e}"), "{said}");
        }
    }
}
