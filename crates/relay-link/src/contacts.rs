//! Contacts as leases: closed for a limited time, never as a level. Nothing has to send "open": a contact whose lease is not renewed in
//! time opens by itself. Renewing never closes a contact: one that fell open under load would otherwise be closed again under load.
//!
//! ```text
//!            lease(seconds)                    lease runs out, open_all, the other one is welded
//!  open ──────────────────────▶ closed ─────────────────────────────────────────────────────────▶ open
//!   │ read back closed for WELDED_AFTER
//!   ▼
//!  welded: everything stays open until the power is removed
//! ```
//! The two are interlocked: one is never closed while the other is closed, or is read back as closed. Pure: ticks in, outputs out.

/// Number of contacts.
pub const CONTACTS: usize = 2;
/// The longest lease, in seconds.
pub const LEASE_MAX_S: u16 = 60;
/// By how much a lease is longer than the wallbox's watchdog, in seconds.
pub const LEASE_RESERVE_S: u16 = 25;
/// How long an opened contact may still be read back as closed before it counts as welded: a contactor drops out within some tens of
/// milliseconds.
pub const WELDED_AFTER_MS: u64 = 500;

/// The state of a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContactState {
    /// Whether the output closes it.
    pub closed: bool,
    /// Whether the auxiliary contact reads back as closed.
    pub read_back: bool,
    /// Whether it failed to open when it should have. Latched.
    pub welded: bool,
    /// Time left of its lease.
    pub left_ms: u32,
}

/// Why a contact was not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseRefusal {
    /// There are only contacts 1 and 2.
    NoSuchContact,
    /// The other contact is closed.
    Interlocked,
    /// One of the contacts is welded.
    Welded,
    /// A lease that has run out cannot be renewed.
    NotClosed,
    /// A reason unknown to this gateway.
    Other(u8),
}

impl LeaseRefusal {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::NoSuchContact => 1,
            Self::Interlocked => 2,
            Self::Welded => 3,
            Self::NotClosed => 4,
            Self::Other(code) => code,
        }
    }

    pub(crate) const fn of(code: u8) -> Self {
        match code {
            1 => Self::NoSuchContact,
            2 => Self::Interlocked,
            3 => Self::Welded,
            4 => Self::NotClosed,
            code => Self::Other(code),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Contact {
    closed_until_ms: Option<u64>,
    read_back: bool,
    /// Since when it should have been open.
    open_since_ms: u64,
    welded: bool,
}

/// Both contacts of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contacts {
    contacts: [Contact; CONTACTS],
}

impl Contacts {
    /// Creates both contacts open.
    pub const fn new(now_ms: u64) -> Self {
        let contact = Contact { closed_until_ms: None, read_back: false, open_since_ms: now_ms, welded: false };
        Self { contacts: [contact; CONTACTS] }
    }

    /// Closes a contact (counted from 1) for this many seconds, at most [`LEASE_MAX_S`]; 0 opens it.
    pub fn lease(&mut self, contact: u8, seconds: u16, now_ms: u64) -> Result<ContactState, LeaseRefusal> {
        self.expire(now_ms);
        let index = usize::from(contact).checked_sub(1).ok_or(LeaseRefusal::NoSuchContact)?;
        let others = self.contacts.iter().enumerate().filter(|(other, _)| *other != index);
        let other_closed = others.clone().any(|(_, other)| other.closed_until_ms.is_some() || other.read_back);
        let welded = self.welded();
        let contact = self.contacts.get_mut(index).ok_or(LeaseRefusal::NoSuchContact)?;
        if seconds == 0 {
            contact.open(now_ms);
        } else if welded {
            return Err(LeaseRefusal::Welded);
        } else if other_closed {
            return Err(LeaseRefusal::Interlocked);
        } else {
            contact.closed_until_ms = Some(now_ms + 1_000 * u64::from(seconds.min(LEASE_MAX_S)));
        }
        Ok(contact.state(now_ms))
    }

    /// Keeps a closed contact closed for this many seconds from now; never closes an open one. 0 opens it.
    pub fn renew(&mut self, contact: u8, seconds: u16, now_ms: u64) -> Result<ContactState, LeaseRefusal> {
        self.expire(now_ms);
        let known = usize::from(contact).checked_sub(1).and_then(|index| self.contacts.get(index));
        if seconds > 0 && known.is_some_and(|known| known.closed_until_ms.is_none()) {
            return Err(if self.welded() { LeaseRefusal::Welded } else { LeaseRefusal::NotClosed });
        }
        self.lease(contact, seconds, now_ms)
    }

    /// Opens both contacts.
    pub fn open_all(&mut self, now_ms: u64) {
        for contact in &mut self.contacts {
            contact.open(now_ms);
        }
    }

    /// Handles the read-backs of the auxiliary contacts (`true`: closed) and the passing of time; returns what the outputs must be. To be
    /// called at least ten times a second.
    pub fn tick(&mut self, now_ms: u64, read_backs: [bool; CONTACTS]) -> [bool; CONTACTS] {
        self.expire(now_ms);
        for (contact, read_back) in self.contacts.iter_mut().zip(read_backs) {
            if contact.closed_until_ms.is_none() && !read_back {
                // Read back as open: from here on it must stay so.
                contact.open_since_ms = now_ms;
            }
            contact.read_back = read_back;
            let held = contact.closed_until_ms.is_none() && read_back;
            contact.welded |= held && now_ms.saturating_sub(contact.open_since_ms) >= WELDED_AFTER_MS;
        }
        if self.welded() {
            self.open_all(now_ms);
        }
        self.contacts.map(|contact| contact.closed_until_ms.is_some())
    }

    /// Returns the state of both contacts.
    pub fn states(&self, now_ms: u64) -> [ContactState; CONTACTS] {
        self.contacts.map(|contact| contact.state(now_ms))
    }

    /// Returns whether a contact failed to open when it should have.
    pub fn welded(&self) -> bool {
        self.contacts.iter().any(|contact| contact.welded)
    }

    fn expire(&mut self, now_ms: u64) {
        for contact in &mut self.contacts {
            if contact.closed_until_ms.is_some_and(|until_ms| now_ms >= until_ms) {
                contact.open(now_ms);
            }
        }
    }
}

impl Contact {
    fn open(&mut self, now_ms: u64) {
        if self.closed_until_ms.take().is_some() {
            self.open_since_ms = now_ms;
        }
    }

    fn state(&self, now_ms: u64) -> ContactState {
        let left_ms = self.closed_until_ms.map_or(0, |until_ms| until_ms.saturating_sub(now_ms));
        ContactState {
            closed: left_ms > 0,
            read_back: self.read_back,
            welded: self.welded,
            left_ms: u32::try_from(left_ms).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_lease_runs_out_by_itself() {
        let mut contacts = Contacts::new(0);
        assert_eq!(contacts.lease(1, 15, 1_000).unwrap().left_ms, 15_000);
        assert_eq!(contacts.tick(15_999, [true, false]), [true, false]);
        assert_eq!(contacts.tick(16_000, [true, false]), [false, false]);
        assert!(!contacts.states(16_000)[0].closed);
    }

    #[test]
    fn a_lease_is_renewed_shortened_and_bounded() {
        let mut contacts = Contacts::new(0);
        contacts.lease(2, 15, 0).unwrap();
        assert_eq!(contacts.lease(2, 15, 10_000).unwrap().left_ms, 15_000);
        assert_eq!(contacts.lease(2, 5, 10_000).unwrap().left_ms, 5_000);
        assert_eq!(contacts.lease(2, u16::MAX, 10_000).unwrap().left_ms, 60_000);
        assert!(!contacts.lease(2, 0, 10_001).unwrap().closed);
    }

    #[test]
    fn renewing_never_closes() {
        let mut contacts = Contacts::new(0);
        assert_eq!(contacts.renew(1, 15, 0), Err(LeaseRefusal::NotClosed));
        contacts.lease(1, 15, 0).unwrap();
        assert_eq!(contacts.renew(1, 15, 14_999).unwrap().left_ms, 15_000);
        assert_eq!(contacts.renew(1, 15, 29_999), Err(LeaseRefusal::NotClosed), "it has just run out");
        assert_eq!(contacts.renew(2, 15, 29_999), Err(LeaseRefusal::NotClosed));
        assert_eq!(contacts.renew(3, 15, 29_999), Err(LeaseRefusal::NoSuchContact));
        assert!(!contacts.renew(1, 0, 29_999).unwrap().closed);
        contacts.tick(30_000, [true, false]);
        contacts.tick(30_500, [true, false]);
        assert_eq!(contacts.renew(1, 15, 30_500), Err(LeaseRefusal::Welded));
    }

    #[test]
    fn never_both() {
        let mut contacts = Contacts::new(0);
        contacts.lease(1, 15, 0).unwrap();
        contacts.tick(100, [true, false]);
        assert_eq!(contacts.lease(2, 15, 100), Err(LeaseRefusal::Interlocked));
        contacts.lease(1, 0, 200).unwrap();
        assert_eq!(contacts.lease(2, 15, 210), Err(LeaseRefusal::Interlocked), "the contactor has not dropped out yet");
        contacts.tick(300, [false, false]);
        assert!(contacts.lease(2, 15, 300).is_ok());
    }

    #[test]
    fn a_welded_contact_is_latched_and_opens_everything() {
        let mut contacts = Contacts::new(0);
        contacts.lease(1, 1, 0).unwrap();
        contacts.tick(100, [true, false]);
        contacts.tick(1_000, [true, false]);
        assert!(!contacts.welded());
        contacts.tick(1_499, [true, false]);
        assert!(!contacts.welded(), "it may take a moment");
        assert_eq!(contacts.tick(1_500, [true, false]), [false, false]);
        assert!(contacts.welded() && contacts.states(1_500)[0].welded);
        contacts.tick(2_000, [false, false]);
        for contact in [1, 2] {
            assert_eq!(contacts.lease(contact, 15, 2_000), Err(LeaseRefusal::Welded));
        }
        assert!(contacts.lease(1, 0, 2_000).is_ok(), "open is always allowed");
    }

    #[test]
    fn one_that_shows_closed_from_the_start_is_welded() {
        let mut contacts = Contacts::new(0);
        contacts.tick(0, [false, true]);
        assert_eq!(contacts.lease(1, 15, 0), Err(LeaseRefusal::Interlocked));
        contacts.tick(500, [false, true]);
        assert!(contacts.welded());
    }

    #[test]
    fn there_are_two() {
        let mut contacts = Contacts::new(0);
        for contact in [0, 3, 255] {
            assert_eq!(contacts.lease(contact, 1, 0), Err(LeaseRefusal::NoSuchContact));
        }
    }

    proptest! {
        /// Whatever is requested and read back: never both closed, none closed without a lease, none closed after a weld.
        #[test]
        fn outputs_are_always_safe(steps in prop::collection::vec((0..4_u8, 0..20_u16, any::<bool>(), 0..3_000_u64, any::<[bool; 2]>()), 1..60)) {
            let (mut contacts, mut now_ms) = (Contacts::new(0), 0);
            let mut leased_until_ms = [0; CONTACTS];
            for (contact, seconds, renewal, pause_ms, read_backs) in steps {
                now_ms += pause_ms;
                let answer = if renewal { contacts.renew(contact, seconds, now_ms) } else { contacts.lease(contact, seconds, now_ms) };
                if let Ok(state) = answer {
                    let until_ms = &mut leased_until_ms[usize::from(contact) - 1];
                    prop_assert!(!renewal || seconds == 0 || now_ms < *until_ms, "a renewal has closed it");
                    *until_ms = now_ms + u64::from(state.left_ms);
                }
                let outputs = contacts.tick(now_ms, read_backs);
                prop_assert!(outputs != [true, true]);
                prop_assert!(!contacts.welded() || outputs == [false, false]);
                for (output, until_ms) in outputs.into_iter().zip(leased_until_ms) {
                    prop_assert!(!output || now_ms < until_ms);
                }
            }
        }
    }
}
