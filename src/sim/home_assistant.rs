//! Home Assistant as far as `surplusd` sees it: the Powerwall integration behind `mqtt_statestream` (Home Assistant 2026.11, measured).
//!
//! Every 30 s all entities are read together; only those whose state has changed are published, retained, as the bare text of the state.
//! Power is in kW with at most three decimals, charge in percent as read, both as Python prints floats. Pure: it returns what to publish.
//! Left out: attributes, time stamps, the birth message and everything else of Home Assistant.

use std::collections::BTreeMap;

/// The meter values at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Meters {
    /// Grid power in watts, + import.
    pub grid_w: i32,
    /// Solar power in watts, ≥ 0.
    pub solar_w: i32,
    /// Load in watts including the charger, ≥ 0.
    pub load_w: i32,
    /// Battery power in watts (+ discharging) and charge in percent; `None` without a battery, whose entities then do not exist.
    pub battery: Option<(i32, f64)>,
}

/// Options of Home Assistant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HomeAssistantOptions {
    /// Interval between readings, in milliseconds.
    pub period_ms: u64,
    /// Whether an automation answers refresh requests.
    pub answers_refresh: bool,
}

impl Default for HomeAssistantOptions {
    /// A reading every 30 s, with the automation.
    fn default() -> Self {
        Self { period_ms: 30_000, answers_refresh: true }
    }
}

/// Time from a refresh request to the new reading.
const REFRESH_TAKES_MS: u64 = 2_000;
/// Shortest interval between requested readings.
const REFRESH_EVERY_MS: u64 = 5_000;

/// The entities and their last published values.
#[derive(Debug, Clone)]
pub struct HomeAssistant {
    options: HomeAssistantOptions,
    published: BTreeMap<&'static str, String>,
    next_ms: u64,
    last_ms: Option<u64>,
    refresh_ms: Option<u64>,
    available: bool,
}

impl HomeAssistant {
    /// Takes the first reading when first polled.
    pub const fn new(options: HomeAssistantOptions) -> Self {
        Self { options, published: BTreeMap::new(), next_ms: 0, last_ms: None, refresh_ms: None, available: true }
    }

    /// Requests a fresh reading.
    pub fn refresh(&mut self, now_ms: u64) {
        if self.options.answers_refresh && self.refresh_ms.is_none() {
            let earliest = self.last_ms.map_or(0, |last| last + REFRESH_EVERY_MS);
            self.refresh_ms = Some((now_ms + REFRESH_TAKES_MS).max(earliest));
        }
    }

    /// Sets whether the gateway can be read. While it cannot, every state is the text `unavailable`.
    pub const fn set_available(&mut self, available: bool) {
        self.available = available;
        // Noticed at once: in reality by an error of the next request, which is not waited for here.
        self.next_ms = 0;
    }

    /// Topics and payloads to publish now, retained.
    pub fn poll(&mut self, now_ms: u64, meters: &Meters) -> Vec<(&'static str, String)> {
        if now_ms < self.next_ms && self.refresh_ms.is_none_or(|at| now_ms < at) {
            return Vec::new();
        }
        // A refresh restarts the period, as in Home Assistant's coordinator.
        self.refresh_ms = None;
        self.next_ms = now_ms + self.options.period_ms;
        self.last_ms = Some(now_ms);
        let mut states = vec![
            ("homeassistant/sensor/powerwall_site_now/state", kilowatts(meters.grid_w)),
            ("homeassistant/sensor/powerwall_solar_now/state", kilowatts(meters.solar_w)),
            ("homeassistant/sensor/powerwall_load_now/state", kilowatts(meters.load_w)),
        ];
        if let Some((battery_w, soc_pct)) = meters.battery {
            states.push(("homeassistant/sensor/powerwall_battery_now/state", kilowatts(battery_w)));
            states.push(("homeassistant/sensor/powerwall_charge/state", python(soc_pct)));
        }
        if !self.available {
            for (_, state) in &mut states {
                "unavailable".clone_into(state);
            }
        }
        states.retain(|(topic, state)| self.published.get(topic) != Some(state));
        self.published.extend(states.iter().cloned());
        states
    }
}

/// Formats watts as kW.
fn kilowatts(watts: i32) -> String {
    python(f64::from(watts) / 1_000.0)
}

/// Formats a float as Python does: the shortest text that reads back the same, always with a point. For the values that occur here, Rust's
/// debug format is the same.
fn python(value: f64) -> String {
    format!("{value:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const METERS: Meters = Meters { grid_w: -4_200, solar_w: 10_000, load_w: 3_217, battery: Some((0, 55.0)) };

    #[test]
    fn numbers_look_as_python_prints_them() {
        let mut home = HomeAssistant::new(HomeAssistantOptions::default());
        let states = home.poll(1, &METERS);
        let text: Vec<&str> = states.iter().map(|(_, state)| state.as_str()).collect();
        assert_eq!(text, ["-4.2", "10.0", "3.217", "0.0", "55.0"]);
        assert_eq!(states[3].0, "homeassistant/sensor/powerwall_battery_now/state");
        assert_eq!(kilowatts(-1), "-0.001");
        assert_eq!(kilowatts(1), "0.001");
    }

    #[test]
    fn only_changes_are_published_and_only_every_period() {
        let mut home = HomeAssistant::new(HomeAssistantOptions::default());
        assert_eq!(home.poll(1_000, &METERS).len(), 5);
        let changed = Meters { solar_w: 9_000, ..METERS };
        assert_eq!(home.poll(30_999, &changed), []);
        assert_eq!(home.poll(31_000, &changed).len(), 1);
        assert_eq!(home.poll(61_000, &changed), []);
    }

    #[test]
    fn a_refresh_comes_two_seconds_later_and_not_too_often() {
        let mut home = HomeAssistant::new(HomeAssistantOptions::default());
        home.poll(1_000, &METERS);
        home.refresh(10_000);
        home.refresh(11_000);
        let changed = Meters { solar_w: 9_000, ..METERS };
        assert_eq!(home.poll(11_999, &changed), []);
        assert_eq!(home.poll(12_000, &changed).len(), 1);
        home.refresh(12_500);
        assert_eq!(home.poll(16_999, &METERS), []);
        assert_eq!(home.poll(17_000, &METERS).len(), 1);
        assert_eq!(home.poll(46_999, &changed), [], "the period begins anew");
        let mut deaf = HomeAssistant::new(HomeAssistantOptions { answers_refresh: false, ..Default::default() });
        deaf.poll(1_000, &METERS);
        deaf.refresh(2_000);
        assert_eq!(deaf.poll(10_000, &changed), []);
    }

    #[test]
    fn unavailable_is_a_state_like_any_other() {
        let mut home = HomeAssistant::new(HomeAssistantOptions::default());
        home.poll(1_000, &METERS);
        home.set_available(false);
        let states = home.poll(2_000, &METERS);
        assert!(states.len() == 5 && states.iter().all(|(_, state)| state == "unavailable"));
        home.set_available(true);
        assert_eq!(home.poll(3_000, &METERS).len(), 5);
    }

    #[test]
    fn without_a_battery_its_entities_do_not_exist() {
        let mut home = HomeAssistant::new(HomeAssistantOptions::default());
        assert_eq!(home.poll(1, &Meters { battery: None, ..METERS }).len(), 3);
    }
}
