//! Makes text from elsewhere (certificates, brokers, files) safe to print on a terminal: characters that would move the cursor, change
//! colours, reverse the direction of the text or be invisible are shown as their codes.

use std::io::{self, Write};

use crate::config::visible;

/// Replaces every character that would not be seen as itself by its code, such as `\u{1b}`. Line ends stay.
pub fn plain(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

/// Writes everything through [`plain`]. For text only: bytes that are not UTF-8 are replaced.
pub struct Plain<'a>(pub &'a mut dyn Write);

impl Write for Plain<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(plain(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        let mut out = Vec::new();
        Plain(&mut out).write_all("Grüße \u{1b}[31m\r\u{9b}2J\u{7}, a\u{202e}b\u{200b}\n".as_bytes()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "Grüße \\u{1b}[31m\\u{d}\\u{9b}2J\\u{7}, a\\u{202e}b\\u{200b}\n");
    }
}
