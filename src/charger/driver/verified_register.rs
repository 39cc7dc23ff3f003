//! A register that is to hold a value: what is known of it, what was written and not yet read back, and how often in vain.

/// Writes that may be in vain before the box counts as refusing.
const TRIES_MAX: u8 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct VerifiedRegister {
    /// As read, and not touched since.
    known: Option<u16>,
    /// Written, whether or not that was echoed, and not yet read back.
    written: Option<u16>,
    /// Writes in vain, in a row.
    tries: u8,
    /// The box does not let it be read.
    absent: bool,
}

/// What is to be done so that it holds a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Read,
    Write,
    Nothing,
    /// It was tried often enough, or cannot be read.
    GaveUp,
}

/// What a reading says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// First reading, or the same as before.
    Plain,
    /// What was written.
    Proven,
    /// Not what was written.
    Mismatch,
    /// Not what it was, although nothing was written.
    Changed,
}

impl VerifiedRegister {
    pub(super) const fn new() -> Self {
        Self { known: None, written: None, tries: 0, absent: false }
    }

    pub(super) const fn known(&self) -> Option<u16> {
        self.known
    }

    pub(super) fn need(&self, want: u16) -> Need {
        match self.known {
            _ if self.absent => Need::GaveUp,
            Some(known) if known == want => Need::Nothing,
            Some(_) | None if self.gave_up() => Need::GaveUp,
            Some(_) => Need::Write,
            None => Need::Read,
        }
    }

    pub(super) const fn gave_up(&self) -> bool {
        self.absent || self.tries >= TRIES_MAX
    }

    pub(super) fn read(&mut self, value: u16) -> Seen {
        let before = self.known.replace(value);
        self.absent = false;
        match (self.written.take(), before) {
            (Some(written), _) if written == value => {
                self.tries = 0;
                Seen::Proven
            }
            (Some(_), _) => {
                self.tries = self.tries.saturating_add(1);
                Seen::Mismatch
            }
            (None, Some(before)) if before != value => Seen::Changed,
            (None, Some(_) | None) => Seen::Plain,
        }
    }

    /// Reading is declined.
    pub(super) const fn unreadable(&mut self) {
        self.known = None;
        self.written = None;
        self.absent = true;
    }

    pub(super) const fn written(&mut self, value: u16) {
        self.known = None;
        self.written = Some(value);
    }

    /// A write was declined.
    pub(super) const fn declined(&mut self) {
        self.forget();
        self.tries = self.tries.saturating_add(1);
    }

    /// What became of the value is not known.
    pub(super) const fn forget(&mut self) {
        self.known = None;
        self.written = None;
    }

    pub(super) const fn try_again(&mut self) {
        self.forget();
        self.tries = 0;
        self.absent = false;
    }
}
