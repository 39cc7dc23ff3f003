//! Extracts part of a journal as a separate journal in memory, for a report. Reads the file as it is; what the daemon has not stored yet is
//! missing.

use control::Millis;
use rusqlite::{Connection, params};

use super::reader::{ReadError, Reader};
use super::store::{APPLICATION_ID, SCHEMA, TABLES};

/// Largest number of batches that are taken: one day.
const BATCHES_MAX: usize = 256;

/// Returns the bytes of a journal with the last `span` of recorded time of `from`, in whole batches; `None` if there are no batches.
pub fn last(from: &Reader, span: Millis) -> Result<Option<Vec<u8>>, ReadError> {
    let rows = from.newest(span, BATCHES_MAX)?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut part = Connection::open_in_memory()?;
    part.execute_batch(&format!(
        "PRAGMA page_size = 1024; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA}; {TABLES}"
    ))?;
    for row in rows {
        part.execute(
            "INSERT OR IGNORE INTO run (id, began_ms, version) VALUES (?1, ?2, ?3)",
            params![row.run, row.run_began_ms, row.version],
        )?;
        part.execute(
            "INSERT INTO batch (id, run, start, began_ms, ended_ms, span_ms, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![row.id, row.run, row.start, row.began_ms, row.ended_ms, row.span_ms, row.data],
        )?;
    }
    Ok(Some(part.serialize("main")?.to_vec()))
}
