//! The setpoint and the settings behind it: which value the wallbox must have, and what must be read or written to get there.

use control::{Milliamps, Millis, Order, Tick};

use super::verified_register::Need;
use super::{Driver, Event, Notice, Setting, Stage, StandbyState, Transaction};

/// Time limit for the safe current at shutdown: systemd waits much longer, but a user at a terminal does not.
const ENDING_MAX: Millis = Millis::from_secs(4);

/// Progress of an orderly shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// `low`: the raw current to write first, without knowing the wallbox's setpoint; `None` once that is done.
    Under {
        deadline: Tick,
        low: Option<u16>,
    },
    Ended,
}

impl Driver {
    /// Returns the raw setpoint that the wallbox must have; `None` keeps its present one.
    pub(super) fn target(&self) -> Option<u16> {
        if self.lapsed || self.ending.is_some() {
            // Never up: a car that was paused must not start charging because its controller died.
            let safe = self.profile.encode_current(self.safe_current, self.box_max);
            return Some(self.setpoint.known().map_or(safe, |known| known.min(safe)));
        }
        let order = self.order?;
        if self.refused_until.is_some() || !self.phases.known_where_wanted() {
            return Some(self.profile.set_current.off);
        }
        let current = order.setpoint?;
        let lowest = self.box_min.max(Milliamps::PILOT_MIN);
        let current = if self.phases.gentle() { current.min(lowest) } else { current };
        Some(self.profile.encode_current(current, self.box_max))
    }

    /// Returns the next request for the setpoint; `up` is the present time if it may also be raised.
    pub(super) fn setpoint_job(&self, up: Option<Tick>) -> Option<Transaction> {
        // Before the first order nothing is written, and after a lapse only the effects of an earlier order are undone.
        if !self.controllable() || (self.order.is_none() && self.ending.is_none()) {
            return None;
        }
        let want = self.target();
        let need = want.or(self.setpoint.known()).map_or(Need::Read, |want| self.setpoint.need(want));
        match (need, want) {
            (Need::Read, _) => Some(Transaction::Read(Setting::Setpoint)),
            (Need::Write, Some(want)) => {
                let raises = self.setpoint.known().is_some_and(|known| want > known);
                let may_rise = |now: Tick| self.guarded() && self.raise_at().is_none_or(|at| now >= at);
                let allowed = !raises || up.is_some_and(may_rise);
                allowed.then_some(Transaction::Write(Setting::Setpoint, want))
            }
            (Need::Write | Need::Nothing | Need::GaveUp, _) => None,
        }
    }

    /// Returns when the hold time since the last write ends, so that the current may be raised.
    pub(super) fn raise_at(&self) -> Option<Tick> {
        self.set_at.map(|at| at + self.profile.set_current.hold)
    }

    /// Returns the next request for watchdog, fail-safe or standby. They come before any rise of the current.
    pub(super) fn settings_job(&self) -> Option<Transaction> {
        if !self.controllable() || self.order.is_none() {
            return None;
        }
        let kept = [(Setting::Watchdog, self.watchdog), (Setting::FailSafe, self.fail_safe)];
        for (which, kept) in kept {
            let want = self.wanted(which);
            match kept.need(want) {
                Need::Read => return Some(Transaction::Read(which)),
                Need::Write => return Some(Transaction::Write(which, want)),
                Need::Nothing | Need::GaveUp => {}
            }
        }
        if self.standby == StandbyState::Done {
            return None;
        }
        self.wanted_standby().map(|(address, value)| Transaction::WriteStandby(address, value))
    }

    /// Returns whether the wallbox is known to fall back to the safe current by itself. Without that, no current is raised.
    fn guarded(&self) -> bool {
        self.watchdog.known() == Some(self.wanted(Setting::Watchdog))
            && self.fail_safe.known() == Some(self.wanted(Setting::FailSafe))
    }

    /// Returns the raw value that a setting must have.
    pub(super) fn wanted(&self, which: Setting) -> u16 {
        match which {
            Setting::Watchdog => self.watchdog_ms,
            Setting::FailSafe => self.profile.encode_current(self.safe_current, self.box_max),
            Setting::Setpoint => self.target().unwrap_or(self.profile.set_current.off),
        }
    }

    /// Returns address and raw value of the standby register; `None` if the profile has no such register.
    pub(super) fn wanted_standby(&self) -> Option<(u16, u16)> {
        let standby = self.profile.standby.as_ref()?;
        let value = if self.standby_allowed { standby.allowed } else { standby.forbidden };
        Some((standby.register.address, value))
    }

    /// The last gate before the wire: lets only off or a value in the register's range pass, whatever was decided before.
    pub(super) fn never_forbidden(&self, raw: u16) -> u16 {
        let set = &self.profile.set_current;
        let allowed = raw == set.off || (set.min..=set.max).contains(&raw);
        debug_assert!(allowed, "{raw} must never be sent");
        if allowed { raw } else { set.off }
    }

    pub(super) fn take_order(&mut self, order: Order, now: Tick) {
        self.order = Some(order);
        if self.lapsed && now < order.valid_until {
            self.lapsed = false;
            // Nothing was read meanwhile.
            self.readback_at = now;
            self.check_at = now;
            self.poll_at = now;
            self.phases.interrupt(now);
            self.forget_contact(now);
            self.notice(Notice::Resumed);
        }
    }

    pub(super) fn start_ending(&mut self, now: Tick) {
        if self.ending.is_some() {
            return;
        }
        // Never up, just as after a lapse.
        let low = self.certainly_not_too_high();
        let low = self.setpoint.known().map_or(low, |known| known.min(low));
        self.ending = Some(Ending::Under { deadline: now + ENDING_MAX, low: Some(low) });
        self.alone.end();
        self.pulse.end();
        self.lapsed = false;
        self.retry_at = now;
        // Earlier readings prove nothing about the final state.
        self.setpoint.try_again();
    }

    pub(super) const fn ending_deadline(&self) -> Option<Tick> {
        match self.ending {
            Some(Ending::Under { deadline, .. }) => Some(deadline),
            Some(Ending::Ended) | None => None,
        }
    }

    /// Returns the write of the safe current that comes before any reading: a wallbox that cannot be read may still receive it.
    pub(super) fn farewell(&self) -> Option<Transaction> {
        let Some(Ending::Under { low: Some(low), .. }) = self.ending else { return None };
        (!self.only_watched()).then_some(Transaction::Write(Setting::Setpoint, low))
    }

    /// Notes that a setpoint write has ended. One that was under way when the shutdown began may not be the safe current.
    pub(super) fn farewell_ended(&mut self, raw: u16) {
        if let Some(Ending::Under { low, .. }) = &mut self.ending {
            *low = low.filter(|low| *low != raw);
        }
    }

    pub(super) fn pass_ending(&mut self, now: Tick) {
        let Some(deadline) = self.ending_deadline() else { return };
        let idle = self.outstanding.is_none();
        let running = self.stage == Stage::Running;
        let reached = self.controllable() && self.setpoint.known().is_some_and(|known| Some(known) == self.target());
        let told = self.farewell().is_none();
        let hopeless = running && told && (!self.controllable() || self.setpoint.gave_up());
        let unlocked = !self.pulse.wants_unlock(now, true);
        if now >= deadline || !self.line_up || (idle && running && (reached || hopeless) && unlocked) {
            self.ending = Some(Ending::Ended);
            self.say(Event::ShutDown { proven: running && reached && idle });
        }
    }
}
