//! Whether a wallbox that is not controlled has fallen back by itself, and what the controller is told of it meanwhile.

use control::{ChargerReport, Fault, Millis, Reachability, Tick};

use super::{Driver, Event};

/// The wallbox has fallen to its fail-safe current this long after its watchdog time.
const FALLEN: Millis = Millis::from_secs(3);
/// This long before a try the wallbox no longer counts as fallen back, so that others can be lowered first.
pub(super) const LEAD: Millis = Millis::from_secs(5);

impl Driver {
    /// From when on it has certainly fallen to its fail-safe current, if nobody speaks to it.
    pub(super) fn fallen_at(&self) -> Option<Tick> {
        let after = Millis(self.watchdog_at_most().0 + FALLEN.0);
        // What does not heed its setpoint may not heed its watchdog either.
        let believed = self.falls_back() && self.alone.flow.unheeded().is_none();
        self.alone.spoken_at.filter(|_| believed).map(|at| at + after)
    }

    /// Tells the controller whether the wallbox has certainly fallen back.
    pub(super) fn tell_released(&mut self, now: Tick) {
        let soon = self.line_up && self.alone.silent_until().is_some_and(|until| now + LEAD >= until);
        let released = self.fallen_at().is_some_and(|at| now >= at) && !soon;
        if std::mem::replace(&mut self.alone.released, released) == released {
            return;
        }
        if matches!(self.link, Reachability::Offline | Reachability::Asleep) {
            let report = self.silent_report(now);
            self.say(Event::Report(report));
        }
    }

    /// What the controller is told of a wallbox that is not measured.
    pub(super) fn silent_report(&self, now: Tick) -> ChargerReport {
        let useless = self.alone.useless && self.link == Reachability::Offline;
        ChargerReport {
            fault: useless.then_some(Fault::Unusable),
            released: self.alone.released,
            ..ChargerReport::silent(self.id, now, self.link)
        }
    }
}
