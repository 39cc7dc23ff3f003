//! What a driver leaves to the next one for the same wallbox, when its line is opened anew: a wallbox that was left alone would otherwise be
//! spoken to for another watchdog time at each reload of the configuration.

use control::{Millis, Reachability, Tick};

use super::left_alone::LeftAlone;
use super::{Doubt, Driver, Ending, Event, Stage};

/// What is remembered of a wallbox that did not prove its safe current at the end, or whose word is worth nothing.
#[derive(Debug, Clone)]
pub struct Memory {
    alone: LeftAlone,
    /// It is to be left in silence for so long at least.
    silence: Millis,
    doubt: Doubt,
}

impl Driver {
    /// After its end: what the next driver for this wallbox must know, if anything.
    pub fn memory(&self, now: Tick) -> Option<Memory> {
        let concerned = self.alone.since.is_some() || self.order.is_some();
        let ended = self.ending == Some(Ending::Ended);
        if !ended || !concerned || self.only_watched() || (self.ended_low() && !self.alone.is_doubted(now)) {
            return None;
        }
        Some(Memory { alone: self.alone.clone(), silence: self.silence(), doubt: self.doubt(false) })
    }

    /// Whether its safe current was read back at the end.
    fn ended_low(&self) -> bool {
        let known = self.setpoint.known();
        self.stage == Stage::Running && self.controllable() && known.is_some() && known == self.target()
    }

    /// Begins with what the driver before it has left: silence, counted from the last word, and then a try.
    pub fn remember(&mut self, memory: Memory, now: Tick) {
        let Memory { alone, silence, doubt } = memory;
        self.alone = alone;
        self.alone.begin_silent(silence.max(self.silence()), now);
        self.link = Reachability::Offline;
        self.say_left_alone(doubt);
        self.tell_released(now);
        let report = self.silent_report(now);
        self.say(Event::Report(report));
    }
}
