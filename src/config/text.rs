//! Parts of a text that do not show on the screen: byte order marks, other encodings, invisible characters.

/// The byte order mark (U+FEFF) that Windows editors put before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How to convert a UTF-16 file; `FILE` and `NEW` stand for names.
pub(super) const FROM_UTF16: &str = "save it as UTF-8, or convert it with `iconv -f UTF-16 -t UTF-8 FILE > NEW`";

/// Strips a UTF-8 byte order mark from the beginning.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)
}

/// Whether the bytes are most probably UTF-16, which Windows editors call "Unicode": by its byte order mark, or by the zeros between
/// Latin letters.
pub(super) fn is_utf16(bytes: &[u8]) -> bool {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [first, 0, second, 0, ..] | [0, first, 0, second, ..] => *first != 0 && *second != 0,
        _ => false,
    }
}

/// Whether this character is invisible, or looks like a blank without being one. Line ends and other control characters do not count.
pub fn invisible(c: char) -> bool {
    // Default_Ignorable_Code_Point and the format characters of Unicode 16 (DerivedCoreProperties.txt), if assigned.
    let ignorable = matches!(u32::from(c),
        0xad | 0x34f | 0x61c | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f | 0x202a..=0x202e
        | 0x2060..=0x206f | 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff9..=0xfffb | 0x1bca0..=0x1bca3
        | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff);
    ignorable || (!c.is_ascii() && c.is_whitespace())
}

/// Whether a character is not seen as itself on a terminal or in a log: a control character, or an [`invisible`] one.
pub fn unseen(c: char) -> bool {
    c.is_control() || invisible(c)
}

/// Replaces every [`unseen`] character by its code, such as `\u{1b}`, so that text from elsewhere can neither act on a terminal nor look
/// like something else.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if unseen(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Returns the first `max` characters of a [`visible`] text, followed by an ellipsis if that is not all of it.
pub fn visible_start(text: &str, max: usize) -> String {
    let shown = visible(text);
    match shown.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", shown.get(..end).unwrap_or_default()),
        None => shown,
    }
}

/// Formats the character's code, with its name if it is a common one.
pub(super) fn named(c: char) -> String {
    let name = match c {
        ' ' => "blank",
        '\t' => "tab",
        '\u{a0}' => "no-break space",
        '\u{ad}' => "soft hyphen",
        '\u{200b}' => "zero width space",
        '\u{200c}' => "zero width non-joiner",
        '\u{200d}' => "zero width joiner",
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => "direction mark",
        '\u{202f}' => "narrow no-break space",
        '\u{2060}' => "word joiner",
        '\u{feff}' => "byte order mark",
        '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{2018}' | '\u{2019}' => "typographic quotation mark",
        _ if c.is_control() => "control character",
        _ if c.is_whitespace() => "space of another kind",
        _ => "invisible character",
    };
    format!("U+{:04X} ({name})", u32::from(c))
}

/// Finds the first lookalike character in a piece of TOML outside comments and strings; returns it with its place in bytes.
pub(super) fn lookalike(line: &str) -> Option<(usize, char)> {
    let wrong = |c: char| invisible(c) || matches!(c, '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{2018}' | '\u{2019}');
    let mut quote = None;
    for (at, c) in line.char_indices() {
        if quote.is_some() {
            quote = quote.filter(|open| *open != c);
        } else if c == '#' {
            return None;
        } else if c == '"' || c == '\'' {
            quote = Some(c);
        } else if wrong(c) {
            return Some((at, c));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_is_known() {
        for c in ['\u{200b}', '\u{feff}', '\u{a0}', '\u{ad}', '\u{202e}', '\u{2028}', '\u{3000}', '\u{e0041}'] {
            assert!(invisible(c), "{c:?}");
        }
        for c in [' ', 'ä', '-', '\t', '\n', '文', '€'] {
            assert!(!invisible(c), "{c:?}");
        }
        assert_eq!(named('\u{200b}'), "U+200B (zero width space)");
    }

    #[test]
    fn nothing_stays_that_is_not_seen() {
        assert_eq!(
            visible("Grüße \u{1b}[2J\n\u{9b}a\u{202e}b\u{200b}"),
            "Grüße \\u{1b}[2J\\u{a}\\u{9b}a\\u{202e}b\\u{200b}"
        );
        assert_eq!(visible_start("é\u{7f}é", 8), "é\\u{7f}é");
        assert_eq!(visible_start("é\u{7f}é", 6), "é\\u{7f…");
    }

    #[test]
    fn encodings_are_told_apart() {
        for bytes in [&b"\xff\xfev\0"[..], b"\xfe\xff\0v", b"v\0e\0", b"\0v\0e"] {
            assert!(is_utf16(bytes), "{bytes:?}");
        }
        for bytes in [&b"version"[..], b"", b"\xef\xbb\xbfv", b"\0\0\0\0", b"x"] {
            assert!(!is_utf16(bytes), "{bytes:?}");
        }
        assert_eq!(without_mark(b"\xef\xbb\xbfv"), b"v");
    }

    #[test]
    fn lookalikes_are_found_outside_of_texts_and_comments() {
        assert_eq!(lookalike("a\u{a0}= 1"), Some((1, '\u{a0}')));
        assert_eq!(lookalike("a = “x”"), Some((4, '\u{201c}')));
        assert_eq!(lookalike("a = \"\u{a0}\" # \u{a0}"), None);
    }
}
