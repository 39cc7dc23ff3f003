//! Connecting: steps that only read, in a fixed order, each only if the layout has the register. Writes that must come before everything
//! else are inserted between them (`Driver::choose`).

use control::{Milliamps, Reachability, Tick};

use super::cause::Cause;
use super::phases::Ask;
use super::{Driver, Event, Notice, Setting, Stage, StandbyState, Transaction};
use crate::charger::codec::{Operation, Outcome};
use crate::charger::profile::{Layout, Register};

/// The steps, in the order in which they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Layout,
    Limits,
    Measure,
    Setpoint,
    Watchdog,
    FailSafe,
    Standby,
    Phases,
    Serial,
}

impl Step {
    const fn next(self) -> Option<Self> {
        match self {
            Self::Layout => Some(Self::Limits),
            Self::Limits => Some(Self::Measure),
            Self::Measure => Some(Self::Setpoint),
            Self::Setpoint => Some(Self::Watchdog),
            Self::Watchdog => Some(Self::FailSafe),
            Self::FailSafe => Some(Self::Standby),
            Self::Standby => Some(Self::Phases),
            Self::Phases => Some(Self::Serial),
            Self::Serial => None,
        }
    }
}

impl Driver {
    pub(super) fn connect_operation(&self, step: Step) -> Operation {
        let measure = &self.profile.measure;
        match step {
            Step::Layout => self.profile.layout.read(),
            Step::Limits => {
                let count = measure.box_min.end().saturating_sub(measure.box_max.address);
                Operation::ReadInput { addr: measure.box_max.address, count }
            }
            Step::Measure => self.measure_operation(),
            Step::Setpoint => self.register(Setting::Setpoint).read(),
            Step::Watchdog => self.register(Setting::Watchdog).read(),
            Step::FailSafe => self.register(Setting::FailSafe).read(),
            Step::Standby => {
                self.profile.standby.as_ref().map_or(&self.profile.layout, |standby| &standby.register).read()
            }
            Step::Phases => self.phases_operation(Ask::State),
            Step::Serial => measure.serial.read(),
        }
    }

    /// Returns whether a step applies to this layout.
    fn applies(&self, step: Step) -> bool {
        let readable = |register: &Register| register.readable_since <= self.layout;
        match step {
            Step::Layout | Step::Limits | Step::Measure => true,
            Step::Setpoint | Step::Watchdog | Step::FailSafe => self.controllable(),
            Step::Standby => {
                self.controllable() && self.profile.standby.as_ref().is_some_and(|standby| readable(&standby.register))
            }
            Step::Phases => self.controllable() && self.phases.wanted() && self.has_switch() && !self.by_contact(),
            // Only for the log, so one attempt is enough.
            Step::Serial => !self.serial_tried && self.ending.is_none() && readable(&self.profile.measure.serial),
        }
    }

    /// Takes the answer to a step. An exception is an answer too, except where nothing works without the value. Steps that are not worth
    /// losing a charger over may go unanswered.
    pub(super) fn connect_answer(&mut self, step: Step, outcome: &Outcome, now: Tick) {
        let words = match outcome {
            Outcome::Registers(words) => Some(words.as_slice()),
            Outcome::Written | Outcome::Exception(_) | Outcome::Failed(_) => None,
        };
        let taken = match (step, words) {
            (Step::Layout, Some(&[version])) => {
                self.layout = Layout(version);
                true
            }
            (Step::Limits, Some(words)) => self.take_limits(words),
            (Step::Measure, Some(words)) => self.take_measurements(words, now),
            (Step::Setpoint, _) => self.kept_answer(Setting::Setpoint, words, now),
            (Step::Watchdog, _) => self.kept_answer(Setting::Watchdog, words, now),
            (Step::FailSafe, _) => self.kept_answer(Setting::FailSafe, words, now),
            (Step::Standby, Some(&[raw])) => {
                let done = self.wanted_standby().is_some_and(|(_, wanted)| raw == wanted);
                self.standby = if done { StandbyState::Done } else { StandbyState::Unwritten(0) };
                true
            }
            (Step::Phases, words) => {
                self.phases_found(words, now);
                true
            }
            (Step::Serial, Some(words)) => {
                self.serial = Some(Register::text(words)).filter(|text| !text.is_empty());
                true
            }
            (Step::Standby | Step::Serial, _) => true,
            (Step::Layout | Step::Limits | Step::Measure, _) => false,
        };
        if !taken {
            self.failed(Transaction::Connect(step), Cause::of(outcome), now);
            return;
        }
        self.failures = 0;
        let mut next = step.next();
        while let Some(step) = next.filter(|step| !self.applies(*step)) {
            next = step.next();
        }
        match next {
            Some(next) => {
                self.serial_tried |= next == Step::Serial;
                self.stage = Stage::Connecting(next);
            }
            None => self.connected(now),
        }
    }

    fn take_limits(&mut self, words: &[u16]) -> bool {
        let measure = &self.profile.measure;
        let start = measure.box_max.address;
        let limit = |register: &Register| {
            let value = register.value(register.words(start, words)?)?;
            u32::try_from(value).ok().map(Milliamps)
        };
        let (Some(max), Some(min)) = (limit(&measure.box_max), limit(&measure.box_min)) else { return false };
        self.box_max = max;
        self.box_min = min;
        true
    }

    fn connected(&mut self, now: Tick) {
        self.stage = Stage::Running;
        self.backoff = super::RETRY;
        self.poll_at = now + self.poll_every;
        self.readback_at = now + self.readback_every(now);
        self.check_at = now + super::CHECK_EVERY;
        let link = if self.controllable() { Reachability::Online } else { Reachability::ReadOnly };
        let first = !std::mem::replace(&mut self.met, true);
        self.link = link;
        if !self.has_switch() {
            self.phases_missing();
        }
        let lost_at = self.lost_at.take();
        if self.connected_again(now)
            && let Some(lost_at) = lost_at
        {
            self.notice(Notice::Recovered { after: now.since(lost_at) });
        }
        self.reliability.begin();
        if first {
            self.notice(Notice::Connected {
                layout: self.layout,
                box_min: self.box_min,
                box_max: self.box_max,
                serial: self.serial.clone(),
                setpoint: self.setpoint.known().map(|raw| self.profile.decode_current(raw)),
            });
            if link == Reachability::ReadOnly {
                self.notice(Notice::ReadOnly { layout: self.layout, needed: self.profile.control_since });
            }
        }
        if first && self.controllable() && self.layout >= self.profile.lock.register.since {
            self.found_locked.meet(self.pulse);
        }
        let report = self.report(now);
        self.say(Event::Report(report));
    }
}
