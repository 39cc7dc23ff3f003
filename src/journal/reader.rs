//! Reads the file, also while the daemon is writing it. Never writes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use control::Millis;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row};

use super::batch::Batch;
use super::store::{APPLICATION_ID, SAID_MAX, SCHEMA, has_our_tables};
use super::wire::Damaged;
use crate::config::visible_start;
use crate::regular;

/// How long to wait while the daemon stores a batch, which takes milliseconds.
const BUSY: Duration = Duration::from_secs(5);
/// Longest value, in bytes. A batch is closed at 256 KiB before it is deflated.
const VALUE_MAX: i32 = 1 << 20;
/// Largest number of runs, and of batches in a run, that are listed: the newest ones.
const LIST_MAX: u32 = 1_000_000;
/// Largest number of batches searched for a wall-clock time.
const CANDIDATES_MAX: u32 = 256;

/// Why the journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file does not exist.
    #[error("{0} does not exist: is this the `file` of [journal], and has the daemon run?")]
    Missing(PathBuf),
    /// This user may not read the file.
    #[error("{0} may not be read: try again with sudo")]
    Permission(PathBuf),
    /// The file is not a journal.
    #[error("{0} is not a surplusd journal")]
    Foreign(PathBuf),
    /// The journal was written by a newer surplusd.
    #[error(
        "the journal was written by a newer surplusd (version {0} of its tables, this one reads {SCHEMA}): use the surplusd that wrote it, or a newer one"
    )]
    Newer(i64),
    /// The journal was written by an older surplusd whose tables this one does not know.
    #[error("the journal's tables have version {0}, this surplusd reads {SCHEMA}: use the surplusd that wrote it")]
    Older(i64),
    /// The daemon was killed while writing; repairing that takes write access, which a reader never has, whoever runs it.
    #[error("the journal was left in the middle of a write: start surplusd, which puts it right")]
    Interrupted,
    /// A value is larger than any that surplusd writes.
    #[error(
        "the journal holds a value of more than {VALUE_MAX} bytes, which surplusd never writes: it is damaged, or was made by something else"
    )]
    TooBig,
    /// The database reported an error.
    #[error("the journal cannot be read: {}", visible_start(&.0.to_string(), SAID_MAX))]
    Sql(rusqlite::Error),
    /// A batch is not in the form that this program writes.
    #[error("batch {id} of the journal cannot be read: {source}")]
    Damaged {
        /// Number of the batch.
        id: i64,
        /// What is wrong with it.
        source: Damaged,
    },
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        if error.sqlite_error_code() == Some(ErrorCode::TooBig) { Self::TooBig } else { Self::Sql(error) }
    }
}

/// A run of the daemon, from its start to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Number of the run.
    pub id: i64,
    /// Wall clock at the start of the run, in milliseconds since 1970 UTC.
    pub began_ms: i64,
    /// Version of surplusd that ran.
    pub version: String,
}

/// A batch as stored, with its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) id: i64,
    pub(super) run: i64,
    pub(super) run_began_ms: i64,
    pub(super) version: String,
    pub(super) start: String,
    pub(super) began_ms: i64,
    pub(super) ended_ms: i64,
    pub(super) span_ms: i64,
    pub(super) data: Vec<u8>,
}

/// The open file.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
}

impl Reader {
    /// Opens a journal for reading.
    pub fn open(file: &Path) -> Result<Self, ReadError> {
        match regular::open(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ReadError::Missing(file.to_owned()));
            }
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(ReadError::Permission(file.to_owned()));
            }
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
                return Err(ReadError::Foreign(file.to_owned()));
            }
            Ok(_) | Err(_) => {}
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE_MAX)?;
        let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
        let told = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => ReadError::Foreign(file.to_owned()),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen) => ReadError::Interrupted,
            Some(_) | None => error.into(),
        };
        match (pragma("application_id").map_err(told)?, pragma("user_version").map_err(told)?) {
            (APPLICATION_ID, SCHEMA) if has_our_tables(&connection)? => Ok(Self { connection }),
            (APPLICATION_ID, newer) if newer > SCHEMA => Err(ReadError::Newer(newer)),
            (APPLICATION_ID, older) if older < SCHEMA => Err(ReadError::Older(older)),
            (_, _) => Err(ReadError::Foreign(file.to_owned())),
        }
    }

    /// Returns all runs, oldest first; if there are more than a million, the newest of them.
    pub fn runs(&self) -> Result<Vec<Run>, ReadError> {
        let sql = "SELECT id, began_ms, version FROM (SELECT * FROM run ORDER BY id DESC LIMIT ?1) ORDER BY id";
        let mut statement = self.connection.prepare(sql)?;
        let run = |row: &Row<'_>| Ok(Run { id: row.get(0)?, began_ms: row.get(1)?, version: row.get(2)? });
        Ok(statement.query_map([LIST_MAX], run)?.collect::<Result<_, _>>()?)
    }

    /// Returns the numbers of a run's batches, oldest first; if there are more than a million, the newest of them.
    pub fn batches(&self, run: i64) -> Result<Vec<i64>, ReadError> {
        let sql = "SELECT id FROM (SELECT id FROM batch WHERE run = ?1 ORDER BY id DESC LIMIT ?2) ORDER BY id";
        let mut statement = self.connection.prepare(sql)?;
        Ok(statement.query_map((run, LIST_MAX), |row| row.get(0))?.collect::<Result<_, _>>()?)
    }

    /// Reads a batch by its number.
    pub fn batch(&self, id: i64) -> Result<Batch, ReadError> {
        let blob: Vec<u8> =
            self.connection.query_row("SELECT data FROM batch WHERE id = ?1", [id], |row| row.get(0))?;
        Batch::unpack(&blob).map_err(|source| ReadError::Damaged { id, source })
    }

    /// Returns the numbers of the batches that may cover a wall-clock time, in milliseconds since 1970 UTC, last recorded first: those that
    /// begin before and end after it, and the last one that ended before it. The clock may have been set in between, also backwards.
    pub fn batches_around(&self, wall_ms: i64) -> Result<Vec<i64>, ReadError> {
        let sql = "SELECT id FROM batch WHERE min(began_ms, ended_ms) <= ?1 AND max(began_ms, ended_ms) >= ?1
            ORDER BY id DESC LIMIT ?2";
        let mut statement = self.connection.prepare(sql)?;
        let mut found: Vec<i64> =
            statement.query_map((wall_ms, CANDIDATES_MAX), |row| row.get(0))?.collect::<Result<_, _>>()?;
        let sql = "SELECT id FROM batch WHERE ended_ms <= ?1 ORDER BY ended_ms DESC, id DESC LIMIT 1";
        found.extend(self.connection.query_row(sql, [wall_ms], |row| row.get::<_, i64>(0)).optional()?);
        found.sort_unstable_by(|one, other| other.cmp(one));
        found.dedup();
        Ok(found)
    }

    /// Returns the number of the batch recorded last.
    pub fn last(&self) -> Result<Option<i64>, ReadError> {
        Ok(self.connection.query_row("SELECT max(id) FROM batch", [], |row| row.get(0))?)
    }

    /// When the batch after the given one begins by the wall clock; `None` if it follows without a gap.
    pub fn next_began_ms(&self, id: i64) -> Result<Option<i64>, ReadError> {
        let sql = "SELECT began_ms, start FROM batch WHERE id > ?1 ORDER BY id LIMIT 1";
        let next =
            self.connection.query_row(sql, [id], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).optional()?;
        Ok(next.filter(|(_, start)| start != "follows").map(|(began_ms, _)| began_ms))
    }

    /// Returns the number of the batch before the given one in the same run.
    pub fn batch_before(&self, id: i64) -> Result<Option<i64>, ReadError> {
        let sql = "SELECT max(id) FROM batch WHERE id < ?1 AND run = (SELECT run FROM batch WHERE id = ?1)";
        Ok(self.connection.query_row(sql, [id], |row| row.get(0)).optional()?.flatten())
    }

    /// Returns the batches recorded last, oldest first: as many as cover `span` of recorded time, but at most `most`.
    pub(super) fn newest(&self, span: Millis, most: usize) -> Result<Vec<Stored>, ReadError> {
        let sql = "SELECT batch.id, run.id, run.began_ms, version, start, batch.began_ms, ended_ms, span_ms, data
            FROM batch JOIN run ON run.id = batch.run ORDER BY batch.id DESC";
        let mut statement = self.connection.prepare(sql)?;
        let stored = |row: &Row<'_>| {
            Ok(Stored {
                id: row.get(0)?,
                run: row.get(1)?,
                run_began_ms: row.get(2)?,
                version: row.get(3)?,
                start: row.get(4)?,
                began_ms: row.get(5)?,
                ended_ms: row.get(6)?,
                span_ms: row.get(7)?,
                data: row.get(8)?,
            })
        };
        let (mut found, mut left) = (Vec::new(), i64::try_from(span.0).unwrap_or(i64::MAX));
        for row in statement.query_map([], stored)?.take(most) {
            let row = row?;
            left = left.saturating_sub(row.span_ms.max(0));
            found.push(row);
            if left <= 0 {
                break;
            }
        }
        found.reverse();
        Ok(found)
    }

    /// The earliest wall-clock time at which a batch begins, in milliseconds since 1970 UTC; `None` if there are no batches.
    pub fn earliest_ms(&self) -> Result<Option<i64>, ReadError> {
        Ok(self.connection.query_row("SELECT min(began_ms) FROM batch", [], |row| row.get(0))?)
    }
}
