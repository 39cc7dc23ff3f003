//! A few minutes of records as one blob that can be read on its own.

use std::io::Read;

use control::Tick;
use flate2::Compression;
use flate2::read::{ZlibDecoder, ZlibEncoder};

use super::codec::Codec;
use super::record::{Head, Record, Start};
use super::wire::{Bytes, Damaged, FORMAT, Field};

/// Size at which a batch is closed whatever its length in time, in bytes before deflation.
pub(super) const FULL: usize = 256 * 1024;
/// Largest unpacked batch that is read, in bytes: this program never writes a larger one.
const UNPACKED_MAX: u64 = 4 * FULL as u64;

/// A batch being written.
#[derive(Debug)]
pub(crate) struct Builder {
    start: Start,
    bytes: Vec<u8>,
    codec: Codec,
    /// What is in force after the last record: the next batch begins with it.
    now: Head,
    first: (Tick, i64),
}

impl Builder {
    /// Starts a batch with everything that is in force.
    pub(crate) fn new(start: Start, head: Head) -> Self {
        let mut bytes = Vec::new();
        FORMAT.put(&mut bytes);
        start.put(&mut bytes);
        head.put(&mut bytes);
        Self { start, codec: Codec::new(&head), first: (head.tick, head.wall_ms), now: head, bytes }
    }

    /// Adds a record.
    pub(crate) fn push(&mut self, tick: Tick, record: &Record) {
        self.codec.put(tick, record, &mut self.bytes);
        self.now.apply(tick, record);
    }

    /// Returns what is in force after the last record.
    pub(crate) const fn now(&self) -> &Head {
        &self.now
    }

    /// When the batch began: tick and wall clock.
    pub(crate) const fn first(&self) -> (Tick, i64) {
        self.first
    }

    /// How the batch relates to the previous one.
    pub(crate) const fn start(&self) -> Start {
        self.start
    }

    /// Size of the batch before deflation, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the contents of the blob, for the fuzz targets.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn unpacked(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the deflated blob.
    pub(crate) fn pack(&self) -> Vec<u8> {
        deflate(&self.bytes)
    }
}

/// Deflates bytes and adds a checksum.
pub(crate) fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    // Reading from memory does not fail; if it did, the reader of the blob would notice that it is cut off.
    let _ = ZlibEncoder::new(bytes, Compression::default()).read_to_end(&mut packed);
    packed
}

/// A batch being read.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Version of the format in which it was written, from 1 to [`FORMAT`].
    pub format: u64,
    /// How the batch relates to the previous one.
    pub start: Start,
    /// What was in force when the batch began.
    pub head: Head,
    bytes: Vec<u8>,
    records_at: usize,
}

impl Batch {
    /// Unpacks a blob and checks its checksum.
    pub fn unpack(blob: &[u8]) -> Result<Self, Damaged> {
        let mut bytes = Vec::new();
        let unpacked = ZlibDecoder::new(blob).take(UNPACKED_MAX + 1).read_to_end(&mut bytes);
        if unpacked.is_err() || bytes.len() as u64 > UNPACKED_MAX {
            return Err(Damaged::Packing);
        }
        Self::parse(bytes)
    }

    /// Parses the unpacked contents of a blob.
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Self, Damaged> {
        let mut input = Bytes { rest: &bytes, format: FORMAT };
        input.format = match u64::take(&mut input)? {
            0 => return Err(Damaged::Range),
            known @ 1..=FORMAT => known,
            newer => return Err(Damaged::Newer(newer)),
        };
        let start = Start::take(&mut input)?;
        let head = Head::take(&mut input)?;
        // Later reports are differences from these, so one of another charger would be taken for this one's.
        if head.reports.iter().any(|(charger, report)| report.charger != *charger) {
            return Err(Damaged::Range);
        }
        let records_at = bytes.len().saturating_sub(input.rest.len());
        Ok(Self { format: input.format, start, head, bytes, records_at })
    }

    /// Iterates over the records with their ticks. Ends after the first damaged one.
    pub fn records(&self) -> Records<'_> {
        let rest = self.bytes.get(self.records_at..).unwrap_or_default();
        Records { codec: Codec::new(&self.head), input: Bytes { rest, format: self.format } }
    }
}

/// The records of a batch.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    codec: Codec,
    input: Bytes<'a>,
}

impl Iterator for Records<'_> {
    type Item = Result<(Tick, Record), Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.input.rest.is_empty() {
            return None;
        }
        let record = self.codec.take(&mut self.input);
        if record.is_err() {
            self.input.rest = &[];
        }
        Some(record)
    }
}
