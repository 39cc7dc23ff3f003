//! Findings: what is wrong with a file, where, and what to do about it. This module only renders text; `cli` prints it.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::text::{unseen, visible};

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The daemon does not run with this file.
    Error,
    /// The daemon runs, but the user should know.
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
    /// How serious it is.
    pub severity: Severity,
    /// The file, as named by the user.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// Place in the text, in bytes; empty if there is nothing to underline.
    pub span: Range<usize>,
    /// The key, such as `battery.floor-soc` or `charger[0].name`; empty if the finding is about the whole file.
    pub path: String,
    /// What is wrong: a fragment without a full stop.
    pub message: String,
    /// What to do: a fragment without a full stop.
    pub remedy: String,
}

impl Finding {
    /// Draws the place in the text as compilers do, with the remedy below it; `styled` adds terminal colours. Empty if there is nothing to
    /// underline.
    pub fn picture(&self, text: &str, styled: bool) -> String {
        let end = self.span.end.min(text.len());
        if self.span.start >= end || !text.is_char_boundary(self.span.start) || !text.is_char_boundary(end) {
            return String::new();
        }
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mark = AnnotationKind::Primary.span(self.span.start..end).label(visible(&self.remedy));
        let snippet = Snippet::source(drawable(text)).line_start(1).annotation(mark);
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[Group::with_level(level).element(snippet)])
    }
}

/// Formats as `file:line:column: severity: message; remedy`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, file, line, column, message, remedy, .. } = self;
        let text = format!("{}:{line}:{column}: {}: {message}; {remedy}", file.display(), severity.name());
        // The text includes names from the user and from certificates, which must not act as control sequences on a terminal.
        f.write_str(&visible(&text))
    }
}

/// Replaces each character beyond ASCII that would not be seen as itself by visible ones that take as many bytes, so that all places stay.
/// The renderer does this for those of ASCII.
fn drawable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c.len_utf8() {
            2 if unseen(c) => shown.push('¿'),
            3 if unseen(c) => shown.push(char::REPLACEMENT_CHARACTER),
            4 if unseen(c) => shown.push_str("¿¿"),
            _ => shown.push(c),
        }
    }
    shown
}

/// Returns the line and column of a byte in the text, both from 1 and the column in characters.
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
