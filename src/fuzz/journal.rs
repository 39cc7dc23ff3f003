//! The blobs of the flight recorder: a journal may come from elsewhere, for example in a report.

use control::Tick;

use crate::journal::batch::Builder;
use crate::journal::{Batch, Damaged, FORMAT, Record};

/// How many records of a batch are compared: all of them, unless the blob is a bomb.
const RECORDS_MAX: usize = 5_000;

/// A blob as stored; and the same bytes as its contents, as packed ones hardly survive a mutation.
pub fn batch(bytes: &[u8]) {
    check(Batch::unpack(bytes));
    check(Batch::parse(bytes.to_vec()));
}

fn check(batch: Result<Batch, Damaged>) {
    let batch = match batch {
        Ok(batch) => batch,
        Err(damaged) => return assert!(!damaged.to_string().is_empty()),
    };
    assert!((1..=FORMAT).contains(&batch.format));
    let records: Vec<(Tick, Record)> = batch.records().map_while(Result::ok).take(RECORDS_MAX).collect();
    let mut now = batch.head.clone();
    let mut builder = Builder::new(batch.start, batch.head.clone());
    for (tick, record) in &records {
        now.apply(*tick, record);
        builder.push(*tick, record);
    }
    assert_eq!(builder.now(), &now);
    let again = match Batch::parse(builder.unpacked().to_vec()) {
        Ok(again) => again,
        Err(damaged) => panic!("what was written cannot be read: {damaged}"),
    };
    assert_eq!((again.format, again.start), (FORMAT, batch.start));
    assert_eq!(again.head, batch.head);
    assert_eq!(again.records().collect::<Result<Vec<_>, _>>(), Ok(records));
}
