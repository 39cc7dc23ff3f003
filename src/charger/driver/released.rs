//! Whether a wallbox out of our control has fallen back by itself, and what is reported to the controller meanwhile.

use control::{ChargerReport, Fault, Millis, Reachability, Tick};

use super::{Driver, Event};

/// How long after its watchdog has expired the wallbox has reached its fail-safe current.
const FALLEN: Millis = Millis::from_secs(3);
/// How long before a try the wallbox stops counting as fallen back, so that others can be lowered first.
pub(super) const LEAD: Millis = Millis::from_secs(5);

impl Driver {
    /// Returns when the wallbox will certainly have fallen to its fail-safe current, if it receives no more requests.
    pub(super) fn fallen_at(&self) -> Option<Tick> {
        let after = self.watchdog_at_most() + FALLEN;
        // A wallbox that does not obey its setpoint may not obey its watchdog either.
        let believed = self.falls_back() && self.alone.flow.unheeded().is_none();
        self.alone.spoken_at.filter(|_| believed).map(|at| at + after)
    }

    /// Reports to the controller when it becomes certain, or no longer certain, that the wallbox has fallen back.
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

    /// Returns the report for a wallbox that is not being measured.
    pub(super) fn silent_report(&self, now: Tick) -> ChargerReport {
        let useless = self.alone.useless && self.link == Reachability::Offline;
        ChargerReport {
            fault: useless.then_some(Fault::Unusable),
            released: self.alone.released,
            ..ChargerReport::silent(self.id, now, self.link)
        }
    }
}
