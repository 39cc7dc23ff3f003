//! State that a driver hands to its successor for the same wallbox when the line is reopened. Without it, each reload of the configuration
//! would feed the watchdog of a wallbox that was left alone for another watchdog time.

use control::{Millis, Reachability, Tick};

use super::left_alone::LeftAlone;
use super::{Doubt, Driver, Ending, Event, Stage};

/// What is remembered of a wallbox whose safe current was not proven at the end, or whose readings cannot be trusted.
#[derive(Debug, Clone)]
pub struct Memory {
    alone: LeftAlone,
    /// The least time to leave it in silence.
    silence: Millis,
    doubt: Doubt,
}

impl Driver {
    /// Returns what the next driver for this wallbox must know, if anything. To be called after the end.
    pub fn memory(&self, now: Tick) -> Option<Memory> {
        let concerned = self.alone.since.is_some() || self.order.is_some();
        let ended = self.ending == Some(Ending::Ended);
        if !ended || !concerned || self.only_watched() || (self.ended_low() && !self.alone.is_doubted(now)) {
            return None;
        }
        Some(Memory { alone: self.alone.clone(), silence: self.silence(), doubt: self.doubt(false) })
    }

    /// Returns whether the safe current was read back at the end.
    fn ended_low(&self) -> bool {
        let known = self.setpoint.known();
        self.stage == Stage::Running && self.controllable() && known.is_some() && known == self.target()
    }

    /// Starts from the state of the previous driver: silence, counted from the last traffic, and then a try.
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
