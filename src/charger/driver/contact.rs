//! A contactor in L2 and L3 upstream of the wallbox, driven by a contact of a Pico W relay. Closed: all phases connected; open: only L1.
//!
//! ```text
//!  Look ──closed──▶ Keep        Open ──open──▶ Look
//!   ▲                │          Close ──granted──▶ Keep
//!   └── fell open ───┘
//! ```
//! A change is timed as for a wallbox that switches phases itself (see `phases`): at 0 A, with the car measured at rest. The difference
//! is that the contact is closed on a lease, renewed only while orders are valid. The lease outlasts the time that the wallbox needs to
//! fall to its fail-safe current of 0 A and the car to stop: whichever part fails, charging ends before the contact opens. A contact that
//! opened nevertheless (the relay lost power) is not closed by a renewal; that takes a complete phase change. A change that fails ends
//! with the contact open: at once, or at the latest when the lease expires.

use control::{Millis, Tick};
use relay_link::ContactState;
use relay_link::contacts::{LEASE_MAX_S, LEASE_RESERVE_S};

use super::phases::{LOOK_EVERY, Switch};
use super::{Driver, Event, Notice, Setting, Transaction};
use crate::relay::{Failure, RelayRequest, RelayResponse};

/// Shortest time the contact stays open before it is closed again (openWB: 5 s; `SmartEVSE`: 10 s).
const PAUSE: Millis = Millis::from_secs(10);
/// Time limit for an answer of the relay.
pub(crate) const ANSWER_WITHIN: Millis = Millis::from_secs(3);
/// How often a lease is renewed, and the state of an open contact requested.
const ASK_EVERY: Millis = Millis::from_secs(5);
/// Pause after a failure.
const RETRY: Millis = Millis::from_secs(1);
/// By how much a lease outlasts the wallbox's watchdog.
const RESERVE: Millis = Millis::from_secs(LEASE_RESERVE_S as u64);
/// Time allowed for the car to stop drawing: IEC 61851-1 Annex A requires 5 s, wallboxes wait 6 s, plus 2 s for a delayed frame.
const STOP: Millis = Millis::from_secs(8);
/// How long 0 A is written to a wallbox that does not confirm it. After that the driver is silent while a lease may run: the wallbox may
/// receive the requests, and each one feeds its watchdog.
const TELL: Millis = Millis::from_secs(3);
/// How long to wait at start-up for the relay's first answer before talking to the wallbox. Without this wait, a charge already in progress
/// would be stopped just because the broker connection is not up yet and the phase count is unknown. Staying silent is safe: nothing feeds
/// the wallbox's watchdog meanwhile.
const PATIENCE: Millis = Millis::from_secs(10);
/// The longest possible lease.
const LEASE_MAX: Millis = Millis::from_secs(LEASE_MAX_S as u64);
/// Consecutive failures after which the loss of the relay is reported.
const FAILURES_SAID: u8 = 3;

/// The next request to the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// Only reads the state.
    Look,
    /// Keeps a closed contact closed.
    Keep,
    Open,
    Close,
}

/// The contact of one wallbox.
#[derive(Debug, Clone, Copy)]
pub(super) struct ContactorLease {
    /// Counted from 1.
    number: u8,
    lease: Millis,
    /// How long charging may continue after a renewal. The rest of the lease covers the worst case: contact with the wallbox is lost at
    /// that moment, its watchdog expires, and the car ramps down.
    trusted: Millis,
    wish: Wish,
    /// When the outstanding request was made.
    asked: Option<Tick>,
    ask_at: Tick,
    /// Seen closed: the lease started at this time or later. `None`: open, or never seen.
    leased_at: Option<Tick>,
    /// Since when contact and contactor have been seen open.
    open_since: Option<Tick>,
    failures: u8,
    /// Set until the relay's first answer: how long to wait for it.
    unheard_until: Option<Tick>,
    /// Set while it is unknown whether the contact is closed: since when, and when the last possible lease has certainly ended.
    doubtful: Option<(Tick, Tick)>,
    /// The contact was seen closed on a lease that may end before charging does.
    short: bool,
    /// The wallbox has answered a write of 0 A since then.
    told: bool,
}

impl ContactorLease {
    /// Creates the contact of a wallbox that falls to 0 A after `watchdog` of silence.
    pub(super) fn new(number: u8, watchdog: Millis, now: Tick) -> Self {
        let lease = (watchdog + RESERVE).min(LEASE_MAX);
        Self {
            number,
            lease,
            trusted: lease - (watchdog + STOP + TELL),
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

    /// Returns until when the contact is certain to stay closed for as long as charging needs to end.
    fn certain_until(&self) -> Option<Tick> {
        self.leased_at.map(|at| at + self.trusted)
    }

    /// Marks the contact as unknown from now on; it may be closed on a lease that began at `leased_at` and lasts for `lease`.
    fn doubt(&mut self, now: Tick, leased_at: Tick, lease: Millis) {
        self.doubtful = Some((now, leased_at + lease + STOP));
        self.told = false;
    }

    /// Returns whether the contact has been open for long enough to be closed.
    fn rested(&self, now: Tick) -> bool {
        self.open_since.is_some_and(|since| now.since(since) >= PAUSE)
    }

    /// Returns the next time at which something must be done without input.
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

    /// Forgets the state of the contact after a time in which it was not observed.
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

    /// Handles what depends on time alone: a change that may begin, a lease that becomes uncertain, the next request.
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

    /// Returns the number of phases to change to now, if a change is wanted and allowed.
    fn contact_change(&self, now: Tick) -> Option<u8> {
        let contact = self.contact.as_ref()?;
        let running = self.stage == super::Stage::Running && self.line_up && self.controllable();
        let to = if running && self.phases.steady() { self.phases_to_command(now)? } else { return None };
        // Not while the relay does not answer: whether it carried out the request would be unknown.
        (contact.failures == 0 && (to == 1 || contact.rested(now))).then_some(to)
    }

    /// Takes the relay's answer, or the failure to get one.
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
                // It did not close the contact, whatever its state was before; that is read next.
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
        // The earliest start that fits the remaining time: assumes a lease of full length.
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
            // Closed with little of the lease left: renewed, and then it is certain.
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

    /// Returns whether the driver must be silent so as not to feed the wallbox's watchdog: while the relay's first answer is awaited, and,
    /// before any order, while it is not certain that the contact stays as it is.
    pub(super) fn waits_for_contact(&self) -> bool {
        let unknown = self.order.is_none() && !self.phases.known_where_wanted();
        self.contact.is_some_and(|contact| contact.unheard_until.is_some() || unknown)
    }

    /// Returns whether an unknown lease may run out and the wallbox has not confirmed 0 A although it was written for long enough.
    pub(super) fn must_be_silent(&self, now: Tick) -> bool {
        let told = self.contact.and_then(|contact| contact.doubtful).is_some_and(|(since, _)| now.since(since) >= TELL);
        told && self.setpoint.known() != Some(self.profile.set_current.off)
    }

    /// Returns a write of 0 A if that must come before anything else, even before the wallbox has been identified: it may receive it.
    pub(super) fn tells_off(&self) -> Option<Transaction> {
        let uncertain = |contact: ContactorLease| contact.doubtful.is_some() || contact.short;
        let to_tell = self.contact.is_some_and(|contact| uncertain(contact) && !contact.told);
        (to_tell && self.order.is_some()).then_some(Transaction::Write(Setting::Setpoint, self.profile.set_current.off))
    }

    /// The wallbox has answered a write of 0 A.
    pub(super) const fn told_off(&mut self) {
        if let Some(contact) = &mut self.contact {
            contact.told = true;
        }
    }

    /// Opens the contact after a failed change, which is always possible. No current flows, as the phase count is unknown from here on.
    pub(super) fn open_contact(&mut self, now: Tick) {
        if let Some(contact) = &mut self.contact {
            contact.wish = Wish::Open;
            contact.ask_at = contact.ask_at.min(now);
        }
    }

    /// Returns whether a contact switches the phases.
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
