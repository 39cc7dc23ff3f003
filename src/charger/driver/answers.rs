//! What became of a request, and what a failure or a power cycle of the box means.

use control::{ChargerReport, Link, Millis, Tick};

use super::connect::Step;
use super::kept::Seen;
use super::{
    ASLEEP_RETRY, BACKOFF_MAX, CHECK_EVERY, Driver, Event, FAILURES_MAX, Job, Notice, READBACK_EVERY, RETRY, Sign,
    Stage, StandbyState, Which,
};
use crate::charger::codec::{Failure, Outcome};

/// A box that refuses is tried again after this long.
const REFUSED_PAUSE: Millis = Millis::from_secs(600);

/// Illegal function, address and value: asking again does not change them (Modbus application protocol 1.1b3, section 7).
const LASTING_EXCEPTIONS: std::ops::RangeInclusive<u8> = 1..=3;

impl Driver {
    pub(super) fn take_outcome(&mut self, outcome: &Outcome, now: Tick) {
        let Some(job) = self.outstanding.take() else { return };
        if job == Job::Connect(Step::Serial) {
            // Not worth losing a charger over.
            self.connect_answer(Step::Serial, outcome, now);
            return;
        }
        if let Outcome::Failed(failure) = outcome {
            self.failed(job, Some(*failure), now);
            return;
        }
        if job == Job::Write(Which::Setpoint, self.profile.set_current.off) {
            self.told_off();
        }
        if matches!(outcome, Outcome::Exception(code) if !LASTING_EXCEPTIONS.contains(code)) {
            // Device failure, busy and the like pass: try again, as after no answer.
            self.failed(job, None, now);
            return;
        }
        let words = match outcome {
            Outcome::Registers(words) => Some(words.as_slice()),
            Outcome::Written | Outcome::Exception(_) | Outcome::Failed(_) => None,
        };
        match job {
            Job::Connect(step) => {
                self.connect_answer(step, outcome, now);
                return;
            }
            Job::Measure => {
                if !words.is_some_and(|words| self.measure_answer(words, now)) {
                    self.failed(job, None, now);
                    return;
                }
            }
            Job::Read(which) => {
                self.kept_answer(which, words, now);
            }
            Job::Write(which, value) => {
                if *outcome == Outcome::Written {
                    self.kept(which).written(value);
                } else {
                    self.kept(which).declined();
                    self.judge(which, now);
                }
            }
            Job::Phases(ask) => self.phases_answer(ask, outcome, now),
            // Some boxes do not have the register; then there is nothing to forbid.
            Job::WriteStandby(..) => self.standby = StandbyState::Done,
            Job::Lock => self.lock_answer(outcome, now),
            Job::Unlock => {
                if !self.unlock_answer(outcome, now) {
                    self.failed(job, None, now);
                    return;
                }
            }
        }
        self.failures = 0;
        self.finish_restore();
    }

    /// The answer to reading a kept register (`None`: declined). Always true: declining is an answer.
    pub(super) fn kept_answer(&mut self, which: Which, words: Option<&[u16]>, now: Tick) -> bool {
        match which {
            Which::Setpoint => self.readback_at = now + READBACK_EVERY,
            Which::Watchdog => self.check_at = now + CHECK_EVERY,
            Which::FailSafe => {}
        }
        let Some(&[value]) = words else {
            self.kept(which).unreadable();
            self.judge(which, now);
            return true;
        };
        let wanted_before = self.kept(which).known() == Some(self.wanted(which));
        match self.kept(which).read(value) {
            Seen::Proven if which == Which::Setpoint => {
                self.notice(Notice::SetpointProven { setpoint: self.profile.decode_current(value) });
                self.poll_at = now;
            }
            Seen::Mismatch => self.judge(which, now),
            Seen::Changed if which == Which::Setpoint => self.power_cycle(Sign::SetpointChanged, now),
            Seen::Changed if wanted_before => self.power_cycle(Sign::SettingsLost, now),
            Seen::Plain | Seen::Proven | Seen::Changed => {}
        }
        if which == Which::Watchdog && value == self.profile.watchdog.default && value != self.watchdog_ms {
            // The box has lost its settings, so this one too. Where it can be read, that comes next and knows better.
            self.standby = StandbyState::Unwritten;
        }
        true
    }

    /// Says once that the box does not keep a register.
    fn judge(&mut self, which: Which, now: Tick) {
        let kept = *self.kept(which);
        if !kept.gave_up() || self.refused_until.is_some() {
            return;
        }
        let wanted = self.wanted(which);
        self.notice(Notice::Refused {
            title: self.register(which).title.clone(),
            address: self.register(which).address,
            wanted,
            found: kept.known(),
        });
        self.refused_until = Some(now + REFUSED_PAUSE);
        if which == Which::Setpoint {
            // Switching off deserves tries of its own.
            self.setpoint.try_again();
        }
        self.poll_at = now;
    }

    /// The box has been without power, or has lost its settings for another reason: look at everything again.
    pub(super) fn power_cycle(&mut self, sign: Sign, now: Tick) {
        self.setpoint.forget();
        self.fail_safe.forget();
        if sign != Sign::SettingsLost {
            self.watchdog.forget();
        }
        if self.layout < self.profile.settings_kept_since && self.watchdog_ms == self.profile.watchdog.default {
            // The watchdog's default cannot betray the loss.
            self.standby = StandbyState::Unwritten;
        }
        self.phases.interrupt(now);
        self.readback_at = now;
        self.check_at = now;
        if !self.restoring {
            self.restoring = true;
            self.notice(Notice::PowerCycle { sign });
        }
    }

    fn finish_restore(&mut self) {
        let settled = |kept: &super::Kept, want: u16| kept.known() == Some(want);
        if self.restoring
            && settled(&self.watchdog, self.wanted(Which::Watchdog))
            && settled(&self.fail_safe, self.wanted(Which::FailSafe))
            && settled(&self.setpoint, self.wanted(Which::Setpoint))
            && (self.standby == StandbyState::Done || self.profile.standby.is_none())
        {
            self.restoring = false;
            self.notice(Notice::Restored);
        }
    }

    /// No usable answer; `failure` is `None` where the box answered something that does not help.
    pub(super) fn failed(&mut self, job: Job, failure: Option<Failure>, now: Tick) {
        match job {
            Job::Write(which, _) => self.kept(which).forget(),
            Job::Lock => self.lock_answer(&Outcome::Failed(failure.unwrap_or(Failure::Timeout)), now),
            Job::Unlock => {
                self.unlock_answer(&Outcome::Failed(failure.unwrap_or(Failure::Timeout)), now);
            }
            Job::Phases(ask) => self.phases_answer(ask, &Outcome::Failed(failure.unwrap_or(Failure::Timeout)), now),
            Job::Connect(_) | Job::Measure | Job::Read(_) | Job::WriteStandby(..) => {}
        }
        self.readback_at = now;
        self.check_at = now;
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES_MAX {
            self.retry_at = now + RETRY;
            return;
        }
        self.link_lost(failure, now);
    }

    fn link_lost(&mut self, failure: Option<Failure>, now: Tick) {
        let asleep = self.line_up && (self.may_sleep() || self.link == Link::Asleep);
        let link = if asleep { Link::Asleep } else { Link::Offline };
        self.retry_at = now + if asleep { ASLEEP_RETRY } else { self.backoff };
        self.backoff = Millis(self.backoff.0.saturating_mul(2)).min(BACKOFF_MAX);
        self.stage = Stage::Connecting(Step::Layout);
        self.setpoint.try_again();
        self.watchdog.try_again();
        self.fail_safe.try_again();
        self.pulse.link_lost();
        self.phases.interrupt(now);
        if self.link != link {
            self.link = link;
            self.lost_at.get_or_insert(now);
            self.notice(if asleep { Notice::Asleep } else { Notice::LinkLost { failure } });
            self.say(Event::Report(ChargerReport::silent(self.id, now, link)));
        }
        if self.ending.is_some() {
            // There is no time for more tries.
            self.pass_ending(self.ending_deadline().unwrap_or(now));
        }
    }

    pub(super) fn line_down(&mut self, now: Tick) {
        self.line_up = false;
        self.outstanding = None;
        self.failures = FAILURES_MAX;
        self.link_lost(Some(Failure::Gone), now);
        self.backoff = RETRY;
    }
}
