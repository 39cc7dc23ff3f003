//! The text with its findings: reads it into [`File`] without stopping at the first mistake, and finds the place of a key.
//!
//! serde stops at the first unknown key or wrong type. The entry at fault is therefore reported and removed, and reading starts again,
//! until it succeeds. Removed entries are remembered, because their defaults must not cause further findings.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeFloat, DeInteger, DeTable, DeValue};

use super::file::File;
use super::finding::{Finding, Severity, position};
use super::{names, text};

/// Keys of earlier versions, each with the reason why it is gone. They are ignored with a warning, so that old files still work.
const RETIRED: [(&str, &str, &str); 1] = [(
    "home-assistant",
    "discovery-prefix",
    "surplusd does not announce itself to Home Assistant yet, so this has no effect",
)];

/// Largest number of findings in one file; the last one says that there are more.
const FINDINGS_MAX: usize = 100;
/// That there are more, and what to do.
const TOO_MANY: (&str, &str) = ("too many findings", "correct the ones above first");
/// Bytes that are read again in all, because reading starts again after each mistake: bounds the time for a large file with many of them.
/// Files of up to 40 kB reach the other limit first.
const READ_AGAIN_MAX: usize = 4 * 1024 * 1024;

/// Marks a value whose problem has already been reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reported;

/// The findings of one file, while it is read and checked.
pub(super) struct Report<'t> {
    file: PathBuf,
    text: &'t str,
    root: Spanned<DeTable<'t>>,
    findings: Vec<Finding>,
    /// Paths already reported: no further findings are added for them or anything below them.
    broken: Vec<String>,
}

impl<'t> Report<'t> {
    /// Parses the text into tables, with a finding for each syntax error.
    pub(super) fn parse(file: &Path, text: &'t str) -> Self {
        let (root, mistakes) = DeTable::parse_recoverable(text);
        let mut report = Self { file: file.to_owned(), text, root, findings: Vec::new(), broken: Vec::new() };
        // Each takes time in proportion to its line, so those that would not be shown are left out.
        for mistake in mistakes.iter().take(FINDINGS_MAX + 1) {
            report.syntax(mistake);
        }
        let mut unseen = Vec::new();
        unseen_in(report.root.get_ref(), text, "", &mut unseen);
        for (span, path, c) in unseen {
            let message = format!("this text contains an invisible character, {}", text::named(c));
            let remedy = format!("delete it; if it is meant, write it as \\u{:04X}", u32::from(c));
            report.push(Severity::Error, span, &path, message, remedy);
        }
        report
    }

    /// Reports a syntax error; if the line contains a lookalike character, reports that instead.
    fn syntax(&mut self, mistake: &toml::de::Error) {
        let text = self.text;
        let span = mistake.span().unwrap_or(text.len()..text.len());
        let start = text.get(..span.start).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
        let line = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let Some((at, c)) = text::lookalike(line) else {
            let remedy = syntax_remedy(mistake.message());
            self.push(Severity::Error, span, "", mistake.message().to_owned(), remedy.to_owned());
            return;
        };
        let span = start + at..start + at + c.len_utf8();
        if self.findings.iter().any(|finding| finding.span == span) {
            return;
        }
        let remedy = "write a plain blank or a straight quotation mark; texts copied from a web page often have others";
        self.push(Severity::Error, span, "", format!("{} cannot stand here", text::named(c)), remedy.to_owned());
    }

    /// Returns the version given in the file, if it is a number.
    pub(super) fn version(&self) -> Option<f64> {
        let version = self.root.get_ref().get("version")?.get_ref();
        let number = version.as_integer().map(DeInteger::as_str).or_else(|| version.as_float().map(DeFloat::as_str));
        number?.parse().ok()
    }

    /// Reads the tables and keys. Unknown keys and values of the wrong type are reported and left out.
    pub(super) fn read(&mut self) -> Option<File> {
        let mut root = self.root.clone();
        for (table, key, why) in RETIRED {
            let path = format!("{table}.{key}");
            if let Some(DeValue::Table(inner)) = root.get_mut().get_mut(table).map(Spanned::get_mut)
                && inner.remove(key).is_some()
            {
                self.warning(&path, format!("`{key}` is not used: {why}"), "leave it out");
            }
        }
        let mut read_again = 0;
        while self.findings.len() <= FINDINGS_MAX {
            if read_again > READ_AGAIN_MAX {
                let place = self.findings.last().map_or(0..0, |last| last.span.clone());
                self.push(Severity::Error, place, "", TOO_MANY.0.to_owned(), TOO_MANY.1.to_owned());
                return None;
            }
            read_again += self.text.len();
            let mistake = match File::deserialize(toml::Deserializer::from(root.clone())) {
                Ok(file) => return Some(file),
                Err(mistake) => mistake,
            };
            let span = mistake.span().unwrap_or_default();
            let taken = take(root.get_mut(), &span, "");
            let path = taken.clone().unwrap_or_default();
            self.misread(&path, span, mistake.message());
            // An error that belongs to no entry would repeat endlessly.
            taken?;
        }
        None
    }

    /// Reports serde's error about the entry at `path`.
    fn misread(&mut self, path: &str, span: Range<usize>, said: &str) {
        let (table, key) = path.rsplit_once('.').unwrap_or(("", path));
        let (message, remedy) = if let Some(known) = said.strip_prefix("unknown field ") {
            // serde lists the known keys in backquotes after the unknown one.
            let known: Vec<&str> = known.split('`').skip(3).step_by(2).collect();
            let near = names::nearest(key, known.iter().copied());
            if let Some(near) = near {
                let meant = if table.is_empty() { near.to_owned() } else { format!("{table}.{near}") };
                self.broken.push(meant);
            }
            (format!("unknown key `{key}`"), unknown_remedy(key, near, &known))
        } else {
            wrong_type(key, said)
        };
        self.push(Severity::Error, span, path, message, remedy);
        self.broken.push(path.to_owned());
    }

    /// Reports that the value at `path` keeps the daemon from running.
    pub(super) fn error(&mut self, path: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.at(Severity::Error, path, message.into(), remedy.into());
    }

    /// Reports something about the value at `path` that the user should know.
    pub(super) fn warning(&mut self, path: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.at(Severity::Warning, path, message.into(), remedy.into());
    }

    fn at(&mut self, severity: Severity, path: &str, message: String, remedy: String) {
        if !self.broken(path) {
            self.push(severity, self.locate(path).0, path, message, remedy);
        }
    }

    fn push(&mut self, severity: Severity, span: Range<usize>, path: &str, message: String, remedy: String) {
        let (message, remedy) = match self.findings.len() {
            0..FINDINGS_MAX => (message, remedy),
            FINDINGS_MAX => (TOO_MANY.0.to_owned(), TOO_MANY.1.to_owned()),
            _ => return,
        };
        let (line, column) = position(self.text, span.start);
        let file = self.file.clone();
        self.findings.push(Finding { severity, file, line, column, span, path: path.to_owned(), message, remedy });
    }

    /// Whether the user wrote this key.
    pub(super) fn given(&self, path: &str) -> bool {
        self.locate(path).1
    }

    /// Whether this key, or a table around it, could not be read and has been reported.
    pub(super) fn broken(&self, path: &str) -> bool {
        self.broken.iter().any(|broken| {
            path.strip_prefix(broken.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// Whether any finding is an error.
    pub(super) fn failed(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Returns the findings in the order of the text.
    pub(super) fn into_findings(self) -> Vec<Finding> {
        let mut findings = self.findings;
        findings.sort_by_key(|finding| (finding.line, finding.column, finding.severity));
        findings
    }

    /// Returns the place of the value at `path`, or of the nearest table around it, in bytes.
    pub(super) fn place(&self, path: &str) -> Range<usize> {
        self.locate(path).0
    }

    /// Returns the place of the value at `path` and true, or the place of the nearest existing table around it and false.
    fn locate(&self, path: &str) -> (Range<usize>, bool) {
        let mut place = 0..0;
        let mut table = Some(self.root.get_ref());
        for step in path.split('.') {
            let (key, index) = match step.strip_suffix(']').and_then(|step| step.split_once('[')) {
                Some((key, index)) => (key, index.parse::<usize>().ok()),
                None => (step, None),
            };
            let Some(mut value) = table.and_then(|table| table.get(key)) else { return (place, false) };
            if let Some(index) = index {
                let Some(element) = value.get_ref().as_array().and_then(|array| array.get(index)) else {
                    return (place, false);
                };
                value = element;
            }
            place = value.span();
            table = value.get_ref().as_table();
        }
        (place, true)
    }
}

/// Finds the first invisible character in each key and string, as written: an escaped one is intended.
fn unseen_in(table: &DeTable<'_>, text: &str, prefix: &str, found: &mut Vec<(Range<usize>, String, char)>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        unseen_at(&key.span(), text, &path, found);
        unseen_value(value, text, &path, found);
    }
}

fn unseen_value(value: &Spanned<DeValue<'_>>, text: &str, path: &str, found: &mut Vec<(Range<usize>, String, char)>) {
    if let DeValue::Table(inner) = value.get_ref() {
        unseen_in(inner, text, path, found);
    } else if let DeValue::Array(array) = value.get_ref() {
        for (index, element) in array.iter().enumerate() {
            unseen_value(element, text, &format!("{path}[{index}]"), found);
        }
    } else if let DeValue::String(_) = value.get_ref() {
        unseen_at(&value.span(), text, path, found);
    }
}

fn unseen_at(span: &Range<usize>, text: &str, path: &str, found: &mut Vec<(Range<usize>, String, char)>) {
    let written = text.get(span.clone()).unwrap_or_default();
    let first = written.char_indices().find(|(_, c)| *c == '\t' || text::invisible(*c));
    if let Some((at, c)) = first {
        let start = span.start + at;
        found.push((start..start + c.len_utf8(), path.to_owned(), c));
    }
}

/// Removes the entry whose key or value has this span, and returns its path. An element of an array is emptied instead, because its
/// neighbours must keep their numbers.
fn take(table: &mut DeTable<'_>, span: &Range<usize>, prefix: &str) -> Option<String> {
    let join = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    for (key, value) in table.iter_mut() {
        let path = join(key.get_ref());
        // Deepest first: `[a.b]` gives `a` and `b` the same span.
        if let DeValue::Table(inner) = value.get_mut() {
            if let Some(found) = take(inner, span, &path) {
                return Some(found);
            }
        } else if let DeValue::Array(array) = value.get_mut() {
            for (index, element) in array.iter_mut().enumerate() {
                let path = format!("{path}[{index}]");
                let here = element.span() == *span;
                if let DeValue::Table(inner) = element.get_mut() {
                    if let Some(found) = take(inner, span, &path) {
                        return Some(found);
                    }
                } else if here {
                    *element.get_mut() = DeValue::Table(DeTable::new());
                    return Some(path);
                }
            }
        }
    }
    let key = table.iter().find(|(key, value)| key.span() == *span || value.span() == *span)?.0.get_ref().to_string();
    let path = join(&key);
    table.remove(key.as_str());
    Some(path)
}

/// What to do about an unknown key.
fn unknown_remedy(key: &str, near: Option<&str>, known: &[&str]) -> String {
    match (key, near) {
        ("password", Some(_)) => "put the password into a file of its own and name that in `password-file`".to_owned(),
        (_, Some(near)) => format!("did you mean `{near}`?"),
        (_, None) => format!("the keys here are {}", known.join(", ")),
    }
}

/// What is wrong and what to do if serde expected another type.
fn wrong_type(key: &str, said: &str) -> (String, String) {
    let Some((found, expected)) = said.strip_prefix("invalid type: ").and_then(|said| said.rsplit_once(", expected "))
    else {
        return (said.to_owned(), "see the reference file for how it is written".to_owned());
    };
    // Only its kind: the value may be a password, and the log is read by others than the configuration.
    let kind = found.split(['`', '"']).next().unwrap_or_default().trim_end();
    let found = match kind {
        "map" => "table",
        "sequence" => "list",
        other => other,
    };
    let (expected, remedy) = match expected {
        "f64" => ("a number", "write a plain number, without quotes and without a unit".to_owned()),
        "a string" => ("a text", "put it in double quotes".to_owned()),
        "a boolean" => ("true or false", "write true or false, without quotes".to_owned()),
        "a sequence" => ("a list of tables", format!("write [[{key}]] with two brackets, once for each")),
        // Our own expectation, which already says how to write it.
        _ if expected.starts_with('"') => (expected, "write one of these".to_owned()),
        _ if key.ends_with(']') => ("a table", "write its keys below [[charger]] with two brackets".to_owned()),
        _ => ("a table", format!("write [{key}] on a line of its own and its keys below, or `{key} = {{ … }}`")),
    };
    (format!("`{key}` must be {expected}, not {found}"), remedy)
}

/// What to do about a syntax error.
fn syntax_remedy(message: &str) -> &'static str {
    if message.starts_with("duplicate key") {
        "each key and each [table] may be given only once"
    } else if message.contains("string") || message.contains("quot") {
        "a value must follow the =, and texts stand in double quotes on one line"
    } else {
        "see https://toml.io for how a value is written"
    }
}
