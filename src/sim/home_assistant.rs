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
    /// Whether a changing number is published every minute, as docs/home-assistant/statestream.yaml does.
    pub heartbeat: bool,
}

impl Default for HomeAssistantOptions {
    /// A reading every 30 s, with the automation.
    fn default() -> Self {
        Self { period_ms: 30_000, answers_refresh: true, heartbeat: false }
    }
}

/// Time from a refresh request to the new reading.
const REFRESH_TAKES_MS: u64 = 2_000;
/// Shortest interval between requested readings.
const REFRESH_EVERY_MS: u64 = 5_000;

/// Interval of the heartbeat.
const HEARTBEAT_MS: u64 = 60_000;
const HEARTBEAT: &str = "homeassistant/sensor/surplusd_heartbeat/state";

/// An entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entity {
    /// Grid power.
    Grid,
    /// Solar power.
    Solar,
    /// Load.
    Load,
    /// Battery power.
    Battery,
    /// Charge of the battery.
    Charge,
}

impl Entity {
    /// All entities, in the order in which they are published.
    pub const ALL: [Self; 5] = [Self::Grid, Self::Solar, Self::Load, Self::Battery, Self::Charge];

    /// The topic of its state.
    pub const fn topic(self) -> &'static str {
        match self {
            Self::Grid => "homeassistant/sensor/powerwall_site_now/state",
            Self::Solar => "homeassistant/sensor/powerwall_solar_now/state",
            Self::Load => "homeassistant/sensor/powerwall_load_now/state",
            Self::Battery => "homeassistant/sensor/powerwall_battery_now/state",
            Self::Charge => "homeassistant/sensor/powerwall_charge/state",
        }
    }
}

/// What is wrong with an entity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum EntityFault {
    /// Its state is the text `unavailable`.
    Unavailable,
    /// Its state is the text `unknown`.
    Unknown,
    /// Its value stands still, or it was renamed: nothing is published.
    Frozen,
    /// Its value is in watts although its unit was kilowatts.
    Watts,
    /// Its sign is the opposite.
    Flipped,
    /// Its value is this many watts, whatever it should be.
    Stuck(i32),
    /// It is published only this often, in milliseconds.
    Slow(u64),
}

/// The entities and their last published values.
#[derive(Debug, Clone)]
pub struct HomeAssistant {
    options: HomeAssistantOptions,
    published: BTreeMap<&'static str, String>,
    faults: BTreeMap<Entity, EntityFault>,
    /// When each slow entity was last published.
    slow_ms: BTreeMap<Entity, u64>,
    /// Until when a restart takes.
    restarting_ms: Option<u64>,
    /// Publishes nothing at all.
    dead: bool,
    beat_ms: u64,
    next_ms: u64,
    last_ms: Option<u64>,
    refresh_ms: Option<u64>,
    available: bool,
}

impl HomeAssistant {
    /// Takes the first reading when first polled.
    pub const fn new(options: HomeAssistantOptions) -> Self {
        Self {
            options,
            published: BTreeMap::new(),
            faults: BTreeMap::new(),
            slow_ms: BTreeMap::new(),
            restarting_ms: None,
            dead: false,
            beat_ms: 0,
            next_ms: 0,
            last_ms: None,
            refresh_ms: None,
            available: true,
        }
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

    /// Sets or clears the fault of an entity.
    pub fn set_fault(&mut self, entity: Entity, fault: Option<EntityFault>) {
        match fault {
            Some(fault) => self.faults.insert(entity, fault),
            None => self.faults.remove(&entity),
        };
    }

    /// Stops or starts publishing anything.
    pub const fn set_dead(&mut self, dead: bool) {
        self.dead = dead;
    }

    /// Restarts: until it is up again after `takes_ms` every state is `unavailable`, and then all are published anew.
    pub const fn restart(&mut self, now_ms: u64, takes_ms: u64) {
        self.restarting_ms = Some(now_ms + takes_ms);
        self.next_ms = 0;
    }

    /// When [`Self::poll`] has something to publish at the latest.
    pub fn next_ms(&self) -> u64 {
        let others = [self.refresh_ms, self.restarting_ms, self.options.heartbeat.then_some(self.beat_ms)];
        others.into_iter().flatten().fold(self.next_ms, u64::min)
    }

    /// Topics and payloads to publish now, retained.
    pub fn poll(&mut self, now_ms: u64, meters: &Meters) -> Vec<(&'static str, String)> {
        if self.restarting_ms.is_some_and(|until_ms| now_ms >= until_ms) {
            self.restarting_ms = None;
            self.published.clear();
            self.next_ms = 0;
        }
        if self.dead {
            return Vec::new();
        }
        let mut states = self.beat(now_ms);
        if now_ms < self.next_ms && self.refresh_ms.is_none_or(|at| now_ms < at) {
            return states;
        }
        // A refresh restarts the period, as in Home Assistant's coordinator.
        self.refresh_ms = None;
        self.next_ms = now_ms + self.options.period_ms;
        self.last_ms = Some(now_ms);
        for entity in Entity::ALL {
            let Some(state) = self.state(entity, meters, now_ms) else { continue };
            if self.published.get(entity.topic()) != Some(&state) {
                self.published.insert(entity.topic(), state.clone());
                states.push((entity.topic(), state));
            }
        }
        states
    }

    fn beat(&mut self, now_ms: u64) -> Vec<(&'static str, String)> {
        if !self.options.heartbeat || now_ms < self.beat_ms || !self.available || self.restarting_ms.is_some() {
            return Vec::new();
        }
        self.beat_ms = now_ms + HEARTBEAT_MS;
        vec![(HEARTBEAT, (now_ms / 1_000).to_string())]
    }

    /// The state of an entity; `None` if it does not exist or is not published.
    fn state(&mut self, entity: Entity, meters: &Meters, now_ms: u64) -> Option<String> {
        let watts = match entity {
            Entity::Grid => meters.grid_w,
            Entity::Solar => meters.solar_w,
            Entity::Load => meters.load_w,
            Entity::Battery => meters.battery?.0,
            Entity::Charge => meters.battery.map(|_| 0)?,
        };
        if !self.available || self.restarting_ms.is_some() {
            return Some("unavailable".to_owned());
        }
        let fault = self.faults.get(&entity).copied();
        if let Some(EntityFault::Slow(every_ms)) = fault {
            if self.slow_ms.get(&entity).is_some_and(|at_ms| now_ms < at_ms + every_ms) {
                return None;
            }
            self.slow_ms.insert(entity, now_ms);
        }
        let charge = || meters.battery.map(|(_, charge_pct)| python(charge_pct));
        match fault {
            Some(EntityFault::Unavailable) => Some("unavailable".to_owned()),
            Some(EntityFault::Unknown) => Some("unknown".to_owned()),
            Some(EntityFault::Frozen) => None,
            _ if entity == Entity::Charge => charge(),
            Some(EntityFault::Watts) => Some(watts.to_string()),
            Some(EntityFault::Flipped) => Some(kilowatts(-watts)),
            Some(EntityFault::Stuck(watts)) => Some(kilowatts(watts)),
            Some(EntityFault::Slow(_)) | None => Some(kilowatts(watts)),
        }
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
    fn each_fault_of_an_entity_does_what_it_says() {
        for (fault, state) in [
            (EntityFault::Unavailable, Some("unavailable")),
            (EntityFault::Unknown, Some("unknown")),
            (EntityFault::Frozen, None),
            (EntityFault::Watts, Some("-4200")),
            (EntityFault::Flipped, Some("4.2")),
            (EntityFault::Stuck(-12_000), Some("-12.0")),
            (EntityFault::Slow(1), Some("-4.2")),
        ] {
            let mut home = HomeAssistant::new(HomeAssistantOptions::default());
            home.set_fault(Entity::Grid, Some(fault));
            let states = home.poll(1, &METERS);
            let grid = states.iter().find(|(topic, _)| *topic == Entity::Grid.topic());
            assert_eq!(grid.map(|(_, state)| state.as_str()), state);
        }
        let mut slow = HomeAssistant::new(HomeAssistantOptions::default());
        slow.set_fault(Entity::Grid, Some(EntityFault::Slow(45_000)));
        slow.poll(0, &METERS);
        let changed = Meters { grid_w: -1, ..METERS };
        assert_eq!(slow.poll(30_000, &changed), []);
        assert_eq!(slow.poll(60_000, &changed).len(), 1);
    }

    #[test]
    fn a_restart_makes_everything_unavailable_and_then_publishes_it_anew() {
        let mut home = HomeAssistant::new(HomeAssistantOptions { heartbeat: true, ..Default::default() });
        assert_eq!(home.poll(1_000, &METERS).len(), 6, "with the heartbeat");
        home.restart(10_000, 5_000);
        assert_eq!(home.next_ms(), 0);
        assert!(home.poll(10_000, &METERS).iter().all(|(_, state)| state == "unavailable"));
        assert_eq!(home.poll(14_999, &METERS), []);
        assert_eq!(home.poll(15_000, &METERS).len(), 5);
        home.set_dead(true);
        assert_eq!(home.poll(90_000, &METERS), []);
    }

    #[test]
    fn without_a_battery_its_entities_do_not_exist() {
        let mut home = HomeAssistant::new(HomeAssistantOptions::default());
        assert_eq!(home.poll(1, &Meters { battery: None, ..METERS }).len(), 3);
    }
}
