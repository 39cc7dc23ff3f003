//! Changing between one and three phases, where the box itself can and the configuration wants it.
//!
//! ```text
//! Steady ─ordered, 0 A proven, car at rest─▶ Commanded ─command read back─▶ Under ─state shows it─▶ Settling ─time─▶ Steady
//!   ▲                                          │ not kept, declined          │ not in time
//!   └───────── order barred for 10 min ────────┴─── undone: the old number is commanded again
//! ```
//! The controller promises that an order differs from what is connected only at 0 A and with the car at rest. This does not rely
//! on it: the command is written only while the setpoint is proven to be 0 and the box's own measurements show a car at rest.
//! From the command on until the state is read back and has settled, and whenever the state is not known, the setpoint is 0.
//! The first current after a change is the lowest one.
//! A change that fails is undone, so that the box does not make it later under current; charging goes on with what is read back.

use control::{Milliamps, Millis, Tick, Vehicle};

use super::{Driver, Notice, Transaction};
use crate::charger::codec::{Operation, Outcome};
use crate::charger::profile::PhaseSwitch;

/// A phase that carries this much or more is under load: a twelfth of the least current of a charge (6 A, IEC 61851-1), and five
/// counts of the box's meter, whose last digit is not to be trusted.
const LOAD: Milliamps = Milliamps(500);
/// The car must have been at rest for this long: boxes give a car 6 s to open its own contactor before they open theirs under load
/// (`SmartEVSE`, timer C1).
const REST: Millis = Millis::from_secs(6);
/// The state is read this often, as somebody may change it at the box.
const READ_EVERY: Millis = Millis::from_secs(10);
/// A relay's contactor must follow, and show it, within this.
pub(super) const CONFIRM: Millis = Millis::from_secs(10);
/// No current before a relay's contactor has been as it is for this long (a contactor bounces for some tens of milliseconds; openWB waits 5 s).
pub(super) const SETTLE: Millis = Millis::from_secs(5);
/// And this often while it changes.
pub(super) const LOOK_EVERY: Millis = Millis::from_secs(1);
/// After a failed change the next one is not begun before this.
const BARRED: Millis = Millis::from_secs(600);
/// Commands that may be in vain.
const TRIES_MAX: u8 = 3;
/// The first charge after a change stays at the lowest current for so long.
const GENTLE: Millis = Millis::from_secs(10);

/// What is asked about the phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// What is connected.
    State,
    /// What is commanded.
    Command,
    /// Connect that many.
    Write(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Switch {
    /// Not configured, or the profile has none.
    Unwanted,
    /// This box has none.
    Missing,
    Steady,
    /// The command may have arrived.
    Commanded {
        to: u8,
        since: Tick,
    },
    /// The command is read back.
    Under {
        to: u8,
        since: Tick,
    },
    Settling {
        to: u8,
        since: Tick,
        until: Tick,
    },
}

/// The switch of one box.
#[derive(Debug, Clone, Copy)]
pub(super) struct PhaseChange {
    pub(super) switch: Switch,
    /// As read from the state register; `None` while it changes and while it is not known.
    known: Option<u8>,
    /// At 0 A, and no load measured, since.
    rest_since: Option<Tick>,
    read_at: Tick,
    /// Commands in vain, in a row.
    tries: u8,
    /// Commanded and not seen through: the box may still do it.
    pending: Option<u8>,
    /// To be commanded so that a failed change does not come later, and when to try that.
    undo: Option<(u8, Tick)>,
    /// Orders are not followed before this.
    barred_until: Tick,
    /// Not known since, and whether that was said.
    unknown_since: Tick,
    said_unknown: bool,
    /// The box declines to have a failed change undone.
    stuck: bool,
    gentle: Gentle,
}

/// Whether only the lowest current is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gentle {
    No,
    /// No current was allowed since the change.
    Next,
    Until(Tick),
}

impl PhaseChange {
    pub(super) const fn new(wanted: bool, now: Tick) -> Self {
        Self {
            switch: if wanted { Switch::Steady } else { Switch::Unwanted },
            known: None,
            rest_since: None,
            read_at: now,
            tries: 0,
            pending: None,
            undo: None,
            barred_until: now,
            unknown_since: now,
            said_unknown: false,
            stuck: false,
            gentle: Gentle::No,
        }
    }

    /// Whether the configuration wants it.
    pub(super) fn wanted(&self) -> bool {
        self.switch != Switch::Unwanted
    }

    /// Whether a current may flow as far as the switch is concerned.
    pub(super) fn known_where_wanted(&self) -> bool {
        match self.switch {
            Switch::Unwanted | Switch::Missing => true,
            Switch::Steady => self.known.is_some() && self.undo.is_none(),
            Switch::Commanded { .. } | Switch::Under { .. } | Switch::Settling { .. } => false,
        }
    }

    /// For the report: as read back, and settled.
    pub(super) fn connected(&self) -> Option<u8> {
        let settled = self.switch == Switch::Steady && self.undo.is_none();
        self.known.filter(|_| settled)
    }

    /// Whether the box says for too long that nothing definite is connected, or does not let a failed change be undone.
    pub(super) const fn at_fault(&self) -> bool {
        self.said_unknown || self.stuck
    }

    pub(super) const fn changing(&self) -> bool {
        matches!(self.switch, Switch::Commanded { .. } | Switch::Under { .. } | Switch::Settling { .. })
    }

    /// The box, the link or the orders were away: what is read next decides.
    pub(super) fn interrupt(&mut self, now: Tick) {
        if let Switch::Commanded { to, .. } | Switch::Under { to, .. } | Switch::Settling { to, .. } = self.switch {
            self.pending = Some(to);
            self.switch = Switch::Steady;
            self.forget(now);
        }
        self.rest_since = None;
        self.unknown_since = now;
        self.read_at = now;
    }

    /// A current is about to be allowed.
    pub(super) fn disturb(&mut self, now: Tick) {
        self.rest_since = None;
        if self.gentle == Gentle::Next {
            self.gentle = Gentle::Until(now + GENTLE);
        }
    }

    /// Whether only the lowest current is allowed.
    pub(super) fn gentle(&self) -> bool {
        self.gentle != Gentle::No
    }

    /// A change is commanded and needs no confirmation of the command.
    pub(super) fn begin(&mut self, to: u8, now: Tick) {
        self.switch = Switch::Under { to, since: now };
        self.known = None;
        self.tries = 0;
    }

    pub(super) fn forget(&mut self, now: Tick) {
        if self.known.take().is_some() || self.switch != Switch::Steady {
            self.unknown_since = now;
        }
    }

    /// When something has to be done without any input.
    pub(super) fn deadline(&self, now: Tick, confirm: Millis) -> Option<Tick> {
        let change = match self.switch {
            Switch::Unwanted | Switch::Missing => return None,
            Switch::Steady => self.undo.map(|(_, at)| at),
            Switch::Commanded { since, .. } | Switch::Under { since, .. } => Some(since + confirm),
            Switch::Settling { until, .. } => Some(until),
        };
        let unknown = (self.known.is_none() && !self.said_unknown).then_some(self.unknown_since + confirm);
        let rest = self.rest_since.map(|since| since + REST);
        let gentle = if let Gentle::Until(until) = self.gentle { Some(until) } else { None };
        [change, unknown, rest, gentle, Some(self.read_at), Some(self.barred_until)]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }
}

impl Driver {
    /// The registers of the box's own switch, where that is what is used.
    fn switch(&self) -> Option<&PhaseSwitch> {
        self.profile.phase_switch.as_ref().filter(|_| !self.by_contact())
    }

    /// How long a change may take, and how long until a current may flow after it.
    fn spans(&self) -> Option<(Millis, Millis)> {
        if self.by_contact() {
            return Some((CONFIRM, SETTLE));
        }
        self.switch().map(|switch| (switch.confirm, switch.settle))
    }

    pub(super) fn phases_deadline(&self, now: Tick) -> Option<Tick> {
        self.phases.deadline(now, self.spans()?.0)
    }

    pub(super) fn phases_operation(&self, ask: Ask) -> Operation {
        let Some(switch) = self.switch() else { return self.profile.layout.read() };
        match ask {
            Ask::State => switch.state.read(),
            Ask::Command => switch.command.read(),
            Ask::Write(phases) => switch.encode(phases).map_or_else(
                || switch.command.read(),
                |value| Operation::WriteSingle { addr: switch.command.address, value },
            ),
        }
    }

    /// Whether this layout has the switch, or needs none.
    pub(super) fn has_switch(&self) -> bool {
        self.by_contact()
            || self.switch().is_some_and(|switch| switch.command.since.max(switch.state.since) <= self.layout)
    }

    pub(super) fn phases_job(&self, now: Tick) -> Option<Transaction> {
        if self.by_contact() {
            return None;
        }
        let due = self.phases.read_at <= now;
        let ask = match self.phases.switch {
            Switch::Unwanted | Switch::Missing | Switch::Settling { .. } => None,
            Switch::Steady if due => Some(Ask::State),
            Switch::Steady => self.phases_to_command(now).map(Ask::Write),
            Switch::Commanded { .. } => Some(Ask::Command),
            Switch::Under { .. } => due.then_some(Ask::State),
        };
        ask.map(Transaction::Phases)
    }

    /// What is to be commanded now, if anything may be: never before 0 A is proven and the car at rest.
    pub(super) fn phases_to_command(&self, now: Tick) -> Option<u8> {
        let at_zero = self.setpoint.known() == Some(self.profile.set_current.off);
        let rested = self.phases.rest_since.is_some_and(|since| now.since(since) >= REST);
        if !at_zero || !rested || self.pulse.is_under_way() || self.restoring {
            return None;
        }
        if let Some((back, at)) = self.phases.undo {
            return Some(back).filter(|_| now >= at);
        }
        let known = self.phases.known?;
        // An order of a current has a start in view, not a change.
        let order = self.order.filter(|order| order.setpoint == Some(Milliamps::ZERO))?;
        let wanted = order.phases.filter(|wanted| *wanted != known && now >= self.phases.barred_until)?;
        let possible = self.by_contact() || self.switch()?.encode(wanted).is_some();
        possible.then_some(wanted)
    }

    /// A poll has come: whether the car rests counts only once 0 A is proven.
    pub(super) fn note_rest(&mut self, now: Tick) {
        let at_zero = self.setpoint.known() == Some(self.profile.set_current.off);
        let rests = at_zero
            && self.measured.as_ref().is_some_and(|measured| {
                let idle = match measured.vehicle {
                    Vehicle::Absent | Vehicle::Connected | Vehicle::Requesting => true,
                    Vehicle::Unknown | Vehicle::Charging => false,
                };
                // Currents that cannot be read prove nothing.
                idle && measured.currents.is_some_and(|currents| currents.iter().all(|current| *current < LOAD))
            });
        self.phases.rest_since = rests.then(|| self.phases.rest_since.unwrap_or(now));
    }

    /// The answer while connecting; `None`: the box declines.
    pub(super) fn phases_found(&mut self, words: Option<&[u16]>, now: Tick) {
        match words {
            Some(&[raw]) => {
                self.phases.switch = Switch::Steady;
                self.phases.unknown_since = now;
                self.phases_seen(raw, now);
            }
            Some(_) | None => self.phases_missing(),
        }
    }

    /// This box has no switch: its phases are as wired.
    pub(super) fn phases_missing(&mut self) {
        if self.phases.wanted() && self.phases.switch != Switch::Missing {
            self.phases.switch = Switch::Missing;
            self.phases.known = None;
            self.notice(Notice::NoPhaseSwitch);
        }
    }

    /// The answer of a running box.
    pub(super) fn phases_answer(&mut self, ask: Ask, outcome: &Outcome, now: Tick) {
        let word = match outcome {
            Outcome::Registers(words) => words.first().copied(),
            Outcome::Written | Outcome::Exception(_) | Outcome::Failed(_) => None,
        };
        match (ask, self.phases.switch) {
            (Ask::State, _) => self.phases_state_answer(word, now),
            (Ask::Command, Switch::Commanded { to, since }) => {
                let kept = word.is_some() && word == self.switch().and_then(|switch| switch.encode(to));
                if kept {
                    self.phases.tries = 0;
                    self.phases.undo = None;
                    self.phases.stuck = false;
                    self.phases.switch = Switch::Under { to, since };
                    self.phases.read_at = now;
                } else {
                    self.command_in_vain(to, now);
                }
            }
            // Whether a write without an answer has arrived shows when the command is read.
            (Ask::Write(to), _) if matches!(outcome, Outcome::Written | Outcome::Failed(_)) => {
                if self.phases.undo.is_none() {
                    self.notice(Notice::PhasesChanging { to });
                }
                self.phases.switch = Switch::Commanded { to, since: now };
            }
            (Ask::Write(to), _) => {
                self.phases.tries = TRIES_MAX;
                self.command_in_vain(to, now);
            }
            (Ask::Command, _) => {}
        }
    }

    fn phases_state_answer(&mut self, word: Option<u16>, now: Tick) {
        if let Some(raw) = word {
            self.phases_seen(raw, now);
        } else {
            self.phases.forget(now);
            self.phases.read_at = now + READ_EVERY;
        }
    }

    /// The state register was read.
    fn phases_seen(&mut self, raw: u16, now: Tick) {
        let seen = self.switch().and_then(|switch| switch.decode(raw));
        self.phases_are(seen, now);
    }

    /// What is connected was read; `None`: nothing definite.
    pub(super) fn phases_are(&mut self, seen: Option<u8>, now: Tick) {
        let settle = self.spans().map_or(Millis(0), |(_, settle)| settle);
        match self.phases.switch {
            Switch::Under { to, since } | Switch::Commanded { to, since } => {
                self.phases.known = seen;
                self.phases.read_at = now + LOOK_EVERY;
                if seen == Some(to) {
                    self.phases.switch = Switch::Settling { to, since, until: now + settle };
                }
            }
            Switch::Settling { to, since, .. } if seen != Some(to) => {
                self.phases.known = seen;
                self.phases.switch = Switch::Under { to, since };
            }
            Switch::Steady => self.seen_at_rest(seen, now),
            Switch::Unwanted | Switch::Missing | Switch::Settling { .. } => {}
        }
    }

    fn seen_at_rest(&mut self, seen: Option<u8>, now: Tick) {
        self.phases.read_at = now + READ_EVERY;
        let Some(phases) = seen else {
            self.phases.forget(now);
            self.phases.read_at = now + LOOK_EVERY;
            return;
        };
        if self.phases.known.replace(phases) != Some(phases) {
            self.poll_at = now;
        }
        // A contact does nothing later.
        if self.phases.pending.take().is_some_and(|to| to != phases) && !self.by_contact() {
            self.phases.undo = Some((phases, now));
        }
        if std::mem::replace(&mut self.phases.said_unknown, false) {
            self.notice(Notice::PhasesKnown { phases });
        }
    }

    /// A command was declined, or is not kept.
    fn command_in_vain(&mut self, to: u8, now: Tick) {
        self.phases.switch = Switch::Steady;
        self.phases.read_at = now;
        self.phases.tries = self.phases.tries.saturating_add(1);
        if self.phases.tries < TRIES_MAX {
            return;
        }
        self.phases.tries = 0;
        self.phases.barred_until = now + BARRED;
        self.poll_at = now;
        if let Some((_, at)) = &mut self.phases.undo {
            // What the box will do is not known, so no current; once more later.
            *at = now + BARRED;
            self.phases.stuck = true;
        }
        self.notice(Notice::PhasesRefused { to, connected: self.phases.known });
    }

    /// What passes time only.
    pub(super) fn pass_phases(&mut self, now: Tick) {
        let Some((confirm, _)) = self.spans() else { return };
        if matches!(self.phases.gentle, Gentle::Until(until) if now >= until) {
            self.phases.gentle = Gentle::No;
        }
        match self.phases.switch {
            Switch::Commanded { to, since } | Switch::Under { to, since } if now.since(since) >= confirm => {
                self.change_failed(to, now);
            }
            Switch::Settling { to, since, until } if now >= until => {
                self.phases.switch = Switch::Steady;
                self.phases.known = Some(to);
                self.phases.pending = None;
                // Read once more before any current.
                self.phases.read_at = now;
                self.poll_at = now;
                self.phases.said_unknown = false;
                self.phases.gentle = Gentle::Next;
                self.notice(Notice::PhasesChanged { phases: to, after: now.since(since) });
            }
            Switch::Steady
                if self.phases.known.is_none()
                    && !self.phases.said_unknown
                    && !self.lapsed
                    && self.stage == super::Stage::Running
                    && now.since(self.phases.unknown_since) >= confirm =>
            {
                self.phases.said_unknown = true;
                self.poll_at = now;
                self.notice(Notice::PhasesUnknown);
            }
            Switch::Unwanted
            | Switch::Missing
            | Switch::Steady
            | Switch::Commanded { .. }
            | Switch::Under { .. }
            | Switch::Settling { .. } => {}
        }
    }

    fn change_failed(&mut self, to: u8, now: Tick) {
        let connected = self.phases.known;
        self.phases.switch = Switch::Steady;
        self.phases.read_at = now;
        self.phases.barred_until = now + BARRED;
        self.poll_at = now;
        if self.by_contact() {
            self.open_contact(now);
            self.phases.forget(now);
        } else if let Some(connected) = connected {
            self.phases.undo = Some((connected, now));
        } else {
            self.phases.pending = Some(to);
            self.phases.unknown_since = now;
            self.phases.said_unknown = true;
        }
        self.notice(Notice::PhasesNotConfirmed { to, connected });
    }
}
