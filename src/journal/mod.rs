//! The flight recorder: everything that went into the controller and came out of it, for `replay` and `why`.
//!
//! ```text
//! daemon::recorder ──(tick, Record)──▶ bounded channel ──▶ writer (own thread) ──a batch each few minutes──▶ store (SQLite)
//!                                                                                                              │
//! cli::replay, cli::why ◀──────────────── records ◀─── batch ◀────────────────────────────────────────────────┘
//! ```
//! A batch is a blob that can be read without the others: it begins with all that was in force ([`Head`]), its records are written as
//! differences, and the whole is deflated. Batches are large because SD cards wear by the page: what is written in a day is some
//! megabytes, and what a power cut takes is the last batch.
//!
//! Nothing in here may hold up charging: where the channel is full, records are dropped; where the disk refuses, batches are. Both are said
//! once, and the gap is part of the record. The format is append-only by tag; the controller's types know nothing of it.

pub mod batch;
mod codec;
pub mod extract;
pub mod reader;
mod record;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod wire;
mod writer;

pub use batch::Batch;
pub use record::{Decided, Head, Record, Sample, Start, chargers_decided};
pub use wire::{Damaged, FORMAT};
pub use writer::Journal;
