//! A scenario: a household, and the faults that it meets, as data that follow from a seed. What is data can be shortened.

use std::fmt;

use crate::sim::home_assistant::{Entity, EntityFault};
use crate::sim::plant::{BatteryHabit, Habits};
use crate::sim::registers::Layout;
use crate::sim::wallbox::{self, BoxError};
use crate::sim::weather::Weather;

/// A household and what happens to it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scenario {
    /// Everything random follows from it.
    pub(super) seed: u64,
    pub(super) house: House,
    /// The length in seconds.
    pub(super) lasts_s: u32,
    /// The faults, in the order in which they begin.
    pub(super) faults: Vec<Fault>,
}

/// The household, apart from its faults.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct House {
    pub(super) weather: Weather,
    /// Second of the day at which the scenario begins.
    pub(super) begins_s: u32,
    pub(super) battery: Option<f64>,
    /// Seconds between readings in Home Assistant.
    pub(super) period_s: u32,
    pub(super) heartbeat: bool,
    pub(super) layout: Layout,
    /// The setpoint of the wallbox after power-up, in tenths of an ampere.
    pub(super) wakes_with: u16,
    pub(super) standby: bool,
    pub(super) poll_s: u32,
    pub(super) watchdog_s: u32,
    pub(super) max_a: u16,
    pub(super) car_phases: u8,
    /// Energy until the car is full, in watt-hours.
    pub(super) car_wants_wh: Option<f64>,
    /// The car asks for current only after it was woken.
    pub(super) car_sleeps: bool,
    pub(super) mode: &'static str,
}

/// A fault: what, and from when to when, in seconds from the beginning.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    pub(super) from_s: u32,
    pub(super) until_s: u32,
    pub(super) what: What,
}

/// The kinds of faults, and of ordinary events that are as hard to bear. Those without a duration happen when they begin.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    // The meters.
    Entity(Entity, EntityFault),
    AllEntities(EntityFault),
    PowerwallGone,
    HomeAssistantDead,
    HomeAssistantRestarts {
        takes_s: u32,
    },
    /// A bridged broker restarts every so many seconds and delivers stored values as if they were new, while Home Assistant is dead.
    Ghosts {
        every_s: u32,
    },
    // The broker and the network.
    BrokerDown,
    BrokerFrozen,
    Messages {
        lost: f64,
        doubled: f64,
        delay_ms: u64,
    },
    // The cable.
    Unplugged,
    Requests {
        lost: f64,
        bad: f64,
    },
    Replies {
        lost: f64,
        bad: f64,
        double: f64,
        delay_ms: u64,
        strays: f64,
    },
    Echo,
    // The wallbox.
    BoxReboots,
    BoxOff,
    Derated(u16),
    Error(BoxError),
    KeySwitch,
    /// Register 5 shows this state.
    StateStuck(u16),
    BoxLine(wallbox::Fault),
    // Car and battery.
    CarLeaves,
    Car(Habits),
    Battery(BatteryHabit),
    OffGrid,
    // The program and its machine.
    /// Killed, and started again at the end of the fault; `torn`: its stored state is damaged.
    Killed {
        torn: bool,
        power_cut: bool,
    },
    LoopHangs,
    LineHangs,
    DiskRefuses,
    WallClock {
        jump_s: i64,
    },
    Reload {
        poll_s: u32,
    },
    // The user.
    Mode(&'static str),
    Nonsense,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6} s … {:>6} s  {:?}", self.from_s, self.until_s, self.what)
    }
}

impl What {
    /// Whether it makes it harder to prove a current at the wallbox: faults of cable, wallbox, line and program.
    pub(super) const fn is_of_the_line(&self) -> bool {
        match self {
            Self::Unplugged
            | Self::Requests { .. }
            | Self::Replies { .. }
            | Self::Echo
            | Self::BoxReboots
            | Self::BoxOff
            | Self::Error(_)
            | Self::KeySwitch
            | Self::StateStuck(_)
            | Self::BoxLine(_)
            | Self::Killed { .. }
            | Self::LoopHangs
            | Self::LineHangs
            | Self::Reload { .. } => true,
            Self::Entity(..)
            | Self::AllEntities(_)
            | Self::PowerwallGone
            | Self::HomeAssistantDead
            | Self::HomeAssistantRestarts { .. }
            | Self::Ghosts { .. }
            | Self::BrokerDown
            | Self::BrokerFrozen
            | Self::Messages { .. }
            | Self::Derated(_)
            | Self::CarLeaves
            | Self::Car(_)
            | Self::Battery(_)
            | Self::OffGrid
            | Self::DiskRefuses
            | Self::WallClock { .. }
            | Self::Mode(_)
            | Self::Nonsense => false,
        }
    }

    /// Whether it is a reason not to believe meters, battery or car for an hour.
    pub(super) const fn leaves_doubt(&self) -> bool {
        match self {
            Self::Entity(_, fault) | Self::AllEntities(fault) => {
                matches!(fault, EntityFault::Watts | EntityFault::Flipped | EntityFault::Stuck(_))
            }
            Self::Battery(habit) => matches!(habit, BatteryHabit::FilledFromGrid),
            // A car that draws more than its setpoint is paused, for longer each time.
            Self::Car(habits) => habits.stubborn.is_some(),
            _ => false,
        }
    }

    /// Whether it happens at once, without a duration.
    pub(super) const fn is_an_event(&self) -> bool {
        matches!(
            self,
            Self::HomeAssistantRestarts { .. }
                | Self::BoxReboots
                | Self::WallClock { .. }
                | Self::Reload { .. }
                | Self::Mode(_)
                | Self::Nonsense
        )
    }

    /// Energy from grid and battery, in watt-hours, that the car may get because of it within so many seconds.
    pub(super) fn costs_wh(&self, lasts_s: u32) -> f64 {
        /// What a wallbox gives in an hour, in watt-hours.
        const FULL_W: f64 = 11_040.0;
        const LEAST_W: f64 = 4_140.0;
        let full = |seconds: f64| FULL_W * seconds / 3_600.0;
        let hours = f64::from(lasts_s) / 3_600.0;
        match self {
            // One that lies in a plausible way: until the meters contradict each other, and again after an hour.
            Self::Entity(_, EntityFault::Watts | EntityFault::Flipped | EntityFault::Stuck(_))
            | Self::AllEntities(EntityFault::Watts | EntityFault::Flipped | EntityFault::Stuck(_)) => {
                full(200.0) * (2.0 + hours) + LEAST_W * hours * 0.5
            }
            // Values that stand still hold until they are too old.
            Self::Entity(_, _)
            | Self::AllEntities(_)
            | Self::PowerwallGone
            | Self::HomeAssistantDead
            | Self::HomeAssistantRestarts { .. }
            | Self::Ghosts { .. }
            | Self::BrokerDown
            | Self::BrokerFrozen
            | Self::Messages { .. } => full(300.0) * (1.0 + hours) + LEAST_W * hours * 0.2,
            // Until the watchdog has acted, and again at each attempt.
            Self::Unplugged
            | Self::Requests { .. }
            | Self::Replies { .. }
            | Self::Echo
            | Self::BoxLine(_)
            | Self::BoxReboots
            | Self::BoxOff
            | Self::Error(_)
            | Self::KeySwitch
            | Self::StateStuck(_)
            | Self::Killed { .. }
            | Self::LoopHangs
            | Self::LineHangs
            | Self::Reload { .. } => full(150.0) * (1.0 + 4.0 * hours),
            // A car that draws more than it is offered, or a battery that is filled from the grid, is noticed within a minute or two.
            Self::Car(_) | Self::Battery(_) | Self::OffGrid => full(200.0) * (1.0 + 4.0 * hours),
            Self::Derated(_) | Self::CarLeaves | Self::DiskRefuses | Self::WallClock { .. } | Self::Nonsense => 0.0,
            Self::Mode(_) => f64::INFINITY,
        }
    }

    /// Closings of the contactor that it may cause within so many seconds.
    pub(super) const fn costs_starts(&self, lasts_s: u32) -> u32 {
        match self {
            Self::Mode(_) => 4,
            // Each attempt at a wallbox that does not obey may let it close once more.
            Self::BoxLine(_) | Self::Replies { .. } | Self::Requests { .. } | Self::Car(_) | Self::StateStuck(_) => {
                3 + lasts_s / 200
            }
            _ => 2 + lasts_s / 900,
        }
    }
}
