//! Why the setpoint is what it is. One value, rendered the same in log, topic, page and journal.

use core::fmt;

use crate::facts::{Fault, Sources};
use crate::judge::doubt::Doubt;
use crate::units::{Milliamps, Millis, Percent, Watts};

/// Currents below this are shown as nothing: wallboxes measure to a tenth of an ampere.
const LEAST_SHOWN: Milliamps = Milliamps(100);

/// The reason for a decision, with the numbers that led to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The user switched it off.
    Off,
    /// The charger has not answered yet.
    Starting,
    /// The charger does not answer.
    Offline,
    /// The charger sleeps until a car is plugged in.
    Asleep,
    /// The charger's current cannot be set.
    ReadOnly,
    /// The charger is locked, in error, or refuses orders.
    Fault(Fault),
    /// No car is plugged in.
    NoVehicle,
    /// A charge that was found running is kept until there is data to judge it.
    Adopted,
    /// There has been no sample of the site yet.
    NoData {
        /// Power sources without a live value.
        missing: Sources,
    },
    /// The meters are not believed.
    Doubted {
        /// The doubt about them.
        doubt: Doubt,
    },
    /// Sources became unavailable or never sent a live value; the charge continues for a while.
    DataLost {
        /// Age of the last sample.
        age: Millis,
    },
    /// The meters are silent: the current was lowered a little, to see whether they are alive.
    Asking {
        /// Age of the last sample.
        age: Millis,
    },
    /// Samples arrive too rarely to charge by.
    SlowSamples {
        /// Mean interval between samples.
        every: Millis,
        /// Data counts as gone after this.
        limit: Millis,
    },
    /// The grid is gone: the house runs from the home battery.
    OffGrid,
    /// Mode `slow`: the minimum at once.
    Slow,
    /// Mode `slow+solar`: the minimum, as the surplus allows no more.
    SlowSolar {
        /// Surplus for this charger.
        surplus: Watts,
    },
    /// Mode `fast`: the maximum at once.
    Fast,
    /// Mode `fixed`: the set current.
    Fixed,
    /// The setpoint follows the surplus.
    Following {
        /// Surplus for this charger.
        surplus: Watts,
    },
    /// Charging at the minimum although the surplus is less, as stopping would waste more.
    Holding {
        /// Surplus for this charger.
        surplus: Watts,
        /// The deciding value: the surplus pulled towards its mean over some minutes.
        mean: Watts,
        /// Charging stops when `mean` is below this.
        stop_below: Watts,
        /// Time until it stops if the surplus stays as it is; `None`: not within 15 minutes.
        left: Option<Millis>,
    },
    /// Too little surplus to start.
    TooLittleSun {
        /// Surplus for this charger.
        surplus: Watts,
        /// Charging starts at this.
        start_at: Watts,
    },
    /// Stopped for lack of surplus.
    SunGone {
        /// Surplus for this charger.
        surplus: Watts,
        /// Charging stops below this.
        stop_below: Watts,
    },
    /// The home battery comes first.
    BatteryFirst {
        /// Its state of charge, if known.
        soc: Option<Percent>,
        /// The battery comes first below this.
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
        /// Number of starts.
        starts: u16,
    },
    /// Site data is late: the current goes down to the minimum, and nothing starts or rises.
    Stale {
        /// Age of the last sample.
        age: Millis,
    },
    /// Site data has stopped: the blind limit applies.
    Blind {
        /// Age of the last sample.
        age: Millis,
    },
    /// Other chargers use what the site allows.
    SiteLimit,
    /// Stopped to switch the number of phases, as surplus or mode call for it.
    SwitchingPhases {
        /// Target number of phases, 1 or 3.
        to: u8,
        /// Surplus for this charger when this was decided; `None` where the mode asks for it.
        surplus: Option<Watts>,
    },
    /// The car does not take what it is offered: it is full, asleep, or needs a higher current.
    NotTaken {
        /// Current offered.
        offered: Milliamps,
        /// Current drawn, less than half of the lowest current.
        drawn: Milliamps,
        /// Lowest current at which it was seen to draw something.
        takes_from: Option<Milliamps>,
    },
    /// The car took nothing of the last offers: the next one is delayed.
    Withheld {
        /// Time left.
        left: Millis,
    },
    /// The contactor closed too often in a short time.
    ContactorRest {
        /// Number of closures within ten minutes.
        closures: u16,
        /// Time left.
        left: Millis,
    },
    /// The car drew more than its setpoint.
    Overdraw {
        /// The setpoint.
        told: Milliamps,
        /// The current drawn.
        drawn: Milliamps,
        /// Time left until the next attempt; 0 while current flows although none is allowed.
        left: Millis,
    },
    /// The charger does not report whether a car is plugged in: for some seconds the current does not rise until it does.
    UnknownState,
}

impl Reason {
    /// Whether it explains the current offered; [`Self::NotTaken`] replaces it while the car does not take the offer.
    pub(crate) const fn is_of_the_offer(self) -> bool {
        matches!(
            self,
            Self::Slow
                | Self::SlowSolar { .. }
                | Self::Fast
                | Self::Fixed
                | Self::Following { .. }
                | Self::Holding { .. }
                | Self::NotTaken { .. }
        )
    }

    /// Returns a stable word for programs.
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
            Self::NoData { .. } => "no-data",
            Self::Doubted { doubt } => doubt.code(),
            Self::DataLost { .. } => "data-lost",
            Self::Asking { .. } => "asking",
            Self::SlowSamples { .. } => "slow-samples",
            Self::OffGrid => "off-grid",
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
            Self::NotTaken { .. } => "not-taken",
            Self::Withheld { .. } => "withheld",
            Self::ContactorRest { .. } => "contactor-rest",
            Self::Overdraw { .. } => "overdraw",
            Self::UnknownState => "unknown-state",
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
            Self::Fault(fault) => f.write_str(fault_text(fault)),
            Self::NoVehicle => f.write_str("no car is plugged in"),
            Self::Adopted => f.write_str("keeping the charge found running until there is data"),
            Self::NoData { missing } if missing.is_empty() => f.write_str("no sample of the site yet"),
            Self::NoData { missing } => write!(f, "no sample of the site yet: nothing live from {missing}"),
            Self::Doubted { doubt } => write!(f, "{doubt}"),
            Self::DataLost { age } => {
                write!(f, "some sources give nothing live, the last sample is {age} old: nothing rises until they do")
            }
            Self::Asking { age } => {
                write!(f, "no news from the meters for {age}: lowered a little to see whether they answer")
            }
            Self::SlowSamples { every, limit } => write!(
                f,
                "samples come every {every}, too seldom to charge by: data counts as gone after {limit} (fail-safe.stop-after-s)"
            ),
            Self::OffGrid => f.write_str("the grid is gone: limited by fail-safe.off-grid-current-a"),
            Self::Slow => f.write_str("slow: the minimum at once"),
            Self::SlowSolar { surplus } => write!(f, "slow+solar: the minimum, the surplus is {surplus}"),
            Self::Fast => f.write_str("fast: the maximum at once"),
            Self::Fixed => f.write_str("fixed: the set current"),
            Self::Following { surplus } => write!(f, "following {surplus} of surplus"),
            Self::Holding { surplus, mean, stop_below, left } => holding(f, surplus, mean, stop_below, left),
            Self::TooLittleSun { surplus, start_at } => write!(f, "surplus {surplus}, starts at {start_at}"),
            Self::SunGone { surplus, stop_below } => write!(f, "stopped: surplus {surplus}, below {stop_below}"),
            Self::BatteryFirst { soc: Some(soc), below } => {
                write!(f, "the home battery comes first: {soc}, until {below}")
            }
            Self::BatteryFirst { soc: None, below } => {
                write!(f, "the home battery comes first until {below}, its charge is not known")
            }
            Self::BatteryCarries { soc } => write!(f, "the home battery at {soc} carries the car through a cloud"),
            Self::BudgetUsed => f.write_str("battery.drain-budget-wh of the last 24 h is used up"),
            Self::MinimumOn { left: Millis(0) } => f.write_str("stops at the next sample unless the surplus returns"),
            Self::MinimumOn { left } => {
                write!(f, "too little surplus, too soon to stop: minimum on-time for {left} more")
            }
            Self::MinimumOff { left: Millis(0) } => {
                f.write_str("the minimum off-time is over: waiting for the next sample")
            }
            Self::MinimumOff { left } => write!(f, "too soon to start again: minimum off-time for {left} more"),
            Self::StartsUsed { starts } => {
                write!(f, "no more starts: {starts} in 24 h (solar.starts-per-day-max)")
            }
            Self::Stale { age } => write!(f, "no new data for {age}: no more than the minimum until there is"),
            Self::Blind { age } => write!(f, "no data for {age}: limited by the blind currents of [fail-safe]"),
            Self::SiteLimit => {
                f.write_str("limited by charger-limit-a, the other chargers or the wallbox's own maximum")
            }
            Self::SwitchingPhases { to, surplus } => {
                write!(f, "changing to {to} {}", if to == 1 { "phase" } else { "phases" })?;
                surplus.map_or(Ok(()), |surplus| write!(f, " for {surplus} of surplus"))
            }
            Self::NotTaken { offered, drawn, takes_from } => not_taken(f, offered, drawn, takes_from),
            Self::Withheld { left } => write!(f, "the car took nothing of the last offer, the next one in {left}"),
            Self::ContactorRest { closures, left } => {
                write!(f, "the contactor closed {closures} times in 10 minutes: paused to spare it, {left} left")
            }
            Self::Overdraw { told, drawn, left } => overdraw(f, told, drawn, left),
            Self::UnknownState => f.write_str("the charger does not say whether a car is plugged in"),
        }
    }
}

const fn fault_text(fault: Fault) -> &'static str {
    match fault {
        Fault::Locked => "the charger is locked: by its key switch, or by a remote lock (the log names the register)",
        Fault::Error => "the charger reports an error",
        Fault::Refused => "the charger does not keep what is written to it",
        Fault::Unusable => "the wallbox answers, but cannot be controlled or measured: the log says what is wrong",
        Fault::Phases => "it is not known how many phases are connected",
    }
}

fn overdraw(f: &mut fmt::Formatter<'_>, told: Milliamps, drawn: Milliamps, left: Millis) -> fmt::Result {
    if left == Millis(0) {
        write!(f, "the car draws {drawn} although it was told {told}")
    } else {
        write!(f, "paused: the car drew {drawn} although it was told {told}, tried again in {left}")
    }
}

fn holding(
    f: &mut fmt::Formatter<'_>,
    surplus: Watts,
    mean: Watts,
    stop_below: Watts,
    left: Option<Millis>,
) -> fmt::Result {
    write!(f, "charging at the minimum through a dip: surplus {surplus}, smoothed {mean}, stops below {stop_below}")?;
    left.map_or(Ok(()), |left| write!(f, " (in {left} if the surplus stays)"))
}

fn not_taken(
    f: &mut fmt::Formatter<'_>,
    offered: Milliamps,
    drawn: Milliamps,
    takes_from: Option<Milliamps>,
) -> fmt::Result {
    write!(f, "offered {offered}, the car takes ")?;
    if drawn < LEAST_SHOWN {
        f.write_str("nothing")?;
    } else {
        write!(f, "only {drawn}")?;
    }
    match takes_from {
        Some(from) => write!(f, "; it took {from}: set min-current-a"),
        None => f.write_str(": it is full, asleep, or needs a higher min-current-a"),
    }
}
