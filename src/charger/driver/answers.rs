//! How requests end, and what a failure or a power cycle of the wallbox means.

use control::{Millis, Reachability, Tick};

use super::asleep::{is_silence, its_own};
use super::cause::Cause;
use super::connect::Step;
use super::verified_register::Seen;
use super::{
    ASLEEP_RETRY, BACKOFF_MAX, CHECK_EVERY, Driver, Event, FAILURES_MAX, Notice, RETRY, Setting, Sign, Stage,
    StandbyState, Transaction, Trouble,
};
use crate::charger::codec::{Failure, Outcome};

/// How long to wait before writing again to a wallbox that refuses.
const REFUSED_PAUSE: Millis = Millis::from_secs(600);

/// How long to wait before repeating a write that a busy wallbox declined.
const BUSY_RETRY: Millis = Millis::from_secs(5);

/// Illegal function, address and value: repeating the request changes nothing (Modbus application protocol 1.1b3, section 7).
const LASTING_EXCEPTIONS: std::ops::RangeInclusive<u8> = 1..=3;

impl Driver {
    pub(super) fn take_outcome(&mut self, outcome: &Outcome, now: Tick) {
        let Some(job) = self.outstanding.take() else { return };
        self.alone.spoke(now);
        let outcome = &its_own(outcome);
        if self.stage != Stage::Running {
            self.note_life(outcome);
        }
        let unanswered = matches!(outcome, Outcome::Failed(_));
        if unanswered || matches!(outcome, Outcome::Exception(_)) {
            self.note_in_vain(job, Cause::of(outcome));
        }
        if job == Transaction::Write(Setting::Setpoint, self.profile.set_current.off) && !unanswered {
            self.told_off();
        }
        if self.alone.is_trying() {
            self.try_answer(job, outcome, now);
            return;
        }
        if let Transaction::Write(Setting::Setpoint, raw) = job {
            self.farewell_ended(raw);
        }
        if let Transaction::Connect(step @ (Step::Standby | Step::Serial)) = job {
            // Not worth losing a charger over.
            self.connect_answer(step, outcome, now);
            return;
        }
        let passing = matches!(outcome, Outcome::Exception(code) if !LASTING_EXCEPTIONS.contains(code));
        if self.stage == Stage::Running
            && let Some(notice) = self.reliability.ended(unanswered || passing)
        {
            self.notice(notice);
        }
        if job != Transaction::Unlock && !unanswered && !passing {
            self.passed_over(now);
        }
        if unanswered || passing {
            // Device failure, busy and the like are temporary: try again, as after no answer.
            self.failed(job, Cause::of(outcome), now);
            return;
        }
        if self.took(job, outcome, now) {
            self.failures = 0;
            self.finish_restore();
        }
    }

    /// Takes in an answer; returns false if the job has failed.
    fn took(&mut self, job: Transaction, outcome: &Outcome, now: Tick) -> bool {
        let words = match outcome {
            Outcome::Registers(words) => Some(words.as_slice()),
            Outcome::Written | Outcome::Exception(_) | Outcome::Failed(_) => None,
        };
        match job {
            Transaction::Connect(step) => {
                self.connect_answer(step, outcome, now);
                return false;
            }
            Transaction::Measure => {
                if !words.is_some_and(|words| self.measure_answer(words, now)) {
                    self.failed(job, Cause::of(outcome), now);
                    return false;
                }
                self.reliability.polled(false);
            }
            Transaction::Read(which) => {
                self.kept_answer(which, words, now);
            }
            Transaction::Write(which, value) => {
                if *outcome == Outcome::Written {
                    self.kept(which).written(value);
                } else {
                    self.kept(which).declined();
                    self.judge(which, now);
                }
            }
            Transaction::Phases(ask) => self.phases_answer(ask, outcome, now),
            // Some wallboxes lack the register; then there is nothing to forbid.
            Transaction::WriteStandby(..) => self.standby = StandbyState::Done,
            Transaction::Lock => self.lock_answer(outcome, now),
            Transaction::Unlock => {
                if !self.unlock_answer(outcome, now) {
                    self.failed(job, Cause::of(outcome), now);
                    return false;
                }
            }
            Transaction::ReadLock | Transaction::FreeLock => self.found_locked_answer(job, outcome, now),
        }
        true
    }

    /// Takes the answer to reading a kept register (`None`: declined). Always returns true: declining is an answer.
    pub(super) fn kept_answer(&mut self, which: Setting, words: Option<&[u16]>, now: Tick) -> bool {
        match which {
            Setting::Setpoint => self.readback_at = now + self.readback_every(now),
            Setting::Watchdog => self.check_at = now + CHECK_EVERY,
            Setting::FailSafe => {}
        }
        let Some(&[value]) = words else {
            self.kept(which).unreadable();
            self.judge(which, now);
            return true;
        };
        self.alone.saw(which, value, now);
        let before = self.kept(which).known();
        let wanted_before = before == Some(self.wanted(which));
        match self.kept(which).read(value) {
            Seen::Proven if which == Setting::Setpoint => {
                self.notice(Notice::SetpointProven { setpoint: self.profile.decode_current(value) });
                self.poll_at = now;
            }
            Seen::Mismatch => {
                if which == Setting::Setpoint {
                    self.stays_high(value, now);
                }
                self.judge(which, now);
            }
            Seen::Changed if which == Setting::Setpoint && before < Some(value) && self.rose_again(value, now) => {}
            Seen::Changed if which == Setting::Setpoint => self.power_cycle(Sign::SetpointChanged, now),
            Seen::Changed if wanted_before => self.power_cycle(Sign::SettingsLost, now),
            Seen::Plain | Seen::Proven | Seen::Changed => {}
        }
        if which == Setting::Watchdog && value == self.profile.watchdog.default && value != self.watchdog_ms {
            // The wallbox has lost its settings, so presumably this one too. If it can be read, the next reading knows better.
            self.standby = StandbyState::Unwritten(0);
        }
        true
    }

    /// Reports once that the wallbox does not keep a register.
    fn judge(&mut self, which: Setting, now: Tick) {
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
        if which == Setting::Setpoint {
            // Switching off gets attempts of its own.
            self.setpoint.try_again();
        }
        self.poll_at = now;
    }

    /// The wallbox lost power, or lost its settings for another reason: reads everything again.
    pub(super) fn power_cycle(&mut self, sign: Sign, now: Tick) {
        self.setpoint.forget();
        self.fail_safe.forget();
        if sign == Sign::CounterBack {
            self.alone.rose_at = None;
        }
        if sign != Sign::SettingsLost {
            self.watchdog.forget();
        }
        if self.layout < self.profile.settings_kept_since && self.watchdog_ms == self.profile.watchdog.default {
            // The configured watchdog time equals the default, so reading it does not reveal the loss.
            self.standby = StandbyState::Unwritten(0);
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
        let settled = |kept: &super::VerifiedRegister, want: u16| kept.known() == Some(want);
        if self.restoring
            && settled(&self.watchdog, self.wanted(Setting::Watchdog))
            && settled(&self.fail_safe, self.wanted(Setting::FailSafe))
            && settled(&self.setpoint, self.wanted(Setting::Setpoint))
            && (self.standby == StandbyState::Done || self.profile.standby.is_none())
        {
            self.restoring = false;
            self.notice(Notice::Restored);
        }
    }

    /// Handles a job that has failed and must be tried again.
    pub(super) fn failed(&mut self, job: Transaction, cause: Cause, now: Tick) {
        let first = self.failures == 0;
        if cause == Cause::Nonsense {
            self.note_in_vain(job, cause);
        }
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now + RETRY;
        let unmeasured = job == Transaction::Measure && self.reliability.polled(true);
        if job != Transaction::Unlock {
            self.pulse.fell_silent();
        }
        match job {
            // Reading the register shows whether the write has arrived.
            Transaction::Write(which, value) => match cause {
                Cause::Failure(_) | Cause::Nonsense => self.kept(which).written(value),
                Cause::Declined(_) => {
                    self.kept(which).declined();
                    self.failures = 0;
                    self.retry_at = now + BUSY_RETRY;
                    self.judge(which, now);
                }
            },
            Transaction::Lock => self.lock_answer(&Outcome::Failed(Failure::Timeout), now),
            Transaction::Unlock => {
                let declined = if let Cause::Declined(code) = cause { Some(Outcome::Exception(code)) } else { None };
                self.unlock_answer(&declined.unwrap_or(Outcome::Failed(Failure::Timeout)), now);
                if self.is_halted() {
                    // The attempts have a bound of their own, and what was proven stays proven.
                    self.failures = 0;
                }
            }
            Transaction::Phases(ask) => self.phases_answer(ask, &Outcome::Failed(Failure::Timeout), now),
            Transaction::WriteStandby(..) => self.standby_failed(cause),
            Transaction::ReadLock | Transaction::FreeLock => self.found_locked_failed(cause),
            Transaction::Connect(_) | Transaction::Measure | Transaction::Read(_) => {}
        }
        // A single failed reading is just repeated. If other readings went first, every second failure would concern one of them.
        if !first || !matches!(job, Transaction::Measure | Transaction::Read(_)) {
            self.readback_at = now;
            self.check_at = now;
        }
        // A request that is declined for good while connecting is not repeated.
        let declined = matches!((job, cause), (Transaction::Connect(_), Cause::Declined(code)) if LASTING_EXCEPTIONS.contains(&code));
        if self.failures >= FAILURES_MAX || unmeasured || declined {
            self.link_lost(Some(job), cause, now);
        }
    }

    /// Notes a failed write of the standby register. After repeated failures it is skipped: it is not worth losing a charger over.
    const fn standby_failed(&mut self, cause: Cause) {
        self.standby = match (self.standby, cause) {
            (StandbyState::Unwritten(tries), Cause::Failure(_)) if tries < FAILURES_MAX => {
                StandbyState::Unwritten(tries + 1)
            }
            (StandbyState::Unwritten(_) | StandbyState::Done, _) => StandbyState::Done,
        };
    }

    fn link_lost(&mut self, job: Option<Transaction>, cause: Cause, now: Tick) {
        let silent = self.failures >= FAILURES_MAX && matches!(cause, Cause::Failure(failure) if is_silence(failure));
        self.without_car &= silent;
        let asleep = self.line_up && self.may_sleep();
        let link = if asleep { Reachability::Asleep } else { Reachability::Offline };
        // After a failed unlock, a request soon shows whether it answers at all; the longer pause comes before the next unlock.
        if job == Some(Transaction::Unlock) {
            self.retry_at = now + RETRY;
        } else {
            self.retry_at = now + if asleep { ASLEEP_RETRY } else { self.backoff };
            self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        }
        self.stage = Stage::Connecting(Step::Layout);
        self.forget_all(now);
        let useless = !matches!(cause, Cause::Failure(_));
        if self.back_to_silence(job, useless, now) {
            return;
        }
        let changed = std::mem::replace(&mut self.alone.useless, useless) != useless;
        if self.link != link {
            self.link = link;
            self.lost_at.get_or_insert(now);
            self.notice(match (asleep, job, cause) {
                (true, ..) => Notice::Asleep,
                (false, Some(job), Cause::Declined(code)) => {
                    Notice::Trouble(Trouble::Useless { asked: self.operation(job).to_string(), exception: Some(code) })
                }
                (false, Some(job), Cause::Nonsense) => {
                    Notice::Trouble(Trouble::Useless { asked: self.operation(job).to_string(), exception: None })
                }
                (false, _, Cause::Failure(failure)) => Notice::LinkLost { failure },
                (false, None, Cause::Declined(_) | Cause::Nonsense) => Notice::LinkLost { failure: Failure::Gone },
            });
            let report = self.silent_report(now);
            self.say(Event::Report(report));
        } else if changed {
            let report = self.silent_report(now);
            self.say(Event::Report(report));
        }
        if self.ending.is_some() {
            // There is no time for more tries.
            self.pass_ending(self.ending_deadline().unwrap_or(now));
        }
    }

    pub(super) fn line_down(&mut self, now: Tick) {
        self.line_up = false;
        if self.outstanding.take().is_some() {
            self.alone.spoke(now);
        }
        self.failures = FAILURES_MAX;
        self.link_lost(None, Cause::Failure(Failure::Gone), now);
        self.try_lost(now);
        self.backoff = RETRY;
    }
}
