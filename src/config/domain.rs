//! The configuration as the program uses it: domain types with everything resolved; nothing that has a default is optional.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use control::{ChargerId, Milliamps, Millis, Source};

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The broker.
    pub mqtt: MqttConfig,
    /// Where each source is read.
    pub inputs: BTreeMap<Source, InputConfig>,
    /// The controller's part of the configuration.
    pub control: control::Config,
    /// How each charger is reached.
    pub chargers: BTreeMap<ChargerId, ChargerSetup>,
    /// What is published, and where.
    pub publish: PublishConfig,
    /// The file that keeps mode, counters and locks across restarts.
    pub state_file: PathBuf,
    /// The flight recorder; `None` if nothing is recorded.
    pub journal: Option<JournalConfig>,
}

/// Settings of the flight recorder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalConfig {
    /// The journal file.
    pub file: PathBuf,
    /// How much recorded time is kept.
    pub keep: Millis,
    /// Largest size of the file, in bytes.
    pub max_bytes: u64,
    /// How much recorded time is collected before it is stored; a power cut loses at most this much.
    pub batch: Millis,
}

/// How to reach the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttConfig {
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `None` for plain MQTT.
    pub tls: Option<TlsConfig>,
    /// User name, if the broker requires one.
    pub username: Option<Secret>,
    /// Password, if the broker requires one.
    pub password: Option<Secret>,
    /// MQTT client id: unique and stable.
    pub client_id: String,
    /// Keep-alive interval in whole seconds, 5 … 120.
    pub keep_alive_s: u16,
}

/// How to authenticate the broker and this client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The private certificate authority; `None` for the system's roots.
    pub ca_file: Option<PathBuf>,
    /// Certificate and key of this client, if the broker requires them.
    pub client_auth: Option<ClientAuth>,
}

/// Certificate and key files of this client (PEM).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuth {
    /// Certificate chain.
    pub cert_file: PathBuf,
    /// Private key.
    pub key_file: PathBuf,
}

/// Text that must not be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Where and how to read a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputConfig {
    /// Exact topics (no wildcards); more than one if a preset knows several spellings.
    pub topics: Vec<String>,
    /// JSON pointer into the payload; `None` if the payload is the value itself.
    pub pointer: Option<String>,
    /// Unit of the value.
    pub unit: Unit,
    /// Whether the sign is the opposite of ours.
    pub negate: bool,
}

/// Unit of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Watts, W.
    Watt,
    /// Kilowatts, kW.
    Kilowatt,
    /// Percent, %.
    Percent,
    /// `on` and `off`, or `true` and `false`, `1` and `0`.
    OnOff,
    /// Any text: only its change matters.
    Any,
}

/// How a charger is reached and set up. Its limits for the controller are in [`control::Config::chargers`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargerSetup {
    /// Unique name in `[a-z0-9-]`; part of topics.
    pub name: String,
    /// Name of the register map in `config/chargers/`.
    pub profile: String,
    /// The line it is connected to.
    pub link: LinkConfig,
    /// Modbus unit, 1 … 247.
    pub unit: u8,
    /// Time between two polls of its state.
    pub poll: Millis,
    /// The wallbox's own watchdog: after this time without communication it falls back to `safe_current`.
    pub watchdog: Millis,
    /// The wallbox's fail-safe current: 0 or ≥ 6 A.
    pub safe_current: Milliamps,
    /// Whether the wallbox may sleep when no car is plugged in.
    pub standby: bool,
    /// What switches the number of phases; `None` if they stay as wired.
    pub phase_switch: Option<PhaseSwitch>,
    /// How long to wait for an answer, the same for all chargers on the line; `None` for the profile's value.
    pub reply: Option<Millis>,
}

/// What switches the number of phases that a charger connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PhaseSwitch {
    /// The charger itself.
    Charger,
    /// A contactor in L2 and L3 upstream of the charger, driven by a contact of a Pico W relay: closed for all phases, open for L1 only.
    Contact {
        /// The relay's id.
        relay: String,
        /// Counted from 1.
        contact: u8,
    },
}

impl PhaseSwitch {
    /// The id of the relay that it needs, if any.
    pub fn relay(&self) -> Option<&str> {
        match self {
            Self::Charger => None,
            Self::Contact { relay, .. } => Some(relay),
        }
    }
}

/// A line with one or more chargers on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkConfig {
    /// An RS-485 adapter by its (stable) device name. The line settings come from the profile.
    Serial {
        /// Path of the device.
        path: PathBuf,
    },
    /// Modbus TCP.
    Tcp {
        /// Name or address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// The RS-485 line of a Pico W relay.
    Relay {
        /// Id of the relay.
        id: String,
    },
}

impl LinkConfig {
    /// The id of the relay that it goes through, if any.
    pub fn relay(&self) -> Option<&str> {
        match self {
            Self::Relay { id } => Some(id),
            Self::Serial { .. } | Self::Tcp { .. } => None,
        }
    }
}

/// What is published, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishConfig {
    /// Prefix of every topic of ours, default `surplusd/<node-id>`.
    pub base_topic: String,
    /// Topic of the original controller's `{"chargeP": n, "unit": "W"}` every 30 s; `None` if not published.
    pub charger_power_topic: Option<String>,
    /// Shortest time between two publications of unchanged state.
    pub state_every: Millis,
}
