//! Changing between one and three phases, if the wallbox can do so itself and the configuration wants it.
//!
//! ```text
//! Steady ─ordered, 0 A proven, car at rest─▶ Commanded ─command read back─▶ Under ─state shows it─▶ Settling ─time─▶ Steady
//!   ▲                                          │ not kept, declined          │ not in time
//!   └───────── order barred for 10 min ────────┴─── undone: the old number is commanded again
//! ```
//! The controller promises that an order differs from the connected phases only at 0 A and with the car at rest. This module does not
//! rely on that: the command is written only while the setpoint is proven to be 0 and the wallbox's measurements show a car at rest.
//! From the command until the state is read back and has settled, and whenever the state is unknown, the setpoint is 0. The first
//! current after a change is the lowest one.
//! A failed change is undone, so that the wallbox does not carry it out later under load; charging continues with the number read back.

use control::{Milliamps, Millis, Tick, Vehicle};

use super::{Driver, Notice, Transaction};
use crate::charger::codec::{Operation, Outcome};
use crate::charger::profile::PhaseSwitch;

/// A phase counts as loaded from this current upwards: one twelfth of the 6 A minimum (IEC 61851-1), and five times the resolution of
/// the wallbox's meter, whose last digit is noise.
const LOAD: Milliamps = Milliamps(500);
/// How long the car must have been at rest: wallboxes give a car 6 s to open its own contactor before they open theirs under load
/// (`SmartEVSE`, timer C1).
const REST: Millis = Millis::from_secs(6);
/// How often the state is read, because it can also be changed at the wallbox.
const READ_EVERY: Millis = Millis::from_secs(10);
/// Time within which a relay's contactor must follow and show its new state.
pub(super) const CONFIRM: Millis = Millis::from_secs(10);
/// How long a relay's contactor must have settled before current may flow (it bounces for some tens of milliseconds; openWB waits 5 s).
pub(super) const SETTLE: Millis = Millis::from_secs(5);
/// How often the state is read during a change.
pub(super) const LOOK_EVERY: Millis = Millis::from_secs(1);
/// How long no new change is started after a failed one.
const BARRED: Millis = Millis::from_secs(600);
/// Number of failed commands after which a change is given up.
const TRIES_MAX: u8 = 3;
/// How long charging stays at the lowest current after a change.
const GENTLE: Millis = Millis::from_secs(10);

/// A request concerning the phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Read the number connected.
    State,
    /// Read the number commanded.
    Command,
    /// Command this number.
    Write(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Switch {
    /// Not configured, or the profile has none.
    Unwanted,
    /// This wallbox has none.
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

/// The phase switch of one wallbox.
#[derive(Debug, Clone, Copy)]
pub(super) struct PhaseChange {
    pub(super) switch: Switch,
    /// Number read from the state register; `None` during a change and while unknown.
    known: Option<u8>,
    /// Since when the setpoint has been 0 A and no load was measured.
    rest_since: Option<Tick>,
    read_at: Tick,
    /// Consecutive failed commands.
    tries: u8,
    /// Number commanded in a change that was interrupted: the wallbox may still carry it out.
    pending: Option<u8>,
    /// Number to command so that a failed change does not happen later, and when to try that.
    undo: Option<(u8, Tick)>,
    /// Orders to change are not followed before this time.
    barred_until: Tick,
    /// Since when the number has been unknown.
    unknown_since: Tick,
    /// Whether that was reported.
    said_unknown: bool,
    /// The wallbox declines to undo a failed change.
    stuck: bool,
    gentle: Gentle,
}

/// Whether only the lowest current is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gentle {
    No,
    /// From the first current after the change, which has not been allowed yet.
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

    /// Returns whether the configuration wants phase switching.
    pub(super) fn wanted(&self) -> bool {
        self.switch != Switch::Unwanted
    }

    /// Returns whether current may flow as far as the phase switch is concerned.
    pub(super) fn known_where_wanted(&self) -> bool {
        match self.switch {
            Switch::Unwanted | Switch::Missing => true,
            Switch::Steady => self.known.is_some() && self.undo.is_none(),
            Switch::Commanded { .. } | Switch::Under { .. } | Switch::Settling { .. } => false,
        }
    }

    /// Returns the number for the report: read back and settled.
    pub(super) fn connected(&self) -> Option<u8> {
        let settled = self.switch == Switch::Steady && self.undo.is_none();
        self.known.filter(|_| settled)
    }

    /// Returns whether the number has been unknown for too long, or the wallbox declines to undo a failed change.
    pub(super) const fn at_fault(&self) -> bool {
        self.said_unknown || self.stuck
    }

    pub(super) const fn changing(&self) -> bool {
        matches!(self.switch, Switch::Commanded { .. } | Switch::Under { .. } | Switch::Settling { .. })
    }

    /// Interrupts a change because the wallbox, the link or the orders were lost: the next reading decides.
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

    /// Returns whether only the lowest current is allowed.
    pub(super) fn gentle(&self) -> bool {
        self.gentle != Gentle::No
    }

    /// Begins a change whose command needs no confirmation.
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

    /// Returns the next time at which something must be done without input.
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
    /// Returns the registers of the wallbox's own switch, if that is the one in use.
    fn switch(&self) -> Option<&PhaseSwitch> {
        self.profile.phase_switch.as_ref().filter(|_| !self.by_contact())
    }

    /// Returns how long a change may take, and how long afterwards no current may flow.
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

    /// Returns whether this layout has the switch, or needs none.
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

    /// Returns the number to command now, if any: never before 0 A is proven and the car is at rest.
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
        // An order for a current aims at a start, not at a change.
        let order = self.order.filter(|order| order.setpoint == Some(Milliamps::ZERO))?;
        let wanted = order.phases.filter(|wanted| *wanted != known && now >= self.phases.barred_until)?;
        let possible = self.by_contact() || self.switch()?.encode(wanted).is_some();
        possible.then_some(wanted)
    }

    /// Notes from a poll whether the car is at rest, which counts only once 0 A is proven.
    pub(super) fn note_rest(&mut self, now: Tick) {
        let at_zero = self.setpoint.known() == Some(self.profile.set_current.off);
        let rests = at_zero
            && self.measured.as_ref().is_some_and(|measured| {
                let idle = match measured.vehicle {
                    Vehicle::Absent | Vehicle::Connected | Vehicle::Requesting => true,
                    Vehicle::Unknown | Vehicle::Charging => false,
                };
                // Unreadable currents prove nothing.
                idle && measured.currents.is_some_and(|currents| currents.iter().all(|current| *current < LOAD))
            });
        self.phases.rest_since = rests.then(|| self.phases.rest_since.unwrap_or(now));
    }

    /// Takes the answer while connecting; `None`: the wallbox declines.
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

    /// Notes that this wallbox has no switch: its phases are as wired.
    pub(super) fn phases_missing(&mut self) {
        if self.phases.wanted() && self.phases.switch != Switch::Missing {
            self.phases.switch = Switch::Missing;
            self.phases.known = None;
            self.notice(Notice::NoPhaseSwitch);
        }
    }

    /// Takes the answer of a running wallbox.
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
            // Reading back the command shows whether an unanswered write has arrived.
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

    /// Takes the number that was read; `None`: nothing definite.
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
        // A contact never acts later.
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
            // What the wallbox will do is unknown, so no current flows; the undo is tried again later.
            *at = now + BARRED;
            self.phases.stuck = true;
        }
        self.notice(Notice::PhasesRefused { to, connected: self.phases.known });
    }

    /// Handles what depends on time alone.
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
                // Read again before any current flows.
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
