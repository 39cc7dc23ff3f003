//! A wallbox that cannot be controlled is left alone.
//!
//! Every request feeds the wallbox's watchdog, even one that it declines or whose answer is lost. So a driver that keeps asking would keep
//! a wallbox charging whose current it cannot lower. The rule, whatever the reason why a lower current cannot be proven:
//!
//! ```text
//!        no proof for one watchdog time (10 s at least), or 0 A refused three times
//!  Near ──────────────────────────────────────────────────────────────▶ Trying ──not proven, line lost──▶ Silent
//!   ▲                                                                   │   ▲                               │
//!   └───────────────────────── proven ──────────────────────────────────┘   └──────────── pause ────────────┘
//! ```
//! Proof is a reading of the setpoint register that shows no more than is wanted now; without one, the wallbox may have its maximum. A
//! reading proves nothing if the setpoint keeps rising by itself: something else writes it, or the wallbox does not keep it. Such a wallbox
//! is left alone too, and is on trial after a try: it counts as taken back once nothing has risen for a while.
//! A try writes a current that is certainly not too high (the lower of the ordered and the safe one) without waiting for proof, then reads
//! it back. The pause after it is longer than the wallbox's watchdog, counted from the last moment at which the wallbox may have received
//! a request, so that the watchdog acts. If the watchdog register was never read, the longest time that it can hold is assumed.
//!
//! Requests to other units are not for this wallbox and do not feed its watchdog (Heidelberg: "any valid traffic to that box").

use control::{Milliamps, Millis, Reachability, Tick};

use super::connect::Step;
use super::flow::{Flow, SETTLED};
use super::released::LEAD;
use super::{Driver, Event, FAILURES_MAX, Notice, READBACK_EVERY, RETRY, Setting, Stage, Transaction, Trouble};
use crate::charger::codec::Outcome;
use crate::charger::profile::Layout;

/// Lower limit of the time within which a lower current must be proven: connecting takes some seconds.
const PROOF_MIN: Millis = Millis::from_secs(10);
/// How long a reading of the setpoint counts as proof: twice the read-back interval.
const FRESH: Millis = Millis(2 * READBACK_EVERY.0);
/// By how much the silence before a try outlasts the wallbox's watchdog: allows for clock differences and a request in transit.
const MARGIN: Millis = Millis::from_secs(5);
/// Longest pause. A pause is half of the time for which the wallbox has been out of control, because each try may let it charge again.
const PAUSE_MAX: Millis = Millis::from_secs(300);
/// A setpoint that rises by itself twice within this time is not kept: a power cut can raise it only once. This is longer than the longest
/// pause, so that a rise is not forgotten before the next try.
const RISES_WITHIN: Millis = Millis(2 * PAUSE_MAX.0);
/// How often the setpoint is read back after a try, if it rose by itself before.
const TRIAL_READBACK_EVERY: Millis = Millis::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Operated as usual.
    Near,
    Trying(Try),
    Silent {
        until: Tick,
    },
}

/// The steps of a try, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Try {
    Setpoint,
    /// Only if it was never read back.
    Watchdog,
    /// Only if it was never read back.
    FailSafe,
    /// Only for a wallbox that never connected: an old one has no setpoint.
    Layout,
    Proof,
    /// Only if a setpoint of 0 was not obeyed, and after a delay: the wallbox must be seen at rest.
    Rest,
}

/// What is known about a wallbox that may have to be left alone.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not a state in disguise")]
pub(super) struct LeftAlone {
    state: State,
    /// When its setpoint was last known to be no more than wanted.
    proven_at: Tick,
    /// When its setpoint was last read, if ever.
    read_at: Option<Tick>,
    /// When it may last have received a request.
    pub(super) spoken_at: Option<Tick>,
    /// Since when it could not be controlled.
    pub(super) since: Option<Tick>,
    pub(super) said: bool,
    /// When its setpoint last rose by itself, above the wanted value.
    pub(super) rose_at: Option<Tick>,
    /// Readings of its setpoint prove nothing until the wallbox has been left in silence.
    distrusted: bool,
    /// What its measurements say about a setpoint of 0.
    pub(super) flow: Flow,
    /// Its current could be set once, so it is no read-only wallbox, whatever layout it reports now.
    controllable: bool,
    /// It answers, but the last answer did not help.
    pub(super) useless: bool,
    /// Something was answered since the present try began.
    answered: bool,
    /// Raw value last read, possibly before the link was lost.
    watchdog: Option<u16>,
    /// Raw value last read, likewise.
    fail_safe: Option<u16>,
    /// Value last reported.
    pub(super) released: bool,
}

impl LeftAlone {
    pub(super) const fn new(now: Tick) -> Self {
        Self {
            state: State::Near,
            proven_at: now,
            read_at: None,
            spoken_at: None,
            since: None,
            said: false,
            rose_at: None,
            distrusted: false,
            flow: Flow::new(),
            controllable: false,
            useless: false,
            answered: false,
            watchdog: None,
            fail_safe: None,
            released: false,
        }
    }

    pub(super) const fn is_near(&self) -> bool {
        matches!(self.state, State::Near)
    }

    pub(super) const fn is_trying(&self) -> bool {
        matches!(self.state, State::Trying(_))
    }

    /// Returns the earliest end of the silence.
    pub(super) const fn silent_until(&self) -> Option<Tick> {
        match self.state {
            State::Silent { until } => Some(until),
            State::Near | State::Trying(_) => None,
        }
    }

    /// A kept register was read.
    pub(super) const fn saw(&mut self, which: Setting, raw: u16, now: Tick) {
        match which {
            Setting::Setpoint => self.read_at = Some(now),
            Setting::Watchdog => self.watchdog = Some(raw),
            Setting::FailSafe => self.fail_safe = Some(raw),
        }
    }

    /// Returns whether its setpoint was ever read.
    pub(super) const fn was_read(&self) -> bool {
        self.read_at.is_some()
    }

    pub(super) const fn spoke(&mut self, now: Tick) {
        self.spoken_at = Some(now);
    }

    /// The program ends: the safe current is tried whatever else holds.
    pub(super) const fn end(&mut self) {
        self.state = State::Near;
    }

    /// Continues from the state of a previous driver.
    pub(super) fn begin_silent(&mut self, silence: Millis, now: Tick) {
        self.state = State::Silent { until: self.spoken_at.map_or(now, |at| at + silence) };
        self.proven_at = now;
        self.released = false;
        self.since.get_or_insert(now);
    }

    /// Returns whether readings of its setpoint prove nothing.
    pub(super) fn is_doubted(&self, now: Tick) -> bool {
        let on_trial = self.since.is_some() && self.on_trial(now);
        self.distrusted || on_trial || self.flow.unheeded().is_some()
    }

    /// Returns whether readings of its setpoint have recently proven worthless.
    fn on_trial(&self, now: Tick) -> bool {
        self.rose_lately(now) || self.flow.lately(now)
    }

    /// Returns whether its setpoint has recently risen by itself.
    fn rose_lately(&self, now: Tick) -> bool {
        self.rose_at.is_some_and(|at| now.since(at) < RISES_WITHIN)
    }
}

impl Driver {
    /// Returns the next request of a try.
    pub(super) fn alone_job(&self) -> Option<Transaction> {
        let State::Trying(step) = self.alone.state else { return None };
        Some(match step {
            Try::Setpoint => Transaction::Write(Setting::Setpoint, self.certainly_not_too_high()),
            Try::Watchdog => Transaction::Write(Setting::Watchdog, self.wanted(Setting::Watchdog)),
            Try::FailSafe => Transaction::Write(Setting::FailSafe, self.wanted(Setting::FailSafe)),
            Try::Layout => Transaction::Connect(Step::Layout),
            Try::Proof => Transaction::Read(Setting::Setpoint),
            Try::Rest => Transaction::Measure,
        })
    }

    /// Returns the raw setpoint for a wallbox whose setpoint is unknown: the lower of the ordered and the safe current, or 0 if no current
    /// may flow or if obedience to 0 is being tested.
    pub(super) fn certainly_not_too_high(&self) -> u16 {
        let unheeded = self.alone.flow.unheeded().is_some();
        let none = unheeded || self.refused_until.is_some() || !self.phases.known_where_wanted();
        let ordered = self.order.and_then(|order| order.setpoint).filter(|_| !none).unwrap_or(Milliamps::ZERO);
        self.profile.encode_current(ordered.min(self.safe_current), self.box_max)
    }

    /// Notes that the setpoint rose by itself to this raw value. Returns true if it is more than wanted and this is not the first rise, so
    /// that a power cut cannot be the cause.
    pub(super) fn rose_again(&mut self, raw: u16, now: Tick) -> bool {
        if self.target().is_none_or(|wanted| raw <= wanted) {
            return false;
        }
        self.alone.distrusted = self.alone.rose_lately(now);
        self.alone.rose_at = Some(now);
        self.alone.distrusted
    }

    /// Notes that three writes of the setpoint failed and that it still holds this raw value.
    pub(super) fn stays_high(&mut self, raw: u16, now: Tick) {
        if self.setpoint.gave_up() && self.target().is_some_and(|wanted| raw > wanted) {
            self.alone.rose_at = Some(now);
        }
    }

    /// Notes that the wallbox has connected. Returns false if it had been left alone, because its return has a notice of its own.
    pub(super) fn connected_again(&mut self, now: Tick) -> bool {
        self.alone.controllable |= self.controllable();
        self.alone.useless = false;
        let said = self.alone.said;
        self.take_back(now);
        !said
    }

    /// Declares the wallbox controllable again, once all doubts are resolved.
    fn take_back(&mut self, now: Tick) {
        if self.stage != Stage::Running || self.alone.on_trial(now) || self.ending.is_some() {
            return;
        }
        let since = self.alone.since.take();
        if std::mem::replace(&mut self.alone.said, false)
            && let Some(since) = since
        {
            self.notice(Notice::Trouble(Trouble::TakenBack { after: now.since(since) }));
        }
    }

    /// Returns whether the wallbox is read-only, because its layout has no setpoint.
    pub(super) fn only_watched(&self) -> bool {
        self.layout != Layout(0) && !self.controllable() && !self.alone.controllable
    }

    /// Returns whether the wallbox is known to have no more than is wanted.
    fn proven(&self, now: Tick) -> bool {
        let bound = self.order.is_some() && self.ending.is_none() && !self.only_watched();
        !bound || (self.reads_low(now) && self.alone.flow.unheeded().is_none())
    }

    /// Returns whether a recent, trusted reading of its setpoint shows no more than is wanted.
    fn reads_low(&self, now: Tick) -> bool {
        let fresh = self.lapsed || self.alone.read_at.is_some_and(|at| now.since(at) <= FRESH);
        let low = self.setpoint.known().is_some_and(|known| self.target().is_none_or(|wanted| known <= wanted));
        fresh && low && !self.alone.distrusted
    }

    /// Upper bound on its watchdog time. A power cut may have restored the default, and after a write that was not read back either value
    /// is possible.
    pub(super) fn watchdog_at_most(&self) -> Millis {
        let longest = match self.alone.watchdog {
            None | Some(0) => u16::MAX,
            Some(read) => read.max(self.watchdog_ms).max(self.profile.watchdog.default),
        };
        Millis(u64::from(longest))
    }

    pub(super) fn silence(&self) -> Millis {
        self.watchdog_at_most() + MARGIN
    }

    fn proof_within(&self) -> Millis {
        // After a try, there is less patience.
        let usual = Millis(u64::from(self.watchdog_ms)).max(PROOF_MIN);
        if self.alone.since.is_some() { PROOF_MIN } else { usual }
    }

    /// How often the setpoint is read back even though nothing suggests a change.
    pub(super) fn readback_every(&self, now: Tick) -> Millis {
        if self.on_trial(now) { TRIAL_READBACK_EVERY } else { READBACK_EVERY }
    }

    /// Returns whether the wallbox is on trial after being left alone because its setpoint had risen by itself.
    fn on_trial(&self, now: Tick) -> bool {
        self.alone.since.is_some() && self.alone.rose_lately(now)
    }

    /// Returns whether the wallbox falls back by itself, according to the last readings of watchdog and fail-safe.
    pub(super) fn falls_back(&self) -> bool {
        self.alone.watchdog == Some(self.watchdog_ms) && self.alone.fail_safe == Some(self.wanted(Setting::FailSafe))
    }

    pub(super) fn alone_deadline(&self, now: Tick) -> Option<Tick> {
        let next = match self.alone.state {
            State::Near => Some(self.alone.proven_at + self.proof_within()).filter(|_| self.line_up),
            State::Silent { until } => Some(until).filter(|_| self.line_up && !self.lapsed),
            State::Trying(_) => None,
        };
        let fallen = self.fallen_at();
        let lead = self.alone.silent_until().map(|until| Tick(until.0.saturating_sub(LEAD.0)));
        [next, fallen, lead].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Handles what depends on time alone.
    pub(super) fn pass_alone(&mut self, now: Tick) {
        if self.proven(now) {
            self.alone.proven_at = now;
            self.in_vain = None;
        }
        match self.alone.state {
            State::Near => {
                if self.must_be_left(now) {
                    self.leave(now);
                } else {
                    self.take_back(now);
                }
            }
            State::Silent { until } if now >= until && self.line_up && !self.lapsed => {
                self.alone.state = State::Trying(Try::Setpoint);
                self.alone.answered = false;
                self.alone.distrusted = false;
                self.retry_at = now;
            }
            State::Trying(_) | State::Silent { .. } => {}
        }
        self.tell_released(now);
    }

    fn must_be_left(&mut self, now: Tick) -> bool {
        // A request in progress ends first. After a lapse only a running wallbox still receives requests.
        let speaks = self.line_up && self.outstanding.is_none() && self.ending.is_none();
        let running = self.stage == Stage::Running;
        if !speaks || self.alone.proven_at == now || (self.lapsed && !running) {
            return false;
        }
        if self.alone.spoken_at.is_none_or(|at| now.since(at) >= self.silence()) {
            // There was silence anyway; the time starts with the next request.
            self.alone.proven_at = now;
            return false;
        }
        let idle = self.settings_job().is_none() && !self.pulse.wants_unlock(now, self.lapsed);
        let worthless = self.alone.distrusted || self.alone.flow.unheeded().is_some();
        let refuses = running && (self.setpoint.gave_up() || worthless) && idle;
        refuses || now.since(self.alone.proven_at) >= self.proof_within()
    }

    /// Starts a try: writes a low current without waiting for proof, then falls silent unless it is proven.
    fn leave(&mut self, now: Tick) {
        let again = self.alone.since.is_some() || self.alone.on_trial(now);
        self.alone.state = State::Trying(Try::Setpoint);
        self.alone.since.get_or_insert(now);
        self.alone.answered = self.stage == Stage::Running;
        self.alone.useless |= self.alone.answered;
        let doubt = self.doubt(self.alone.distrusted);
        self.stage = Stage::Connecting(Step::Layout);
        self.failures = 0;
        self.retry_at = now;
        self.forget_all(now);
        self.lost_at.get_or_insert(now);
        // For a wallbox that does not answer, the try shows whether it is in standby.
        if self.link == Reachability::Online || !self.may_sleep() {
            self.link = Reachability::Offline;
            self.say_left_alone(doubt);
        }
        // A reading was trusted before and things got no better: silence comes first.
        self.alone.distrusted |= again;
        let report = self.silent_report(now);
        self.say(Event::Report(report));
    }

    /// Takes the outcome of a request of a try.
    pub(super) fn try_answer(&mut self, job: Transaction, outcome: &Outcome, now: Tick) {
        let State::Trying(step) = self.alone.state else { return };
        self.alone.answered |= !matches!(outcome, Outcome::Failed(_));
        match (job, outcome) {
            (Transaction::Write(which, value), Outcome::Written) => self.kept(which).written(value),
            (Transaction::Write(which, _), _) => self.kept(which).forget(),
            (Transaction::Connect(Step::Layout), Outcome::Registers(words)) => {
                if let Some(&[version]) = Some(words.as_slice()) {
                    self.layout = Layout(version);
                }
            }
            (Transaction::Read(Setting::Setpoint), Outcome::Registers(words)) => {
                if let Some(&[value]) = Some(words.as_slice()) {
                    self.alone.saw(Setting::Setpoint, value, now);
                    self.setpoint.read(value);
                }
            }
            (Transaction::Measure, Outcome::Registers(words)) => {
                let currents = self.decode(words).and_then(|measured| measured.currents);
                self.note_flow(currents, now);
            }
            (_, _) => {}
        }
        match self.step_after(step, now) {
            _ if self.only_watched() => self.come_near(now),
            Some(Try::Rest) => {
                self.alone.state = State::Trying(Try::Rest);
                self.retry_at = now + SETTLED;
            }
            Some(next) => self.alone.state = State::Trying(next),
            None if self.proven(now) => self.come_near(now),
            None => self.fall_silent(now),
        }
    }

    fn step_after(&self, step: Try, now: Tick) -> Option<Try> {
        let unheeded = self.alone.flow.unheeded().is_some() && self.reads_low(now);
        match step {
            Try::Setpoint if !self.falls_back() => Some(Try::Watchdog),
            Try::Watchdog => Some(Try::FailSafe),
            Try::Setpoint | Try::FailSafe if !self.met => Some(Try::Layout),
            Try::Setpoint | Try::FailSafe | Try::Layout => Some(Try::Proof),
            Try::Proof if unheeded => Some(Try::Rest),
            Try::Proof | Try::Rest => None,
        }
    }

    fn come_near(&mut self, now: Tick) {
        self.alone.state = State::Near;
        self.alone.proven_at = now;
        self.failures = 0;
        self.retry_at = now;
    }

    pub(super) fn fall_silent(&mut self, now: Tick) {
        let sleeps = self.may_sleep();
        if self.link == Reachability::Asleep && !sleeps {
            // Time spent in standby must not lengthen the pauses.
            self.alone.since = Some(now);
        }
        let lasted = self.alone.since.map_or(Millis(0), |since| now.since(since));
        let grown = if sleeps { Millis(0) } else { Millis(lasted.0 / 2).min(PAUSE_MAX) };
        self.alone.state = State::Silent { until: now + self.silence().max(grown) };
        self.alone.useless = self.alone.answered;
        let doubt = self.doubt(false);
        self.setpoint.try_again();
        if !sleeps {
            self.link = Reachability::Offline;
            self.say_left_alone(doubt);
        } else if self.line_up && std::mem::replace(&mut self.link, Reachability::Asleep) != Reachability::Asleep {
            self.notice(Notice::Asleep);
        }
        let report = self.silent_report(now);
        self.say(Event::Report(report));
    }

    /// Handles a lost link; returns true if that was after a try: then the silence continues, which occasional requests would break. A
    /// failed unlock is followed by other requests first.
    pub(super) fn back_to_silence(&mut self, job: Option<Transaction>, useless: bool, now: Tick) -> bool {
        let tried = self.alone.since.is_some() && !self.alone.is_trying();
        if !tried || !self.line_up || self.ending.is_some() || job.is_none_or(|job| job == Transaction::Unlock) {
            return false;
        }
        self.alone.answered |= useless;
        self.lost_at.get_or_insert(now);
        self.failures = 0;
        self.fall_silent(now);
        true
    }

    /// Handles a line that is lost during a try.
    pub(super) fn try_lost(&mut self, now: Tick) {
        if self.alone.is_trying() {
            self.fall_silent(now);
        }
    }

    /// Discards everything that was read before.
    pub(super) fn forget_all(&mut self, now: Tick) {
        self.setpoint.try_again();
        self.watchdog.try_again();
        self.fail_safe.try_again();
        self.pulse.link_lost();
        self.phases.interrupt(now);
    }
}

const _: () = assert!(FAILURES_MAX as u64 * RETRY.0 < PROOF_MIN.0, "a link is lost before its wallbox is left alone");
