//! A contactor in L2 and L3 before the box, at a contact of a Pico W relay: closed, all phases are connected; open, L1 alone.
//!
//! ```text
//!  Look ──closed──▶ Keep        Open ──open──▶ Look
//!   ▲                │          Close ──granted──▶ Keep
//!   └── fell open ───┘
//! ```
//! When to change is decided as for a box that switches by itself (see `phases`): at 0 A, with the car measured at rest. What is
//! different is that the contact is closed on a lease, renewed only while orders are valid. It lasts longer than the box needs to fall
//! to its fail-safe current of 0 A and the car to stop: whoever dies, the charge ends first and the contact opens then. What opened all
//! the same (the relay was without power) is not closed by a renewal; that takes a change, with all that belongs to it. A change that
//! fails ends with the contact open: at once, or at the latest with the lease.

use control::{Millis, Tick};
use relay_link::ContactState;
use relay_link::contacts::{LEASE_MAX_S, LEASE_RESERVE_S};

use super::phases::{LOOK_EVERY, Switch};
use super::{Driver, Event, Notice, Setting, Transaction};
use crate::relay::{Failure, RelayRequest, RelayResponse};

/// It is not closed before it was open for this long (openWB: 5 s; `SmartEVSE`: 10 s).
const PAUSE: Millis = Millis::from_secs(10);
/// An answer that takes longer is none.
pub(crate) const ANSWER_WITHIN: Millis = Millis::from_secs(3);
/// A lease is renewed this often, and an open contact looked at.
const ASK_EVERY: Millis = Millis::from_secs(5);
/// After a failure.
const RETRY: Millis = Millis::from_secs(1);
/// By how much a lease is longer than the box's watchdog.
const RESERVE: Millis = Millis::from_secs(LEASE_RESERVE_S as u64);
/// A car stops within 5 s of being told (IEC 61851-1, Annex A); boxes give it 6. The rest is for a frame that is late.
const STOP: Millis = Millis::from_secs(8);
/// A box that does not confirm 0 A is told so for this long, and then not spoken to any more while a lease may run: it may hear us, and
/// each request feeds its watchdog.
const TELL: Millis = Millis::from_secs(3);
/// At the start the contact is heard before the box is spoken to, or this long has passed: else a charge that is found running would be
/// stopped for want of knowing the phases, only because the connection to the broker is still on its way. Nothing feeds the box's
/// watchdog meanwhile.
const PATIENCE: Millis = Millis::from_secs(10);
/// The longest lease there can be.
const LEASE_MAX: Millis = Millis::from_secs(LEASE_MAX_S as u64);
/// Failures in a row that are worth a line.
const FAILURES_SAID: u8 = 3;

/// What is asked of the relay next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// Its state, and nothing else.
    Look,
    /// Closed, stay so.
    Keep,
    Open,
    Close,
}

/// The contact of one box.
#[derive(Debug, Clone, Copy)]
pub(super) struct ContactorLease {
    /// Counted from 1.
    number: u8,
    lease: Millis,
    /// A current may flow for so long after a renewal. What is left of the lease then is enough for a box that just then is not heard
    /// any more to fall to 0 A, and for the car to stop.
    trusted: Millis,
    wish: Wish,
    /// The question under way was asked then.
    asked: Option<Tick>,
    ask_at: Tick,
    /// Seen closed: the lease runs from then at the least. `None`: open, or never seen.
    leased_at: Option<Tick>,
    /// Seen open, also by the contactor, since.
    open_since: Option<Tick>,
    failures: u8,
    /// It was never heard, and need not have been before then.
    unheard_until: Option<Tick>,
    /// It is not known whether it is closed: since when, and when the last lease there can be has ended for certain.
    doubtful: Option<(Tick, Tick)>,
    /// It was seen closed on a lease that may end before a charge does.
    short: bool,
    /// The box has answered an order of 0 A since then.
    told: bool,
}

impl ContactorLease {
    /// For a box that falls to 0 A after `watchdog` of silence.
    pub(super) fn new(number: u8, watchdog: Millis, now: Tick) -> Self {
        let lease = Millis(watchdog.0 + RESERVE.0).min(LEASE_MAX);
        Self {
            number,
            lease,
            trusted: Millis(lease.0.saturating_sub(watchdog.0 + STOP.0 + TELL.0)),
            wish: Wish::Look,
            asked: None,
            ask_at: now,
            leased_at: None,
            open_since: None,
            failures: 0,
            unheard_until: Some(now + PATIENCE),
            doubtful: None,
            short: false,
            told: false,
        }
    }

    fn what(&self) -> RelayRequest {
        let seconds = u16::try_from(self.lease.0 / 1_000).unwrap_or(LEASE_MAX_S);
        match self.wish {
            Wish::Look => RelayRequest::Status,
            Wish::Keep => RelayRequest::Renew { contact: self.number, seconds },
            Wish::Open => RelayRequest::Lease { contact: self.number, seconds: 0 },
            Wish::Close => RelayRequest::Lease { contact: self.number, seconds },
        }
    }

    /// Until when it is certain that it stays closed for as long as a charge needs to end.
    fn certain_until(&self) -> Option<Tick> {
        self.leased_at.map(|at| at + self.trusted)
    }

    /// From now on it is not known whether it is closed; a lease that began then lasts for so long.
    fn doubt(&mut self, now: Tick, leased_at: Tick, lease: Millis) {
        self.doubtful = Some((now, leased_at + lease + STOP));
        self.told = false;
    }

    /// Whether it may be closed, as far as its own past is concerned.
    fn rested(&self, now: Tick) -> bool {
        self.open_since.is_some_and(|since| now.since(since) >= PAUSE)
    }

    /// When something has to be done without any input.
    fn deadline(&self, now: Tick) -> Option<Tick> {
        let ask = Some(self.ask_at).filter(|_| self.asked.is_none());
        let rested = self.open_since.map(|since| since + PAUSE);
        let doubtful = self.doubtful.map(|(since, _)| since + TELL);
        let ended = self.doubtful.map(|(_, ended)| ended);
        [ask, rested, self.certain_until(), self.unheard_until, doubtful, ended]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    fn state(&self, answer: &RelayResponse) -> Option<ContactState> {
        match answer {
            RelayResponse::Contact(state) => Some(*state),
            RelayResponse::Status(status) => status.contacts.get(usize::from(self.number).checked_sub(1)?).copied(),
            RelayResponse::Bytes(_) | RelayResponse::Identifying => None,
        }
    }
}

impl Driver {
    pub(super) fn contact_deadline(&self, now: Tick) -> Option<Tick> {
        self.contact.filter(|_| !self.lapsed && self.ending.is_none())?.deadline(now)
    }

    /// Nobody looked meanwhile: nothing is taken for granted.
    pub(super) fn forget_contact(&mut self, now: Tick) {
        if let Some(contact) = &mut self.contact {
            contact.wish = Wish::Look;
            contact.ask_at = now;
            contact.leased_at = None;
            contact.open_since = None;
            contact.doubt(now, now, LEASE_MAX);
            self.phases.forget(now);
        }
    }

    /// What passes time only: a change that may begin, a lease that becomes uncertain, the next question.
    pub(super) fn pass_contact(&mut self, now: Tick) {
        if self.lapsed || self.ending.is_some() {
            return;
        }
        let change = self.contact_change(now);
        let ordered = self.order.is_some();
        let Some(contact) = &mut self.contact else { return };
        if contact.unheard_until.take_if(|until| now >= *until).is_some() {
            contact.doubt(now, now, LEASE_MAX);
        }
        contact.doubtful = contact.doubtful.filter(|(_, ended)| now < *ended);
        if let Some(to) = change {
            contact.wish = if to == 1 { Wish::Open } else { Wish::Close };
            contact.ask_at = now;
            self.phases.begin(to, now);
        } else if !self.phases.under() && contact.wish == Wish::Close {
            contact.wish = Wish::Look;
        }
        if contact.wish == Wish::Keep && !ordered {
            contact.wish = Wish::Look;
        }
        let (lease, certain) = (contact.lease, contact.certain_until());
        if let Some(leased_at) = contact.leased_at.take_if(|_| certain.is_some_and(|until| now >= until)) {
            contact.doubt(now, leased_at, lease);
            contact.wish = if contact.wish == Wish::Open { Wish::Open } else { Wish::Look };
            self.poll_at = now;
            self.phases_are(None, now);
        }
        let Some(contact) = &mut self.contact else { return };
        if contact.asked.is_none() && now >= contact.ask_at {
            contact.asked = Some(now);
            let what = contact.what();
            self.say(Event::Contact(what));
        }
        if let Some(to) = change {
            self.notice(Notice::PhasesChanging { to });
        }
    }

    /// The number of phases to change to now, if that may be.
    fn contact_change(&self, now: Tick) -> Option<u8> {
        let contact = self.contact.as_ref()?;
        let running = self.stage == super::Stage::Running && self.line_up && self.controllable();
        let to = if running && self.phases.steady() { self.phases_to_command(now)? } else { return None };
        // Not while the relay is not heard: what it makes of the question would not be known.
        (contact.failures == 0 && (to == 1 || contact.rested(now))).then_some(to)
    }

    /// The relay has answered, or has not.
    pub(super) fn contact_answer(&mut self, answer: &Result<RelayResponse, Failure>, now: Tick) {
        let changing = self.phases.changing();
        let Some(contact) = &mut self.contact else { return };
        let asked = contact.asked.take().unwrap_or(now);
        let state = answer.as_ref().map_err(|failure| *failure);
        let state = state.and_then(|answer| contact.state(answer).ok_or(Failure::Nonsense));
        match state {
            Ok(state) => {
                contact.ask_at = now + if changing { LOOK_EVERY } else { ASK_EVERY };
                contact.unheard_until = None;
                contact.doubtful = None;
                let lost = std::mem::replace(&mut contact.failures, 0) >= FAILURES_SAID;
                self.contact_seen(state, asked, now);
                if lost {
                    self.notice(Notice::ContactBack);
                }
            }
            Err(failure @ Failure::Lease(_)) => {
                // Not closed, whatever it was before: what it is comes next.
                contact.ask_at = now + RETRY;
                contact.wish = Wish::Look;
                contact.leased_at = None;
                self.phases_are(None, now);
                self.notice(Notice::ContactLost { failure });
            }
            Err(failure) => {
                contact.ask_at = now + RETRY;
                contact.failures = contact.failures.saturating_add(1);
                if contact.failures == FAILURES_SAID {
                    self.notice(Notice::ContactLost { failure });
                }
            }
        }
    }

    fn contact_seen(&mut self, state: ContactState, asked: Tick, now: Tick) {
        let Some(contact) = &mut self.contact else { return };
        // As far back as if it had been leased for the whole time.
        let leased_at = Tick((asked.0 + u64::from(state.left_ms)).saturating_sub(contact.lease.0));
        contact.leased_at = Some(leased_at).filter(|_| state.closed);
        let certain = contact.certain_until().is_some_and(|until| until > now);
        contact.leased_at = contact.leased_at.filter(|_| certain);
        let short = state.closed && !certain;
        if short && !std::mem::replace(&mut contact.short, short) {
            contact.told = false;
        }
        contact.short = short;
        if state.closed && contact.wish != Wish::Open {
            contact.wish = Wish::Keep;
            // Found closed, with little left: kept, and then it is certain.
            let soon = if self.order.is_some() { now } else { now + LOOK_EVERY };
            contact.ask_at = if certain { contact.ask_at } else { contact.ask_at.min(soon) };
        } else if !state.closed && contact.wish != Wish::Close {
            contact.wish = Wish::Look;
        }
        let open = !state.closed && !state.read_back;
        contact.open_since = contact.open_since.or(Some(now)).filter(|_| open);
        let phases = match (state.closed, state.read_back) {
            (true, true) if certain && contact.wish == Wish::Keep => Some(3),
            (false, false) => Some(1),
            (true, _) | (false, true) => None,
        };
        if phases.is_none() {
            contact.ask_at = contact.ask_at.min(now + LOOK_EVERY);
        }
        self.phases_are(phases, now);
    }

    /// Whether the box is not to be spoken to, as that would feed its watchdog: while the contact may still be heard for the first time,
    /// and, before any order, while it is not certain that the contact stays as it is.
    pub(super) fn waits_for_contact(&self) -> bool {
        let unknown = self.order.is_none() && !self.phases.known_where_wanted();
        self.contact.is_some_and(|contact| contact.unheard_until.is_some() || unknown)
    }

    /// Whether a lease may run out of which nothing is known, and the box has been told 0 A for long enough without confirming it.
    pub(super) fn must_be_silent(&self, now: Tick) -> bool {
        let told = self.contact.and_then(|contact| contact.doubtful).is_some_and(|(since, _)| now.since(since) >= TELL);
        told && self.setpoint.known() != Some(self.profile.set_current.off)
    }

    /// Whether the box is to be told 0 A before anything else, even if it is not known yet what it is: it may hear us.
    pub(super) fn tells_off(&self) -> Option<Transaction> {
        let uncertain = |contact: ContactorLease| contact.doubtful.is_some() || contact.short;
        let to_tell = self.contact.is_some_and(|contact| uncertain(contact) && !contact.told);
        (to_tell && self.order.is_some()).then_some(Transaction::Write(Setting::Setpoint, self.profile.set_current.off))
    }

    /// The box has answered an order of 0 A.
    pub(super) const fn told_off(&mut self) {
        if let Some(contact) = &mut self.contact {
            contact.told = true;
        }
    }

    /// A change has failed: back to what is always possible. No current flows, as what is connected is not known from here on.
    pub(super) fn open_contact(&mut self, now: Tick) {
        if let Some(contact) = &mut self.contact {
            contact.wish = Wish::Open;
            contact.ask_at = contact.ask_at.min(now);
        }
    }

    /// Whether what is connected is switched by a contact.
    pub(super) const fn by_contact(&self) -> bool {
        self.contact.is_some()
    }
}

impl super::phases::PhaseChange {
    pub(super) fn steady(&self) -> bool {
        self.switch == Switch::Steady
    }

    pub(super) fn under(&self) -> bool {
        matches!(self.switch, Switch::Under { .. })
    }
}
