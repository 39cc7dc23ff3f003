//! What the loop shows after each turn: everything that a person, a topic or a page may want to know, built once.

use control::{ChargerId, ChargerView, Millis, SiteView, Source, Tick, WattHours, Watts};

/// What is known and decided, at one moment.
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
    /// What is wrong for the time being, in sentences.
    pub warnings: Vec<String>,
}

/// One charger.
#[derive(Debug, Clone, PartialEq)]
pub struct ChargerStatus {
    /// Its place in the configuration file.
    pub id: ChargerId,
    /// Its name in the configuration file.
    pub name: String,
    /// What was decided for it, and what it last reported.
    pub view: ChargerView,
    /// More on its link to us.
    pub link: ChargerLink,
    /// What it has delivered in all, by a counter that never steps down; `None` until its own counter was believed.
    pub energy: Option<WattHours>,
    /// What it has delivered since local midnight.
    pub today: Tally,
    /// What it has delivered since the car was plugged in; `None` without a car.
    pub session: Option<Session>,
}

/// What is known of the link to a charger besides its state, which is in its last report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargerLink {
    /// Since when it is in its present state.
    pub since: Tick,
    /// What is wrong with the charger or its line, cause and remedy; `None` where nothing is.
    pub why: Option<String>,
    /// When it is asked again at the soonest; `None` while it answers.
    pub next_try: Option<Tick>,
}

/// The time from plugging a car in to unplugging it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Session {
    /// Time since the car was plugged in, or first seen.
    pub lasts: Millis,
    /// What it got.
    pub tally: Tally,
}

/// Energy that a car got over a span of time, and where it came from. In millijoules (watts times milliseconds), as a second of charging
/// is less than a watt-hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// From the sun, directly.
    pub solar_mj: u64,
    /// From the home battery.
    pub battery_mj: u64,
    /// From the grid.
    pub grid_mj: u64,
    /// While it was not known where it came from.
    pub unknown_mj: u64,
    /// How often charging has begun.
    pub starts: u32,
}

impl Tally {
    /// Nothing yet.
    pub const ZERO: Self = Self { solar_mj: 0, battery_mj: 0, grid_mj: 0, unknown_mj: 0, starts: 0 };

    /// All of it.
    pub const fn energy(&self) -> WattHours {
        watt_hours(self.known_mj().saturating_add(self.unknown_mj))
    }

    /// The sun's share of the energy whose source is known, in percent; `None` where there is none.
    pub fn sun_percent(&self) -> Option<u8> {
        match self.known_mj() {
            0 => None,
            known => u8::try_from(u128::from(self.solar_mj) * 100 / u128::from(known)).ok(),
        }
    }

    /// From the sun, directly.
    pub const fn solar(&self) -> WattHours {
        watt_hours(self.solar_mj)
    }

    /// From the home battery.
    pub const fn battery(&self) -> WattHours {
        watt_hours(self.battery_mj)
    }

    /// From the grid.
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
    /// Which.
    pub source: Source,
    /// What is known of it.
    pub state: InputState,
    /// Time since it last gave a live value; `None` if it never did.
    pub age: Option<Millis>,
}

/// What is known of a source, the better the later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InputState {
    /// Nothing was ever heard.
    Never,
    /// What is heard is no data.
    Unusable,
    /// Only what the broker had stored.
    Stored,
    /// It spoke live.
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
    /// How it is.
    pub state: BrokerState,
    /// Since when.
    pub since: Tick,
}

/// How the connection to the MQTT broker is.
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
        /// When the next attempt is made.
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
    /// What all chargers draw; known only when each charger's power is.
    pub fn charger_power(&self) -> Option<Watts> {
        self.chargers.iter().map(ChargerStatus::power).sum()
    }
}

#[cfg(test)]
impl Status {
    /// A status that says no more than a snapshot does; the chargers are called `carport`, `carport-1`, …
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
    /// What the car draws, by the charger's last report.
    pub fn power(&self) -> Option<Watts> {
        self.view.report.and_then(|report| report.power)
    }
}
