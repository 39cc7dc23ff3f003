//! Fuzz target: any journal, fed to a fresh controller. It may come from elsewhere, for example in a report.
#![expect(clippy::missing_panics_doc, reason = "a target reports by a panic")]

use super::engine::Replay;
use crate::journal::Batch;

/// Records up to which a batch is replayed: a decision takes microseconds, and a bomb would only take long.
const RECORDS_MAX: usize = 2_000;

/// The contents of a blob; its packing is decoded by the target `journal_batch`.
pub fn replay(bytes: &[u8]) {
    let Ok(batch) = Batch::parse(bytes.to_vec()) else { return };
    if batch.records().count() > RECORDS_MAX {
        return;
    }
    // Twice, as a run may begin again, or follow what has just been replayed.
    let mut replay = Replay::new();
    for _ in 0..2 {
        if replay.batch(&batch).is_err() {
            replay.skip();
        }
    }
    replay.end();
    assert!(replay.wall_ms().is_some());
}
