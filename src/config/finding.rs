//! What is wrong with a file, where, and what to do about it. Rendering is text only; printing is `cli`'s.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::text::invisible;

/// Whether the daemon would run with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It would not.
    Error,
    /// It would, but the user should know.
    Warning,
}

impl Severity {
    /// The word used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether the daemon would run with it.
    pub severity: Severity,
    /// The file, as it was named by the user.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// In bytes; empty where there is nothing to underline.
    pub span: Range<usize>,
    /// Which key, such as `battery.floor-soc` or `charger[0].name`; empty where the whole file is meant.
    pub path: String,
    /// What is wrong: a fragment without a full stop.
    pub message: String,
    /// What to do: a fragment without a full stop.
    pub remedy: String,
}

impl Finding {
    /// The place in the text, drawn as compilers do, with the remedy under it; `styled` adds the colours of a terminal.
    /// Empty where there is nothing to underline.
    pub fn picture(&self, text: &str, styled: bool) -> String {
        let end = self.span.end.min(text.len());
        if self.span.start >= end || !text.is_char_boundary(self.span.start) || !text.is_char_boundary(end) {
            return String::new();
        }
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mark = AnnotationKind::Primary.span(self.span.start..end).label(self.remedy.replace(char::is_control, "?"));
        let snippet = Snippet::source(text).line_start(1).annotation(mark);
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[Group::with_level(level).element(snippet)])
    }
}

/// `file:line:column: severity: message; remedy`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, file, line, column, message, remedy, .. } = self;
        let text = format!("{}:{line}:{column}: {}: {message}; {remedy}", file.display(), severity.name());
        // Names of the user's and of certificates are in it: on a terminal they must not be more than text.
        for c in text.chars() {
            if c.is_control() || invisible(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Line and column, both from 1 and the column in characters, of a byte of the text.
pub(super) fn position(text: &str, byte: usize) -> (usize, usize) {
    let mut end = byte.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = text.get(..end).unwrap_or_default();
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (line, column)
}
