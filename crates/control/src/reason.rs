//! Why the setpoint is what it is. One value, rendered the same in log, topic, page and journal.

use core::fmt;

use crate::types::Fault;
use crate::units::{Millis, Percent, Watts};

/// The reason of a decision, with the numbers that went in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The user switched it off.
    Off,
    /// The charger has not been heard yet.
    Starting,
    /// The charger does not answer.
    Offline,
    /// The charger sleeps until a car is plugged in.
    Asleep,
    /// The charger cannot be told a current.
    ReadOnly,
    /// The charger is locked, in error, or refuses orders.
    Fault(Fault),
    /// No car is plugged in.
    NoVehicle,
    /// A charge that was found running is kept until there is data to judge it.
    Adopted,
    /// There has been no sample of the site yet.
    NoData,
    /// Mode `slow`: the minimum at once.
    Slow,
    /// Mode `slow+solar`: the minimum, as the sun gives no more.
    SlowSolar {
        /// Surplus for this charger.
        surplus: Watts,
    },
    /// Mode `fast`: the maximum at once.
    Fast,
    /// Mode `fixed`: the set current.
    Fixed,
    /// The setpoint follows the sun.
    Following {
        /// Surplus for this charger.
        surplus: Watts,
    },
    /// Charging at the minimum although the sun gives less, as stopping would waste more.
    Holding {
        /// Surplus for this charger.
        surplus: Watts,
        /// It stops below this.
        stop_below: Watts,
    },
    /// Too little sun to start.
    TooLittleSun {
        /// Surplus for this charger.
        surplus: Watts,
        /// It starts at this.
        start_at: Watts,
    },
    /// It stopped for lack of sun.
    SunGone {
        /// Surplus for this charger.
        surplus: Watts,
        /// It stops below this.
        stop_below: Watts,
    },
    /// The home battery comes first.
    BatteryFirst {
        /// Its state of charge, if known.
        soc: Option<Percent>,
        /// It comes first below this.
        below: Percent,
    },
    /// The home battery carries the car through a cloud.
    BatteryCarries {
        /// Its state of charge.
        soc: Percent,
    },
    /// The home battery has given the cars all it may within 24 hours.
    BudgetUsed,
    /// Too soon after the start to stop.
    MinimumOn {
        /// Time left.
        left: Millis,
    },
    /// Too soon after the stop to start.
    MinimumOff {
        /// Time left.
        left: Millis,
    },
    /// All automatic starts of the day are used.
    StartsUsed {
        /// How many.
        starts: u16,
    },
    /// Site data is late: never up, down to the minimum.
    Stale {
        /// Age of the last sample.
        age: Millis,
    },
    /// Site data has stopped: the blind limit holds.
    Blind {
        /// Age of the last sample.
        age: Millis,
    },
    /// Other chargers use what the site allows.
    SiteLimit,
    /// Stopped to change the number of phases, as the sun gives more on that many.
    SwitchingPhases {
        /// Phases to come, 1 or 3.
        to: u8,
        /// Surplus for this charger when it was decided; `None` where the mode asks for it.
        surplus: Option<Watts>,
    },
}

impl Reason {
    /// A stable word for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Starting => "starting",
            Self::Offline => "offline",
            Self::Asleep => "asleep",
            Self::ReadOnly => "read-only",
            Self::Fault(_) => "fault",
            Self::NoVehicle => "no-vehicle",
            Self::Adopted => "adopted",
            Self::NoData => "no-data",
            Self::Slow => "slow",
            Self::SlowSolar { .. } => "slow-solar",
            Self::Fast => "fast",
            Self::Fixed => "fixed",
            Self::Following { .. } => "following",
            Self::Holding { .. } => "holding",
            Self::TooLittleSun { .. } => "too-little-sun",
            Self::SunGone { .. } => "sun-gone",
            Self::BatteryFirst { .. } => "battery-first",
            Self::BatteryCarries { .. } => "battery-carries",
            Self::BudgetUsed => "budget-used",
            Self::MinimumOn { .. } => "minimum-on",
            Self::MinimumOff { .. } => "minimum-off",
            Self::StartsUsed { .. } => "starts-used",
            Self::Stale { .. } => "stale",
            Self::Blind { .. } => "blind",
            Self::SiteLimit => "site-limit",
            Self::SwitchingPhases { .. } => "switching-phases",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Off => f.write_str("switched off"),
            Self::Starting => f.write_str("waiting for the charger's first answer"),
            Self::Offline => f.write_str("the charger does not answer"),
            Self::Asleep => f.write_str("the charger sleeps until a car is plugged in"),
            Self::ReadOnly => f.write_str("the charger's firmware cannot be told a current"),
            Self::Fault(Fault::Locked) => f.write_str("the charger is locked"),
            Self::Fault(Fault::Error) => f.write_str("the charger reports an error"),
            Self::Fault(Fault::Refused) => f.write_str("the charger does not keep what is written to it"),
            Self::Fault(Fault::Phases) => f.write_str("it is not known how many phases are connected"),
            Self::NoVehicle => f.write_str("no car is plugged in"),
            Self::Adopted => f.write_str("keeping the charge found running until there is data"),
            Self::NoData => f.write_str("no data of the site yet"),
            Self::Slow => f.write_str("slow: the minimum at once"),
            Self::SlowSolar { surplus } => write!(f, "slow+solar: the minimum, the sun gives {surplus}"),
            Self::Fast => f.write_str("fast: the maximum at once"),
            Self::Fixed => f.write_str("fixed: the set current"),
            Self::Following { surplus } => write!(f, "following {surplus} of sun"),
            Self::Holding { surplus, stop_below } => {
                write!(f, "holding the minimum on {surplus} of sun, stops below {stop_below}")
            }
            Self::TooLittleSun { surplus, start_at } => write!(f, "{surplus} of sun, starts at {start_at}"),
            Self::SunGone { surplus, stop_below } => write!(f, "stopped at {surplus} of sun, below {stop_below}"),
            Self::BatteryFirst { soc: Some(soc), below } => {
                write!(f, "the home battery comes first: {soc}, until {below}")
            }
            Self::BatteryFirst { soc: None, below } => {
                write!(f, "the home battery comes first until {below}, its charge is not known")
            }
            Self::BatteryCarries { soc } => write!(f, "the home battery at {soc} carries the car through a cloud"),
            Self::BudgetUsed => f.write_str("the home battery has given the car all it may within 24 h"),
            Self::MinimumOn { left } => write!(f, "too soon to stop again, {left} left"),
            Self::MinimumOff { left } => write!(f, "too soon to start again, {left} left"),
            Self::StartsUsed { starts } => write!(f, "{starts} starts in 24 h, no more allowed"),
            Self::Stale { age } => write!(f, "the last sample is {age} old: not up, down to the minimum"),
            Self::Blind { age } => write!(f, "the last sample is {age} old: the blind limit holds"),
            Self::SiteLimit => f.write_str("other chargers use what the site allows"),
            Self::SwitchingPhases { to, surplus } => {
                write!(f, "changing to {to} {}", if to == 1 { "phase" } else { "phases" })?;
                surplus.map_or(Ok(()), |surplus| write!(f, " for {surplus} of sun"))
            }
        }
    }
}
