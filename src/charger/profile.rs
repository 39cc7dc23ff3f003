//! Register maps of chargers, as data: `config/chargers/*.toml`, embedded in the program.
//!
//! A profile says where each value is, in which unit and since which register layout, what each raw state means, and which
//! writes the wallbox needs. Acting on it is up to the driver. It expresses what Heidelberg needs (16-bit setpoint in a
//! register of its own, one run of registers per poll); a different wallbox extends the file format, and `version` with it.

mod file;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use control::{Fault, Milliamps, Millis, Vehicle};

use super::codec::Operation;
use crate::config::KnownProfile;

/// The embedded profiles by name, in alphabetical order.
const CATALOG: [(&str, &str); 2] = [
    ("amperfied-connect", include_str!("../../config/chargers/amperfied-connect.toml")),
    ("heidelberg-energy-control", include_str!("../../config/chargers/heidelberg-energy-control.toml")),
];

/// Returns the names of all profiles.
pub fn names() -> impl Iterator<Item = &'static str> {
    CATALOG.iter().map(|(name, _)| *name)
}

/// Returns all profiles in the form that the configuration needs.
pub fn known() -> Vec<KnownProfile<'static>> {
    let known = |name| {
        let profile = load(name).ok();
        KnownProfile {
            name,
            switches_phases: profile.as_ref().is_some_and(|profile| profile.phase_switch.is_some()),
            max: profile.map_or(Milliamps::ZERO, |profile| profile.current_range().1),
        }
    };
    names().map(known).collect()
}

/// Loads the profile of this name.
pub fn load(name: &str) -> Result<Arc<Profile>, ProfileError> {
    let (name, text) =
        CATALOG.iter().find(|(known, _)| *known == name).ok_or_else(|| ProfileError::Unknown(name.to_owned()))?;
    Profile::parse(name, text).map(Arc::new)
}

/// Why a profile cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// No profile has this name.
    #[error("no charger profile is named {0:?}; known: {list}", list = names().collect::<Vec<_>>().join(", "))]
    Unknown(String),
    /// The file does not follow the format; line and column are in the text.
    #[error("charger profile {name}: {text}")]
    Syntax {
        /// Which profile.
        name: String,
        /// Message of the parser.
        text: String,
    },
    /// The file contradicts itself.
    #[error("charger profile {name}: {path}: {reason}")]
    Invalid {
        /// Which profile.
        name: String,
        /// Key path.
        path: String,
        /// What is wrong there.
        reason: String,
    },
}

/// Version of a wallbox's register layout, as hex digits in the layout register: `0x0107` is 1.0.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layout(pub u16);

impl Layout {
    /// Parses a layout written as three numbers below 16 (`1.0.7`).
    pub fn parse(text: &str) -> Option<Self> {
        let mut digits = text.split('.').map(|part| part.parse::<u16>().ok().filter(|digit| *digit < 16));
        let (major, minor, patch) = (digits.next()??, digits.next()??, digits.next()??);
        digits.next().is_none().then_some(Self(major << 8 | minor << 4 | patch))
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0 >> 8, self.0 >> 4 & 0xf, self.0 & 0xf)
    }
}

/// Modbus tables; the function codes are 04 and 03.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Read-only registers, function 04.
    Input,
    /// Registers read by function 03 and written by function 06.
    Holding,
}

/// How registers encode a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One register.
    U16,
    /// One register, two's complement.
    I16,
    /// Two registers, high word first.
    U32,
    /// This many registers, two characters each, high byte first.
    Text(u16),
}

/// Unit of a value after scaling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A bare number or an enumeration.
    None,
    /// A register layout.
    Layout,
    /// mA.
    Milliampere,
    /// V.
    Volt,
    /// VA; used as watts, although it reads high at low currents.
    VoltAmpere,
    /// `VAh`; used as watt-hours.
    VoltAmpereHour,
    /// ms.
    Millisecond,
    /// Thousandths of a degree Celsius.
    MilliCelsius,
}

/// One register, or a run of registers that form one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// Key in the profile.
    pub name: String,
    /// Table.
    pub table: Table,
    /// Address as on the wire, from 0.
    pub address: u16,
    /// Type.
    pub kind: Kind,
    /// Unit after scaling.
    pub unit: Unit,
    /// Units per count.
    pub scale: u16,
    /// First layout that has the register.
    pub since: Layout,
    /// First layout in which it can be read, if later.
    pub readable_since: Layout,
    /// Whether function 06 can write it.
    pub writable: bool,
    /// For people.
    pub title: String,
    /// Place in the vendor's document.
    pub cite: String,
    /// Meanings of some raw values.
    pub values: BTreeMap<u16, String>,
}

impl Register {
    /// Returns the number of registers.
    pub const fn count(&self) -> u16 {
        match self.kind {
            Kind::U16 | Kind::I16 => 1,
            Kind::U32 => 2,
            Kind::Text(length) => length,
        }
    }

    /// Returns the request that reads it.
    pub const fn read(&self) -> Operation {
        let (addr, count) = (self.address, self.count());
        match self.table {
            Table::Input => Operation::ReadInput { addr, count },
            Table::Holding => Operation::ReadHolding { addr, count },
        }
    }

    /// Returns the first address after it.
    pub const fn end(&self) -> u16 {
        self.address.saturating_add(self.count())
    }

    /// Returns its own registers from an answer that starts at address `start`; `None` if the answer does not contain all of them.
    pub fn words<'a>(&self, start: u16, answer: &'a [u16]) -> Option<&'a [u16]> {
        let from = usize::from(self.address.checked_sub(start)?);
        answer.get(from..from + usize::from(self.count()))
    }

    /// Decodes and scales the value from its own registers; `None` for text and for a wrong number of registers.
    pub fn value(&self, words: &[u16]) -> Option<i64> {
        let raw = match (self.kind, words) {
            (Kind::U16, &[word]) => i64::from(word),
            (Kind::I16, &[word]) => i64::from(word.cast_signed()),
            (Kind::U32, &[high, low]) => i64::from(high) << 16 | i64::from(low),
            (Kind::U16 | Kind::I16 | Kind::U32 | Kind::Text(_), _) => return None,
        };
        Some(raw * i64::from(self.scale))
    }

    /// Returns the printable part of text registers, without padding.
    pub fn text(words: &[u16]) -> String {
        let bytes = words.iter().flat_map(|word| word.to_be_bytes());
        let text: String = bytes.filter(|byte| (0x20..0x7f).contains(byte)).map(char::from).collect();
        text.trim().to_owned()
    }
}

/// Settings of the serial line and the pacing on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkDefaults {
    /// Baud.
    pub baud: u32,
    /// Parity.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
    /// Pause between the end of an answer and the next request.
    pub gap: Millis,
    /// How long to wait for an answer.
    pub reply: Millis,
    /// How long a line that got out of step must be quiet before it is used again.
    pub quiet: Millis,
}

/// Parity of the serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parity {
    /// None.
    None,
    /// Even.
    Even,
    /// Odd.
    Odd,
}

/// Meaning of a raw state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The vendor's code.
    pub code: String,
    /// State of the car.
    pub vehicle: Vehicle,
    /// The fault that keeps the wallbox from working, if any.
    pub fault: Option<Fault>,
    /// Whether the current is reduced because of temperature.
    pub derated: bool,
    /// For people.
    pub title: String,
}

/// Registers for measurements and for the data of the wallbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measure {
    /// Raw state, see [`Profile::states`].
    pub state: Register,
    /// Per phase.
    pub currents: [Register; 3],
    /// Per phase.
    pub voltages: [Register; 3],
    /// Total power.
    pub power: Register,
    /// Energy counters, best first.
    pub energy: Vec<Register>,
    /// The counter that starts at 0 when the wallbox is switched on.
    pub energy_since_power_on: Register,
    /// Highest current set in the wallbox.
    pub box_max: Register,
    /// Lowest current set in the wallbox.
    pub box_min: Register,
    /// Text with the serial number.
    pub serial: Register,
    /// A phase below this many volts is not wired.
    pub wired_from: u16,
}

/// How the current is set; raw values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetCurrent {
    /// The setpoint register.
    pub register: Register,
    /// Value for no charging.
    pub off: u16,
    /// Lowest other value.
    pub min: u16,
    /// Highest value.
    pub max: u16,
    /// Shortest time from any change of the current to a rise. Lowering never waits.
    pub hold: Millis,
}

/// Changing between one and three phases; raw values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseSwitch {
    /// The register that commands a change.
    pub command: Register,
    /// The register that shows the connected phases: one of the two values below, anything else during a change.
    pub state: Register,
    /// Value for one phase.
    pub one: u16,
    /// Value for three phases.
    pub three: u16,
    /// How long no current may flow after `state` shows the new value.
    pub settle: Millis,
    /// Time within which `state` must show a change; after that it has failed.
    pub confirm: Millis,
}

impl PhaseSwitch {
    /// Returns the raw value for a number of phases; `None` unless it is 1 or 3.
    pub const fn encode(&self, phases: u8) -> Option<u16> {
        match phases {
            1 => Some(self.one),
            3 => Some(self.three),
            _ => None,
        }
    }

    /// Returns the number of phases for a raw value; `None` during a change, and for a value without meaning.
    pub const fn decode(&self, raw: u16) -> Option<u8> {
        match raw {
            _ if raw == self.one => Some(1),
            _ if raw == self.three => Some(3),
            _ => None,
        }
    }
}

/// A register that is programmed once, with the wallbox's own default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The register.
    pub register: Register,
    /// Raw value after the wallbox has lost its settings.
    pub default: u16,
}

/// Whether the wallbox may go into standby; raw values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standby {
    /// The register.
    pub register: Register,
    /// Value that allows standby.
    pub allowed: u16,
    /// Value that forbids standby.
    pub forbidden: u16,
}

/// The remote lock; raw values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The register.
    pub register: Register,
    /// Value that locks.
    pub locked: u16,
    /// Value that unlocks.
    pub unlocked: u16,
    /// Shortest lock that wakes a car.
    pub hold: Millis,
    /// The key switch, read as part of a poll; same values as the remote lock.
    pub external: Option<Register>,
}

/// A register map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Key in the catalog.
    pub name: String,
    /// Product name.
    pub title: String,
    /// The vendor's document.
    pub source: String,
    /// Line settings and pacing.
    pub link: LinkDefaults,
    /// Every register, in the order of table and address.
    pub registers: Vec<Register>,
    /// The register that holds the layout.
    pub layout: Register,
    /// First layout whose current can be set.
    pub control_since: Layout,
    /// First layout that keeps its settings (not the setpoint) without power.
    pub settings_kept_since: Layout,
    /// Measurements.
    pub measure: Measure,
    /// The setpoint.
    pub set_current: SetCurrent,
    /// The wallbox's own watchdog, in milliseconds.
    pub watchdog: Setting,
    /// The current that applies when the watchdog has expired.
    pub fail_safe: Setting,
    /// Standby, if the wallbox has a register for it.
    pub standby: Option<Standby>,
    /// Phase switching, if the wallbox can do it.
    pub phase_switch: Option<PhaseSwitch>,
    /// Remote lock.
    pub lock: Lock,
    /// Raw states.
    pub states: BTreeMap<u16, State>,
}

impl Profile {
    /// Parses a profile. `name` is only used for messages and [`Profile::name`].
    pub fn parse(name: &str, text: &str) -> Result<Self, ProfileError> {
        file::parse(name, text)
    }

    /// Returns the run of registers of a poll on this layout: first address and count, at least 1. A layout older than all known ones, which
    /// only another device reports, is read like the first one that has a state.
    pub fn poll_block(&self, layout: Layout) -> (u16, u16) {
        let layout = layout.max(self.measure.state.since);
        let present = self.measure.polled().filter(|register| register.since <= layout);
        let (start, end) = present
            .fold((u16::MAX, 0), |(start, end), register| (start.min(register.address), end.max(register.end())));
        // The state is among them, so the run is never empty.
        (start.min(end), end.saturating_sub(start))
    }

    /// Returns the lowest current other than off, the highest current, and the resolution of the setpoint.
    pub fn current_range(&self) -> (Milliamps, Milliamps, Milliamps) {
        let scale = u32::from(self.set_current.register.scale);
        let amps = |raw: u16| Milliamps(u32::from(raw) * scale);
        (amps(self.set_current.min), amps(self.set_current.max), Milliamps(scale))
    }

    /// Returns the raw setpoint for a current: rounded down, `off` below the minimum, never above the register's or the wallbox's maximum.
    pub fn encode_current(&self, current: Milliamps, box_max: Milliamps) -> u16 {
        let scale = u32::from(self.set_current.register.scale).max(1);
        let counts = current.0.min(box_max.0) / scale;
        let raw = u16::try_from(counts).unwrap_or(u16::MAX).min(self.set_current.max);
        if raw < self.set_current.min { self.set_current.off } else { raw }
    }

    /// Returns the current of a raw setpoint.
    pub fn decode_current(&self, raw: u16) -> Milliamps {
        Milliamps(u32::from(raw) * u32::from(self.set_current.register.scale))
    }
}

impl Measure {
    /// Returns the registers that a poll reads.
    fn polled(&self) -> impl Iterator<Item = &Register> {
        [&self.state, &self.power, &self.energy_since_power_on]
            .into_iter()
            .chain(&self.currents)
            .chain(&self.voltages)
            .chain(&self.energy)
    }
}
