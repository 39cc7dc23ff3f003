//! A few lines redrawn in place on a terminal, for the demo and for `surplusd status --watch`.
//!
//! No line is wider than the terminal: one that wraps would take two rows, and the next picture would begin too low.

use std::fmt::Write as _;
use std::io::{self, Write};

/// Clears the rest of the line.
const CLEAR_LINE: &str = "\x1b[K";
/// Clears the rest of the screen.
const CLEAR_BELOW: &str = "\x1b[J";
/// Clears the screen and moves to its first line.
pub(super) const CLEAR_SCREEN: &str = "\x1b[2J\x1b[H";

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

impl Size {
    /// The size of the terminal on standard output, or the usual size if unknown.
    pub(super) fn of_stdout() -> Self {
        let told = terminal_size::terminal_size_of(io::stdout());
        let told = told.map(|(width, height)| Self { columns: width.0.into(), rows: height.0.into() });
        told.filter(|size| size.columns > 0 && size.rows > 0).unwrap_or(Self { columns: 80, rows: 24 })
    }
}

/// Draws lines in place.
#[derive(Debug)]
pub(super) struct Screen<W> {
    out: W,
    /// Number of lines drawn in place so far, and the size of the terminal then.
    drawn: usize,
    size: Option<Size>,
}

impl<W: Write> Screen<W> {
    pub(super) const fn new(out: W) -> Self {
        Self { out, drawn: 0, size: None }
    }

    /// Draws lines over those of the last picture. None may be wider than the terminal.
    pub(super) fn draw(&mut self, lines: &[String], size: Size) -> io::Result<()> {
        let mut text = String::new();
        if self.size.is_some_and(|before| before != size) {
            // The resized terminal has re-wrapped the last picture: where that begins is unknown.
            text.push_str(CLEAR_SCREEN);
        } else if self.drawn > 0 {
            // Go up to the first line of the last picture.
            write!(text, "\x1b[{}A", self.drawn).map_err(io::Error::other)?;
        }
        for line in lines {
            text.push_str(line);
            text.push_str(CLEAR_LINE);
            text.push('\n');
        }
        text.push_str(CLEAR_BELOW);
        self.drawn = lines.len();
        self.size = Some(size);
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Writes a line that is not overwritten later.
    pub(super) fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }

    /// Ends drawing in place: what is on the screen stays.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.drawn = 0;
        self.out.flush()
    }
}

/// Breaks a text between words into lines of at most `width` columns; all but the first are indented.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("  {word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Cuts a line to at most `width` columns, without trailing spaces.
pub(super) fn cut(line: &str, width: usize) -> String {
    let line = line.trim_end();
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let mut short: String = line.chars().take(width - 1).collect();
    short.push('…');
    short
}
