//! Solar production and house load over time: from a file, from the seeded generator, or from recorded rows.
//!
//! The file is CSV, plain or gzipped, with a header; columns are found by name, and values hold until the next row. The separator is a
//! comma, semicolon or tab, as used in the header; numbers may have a decimal comma if the comma is not the separator.

mod lines;

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use self::lines::{Lines, wrong};
use crate::regular;
use crate::sim::weather::{DAY_S, Day};

/// Longest duration of a trace, in seconds: ten years.
const END_MAX_S: u32 = 10 * 366 * DAY_S;
/// Maximum number of rows: a third of a year in seconds, or ten years in half minutes. They take 12 bytes each.
const ROWS_MAX: usize = 10_000_000;
/// Values that never exceed this, in watts, are more likely kilowatts: even an empty house uses more, and a roof gives more at noon.
const HARDLY_W: f32 = 50.0;
/// A value above this, in watts, is hardly a house: its main fuse would have 145 A.
const KILOWATTS_MAX: f32 = 100_000.0;

/// Values that hold from a certain second on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TraceRow {
    /// Seconds since midnight of the first day.
    pub from_s: u32,
    /// Solar production, in watts. Inverters may draw a little at night, so it may be negative.
    pub solar_w: f32,
    /// House load without the car, in watts.
    pub house_w: f32,
}

/// Solar production and house load over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    rows: Vec<TraceRow>,
    end_s: u32,
}

/// Why there is no trace, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be read.
    #[error("{}: it cannot be read: {cause}; name a CSV file, plain or gzipped", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// A line is wrong.
    #[error("{}:{line}: {what}; {remedy}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// Line number, counted from 1.
        line: u64,
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Rows from the program itself are empty or not in ascending order.
    #[error("the rows of a trace must ascend in time, and there must be one at least")]
    Rows,
}

impl Trace {
    /// Creates a trace from rows with ascending times; the last row holds until `end_s`, or for one second if that is not later.
    pub fn from_rows(rows: Vec<TraceRow>, end_s: u32) -> Result<Self, TraceError> {
        let ascending = rows.iter().zip(rows.iter().skip(1)).all(|(row, next)| row.from_s < next.from_s);
        let last = rows.last().filter(|last| ascending && last.from_s < END_MAX_S).ok_or(TraceError::Rows)?;
        let end_s = end_s.clamp(last.from_s + 1, END_MAX_S);
        Ok(Self { rows, end_s })
    }

    /// Creates a trace from a generated day.
    pub fn from_day(day: &Day) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "some ten thousand watts are exact")]
        let row = |from_s| TraceRow { from_s, solar_w: day.pv_w(from_s) as f32, house_w: day.house_w(from_s) as f32 };
        Self { rows: (0..DAY_S).map(row).collect(), end_s: DAY_S }
    }

    /// Reads a regular file: CSV, or gzipped CSV whatever its name.
    ///
    /// # Errors
    /// If the file cannot be read, a line is wrong, or a limit is exceeded: 1 MiB per row, 1 GiB unpacked, ten million seconds with a row.
    pub fn read(file: &Path) -> Result<Self, TraceError> {
        let unreadable = |cause| TraceError::Unreadable { file: file.to_owned(), cause };
        Self::parse_packed(BufReader::with_capacity(1 << 16, regular::open(file).map_err(unreadable)?), file)
    }

    /// Parses CSV or gzipped CSV; `file` names it in errors.
    ///
    /// # Errors
    /// As [`Trace::read`].
    pub(crate) fn parse_packed(mut bytes: impl BufRead, file: &Path) -> Result<Self, TraceError> {
        let unreadable = |cause| TraceError::Unreadable { file: file.to_owned(), cause };
        let zipped = bytes.fill_buf().map_err(unreadable)?.starts_with(&[0x1F, 0x8B]);
        if zipped { Self::parse(MultiGzDecoder::new(bytes), file) } else { Self::parse(bytes, file) }
    }

    /// Parses CSV; `file` names it in errors.
    ///
    /// A row holds from its time to that of the next. The simulation uses whole seconds: of several rows up to the same second, the last
    /// one counts.
    ///
    /// # Errors
    /// As [`Trace::read`].
    pub fn parse(input: impl Read, file: &Path) -> Result<Self, TraceError> {
        Self::parse_at_most(input, file, ROWS_MAX)
    }

    fn parse_at_most(input: impl Read, file: &Path, rows_max: usize) -> Result<Self, TraceError> {
        let mut lines = Lines::open(input, file)?;
        let mut rows: Vec<TraceRow> = Vec::new();
        let mut before_s = f64::NEG_INFINITY;
        while let Some((line, at_s, row)) = lines.next()? {
            if at_s <= before_s {
                return wrong(file, line, "t_s does not ascend".to_owned(), "sort the rows, one for each time");
            }
            before_s = at_s;
            if rows.last().is_some_and(|last| last.from_s == row.from_s) {
                rows.pop();
            }
            if rows.len() >= rows_max {
                let what = format!("there are more than {rows_max} rows");
                return wrong(file, line, what, "split the file, or give a row every minute");
            }
            rows.push(row);
        }
        let Some(last) = rows.last().copied() else {
            let what = "there are no rows below the header".to_owned();
            return wrong(file, 1, what, "is this the file you meant?");
        };
        // The last row holds for the shortest interval between the others, but not into the next day.
        let spacings = rows.iter().zip(rows.iter().skip(1)).map(|(row, next)| next.from_s - row.from_s);
        let held_s = spacings.min().unwrap_or(DAY_S);
        let midnight_s = (last.from_s / DAY_S + 1) * DAY_S;
        rows.shrink_to_fit();
        Ok(Self { end_s: (last.from_s + held_s).min(midnight_s), rows })
    }

    /// Lists odd values: most likely they are not in watts, or have the opposite sign. Most traces give none.
    pub fn doubts(&self) -> Vec<String> {
        let range = |of: fn(&TraceRow) -> f32| {
            self.rows
                .iter()
                .map(of)
                .fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), watts| (least.min(watts), most.max(watts)))
        };
        let mut doubts = Vec::new();
        for (name, (least, most)) in [("pv_w", range(|row| row.solar_w)), ("house_w", range(|row| row.house_w))] {
            if most > KILOWATTS_MAX {
                doubts.push(format!("{name} reaches {most}: more than a house has; is it in milliwatts?"));
            } else if least < -HARDLY_W && most <= HARDLY_W {
                doubts.push(format!("{name} never exceeds {most} and falls to {least}: has it the other sign?"));
            } else if most > 0.0 && most <= HARDLY_W {
                doubts.push(format!("{name} never exceeds {most}: is the trace in kW? It is read as watts"));
            }
        }
        doubts
    }

    /// The first second.
    pub fn first_s(&self) -> u32 {
        self.rows.first().map_or(0, |row| row.from_s)
    }

    /// The second after the last.
    pub const fn end_s(&self) -> u32 {
        self.end_s
    }

    /// Every second with its values.
    pub fn seconds(&self) -> impl Iterator<Item = TraceRow> + '_ {
        let ends = self.rows.iter().skip(1).map(|next| next.from_s).chain([self.end_s]);
        let held = self.rows.iter().zip(ends);
        held.flat_map(|(row, end)| (row.from_s..end).map(move |from_s| TraceRow { from_s, ..*row }))
    }
}

#[cfg(test)]
mod tests;
