//! Contacts as leases: closed for so long, never a level. Nobody has to say "open": who does not renew the lease in time gets it open.
//! Renewing never closes: a contact that fell open under load would else be closed again under load.
//!
//! ```text
//!            lease(seconds)                    lease runs out, open_all, the other one is welded
//!  open ──────────────────────▶ closed ─────────────────────────────────────────────────────────▶ open
//!   │ read back closed for WELDED_AFTER
//!   ▼
//!  welded: everything stays open until the power is taken away
//! ```
//! The two are interlocked: one is never closed while the other one is, or is read back as closed. Pure: ticks in, outputs out.

/// How many there are.
pub const CONTACTS: usize = 2;
/// The longest lease.
pub const LEASE_MAX_S: u16 = 60;
/// By how much a lease is longer than the wallbox's watchdog, in seconds.
pub const LEASE_RESERVE_S: u16 = 25;
/// A contactor drops out within some tens of milliseconds; one that shows closed for this long after it was opened does not let go.
pub const WELDED_AFTER_MS: u64 = 500;

/// A contact as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContactState {
    /// What the output says.
    pub closed: bool,
    /// What the auxiliary contact says.
    pub read_back: bool,
    /// It did not open when it should have. Latched.
    pub welded: bool,
    /// What is left of its lease.
    pub left_ms: u32,
}

/// Why a contact is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseRefusal {
    /// There are contacts 1 and 2.
    NoSuchContact,
    /// The other one is closed.
    Interlocked,
    /// One of them is welded.
    Welded,
    /// A lease that has run out cannot be renewed.
    NotClosed,
    /// A reason that this gateway does not know.
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
    /// It should be open since then.
    open_since_ms: u64,
    welded: bool,
}

/// Both contacts of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contacts {
    contacts: [Contact; CONTACTS],
}

impl Contacts {
    /// All open.
    pub const fn new(now_ms: u64) -> Self {
        let contact = Contact { closed_until_ms: None, read_back: false, open_since_ms: now_ms, welded: false };
        Self { contacts: [contact; CONTACTS] }
    }

    /// Closes a contact (counted from 1) for so long, at most [`LEASE_MAX_S`]; 0 opens it.
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

    /// Keeps a contact that is closed closed for so long from now; never closes one that is open. 0 opens it.
    pub fn renew(&mut self, contact: u8, seconds: u16, now_ms: u64) -> Result<ContactState, LeaseRefusal> {
        self.expire(now_ms);
        let known = usize::from(contact).checked_sub(1).and_then(|index| self.contacts.get(index));
        if seconds > 0 && known.is_some_and(|known| known.closed_until_ms.is_none()) {
            return Err(if self.welded() { LeaseRefusal::Welded } else { LeaseRefusal::NotClosed });
        }
        self.lease(contact, seconds, now_ms)
    }

    /// Opens everything.
    pub fn open_all(&mut self, now_ms: u64) {
        for contact in &mut self.contacts {
            contact.open(now_ms);
        }
    }

    /// Takes what the auxiliary contacts say (`true`: closed) and the passing of time; returns what the outputs are to be. To be called at
    /// least ten times a second.
    pub fn tick(&mut self, now_ms: u64, read_backs: [bool; CONTACTS]) -> [bool; CONTACTS] {
        self.expire(now_ms);
        for (contact, read_back) in self.contacts.iter_mut().zip(read_backs) {
            if contact.closed_until_ms.is_none() && !read_back {
                // Seen open: from here on it must stay so.
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

    /// Both as they are.
    pub fn states(&self, now_ms: u64) -> [ContactState; CONTACTS] {
        self.contacts.map(|contact| contact.state(now_ms))
    }

    /// Whether one did not open when it should have.
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
        /// Whatever is asked and read back: never both, nothing without a lease, nothing after a weld.
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
