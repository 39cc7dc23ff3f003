//! Facts about the world: readings of the site and reports from chargers. Plain data.

use core::fmt;

use crate::units::{Milliamps, Tick, Volts, WattHours, Watts};

/// A charger, identified by its position in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChargerId(pub u8);

/// The charging mode, as chosen by the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// No charging.
    Off,
    /// From surplus only.
    Solar,
    /// The minimum at once.
    Slow,
    /// The minimum at once, more when there is surplus for it.
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

    /// Returns the mode with this name.
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
    /// A number that changes while the publisher of the site's values is alive, without further meaning.
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

    /// Whether the set contains a source.
    pub const fn contains(self, source: Source) -> bool {
        self.0 >> (source as u8) & 1 == 1
    }

    /// Whether the set is empty.
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

/// A message from a source: watts, percent for [`Source::BatterySoc`], 0 or 1 for [`Source::GridStatus`], any number for
/// [`Source::Heartbeat`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The quantity measured.
    pub source: Source,
    /// The value in the source's unit, with our signs; `None` if the message says that there is no data.
    pub value: Option<i32>,
    /// Whether the broker stored it at some unknown time; such a value is never a measurement.
    pub retained: bool,
}

/// Whether a charger answers and can be controlled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reachability {
    /// No answer yet since start.
    Starting,
    /// Answers, and takes orders.
    Online,
    /// Answers, but its current cannot be set.
    ReadOnly,
    /// Silent as expected: the wallbox sleeps until a car is plugged in.
    Asleep,
    /// Silent, although it should answer.
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

/// The state of the car as reported by the charger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vehicle {
    /// Not known (starting up, locked, in error, not reachable).
    Unknown,
    /// No car (IEC 61851 state A).
    Absent,
    /// A car that does not ask for current (state B).
    Connected,
    /// A car that asks for current while the wallbox offers none (state C1): not charging.
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

/// A fault that keeps the charger from working.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Locked or not ready (state F): key switch, remote lock, or the wallbox's own watchdog.
    Locked,
    /// The wallbox reports an error (state E or its own).
    Error,
    /// The wallbox does not keep the fail-safe or the setpoint that was written to it.
    Refused,
    /// The number of connected phases is unknown.
    Phases,
    /// It answers, but rejects something it cannot be used without, or keeps a higher current than was set.
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

/// A report from a charger, as of `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChargerReport {
    /// Which charger.
    pub charger: ChargerId,
    /// When the answer arrived.
    pub at: Tick,
    /// Whether it answers and can be controlled.
    pub link: Reachability,
    /// The reported state of the car.
    pub vehicle: Vehicle,
    /// The fault that keeps it from working.
    pub fault: Option<Fault>,
    /// Whether it has reduced the current because of its own temperature.
    pub derated: bool,
    /// Whether a wake-up pulse is under way; `vehicle` is then the state before it.
    pub waking: bool,
    /// Power drawn by the car.
    pub power: Option<Watts>,
    /// RMS current of each phase.
    pub currents: Option<[Milliamps; 3]>,
    /// Voltage of each phase to neutral.
    pub voltages: Option<[Volts; 3]>,
    /// The setpoint as read back from the wallbox; `None` until it has been read.
    pub setpoint: Option<Milliamps>,
    /// Phases connected by the wallbox or a relay, as read back; `None` where this is not known, or not known during a change.
    pub connected: Option<u8>,
    /// The wallbox's own highest current.
    pub box_max: Option<Milliamps>,
    /// The wallbox's own lowest current.
    pub box_min: Option<Milliamps>,
    /// The wallbox's energy counter as it stands (may go backwards).
    pub energy: Option<WattHours>,
    /// Whether it has certainly fallen back to its fail-safe current: nothing was sent to it for longer than its watchdog time, and both
    /// settings had been read back before. Set only for a charger that is not online.
    pub released: bool,
}

impl ChargerReport {
    /// Returns the report of a charger of which only the reachability is known.
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
