//! The flight recorder: records everything that goes into the controller and comes out of it, for `replay` and `why`.
//!
//! ```text
//! daemon::recorder ──(tick, Record)──▶ bounded channel ──▶ writer (own thread) ──a batch each few minutes──▶ store (SQLite)
//!                                                                                                              │
//! cli::replay, cli::why ◀──────────────── records ◀─── batch ◀────────────────────────────────────────────────┘
//! ```
//! A batch is a blob that can be read without the others: it begins with everything that was in force ([`Head`]), its records are stored as
//! differences, and the whole is deflated. Batches are large because SD cards wear by the page: a day takes a few megabytes of writes, and
//! a power cut loses the last batch.
//!
//! Nothing here may hold up charging: if the channel is full, records are dropped; if the disk fails, batches are. Either is logged once,
//! and the gap is recorded. The format is append-only by tag; the controller's types know nothing about it.

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
