//! The configuration as the program uses it: domain types, everything resolved, nothing optional that has a default.

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
    /// What the controller is told.
    pub control: control::Config,
    /// How each charger is reached.
    pub chargers: BTreeMap<ChargerId, ChargerSetup>,
    /// What is published, and where.
    pub publish: PublishConfig,
    /// Where mode, counters and locks are kept across restarts.
    pub state_file: PathBuf,
    /// The flight recorder; `None`: nothing is recorded.
    pub journal: Option<JournalConfig>,
}

/// The flight recorder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalConfig {
    /// Its file.
    pub file: PathBuf,
    /// How much recorded time is kept.
    pub keep: Millis,
    /// How large the file may become.
    pub max_bytes: u64,
    /// How much is gathered before it is stored; this much is lost when the power goes.
    pub batch: Millis,
}

/// How to reach the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttConfig {
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `None`: plain MQTT.
    pub tls: Option<TlsConfig>,
    /// User name, where the broker wants one.
    pub username: Option<Secret>,
    /// Password, where the broker wants one.
    pub password: Option<Secret>,
    /// Unique and stable.
    pub client_id: String,
    /// Whole seconds, 5 … 120.
    pub keep_alive_s: u16,
}

/// How to trust the broker, and how to be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The private certificate authority; `None`: the system's roots.
    pub ca_file: Option<PathBuf>,
    /// Certificate and key of this client, where the broker wants them.
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

/// Where and how a source is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputConfig {
    /// Exact topics (no wildcards); more than one where a preset knows several spellings.
    pub topics: Vec<String>,
    /// JSON pointer into the payload; `None`: the payload is the value itself.
    pub pointer: Option<String>,
    /// Unit of the value.
    pub unit: Unit,
    /// The sign is the other way round than ours.
    pub negate: bool,
}

/// Unit of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// W.
    Watt,
    /// kW.
    Kilowatt,
    /// Percent.
    Percent,
    /// `on` and `off`, or `true` and `false`, `1` and `0`.
    OnOff,
    /// Anything: it only matters that it changes.
    Any,
}

/// How a charger is reached and set up. Its limits for the controller are in [`control::Config::chargers`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargerSetup {
    /// `[a-z0-9-]`, unique; part of topics.
    pub name: String,
    /// Name of the register map in `config/chargers/`.
    pub profile: String,
    /// The line it hangs on.
    pub link: LinkConfig,
    /// Modbus unit, 1 … 247.
    pub unit: u8,
    /// Time between two polls of its state.
    pub poll: Millis,
    /// The box's own watchdog: silent this long, it falls to `safe_current`.
    pub watchdog: Millis,
    /// Its fail-safe current: 0 or ≥ 6 A.
    pub safe_current: Milliamps,
    /// Whether the box may sleep when no car is plugged in.
    pub standby: bool,
    /// What changes the number of phases; `None`: they are as wired.
    pub phase_switch: Option<PhaseSwitch>,
    /// How long an answer is waited for, the same for all on the line; `None`: as long as the profile says.
    pub reply: Option<Millis>,
}

/// What changes the number of phases that a charger connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PhaseSwitch {
    /// The charger itself.
    Charger,
    /// A contactor in L2 and L3 before the charger, at a contact of a Pico W relay: closed, all phases; open, L1 alone.
    Contact {
        /// The relay's id.
        relay: String,
        /// Counted from 1.
        contact: u8,
    },
}

impl PhaseSwitch {
    /// The relay that it needs, if it does.
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
    /// RS-485 adapter by its (stable) device name. Line settings are the profile's.
    Serial {
        /// Device.
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
        /// Its id.
        id: String,
    },
}

impl LinkConfig {
    /// The relay that it goes through, if it does.
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
    /// Topic of the original controller's `{"chargeP": n, "unit": "W"}` every 30 s; `None`: not published.
    pub charger_power_topic: Option<String>,
    /// Shortest time between two publications of unchanged state.
    pub state_every: Millis,
}
