//! What goes in and what comes out. Plain data; the shell turns it into packets, frames, files and text.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use crate::judge::{Doubt, Sources};
use crate::reason::Reason;
use crate::units::{Milliamps, Percent, Tick, Volts, WattHours, Watts};
use crate::{Config, Millis};

/// A charger, by its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChargerId(pub u8);

/// What the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// No charging.
    Off,
    /// Only from the sun.
    Solar,
    /// The minimum at once.
    Slow,
    /// The minimum at once, more when the sun gives it.
    SlowSolar,
    /// The maximum at once.
    Fast,
    /// A set current at once.
    Fixed,
}

impl Mode {
    /// All modes, in the order in which they are offered to the user.
    pub const ALL: [Self; 6] = [Self::Off, Self::Solar, Self::Slow, Self::SlowSolar, Self::Fast, Self::Fixed];

    /// The name used in configuration, topics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Solar => "solar",
            Self::Slow => "slow",
            Self::SlowSolar => "slow+solar",
            Self::Fast => "fast",
            Self::Fixed => "fixed",
        }
    }

    /// The mode of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A measured quantity of the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Power at the grid meter, + import.
    Grid,
    /// PV production, ≥ 0.
    Solar,
    /// Home battery power, + discharging.
    Battery,
    /// Whole house including the chargers, ≥ 0.
    Load,
    /// Home battery state of charge.
    BatterySoc,
    /// Whether the house is on the grid: 1, or 0 while it runs from the home battery alone.
    GridStatus,
    /// A number that changes while the publisher of the site's values is alive; says nothing else.
    Heartbeat,
}

impl Source {
    /// All sources.
    pub const ALL: [Self; 7] =
        [Self::Grid, Self::Solar, Self::Battery, Self::Load, Self::BatterySoc, Self::GridStatus, Self::Heartbeat];

    /// The name used in configuration, topics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grid => "grid",
            Self::Solar => "solar",
            Self::Battery => "battery",
            Self::Load => "load",
            Self::BatterySoc => "battery-soc",
            Self::GridStatus => "grid-status",
            Self::Heartbeat => "heartbeat",
        }
    }
}

/// What the controller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A message of one of the sources.
    Reading(Reading),
    /// News of a charger.
    Report(ChargerReport),
    /// A wish of the user.
    Command(Command),
    /// What was kept from before a restart. To be told before the first report.
    Restore(Restore),
    /// The configuration was read again.
    Reconfigure(Config),
    /// What counts towards limits over 24 hours from before a restart. To be told after [`Input::Restore`] and before the first report.
    CarryOver(CarryOver),
}

/// What counts towards limits over 24 hours: taken from one controller with [`crate::Controller::carry_over`], told to the next.
/// Times are given as what is left of them, as ticks do not survive a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarryOver {
    /// What the battery gave to cars in mode `solar`, in place of what is known; `None` leaves that as it is.
    pub drained: Option<Vec<Spent>>,
    /// The chargers. Those not named keep what is known of them.
    pub chargers: BTreeMap<ChargerId, ChargerCarryOver>,
}

/// Energy that counts towards a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// For how much longer it counts.
    pub left: Millis,
    /// How much, at least 0.
    pub energy: WattHours,
}

/// What counts of one charger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargerCarryOver {
    /// For how much longer each automatic start counts.
    pub starts: Vec<Millis>,
    /// It was charging when it was last known: unless it is found charging, it has stopped no earlier than its first report.
    pub may_run: bool,
}

/// What a charger's state was before a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restore {
    /// Which charger.
    pub charger: ChargerId,
    /// The mode the user had chosen.
    pub mode: Mode,
    /// The current of mode `fixed` the user had chosen.
    pub fixed: Milliamps,
    /// How long ago it was stopped; `None`: long ago, or never.
    pub stopped_ago: Option<Millis>,
}

/// A message of a source: watts, percent for [`Source::BatterySoc`], 0 or 1 for [`Source::GridStatus`], any number for
/// [`Source::Heartbeat`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// What was measured.
    pub source: Source,
    /// In the source's unit, our signs; `None` where the message said there is no data.
    pub value: Option<i32>,
    /// Stored by the broker at some unknown time: never a measurement.
    pub retained: bool,
}

/// A wish of the user. `charger: None` means every charger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Change the mode.
    Mode {
        /// Which charger.
        charger: Option<ChargerId>,
        /// Its new mode.
        mode: Mode,
    },
    /// Change the current of mode `fixed`.
    FixedCurrent {
        /// Which charger.
        charger: Option<ChargerId>,
        /// Its new current.
        current: Milliamps,
    },
}

/// Whether the charger can be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// No answer yet since start.
    Starting,
    /// Answers, and takes orders.
    Online,
    /// Answers, but cannot be told a current.
    ReadOnly,
    /// Silent as expected: the box sleeps until a car is plugged in.
    Asleep,
    /// Silent, and should not be.
    Offline,
}

impl Link {
    /// The name used in topics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Online => "online",
            Self::ReadOnly => "read-only",
            Self::Asleep => "asleep",
            Self::Offline => "offline",
        }
    }
}

/// What the charger says of the car.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vehicle {
    /// Not known (starting up, locked, in error, not reachable).
    Unknown,
    /// No car (IEC 61851 state A).
    Absent,
    /// A car that does not ask for current (state B).
    Connected,
    /// A car that asks while the box does not offer (state C1): not charging.
    Requesting,
    /// Charging (state C2), derated or not.
    Charging,
}

impl Vehicle {
    /// The name used in topics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Absent => "absent",
            Self::Connected => "connected",
            Self::Requesting => "requesting",
            Self::Charging => "charging",
        }
    }
}

/// What keeps the charger from working.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Locked or not ready (state F): key switch, remote lock, or the box's own watchdog.
    Locked,
    /// The box reports an error (state E or its own).
    Error,
    /// The box does not keep the fail-safe or the setpoint that was written to it.
    Refused,
    /// It is not known how many phases are connected.
    Phases,
    /// It answers, but declines what it cannot be used without, or keeps a higher current than it is told.
    Unusable,
}

impl Fault {
    /// The name used in topics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::Error => "error",
            Self::Refused => "refused",
            Self::Phases => "phases",
            Self::Unusable => "unusable",
        }
    }
}

/// News of a charger: what it said at `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChargerReport {
    /// Which charger.
    pub charger: ChargerId,
    /// When the answer came.
    pub at: Tick,
    /// Whether it can be spoken to.
    pub link: Link,
    /// What it says of the car.
    pub vehicle: Vehicle,
    /// What keeps it from working.
    pub fault: Option<Fault>,
    /// Reduced by its own temperature.
    pub derated: bool,
    /// A wake-up pulse is under way: `vehicle` is what it was before.
    pub waking: bool,
    /// What the car draws.
    pub power: Option<Watts>,
    /// RMS current of each phase.
    pub currents: Option<[Milliamps; 3]>,
    /// Phase to neutral.
    pub voltages: Option<[Volts; 3]>,
    /// The setpoint as read back from the box; `None` until it was read.
    pub setpoint: Option<Milliamps>,
    /// Phases that box or relay connect, as read back; `None` where that cannot be told, or not while it changes.
    pub connected: Option<u8>,
    /// The box's own highest current.
    pub box_max: Option<Milliamps>,
    /// The box's own lowest current.
    pub box_min: Option<Milliamps>,
    /// The box's energy counter as it stands (may go back).
    pub energy: Option<WattHours>,
    /// It has certainly fallen to its fail-safe current: it was not spoken to for longer than its watchdog takes, and both were read
    /// back before. Only of a charger that is not online.
    pub released: bool,
}

impl ChargerReport {
    /// A charger of which nothing is known but its link.
    pub const fn silent(charger: ChargerId, at: Tick, link: Link) -> Self {
        Self {
            charger,
            at,
            link,
            vehicle: Vehicle::Unknown,
            fault: None,
            derated: false,
            waking: false,
            power: None,
            currents: None,
            voltages: None,
            setpoint: None,
            connected: None,
            box_max: None,
            box_min: None,
            energy: None,
            released: false,
        }
    }
}

/// What the shell is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Tell a charger what it may draw, and for how long that holds.
    Order(Order),
    /// Wake the car at this charger.
    Wake(ChargerId),
    /// Ask for fresh samples of the site.
    Refresh,
}

/// A setpoint with its validity. Not renewed in time, the driver lets it lapse to the safe value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Which charger.
    pub charger: ChargerId,
    /// 0 or ≥ the minimum; `None` leaves what the box has (only until its first report).
    pub setpoint: Option<Milliamps>,
    /// Phases to be connected, 1 or 3; `None` where there is nothing to switch, or it is to stay as it is. It differs from what is
    /// connected only while the setpoint is 0 and the car was measured at rest.
    pub phases: Option<u8>,
    /// The order lapses here.
    pub valid_until: Tick,
}

/// Why [`crate::Controller::poll_timeout`] wants to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// A burst of messages has had its time.
    Settle,
    /// Orders must be renewed, ages judged.
    Renew,
}

/// Everything worth showing, after a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// When.
    pub at: Tick,
    /// The site as last sampled.
    pub site: SiteView,
    /// The chargers.
    pub chargers: BTreeMap<ChargerId, ChargerView>,
}

/// The site as last sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteView {
    /// + import.
    pub grid: Option<Watts>,
    /// ≥ 0.
    pub solar: Option<Watts>,
    /// + discharging.
    pub battery: Option<Watts>,
    /// Including the chargers.
    pub load: Option<Watts>,
    /// Home battery.
    pub soc: Option<Percent>,
    /// Without the chargers.
    pub house: Option<Watts>,
    /// Solar − house, before any battery policy.
    pub surplus: Option<Watts>,
    /// Age of the last sample.
    pub age: Option<Millis>,
    /// `load − solar − grid − battery` when it has been off for several samples: a sign or a topic is wrong.
    pub imbalance: Option<Watts>,
    /// Age of the state of charge; `None` where only a stored value is known, or none.
    pub soc_age: Option<Millis>,
    /// Power sources of the configuration of which no live value is known.
    pub missing: Sources,
    /// What is doubted of the meters now.
    pub doubt: Option<Doubt>,
    /// The rhythm in which samples come, once it is known.
    pub cadence: Option<Millis>,
    /// The grid is gone: the house runs from the home battery.
    pub off_grid: bool,
}

/// One charger as decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChargerView {
    /// What the user asked for.
    pub mode: Mode,
    /// Current of mode `fixed`.
    pub fixed: Milliamps,
    /// What was decided.
    pub setpoint: Milliamps,
    /// Why.
    pub reason: Reason,
    /// The last report, if any.
    pub report: Option<ChargerReport>,
    /// Phases the car uses.
    pub phases: u8,
    /// How often its contactor has closed in the last 24 h, whoever made it.
    pub starts: u16,
    /// More is drawn than it was told, or was until it was paused for that.
    pub overdrawn: Option<Overdrawn>,
    /// The car was seen to need more than the lowest current.
    pub needs: Option<Needs>,
    /// The wallbox's own maximum, where that is less than the configured one.
    pub box_limit: Option<Milliamps>,
    /// Its power register does not agree with its currents, which count instead.
    pub power_doubted: bool,
}

/// A car or wallbox that does not obey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdrawn {
    /// The current it was told.
    pub told: Milliamps,
    /// The current of its strongest phase.
    pub drawn: Milliamps,
}

/// A car that takes nothing of the lowest current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The highest current of which it took nothing.
    pub nothing_at: Milliamps,
    /// The lowest current of which it took something, in whole amperes where that is possible.
    pub takes_from: Milliamps,
}
