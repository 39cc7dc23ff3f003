//! A register that must hold a value: its known content, what was written and not yet read back, and how many writes failed.

/// Failed writes after which the wallbox counts as refusing.
const TRIES_MAX: u8 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct VerifiedRegister {
    /// Value last read, and not written since.
    known: Option<u16>,
    /// Value written, with or without an echo, and not yet read back.
    written: Option<u16>,
    /// Consecutive failed writes.
    tries: u8,
    /// The wallbox declines to read it.
    absent: bool,
}

/// The next step towards the wanted value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Read,
    Write,
    Nothing,
    /// Too many writes failed, or the register cannot be read.
    GaveUp,
}

/// What a reading reveals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// First reading, or the same value as before.
    Plain,
    /// The value that was written.
    Proven,
    /// Not the value that was written.
    Mismatch,
    /// A different value although nothing was written.
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

    /// The wallbox declined to read it.
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

    /// The value is no longer known.
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
