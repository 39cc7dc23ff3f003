//! What cars and home batteries do that is not ordinary.

/// Habits of a car.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Habits {
    /// How fast it follows the pilot upwards, in amperes per second.
    pub up: f64,
    /// It draws nothing while it is offered less than this, in amperes.
    pub takes_from: f64,
    /// It draws at most this much, in amperes, whatever it is offered.
    pub at_most: f64,
    /// It draws this much, in amperes, whatever it is offered, once it is offered anything.
    pub stubborn: Option<f64>,
    /// It is full, and asks for a moment whenever the offer changes by half an ampere or more.
    pub nervous: bool,
}

impl Habits {
    /// Follows at 2 A per second and draws what is offered.
    pub const ORDINARY: Self = Self { up: 2.0, takes_from: 6.0, at_most: 63.0, stubborn: None, nervous: false };

    /// The current that the car would draw at this offer, in amperes.
    pub(super) fn target(&self, offered: f64) -> f64 {
        if offered < self.takes_from { 0.0 } else { self.stubborn.unwrap_or(offered.min(self.at_most)) }
    }
}

/// What the home battery does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatteryHabit {
    /// Keeps the grid at zero as far as it can.
    Balances,
    /// Is charged with all it takes, from wherever it comes: before a storm, or by a tariff.
    FilledFromGrid,
    /// Neither takes nor gives.
    Idle,
}

/// What a nervous car draws, in amperes.
pub(super) const TWITCH_AMPS: f64 = 0.3;
/// How long it asks for it, in seconds: as long as a car takes to begin, and some seconds more.
const TWITCH_S: u32 = 20;
/// A change of the offer that it feels, in tenths of an ampere.
const FELT_DECIAMPS: u32 = 5;

/// The nerves of a car: the offer that it last felt, and how long it will still ask.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Nerves {
    offer_deciamps: u32,
    left_s: u32,
}

impl Nerves {
    /// Feels the present offer; once a second.
    pub(super) fn feel(&mut self, offer_deciamps: u32) {
        self.left_s = self.left_s.saturating_sub(1);
        if offer_deciamps.abs_diff(self.offer_deciamps) >= FELT_DECIAMPS {
            self.offer_deciamps = offer_deciamps;
            self.left_s = TWITCH_S;
        }
    }

    /// Whether it asks for current.
    pub(super) const fn twitches(self) -> bool {
        self.left_s > 0
    }
}
