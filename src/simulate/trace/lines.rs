//! Reads the rows of a CSV file one by one, within length limits.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use csv::{ByteRecord, ReaderBuilder};

use super::{END_MAX_S, TraceError, TraceRow};

/// Largest row, in bytes; a larger one has an unclosed quote, or is not CSV.
const ROW_MAX: usize = 1 << 20;
/// Largest text, in bytes, unpacked.
const TEXT_MAX: u64 = 1 << 30;
/// Number of bytes read at once.
const BUFFER: usize = 1 << 16;
/// Highest accepted power in watts: no house has more.
const WATTS_MAX: f32 = 1e6;
/// Accepted separators. The header tells which one is used.
const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];

/// An input that fails once the text or a row exceeds its limit.
struct Bounded<R> {
    input: R,
    text_left: u64,
    /// Reset after each row.
    row_left: Rc<Cell<usize>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        let too_long = |what: &str| io::Error::new(io::ErrorKind::FileTooLarge, what.to_owned());
        let left = self.text_left.checked_sub(read as u64);
        self.text_left = left.ok_or_else(|| too_long("it is longer than 1 GiB, unpacked"))?;
        let left = self.row_left.get().checked_sub(read);
        self.row_left.set(left.ok_or_else(|| too_long("a row is longer than 1 MiB, or a quote is never closed"))?);
        Ok(read)
    }
}

/// The rows of a CSV file.
pub(super) struct Lines<'a, R> {
    reader: csv::Reader<BufReader<Bounded<R>>>,
    row_left: Rc<Cell<usize>>,
    record: ByteRecord,
    file: &'a Path,
    decimal_comma: bool,
    time: usize,
    solar: usize,
    house: usize,
}

impl<'a, R: Read> Lines<'a, R> {
    /// Reads the header.
    pub(super) fn open(input: R, file: &'a Path) -> Result<Self, TraceError> {
        let row_left = Rc::new(Cell::new(ROW_MAX));
        let bounded = Bounded { input, text_left: TEXT_MAX, row_left: Rc::clone(&row_left) };
        let mut input = BufReader::with_capacity(BUFFER, bounded);
        let begin = input.fill_buf().map_err(|error| broken(file, &error.into()))?;
        if begin.starts_with(&[0xFF, 0xFE]) || begin.starts_with(&[0xFE, 0xFF]) {
            return wrong(file, 1, "this is text in UTF-16".to_owned(), "save it as UTF-8");
        }
        let header = begin.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let count = |separator: u8| header.split(|byte| *byte == separator).count();
        // The most frequent separator; the first one if several are equally frequent.
        let separator = SEPARATORS.into_iter().rev().max_by_key(|separator| count(*separator)).unwrap_or(b',');
        let mut reader = ReaderBuilder::new().delimiter(separator).buffer_capacity(BUFFER).from_reader(input);
        let header = reader.byte_headers().map_err(|error| broken(file, &error))?.clone();
        let column =
            |name: &str| header.iter().position(|field| field.trim_ascii().eq_ignore_ascii_case(name.as_bytes()));
        let missing = |name: &str| TraceError::Line {
            file: file.to_owned(),
            line: 1,
            what: format!("there is no column {name}"),
            remedy: "begin the file with a header that names the columns t_s, pv_w and house_w (or load_w, without the car)",
        };
        let time = column("t_s").ok_or_else(|| missing("t_s"))?;
        let solar = column("pv_w").ok_or_else(|| missing("pv_w"))?;
        let house = column("house_w").or_else(|| column("load_w")).ok_or_else(|| missing("house_w"))?;
        let record = ByteRecord::new();
        Ok(Self { reader, row_left, record, file, decimal_comma: separator != b',', time, solar, house })
    }

    /// Returns the next row with its line number and its exact time, in seconds.
    pub(super) fn next(&mut self) -> Result<Option<(u64, f64, TraceRow)>, TraceError> {
        if !self.reader.read_byte_record(&mut self.record).map_err(|error| broken(self.file, &error))? {
            return Ok(None);
        }
        self.row_left.set(ROW_MAX);
        let line = self.record.position().map_or(0, csv::Position::line);
        let (at_s, from_s) = self.seconds(line)?;
        let solar_w = self.watts(line, self.solar, "pv_w")?;
        let house_w = self.watts(line, self.house, "the house's load")?;
        Ok(Some((line, at_s, TraceRow { from_s, solar_w, house_w })))
    }

    fn field(&self, column: usize) -> &str {
        self.record.get(column).and_then(|field| std::str::from_utf8(field).ok()).unwrap_or_default().trim()
    }

    fn number(&self, text: &str) -> Option<f64> {
        let comma = self.decimal_comma && !text.contains('.') && text.matches(',').count() == 1;
        if comma { text.replace(',', ".").parse().ok() } else { text.parse().ok() }
    }

    /// The time as given, and the whole second by which it has been reached.
    fn seconds(&self, line: u64) -> Result<(f64, u32), TraceError> {
        let text = self.field(self.time);
        // A time that is rounded up may become the limit itself.
        let last_s = f64::from(END_MAX_S - 1);
        if let Some(at_s) = self.number(text).filter(|at_s| (0.0..=last_s).contains(at_s)) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just above")]
            return Ok((at_s, at_s.ceil() as u32));
        }
        let remedy = if text.contains([':', 'T']) {
            "give seconds from midnight of the first day instead of a time: noon is 43200"
        } else {
            "give seconds from midnight of the first day, 0 or more, for at most ten years"
        };
        wrong(self.file, line, format!("t_s is {}", shown(text)), remedy)
    }

    fn watts(&self, line: u64, column: usize, name: &str) -> Result<f32, TraceError> {
        let text = self.field(column);
        #[expect(clippy::cast_possible_truncation, reason = "a tenth of a watt in a million is not seen")]
        match self.number(text).map(|watts| watts as f32).filter(|watts| watts.abs() <= WATTS_MAX) {
            Some(watts) => Ok(watts),
            None => wrong(
                self.file,
                line,
                format!("{name} is {}", shown(text)),
                "give a number of watts, at most a million, in every row",
            ),
        }
    }
}

/// Makes a field printable: cuts long text, escapes invisible characters.
fn shown(text: &str) -> String {
    const LONGEST: usize = 40;
    let cut: String = text.chars().take(LONGEST).collect();
    if cut.len() < text.len() { format!("{cut:?}…") } else { format!("{cut:?}") }
}

/// An error in a line.
pub(super) fn wrong<T>(file: &Path, line: u64, what: String, remedy: &'static str) -> Result<T, TraceError> {
    Err(TraceError::Line { file: file.to_owned(), line, what, remedy })
}

/// Turns an error of the CSV reader or of the file below it into ours.
fn broken(file: &Path, error: &csv::Error) -> TraceError {
    let line = error.position().map_or(1, csv::Position::line);
    let (what, remedy) = if let csv::ErrorKind::UnequalLengths { expected_len, len, .. } = error.kind() {
        (format!("{len} fields where the header has {expected_len}"), "give every row the header's columns")
    } else if let csv::ErrorKind::Io(error) = error.kind() {
        if error.kind() == io::ErrorKind::FileTooLarge {
            (error.to_string(), "is this the file you meant?")
        } else {
            (format!("it cannot be read on: {error}"), "is the file complete?")
        }
    } else {
        (format!("this is no CSV: {error}"), "save it as plain CSV with commas")
    };
    TraceError::Line { file: file.to_owned(), line, what, remedy }
}
