//! The status that the loop shows after each turn: everything that a person, a topic or a page may need, built once.

use control::{ChargerId, ChargerView, Millis, SiteView, Source, Tick, WattHours, Watts};

/// Everything known and decided at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// When it was built.
    pub at: Tick,
    /// The site as last sampled.
    pub site: SiteView,
    /// The chargers, in the order of the configuration file.
    pub chargers: Vec<ChargerStatus>,
    /// The configured sources of the site's values.
    pub inputs: Vec<InputStatus>,
    /// The connection to the MQTT broker.
    pub broker: BrokerStatus,
    /// Current problems, in sentences.
    pub warnings: Vec<String>,
}

/// One charger.
#[derive(Debug, Clone, PartialEq)]
pub struct ChargerStatus {
    /// Its place in the configuration file.
    pub id: ChargerId,
    /// Its name in the configuration file.
    pub name: String,
    /// The controller's decision for it, and its last report.
    pub view: ChargerView,
    /// Details of our link to it.
    pub link: ChargerLink,
    /// Total energy delivered, by a counter that never decreases; `None` until the charger's own counter is believed.
    pub energy: Option<WattHours>,
    /// Energy delivered since local midnight.
    pub today: Tally,
    /// Energy delivered since the car was plugged in; `None` without a car.
    pub session: Option<Session>,
}

/// What is known about the link to a charger, except its state, which is in the charger's last report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargerLink {
    /// Since when the link has been in its current state.
    pub since: Tick,
    /// Cause and remedy of a problem with the charger or its line; `None` if there is none.
    pub why: Option<String>,
    /// Earliest time of the next attempt to reach the charger; `None` while it answers.
    pub next_try: Option<Tick>,
}

/// The time from plugging a car in to unplugging it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Session {
    /// Time since the car was plugged in, or first seen.
    pub lasts: Millis,
    /// Energy the car got.
    pub tally: Tally,
}

/// Energy that a car got over a span of time, by origin. In millijoules (watts times milliseconds), because one second of charging is
/// less than a watt-hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Directly from the sun.
    pub solar_mj: u64,
    /// From the home battery.
    pub battery_mj: u64,
    /// From the grid.
    pub grid_mj: u64,
    /// Of unknown origin.
    pub unknown_mj: u64,
    /// Number of times charging has started.
    pub starts: u32,
}

impl Tally {
    /// No energy and no starts.
    pub const ZERO: Self = Self { solar_mj: 0, battery_mj: 0, grid_mj: 0, unknown_mj: 0, starts: 0 };

    /// The total energy, from all origins.
    pub const fn energy(&self) -> WattHours {
        watt_hours(self.known_mj().saturating_add(self.unknown_mj))
    }

    /// The sun's share of the energy of known origin, in percent; `None` if that energy is zero.
    pub fn sun_percent(&self) -> Option<u8> {
        match self.known_mj() {
            0 => None,
            known => u8::try_from(u128::from(self.solar_mj) * 100 / u128::from(known)).ok(),
        }
    }

    /// Energy directly from the sun.
    pub const fn solar(&self) -> WattHours {
        watt_hours(self.solar_mj)
    }

    /// Energy from the home battery.
    pub const fn battery(&self) -> WattHours {
        watt_hours(self.battery_mj)
    }

    /// Energy from the grid.
    pub const fn grid(&self) -> WattHours {
        watt_hours(self.grid_mj)
    }

    const fn known_mj(&self) -> u64 {
        self.solar_mj.saturating_add(self.battery_mj).saturating_add(self.grid_mj)
    }
}

const fn watt_hours(millijoules: u64) -> WattHours {
    WattHours((millijoules / 3_600_000).cast_signed())
}

/// A configured source of the site's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputStatus {
    /// The value that it provides.
    pub source: Source,
    /// What has been received from it.
    pub state: InputState,
    /// Time since it last gave a live value; `None` if it never did.
    pub age: Option<Millis>,
}

/// What has been received from a source, ordered from worst to best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InputState {
    /// No message yet.
    Never,
    /// Messages without usable data.
    Unusable,
    /// Only a message stored by the broker.
    Stored,
    /// A live message.
    Live,
}

impl InputState {
    /// The name used in topics and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Unusable => "unusable",
            Self::Stored => "stored",
            Self::Live => "live",
        }
    }
}

/// The connection to the MQTT broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerStatus {
    /// The current state.
    pub state: BrokerState,
    /// Since when it has been in this state.
    pub since: Tick,
}

/// State of the connection to the MQTT broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerState {
    /// Not connected yet since the start, and nothing has failed yet.
    Connecting,
    /// Connected.
    Connected,
    /// Not connected.
    Disconnected {
        /// Cause and remedy.
        why: String,
        /// When the next connection attempt is made.
        next_try: Tick,
    },
}

impl BrokerState {
    /// The name used in documents.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Disconnected { .. } => "disconnected",
        }
    }
}

impl Status {
    /// The power that all chargers draw; `None` unless every charger's power is known.
    pub fn charger_power(&self) -> Option<Watts> {
        self.chargers.iter().map(ChargerStatus::power).sum()
    }
}

#[cfg(test)]
impl Status {
    /// Builds a status from a snapshot alone; the chargers are called `carport`, `carport-1`, …
    pub(crate) fn of(snapshot: control::Snapshot) -> Self {
        let charger = |(id, view): (ChargerId, ChargerView)| {
            let name = if id.0 == 0 { "carport".to_owned() } else { format!("carport-{}", id.0) };
            let (energy, today, session) = (None, Tally::ZERO, None);
            let link = ChargerLink { since: snapshot.at, why: None, next_try: None };
            ChargerStatus { id, name, view, link, energy, today, session }
        };
        Self {
            at: snapshot.at,
            site: snapshot.site,
            chargers: snapshot.chargers.into_iter().map(charger).collect(),
            inputs: Vec::new(),
            broker: BrokerStatus { state: BrokerState::Connecting, since: snapshot.at },
            warnings: Vec::new(),
        }
    }
}

impl ChargerStatus {
    /// The power the car draws, according to the charger's last report.
    pub fn power(&self) -> Option<Watts> {
        self.view.report.and_then(|report| report.power)
    }
}
