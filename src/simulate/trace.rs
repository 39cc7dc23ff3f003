//! Sun and house load over time: from a file, from the seeded generator, or from rows that were recorded.
//!
//! The file is CSV, plain or gzipped, with a header; columns are found by name, values are held between rows.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use csv::{ByteRecord, ReaderBuilder};
use flate2::read::MultiGzDecoder;

use crate::sim::weather::{DAY_S, Day};

/// The longest trace: ten years.
const END_MAX_S: u32 = 10 * 366 * DAY_S;
/// No house has more; most likely it is not watts.
const WATTS_MAX: f32 = 1e6;

/// Values that hold from a second on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TraceRow {
    /// Seconds from midnight of the first day.
    pub from_s: u32,
    /// Production, in watts. Inverters at night may draw a little, so it may be negative.
    pub solar_w: f32,
    /// Load without the car, in watts.
    pub house_w: f32,
}

/// Sun and house load over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    rows: Vec<TraceRow>,
    end_s: u32,
}

/// Why there is no trace. Says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be read.
    #[error("{}: it cannot be read: {source}; name a CSV file, plain or gzipped", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is wrong.
    #[error("{}:{line}: {what}; {remedy}", file.display())]
    Line {
        /// Which file.
        file: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Rows given by the program itself do not ascend, or there are none.
    #[error("the rows of a trace must ascend in time, and there must be one at least")]
    Rows,
}

impl Trace {
    /// From rows with ascending times; the last one holds until `end_s`, or for a second where that is no later.
    pub fn from_rows(rows: Vec<TraceRow>, end_s: u32) -> Result<Self, TraceError> {
        let ascending = rows.windows(2).all(|pair| matches!(pair, [a, b] if a.from_s < b.from_s));
        let last = rows.last().filter(|last| ascending && last.from_s < END_MAX_S).ok_or(TraceError::Rows)?;
        let end_s = end_s.clamp(last.from_s + 1, END_MAX_S);
        Ok(Self { rows, end_s })
    }

    /// A day of the generator.
    pub fn from_day(day: &Day) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "some ten thousand watts are exact")]
        let row = |from_s| TraceRow { from_s, solar_w: day.pv_w(from_s) as f32, house_w: day.house_w(from_s) as f32 };
        Self { rows: (0..DAY_S).map(row).collect(), end_s: DAY_S }
    }

    /// Reads a file: CSV, or gzipped CSV whatever its name.
    pub fn read(file: &Path) -> Result<Self, TraceError> {
        let unreadable = |source| TraceError::Unreadable { file: file.to_owned(), source };
        let mut bytes = BufReader::with_capacity(1 << 16, File::open(file).map_err(unreadable)?);
        let zipped = io::BufRead::fill_buf(&mut bytes).map_err(unreadable)?.starts_with(&[0x1F, 0x8B]);
        if zipped { Self::parse(MultiGzDecoder::new(bytes), file) } else { Self::parse(bytes, file) }
    }

    /// Reads CSV; `file` names it in errors.
    pub fn parse(input: impl Read, file: &Path) -> Result<Self, TraceError> {
        let mut lines = Lines::open(input, file)?;
        let mut rows: Vec<TraceRow> = Vec::new();
        while let Some((line, row)) = lines.next()? {
            if rows.last().is_some_and(|last| last.from_s >= row.from_s) {
                return lines.wrong(line, "t_s does not ascend".to_owned(), "sort the rows, one for each time");
            }
            rows.push(row);
        }
        let Some(last) = rows.last().copied() else {
            return lines.wrong(1, "there are no rows below the header".to_owned(), "is this the file you meant?");
        };
        // The last row holds as long as the one before it did, and not into the next day.
        let before = rows.len().checked_sub(2).and_then(|at| rows.get(at));
        let held_s = before.map_or(DAY_S, |before| last.from_s - before.from_s);
        let midnight_s = (last.from_s / DAY_S + 1) * DAY_S;
        rows.shrink_to_fit();
        Ok(Self { end_s: (last.from_s + held_s).min(midnight_s), rows })
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

/// The rows of a CSV file, one after the other.
struct Lines<'a, R> {
    reader: csv::Reader<R>,
    record: ByteRecord,
    file: &'a Path,
    time: usize,
    solar: usize,
    house: usize,
}

impl<'a, R: Read> Lines<'a, R> {
    fn open(input: R, file: &'a Path) -> Result<Self, TraceError> {
        let mut reader = ReaderBuilder::new().buffer_capacity(1 << 16).from_reader(input);
        let header = reader.byte_headers().map_err(|error| broken(file, &error))?.clone();
        let column = |name: &str| header.iter().position(|field| field.trim_ascii() == name.as_bytes());
        let missing = |name: &str| TraceError::Line {
            file: file.to_owned(),
            line: 1,
            what: format!("there is no column {name}"),
            remedy: "begin the file with a header that names the columns t_s, pv_w and house_w (or load_w, without the car)",
        };
        let time = column("t_s").ok_or_else(|| missing("t_s"))?;
        let solar = column("pv_w").ok_or_else(|| missing("pv_w"))?;
        let house = column("house_w").or_else(|| column("load_w")).ok_or_else(|| missing("house_w"))?;
        Ok(Self { reader, record: ByteRecord::new(), file, time, solar, house })
    }

    fn next(&mut self) -> Result<Option<(u64, TraceRow)>, TraceError> {
        if !self.reader.read_byte_record(&mut self.record).map_err(|error| broken(self.file, &error))? {
            return Ok(None);
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        let from_s = self.seconds(line)?;
        let solar_w = self.watts(line, self.solar, "pv_w")?;
        let house_w = self.watts(line, self.house, "the house's load")?;
        Ok(Some((line, TraceRow { from_s, solar_w, house_w })))
    }

    fn field(&self, column: usize) -> &str {
        self.record.get(column).and_then(|field| std::str::from_utf8(field).ok()).unwrap_or_default().trim()
    }

    fn seconds(&self, line: u64) -> Result<u32, TraceError> {
        let text = self.field(self.time);
        let whole = text.parse::<u32>().ok().or_else(|| {
            let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..f64::from(END_MAX_S)).contains(seconds))?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just above")]
            Some(seconds.ceil() as u32)
        });
        match whole.filter(|seconds| *seconds < END_MAX_S) {
            Some(seconds) => Ok(seconds),
            None => self.wrong(
                line,
                format!("t_s is {text:?}"),
                "give seconds from midnight, 0 or more, for at most ten years",
            ),
        }
    }

    fn watts(&self, line: u64, column: usize, name: &str) -> Result<f32, TraceError> {
        let text = self.field(column);
        match text.parse::<f32>().ok().filter(|watts| watts.abs() <= WATTS_MAX) {
            Some(watts) => Ok(watts),
            None => self.wrong(line, format!("{name} is {text:?}"), "give a number of watts in every row"),
        }
    }

    fn wrong<T>(&self, line: u64, what: String, remedy: &'static str) -> Result<T, TraceError> {
        Err(TraceError::Line { file: self.file.to_owned(), line, what, remedy })
    }
}

/// What the CSV reader or the file below it complains of.
fn broken(file: &Path, error: &csv::Error) -> TraceError {
    let line = error.position().map_or(1, csv::Position::line);
    let (what, remedy) = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            (format!("{len} fields where the header has {expected_len}"), "give every row the header's columns")
        }
        csv::ErrorKind::Io(error) => (format!("it cannot be read on: {error}"), "is the file complete?"),
        _ => (format!("this is no CSV: {error}"), "save it as plain CSV with commas"),
    };
    TraceError::Line { file: file.to_owned(), line, what, remedy }
}

#[cfg(test)]
mod tests;
