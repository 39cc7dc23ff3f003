//! Takes an input apart. Imports nothing, so that every target can use it.

/// The rest of an input. What is missing at its end is 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pieces<'a>(pub(crate) &'a [u8]);

impl<'a> Pieces<'a> {
    /// Whether nothing is left.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a byte.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Takes two bytes, high byte first.
    pub(crate) fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Takes a length in one byte, and as many bytes.
    pub(crate) fn piece(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (piece, rest) = self.0.split_at(length);
        self.0 = rest;
        piece
    }

    /// Takes a line, without its end.
    pub(crate) fn line(&mut self) -> &'a [u8] {
        let mut parts = self.0.splitn(2, |byte| *byte == b'\n');
        let line = parts.next().unwrap_or_default();
        self.0 = parts.next().unwrap_or_default();
        line
    }
}

/// Checks a text that is shown to people or logged: within a length, and without anything that a terminal might obey.
pub(crate) fn assert_showable(text: &str, longest: usize) {
    assert!(text.len() <= longest, "{} bytes: {text}", text.len());
    assert!(!text.contains(char::is_control), "{text:?}");
}
