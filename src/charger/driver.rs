//! One charger: which request comes next, what an answer means, when a setpoint is proven. A pure state machine over requests,
//! outcomes and ticks. It knows nothing of bytes or other chargers, and of its line only whether it is up.
//!
//! ```text
//!            3 failures in a row, line down, left alone
//!      ┌────────────────────────────────┐
//!      ▼                                │
//!  Connecting: layout → limits → measurements → setpoint → watchdog → fail-safe → standby → phases → serial number
//!      │ all answered                   │
//!      ▼                                │
//!  Running ─────────────────────────────┘
//! ```
//!
//! Each request is chosen from the current state (`Driver::choose`), so nothing is queued and nothing can be stale: lower currents come
//! first, then an unlock, the settings, the checks, a phase change, a higher current, a lock, and measurements last. An unlock that is due,
//! and 0 A while a contact may open, also go before the Connecting steps.
//!
//! Traffic feeds the wallbox's watchdog, so only a live controller may cause any: every order has a validity, and once it has lapsed the
//! driver writes the safe current until that is read back, undoes its own lock, and goes silent. The wallbox's watchdog then does the rest.
//! Before the first order nothing is written except such an unlock, and after `GRACE` the driver is silent. A wallbox that cannot be
//! controlled is left in silence too (`left_alone`).

mod answers;
mod asleep;
mod cause;
mod connect;
mod contact;
mod doubt;
mod flow;
mod found_locked;
mod interface;
mod left_alone;
mod memory;
mod notice;
mod phases;
mod poll;
mod released;
mod reliability;
mod setpoint;
#[cfg(test)]
mod tests;
mod trouble;
mod verified_register;
mod wake_up;

use std::collections::VecDeque;
use std::sync::Arc;

use control::{ChargerId, Milliamps, Millis, Order, Reachability, Tick};

use super::codec::{Operation, Request};
use super::profile::{Layout, Profile, Register};
use crate::config::{ChargerSetup, PhaseSwitch};
use connect::Step;
pub(crate) use contact::ANSWER_WITHIN;
use contact::ContactorLease;
use doubt::InVain;
use found_locked::FoundLocked;
pub use interface::{Event, Input, Timer};
use left_alone::LeftAlone;
pub use memory::Memory;
pub use notice::{Level, Notice, Sign, Subject};
use phases::{Ask, PhaseChange};
use poll::Measured;
use reliability::Reliability;
use setpoint::Ending;
pub use trouble::{Doubt, Trouble};
use verified_register::VerifiedRegister;
use wake_up::WakeUp;

/// How long the driver may send requests before the first order: traffic feeds the wallbox's watchdog.
const GRACE: Millis = Millis::from_secs(60);
/// How often the setpoint is read back even though nothing suggests a change.
const READBACK_EVERY: Millis = Millis::from_secs(10);
/// How often the watchdog register is read: finding its default there may be the only trace of a power cycle.
const CHECK_EVERY: Millis = Millis::from_secs(60);
/// Consecutive failures after which the charger counts as unreachable.
const FAILURES_MAX: u8 = 3;
/// Pause after a single failure.
const RETRY: Millis = Millis::from_secs(1);
/// Pause between attempts to reach a wallbox in standby.
const ASLEEP_RETRY: Millis = Millis::from_secs(5);
/// Longest pause between attempts to reach a wallbox that should answer.
const BACKOFF_MAX: Millis = Millis::from_secs(10);
/// Capacity of the event queue, more than one input can fill. When full, the oldest are dropped; only a caller that never polls sees that.
const EVENTS_MAX: usize = 64;

/// The purpose of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    Connect(Step),
    Measure,
    Read(Setting),
    Write(Setting, u16),
    /// Address and value.
    WriteStandby(u16, u16),
    Phases(Ask),
    Lock,
    Unlock,
    /// Reads the lock of a wallbox that was found locked.
    ReadLock,
    FreeLock,
}

/// The registers that the driver keeps at a wanted value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    Setpoint,
    Watchdog,
    FailSafe,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting(Step),
    Running,
}

/// State of the standby register, which most wallboxes do not let us read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StandbyState {
    /// Not written yet, after this number of failed attempts.
    Unwritten(u8),
    Done,
}

/// One charger.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not a state in disguise")]
pub struct Driver {
    id: ChargerId,
    unit: u8,
    poll_every: Millis,
    /// Raw value to keep in the watchdog register.
    watchdog_ms: u16,
    safe_current: Milliamps,
    standby_allowed: bool,
    profile: Arc<Profile>,

    link: Reachability,
    stage: Stage,
    line_up: bool,
    outstanding: Option<Transaction>,
    failures: u8,
    backoff: Millis,
    lost_at: Option<Tick>,
    /// Set once the wallbox has connected for the first time.
    met: bool,

    order: Option<Order>,
    grace_until: Tick,
    /// Set when the order lapses; the next order clears it.
    lapsed: bool,
    ending: Option<Ending>,

    layout: Layout,
    box_max: Milliamps,
    box_min: Milliamps,
    serial: Option<String>,
    serial_tried: bool,
    measured: Option<Measured>,
    /// Last measured without a car, and no other sign of life since.
    without_car: bool,
    /// Last value of the energy counter that starts at 0 at power-on.
    counter: Option<i64>,

    setpoint: VerifiedRegister,
    watchdog: VerifiedRegister,
    fail_safe: VerifiedRegister,
    standby: StandbyState,
    /// A power cycle was detected and not everything is restored yet.
    restoring: bool,
    /// The wallbox does not keep what is written: no current until the next attempt at this time.
    refused_until: Option<Tick>,
    pulse: WakeUp,
    found_locked: FoundLocked,
    alone: LeftAlone,
    in_vain: Option<InVain>,
    reliability: Reliability,
    phases: PhaseChange,
    /// The relay contact that switches the phases, where the wallbox does not do so itself.
    contact: Option<ContactorLease>,
    /// When the setpoint was last written.
    set_at: Option<Tick>,

    retry_at: Tick,
    poll_at: Tick,
    readback_at: Tick,
    check_at: Tick,
    events: VecDeque<Event>,
}

impl Driver {
    /// Creates the driver of a charger about which nothing is known yet. Its line counts as down until [`Input::LineUp`].
    pub fn new(id: ChargerId, setup: &ChargerSetup, profile: Arc<Profile>, now: Tick) -> Self {
        let contact = match setup.phase_switch {
            Some(PhaseSwitch::Contact { contact, .. }) => Some(ContactorLease::new(contact, setup.watchdog, now)),
            Some(PhaseSwitch::Charger) | None => None,
        };
        let by_box = setup.phase_switch.is_some() && profile.phase_switch.is_some();
        let phases = PhaseChange::new(by_box || contact.is_some(), now);
        Self {
            id,
            unit: setup.unit,
            poll_every: setup.poll.max(Millis(1)),
            // 0 would disable the watchdog.
            watchdog_ms: u16::try_from(setup.watchdog.0.max(1)).unwrap_or(u16::MAX),
            safe_current: setup.safe_current,
            standby_allowed: setup.standby,
            profile,
            link: Reachability::Starting,
            stage: Stage::Connecting(Step::Layout),
            line_up: false,
            outstanding: None,
            failures: 0,
            backoff: RETRY,
            lost_at: None,
            met: false,
            order: None,
            grace_until: now + GRACE,
            lapsed: false,
            ending: None,
            layout: Layout(0),
            box_max: Milliamps::ZERO,
            box_min: Milliamps::ZERO,
            serial: None,
            serial_tried: false,
            measured: None,
            without_car: false,
            counter: None,
            setpoint: VerifiedRegister::new(),
            watchdog: VerifiedRegister::new(),
            fail_safe: VerifiedRegister::new(),
            standby: StandbyState::Unwritten(0),
            restoring: false,
            refused_until: None,
            pulse: WakeUp::Idle,
            found_locked: FoundLocked::new(),
            alone: LeftAlone::new(now),
            in_vain: None,
            reliability: Reliability::new(),
            phases,
            contact,
            set_at: None,
            retry_at: now,
            poll_at: now,
            readback_at: now,
            check_at: now,
            events: VecDeque::new(),
        }
    }

    /// Takes in one input.
    pub fn handle(&mut self, input: Input, now: Tick) {
        match input {
            Input::Order(order) => self.take_order(order, now),
            Input::Wake => self.start_pulse(),
            Input::Unlock => self.pulse.unlock(),
            Input::Shutdown => self.start_ending(now),
            Input::Outcome(outcome) => self.take_outcome(&outcome, now),
            Input::LineDown => self.line_down(now),
            Input::LineUp => {
                // A line that was merely reopened after a failed request does not shorten the pause after that failure.
                if !std::mem::replace(&mut self.line_up, true) {
                    self.retry_at = now;
                }
            }
            Input::Contact(answer) => self.contact_answer(&answer, now),
            Input::Timeout => {}
        }
        self.handle_timeout(now);
    }

    /// Returns the next request, if one is due now. At most one is outstanding: answer it with [`Input::Outcome`].
    pub fn poll_request(&mut self, now: Tick) -> Option<Request> {
        self.handle_timeout(now);
        let job = self.choose(now)?;
        if let Transaction::Write(Setting::Setpoint, raw) = job {
            self.set_at = Some(now);
            if raw != self.profile.set_current.off {
                self.phases.disturb(now);
            }
        }
        self.outstanding = Some(job);
        self.alone.spoke(now);
        self.tell_released(now);
        Some(Request { unit: self.unit, op: self.operation(job) })
    }

    /// Returns whether the next request lowers the current or belongs to the shutdown: it then goes before other chargers' requests.
    pub fn is_urgent(&self, now: Tick) -> bool {
        match (self.choose(now), self.setpoint.known()) {
            (Some(Transaction::Write(Setting::Setpoint, raw)), Some(known)) => raw < known,
            // A write went unanswered: the setpoint must be known before it can be lowered.
            (Some(Transaction::Read(Setting::Setpoint) | Transaction::Write(Setting::Setpoint, _)), None) => true,
            (Some(_), _) => self.ending.is_some(),
            (None, _) => false,
        }
    }

    /// Returns whether the charger is online and answered its last request.
    pub fn answers(&self) -> bool {
        self.failures == 0 && self.link == Reachability::Online
    }

    /// Returns when a charger that does not answer, or is left alone, is next tried; `None` while it answers.
    pub fn next_try(&self) -> Option<Tick> {
        let silent_until = self.alone.silent_until();
        let is_lost = matches!(self.link, Reachability::Offline | Reachability::Asleep);
        let at = silent_until.map_or(self.retry_at, |until| until.max(self.retry_at));
        (is_lost || silent_until.is_some()).then_some(at)
    }

    /// Returns when the driver must be called next even without input, and why. `None` while a request is outstanding.
    pub fn poll_timeout(&self, now: Tick) -> Option<(Tick, Timer)> {
        if self.outstanding.is_some() || self.ended() {
            return None;
        }
        if self.choose(now).is_some() {
            return Some((now, Timer::Due));
        }
        let lapse = self.order.map_or(self.grace_until, |order| order.valid_until);
        let running = !self.lapsed && self.line_up && self.stage == Stage::Running;
        [
            // Also after a lapse: the safe current, and the unlock, may not have arrived at the first attempt.
            (self.line_up, self.retry_at, Timer::Retry),
            (running, self.poll_at, Timer::Poll),
            (running, self.readback_at, Timer::Check),
            (running, self.check_at, Timer::Check),
            (!self.lapsed, lapse, Timer::Lapse),
            (self.pulse.deadline().is_some(), self.pulse.deadline().unwrap_or(now), Timer::WakeUp),
            (self.ending.is_some(), self.ending_deadline().unwrap_or(now), Timer::Ending),
            (self.refused_until.is_some(), self.refused_until.unwrap_or(now), Timer::Check),
            (running, self.raise_at().unwrap_or(now), Timer::Check),
            (running, self.phases_deadline(now).unwrap_or(now), Timer::Phases),
            (true, self.contact_deadline(now).unwrap_or(now), Timer::Phases),
            (true, self.alone_deadline(now).unwrap_or(now), Timer::Silence),
            (running, self.found_locked.deadline().unwrap_or(now), Timer::Check),
        ]
        .into_iter()
        .filter(|(applies, at, _)| *applies && *at > now)
        .map(|(_, at, why)| (at, why))
        .min_by_key(|(at, _)| *at)
    }

    /// Returns the next event; poll until `None` after every call.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns whether the shutdown has ended: the driver makes no more requests.
    pub fn ended(&self) -> bool {
        matches!(self.ending, Some(Ending::Ended))
    }

    fn say(&mut self, event: Event) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn notice(&mut self, notice: Notice) {
        self.say(Event::Notice(notice));
    }

    /// Chooses the request to make now. The order of the tests is the order of importance.
    fn choose(&self, now: Tick) -> Option<Transaction> {
        let waits = (self.waits_for_contact() || self.must_be_silent(now)) && self.ending.is_none();
        if self.outstanding.is_some() || !self.line_up || self.ended() || now < self.retry_at || waits {
            return None;
        }
        if !self.alone.is_near() {
            return self.alone_job();
        }
        if let Some(job) = self.farewell() {
            return Some(job);
        }
        if let Stage::Connecting(step) = self.stage {
            // 0 A goes first if a contact may open soon, then the unlock after a crash, no matter what else is known.
            let job = if self.pulse.must_unlock(now) { Transaction::Unlock } else { Transaction::Connect(step) };
            let job = self.tells_off().unwrap_or(job);
            return (!self.lapsed || self.ending.is_some()).then_some(job);
        }
        let halted = self.is_halted();
        if let Some(job) = self.setpoint_job(None) {
            return Some(job);
        }
        if self.pulse.wants_unlock(now, halted) {
            return Some(Transaction::Unlock);
        }
        if halted {
            return None;
        }
        if let Some(job) = self.settings_job() {
            return Some(job);
        }
        if let Some(job) = self.found_locked_job() {
            return Some(job);
        }
        if self.controllable() && self.readback_at <= now {
            return Some(Transaction::Read(Setting::Setpoint));
        }
        if self.controllable() && self.check_at <= now {
            return Some(Transaction::Read(Setting::Watchdog));
        }
        // Before any rise, because the number of connected phases must be known for that.
        if self.controllable()
            && let Some(job) = self.phases_job(now)
        {
            return Some(job);
        }
        if let Some(job) = self.setpoint_job(Some(now)) {
            return Some(job);
        }
        if self.pulse.wants_lock() {
            return Some(Transaction::Lock);
        }
        (self.poll_at <= now).then_some(Transaction::Measure)
    }

    /// Returns whether only the steps towards silence are left to do.
    const fn is_halted(&self) -> bool {
        self.lapsed || self.ending.is_some()
    }

    /// Returns whether the layout has the registers that set a current.
    fn controllable(&self) -> bool {
        self.layout >= self.profile.control_since
    }

    fn kept(&mut self, which: Setting) -> &mut VerifiedRegister {
        match which {
            Setting::Setpoint => &mut self.setpoint,
            Setting::Watchdog => &mut self.watchdog,
            Setting::FailSafe => &mut self.fail_safe,
        }
    }

    fn register(&self, which: Setting) -> &Register {
        match which {
            Setting::Setpoint => &self.profile.set_current.register,
            Setting::Watchdog => &self.profile.watchdog.register,
            Setting::FailSafe => &self.profile.fail_safe.register,
        }
    }

    fn operation(&self, job: Transaction) -> Operation {
        let profile = &self.profile;
        match job {
            Transaction::Connect(step) => self.connect_operation(step),
            Transaction::Measure => self.measure_operation(),
            Transaction::Read(which) => self.register(which).read(),
            Transaction::Write(which, value) => {
                let value = if which == Setting::FailSafe || which == Setting::Setpoint {
                    self.never_forbidden(value)
                } else {
                    value
                };
                Operation::WriteSingle { addr: self.register(which).address, value }
            }
            Transaction::WriteStandby(addr, value) => Operation::WriteSingle { addr, value },
            Transaction::Phases(ask) => self.phases_operation(ask),
            Transaction::Lock => {
                Operation::WriteSingle { addr: profile.lock.register.address, value: profile.lock.locked }
            }
            Transaction::ReadLock => profile.lock.register.read(),
            Transaction::Unlock | Transaction::FreeLock => {
                Operation::WriteSingle { addr: profile.lock.register.address, value: profile.lock.unlocked }
            }
        }
    }

    /// Handles what depends on time alone: the lapse, and the end of a shutdown, a refusal or a wake-up.
    fn handle_timeout(&mut self, now: Tick) {
        let until = self.order.map_or(self.grace_until, |order| order.valid_until);
        if !self.lapsed && now >= until && self.ending.is_none() {
            self.lapsed = true;
            self.phases.interrupt(now);
            self.forget_contact(now);
            self.notice(Notice::Lapsed { safe: self.safe_current, ordered: self.order.is_some() });
        }
        if self.refused_until.is_some_and(|until| now >= until) {
            self.refused_until = None;
            self.setpoint.try_again();
            self.watchdog.try_again();
            self.fail_safe.try_again();
        }
        self.pulse.handle_timeout(now);
        self.pass_found_locked(now);
        self.pass_phases(now);
        self.pass_contact(now);
        if self.is_halted() && self.pulse.wants_lock() && self.outstanding != Some(Transaction::Lock) {
            self.cancel_pulse();
        }
        self.pass_ending(now);
        self.pass_alone(now);
    }
}
