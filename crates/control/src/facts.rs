//! What is known of the world: the site's readings and what a charger reports. Plain data.

use core::fmt;

use crate::units::{Milliamps, Tick, Volts, WattHours, Watts};

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

/// A set of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sources(pub u8);

impl Sources {
    /// No source.
    pub const NONE: Self = Self(0);

    /// Adds a source.
    pub const fn add(&mut self, source: Source) {
        self.0 |= 1 << source as u8;
    }

    /// Whether a source is in it.
    pub const fn contains(self, source: Source) -> bool {
        self.0 >> (source as u8) & 1 == 1
    }

    /// Whether it is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Source> for Sources {
    fn from_iter<I: IntoIterator<Item = Source>>(sources: I) -> Self {
        let mut set = Self::NONE;
        for source in sources {
            set.add(source);
        }
        set
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Source::ALL.into_iter().filter(|source| self.contains(*source)).map(Source::name).peekable();
        let mut first = true;
        while let Some(name) = names.next() {
            let link = if first {
                ""
            } else if names.peek().is_none() {
                " and "
            } else {
                ", "
            };
            write!(f, "{link}{name}")?;
            first = false;
        }
        Ok(())
    }
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

/// Whether the charger can be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reachability {
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

impl Reachability {
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
    pub link: Reachability,
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
    pub const fn silent(charger: ChargerId, at: Tick, link: Reachability) -> Self {
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
