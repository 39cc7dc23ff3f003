//! The scenarios that the benchmark and the tests compare.

use control::{Config, Millis, PhaseSwitching, Source};

use super::meters::MetersOptions;
use super::setup::{Setup, SetupError, reference};

/// Meters, battery and charger of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// A Powerwall, read every 30 s as Home Assistant's integration does.
    Powerwall30s,
    /// A Powerwall, read every 10 s.
    Powerwall10s,
    /// No home battery, meters every 30 s.
    NoBattery30s,
    /// No home battery, meters every second.
    NoBatteryLive,
    /// A Powerwall, with late, noisy, silent meters every 30 s.
    Realistic,
    /// A Powerwall, read every 30 s; requests for fresh samples are answered after 2 s.
    PowerwallRefresh,
    /// No home battery, meters every 30 s, a charger that can switch between one and three phases.
    Phases13,
    /// A Powerwall, meters every second: the battery reacts a moment after the meters show a change.
    PowerwallLive,
    /// No home battery, and only a grid meter, every 30 s.
    GridOnly,
}

impl Scenario {
    /// All scenarios.
    pub const ALL: [Self; 9] = [
        Self::Powerwall30s,
        Self::Powerwall10s,
        Self::NoBattery30s,
        Self::NoBatteryLive,
        Self::Realistic,
        Self::PowerwallRefresh,
        Self::Phases13,
        Self::PowerwallLive,
        Self::GridOnly,
    ];

    /// The name on the command line and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Powerwall30s => "powerwall-30s",
            Self::Powerwall10s => "powerwall-10s",
            Self::NoBattery30s => "no-battery-30s",
            Self::NoBatteryLive => "no-battery-live",
            Self::Realistic => "realistic",
            Self::PowerwallRefresh => "powerwall-refresh",
            Self::Phases13 => "phases-1-3",
            Self::PowerwallLive => "powerwall-live",
            Self::GridOnly => "grid-only",
        }
    }

    /// The scenario with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name)
    }

    /// The plant of this scenario.
    pub fn setup(self) -> Setup {
        let default = Setup::default();
        let meters = |change: MetersOptions| Setup { meters: change, ..default };
        match self {
            Self::Powerwall30s => default,
            Self::Powerwall10s => meters(MetersOptions { period_s: 10, ..default.meters }),
            Self::NoBattery30s | Self::Phases13 | Self::GridOnly => Setup { battery: None, ..default },
            Self::NoBatteryLive => Setup { battery: None, ..meters(MetersOptions { period_s: 0, ..default.meters }) },
            Self::PowerwallLive => meters(MetersOptions { period_s: 0, ..default.meters }),
            Self::Realistic => meters(MetersOptions { realistic: true, ..default.meters }),
            Self::PowerwallRefresh => meters(MetersOptions { refresh_delay_s: Some(2), ..default.meters }),
        }
    }

    /// The controller's configuration, based on the reference configuration.
    pub fn config(self) -> Result<Config, SetupError> {
        let mut config = reference(self.setup().battery.is_some())?;
        if self == Self::Phases13 {
            for charger in config.chargers.values_mut() {
                charger.switching = Some(PhaseSwitching { pause: Millis::from_secs(60) });
            }
        }
        if self == Self::GridOnly {
            config.sources.retain(|source, _| *source == Source::Grid);
        }
        Ok(config)
    }
}
