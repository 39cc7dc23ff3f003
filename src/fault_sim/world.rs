//! Everything around the gateway in virtual time: sun, house, battery, car, wallbox, cable, Home Assistant and the broker.

use std::sync::LazyLock;

use super::scenario::{Fault, Scenario, What};
use crate::sim::cable::{Cable, CableFaults};
use crate::sim::home_assistant::{Entity, HomeAssistant, HomeAssistantOptions, Meters};
use crate::sim::plant::{BatteryHabit, BatteryOptions, CarOptions, Flows, Habits, Plant};
use crate::sim::post::{Post, PostFaults};
use crate::sim::wallbox::{Wallbox, WallboxOptions};
use crate::sim::weather::{Day, Weather};

/// Days of each weather from which scenarios choose: generating one takes longer than many simulated hours.
const DAYS: u64 = 8;

/// See the module.
#[derive(Debug)]
pub(super) struct World {
    day: &'static Day,
    begins_s: u32,
    pub(super) plant: Plant,
    pub(super) cable: Cable,
    pub(super) post: Post,
    pub(super) home: HomeAssistant,
    next_ms: u64,
    /// Interval of the ghosts, and when they come next.
    ghosts: Option<(u64, u64)>,
    /// When the wallbox was last powered up or woken.
    pub(super) box_up_ms: u64,
    box_is_up: bool,
}

impl World {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let Scenario { seed, house, .. } = scenario;
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(3).wrapping_add(1));
        let wallbox = WallboxOptions {
            layout: house.layout,
            setpoint_default: house.wakes_with,
            voltages: [230; 3],
            ..WallboxOptions::default()
        };
        let car = CarOptions {
            phases: house.car_phases,
            wants_wh: house.car_wants_wh,
            sleepy: house.car_sleeps,
            ..CarOptions::ALL_DAY
        };
        let battery = house.battery.map(|soc| BatteryOptions { soc, ..BatteryOptions::POWERWALL });
        let options = HomeAssistantOptions {
            period_ms: u64::from(house.period_s) * 1_000,
            answers_refresh: random.bool(),
            heartbeat: house.heartbeat,
        };
        Self {
            day: day(house.weather, seed % DAYS),
            begins_s: house.begins_s,
            plant: Plant::new(car, battery),
            cable: Cable::new([wallbox], random.fork()),
            post: Post::new(random.fork()),
            home: HomeAssistant::new(options),
            next_ms: 0,
            ghosts: None,
            box_up_ms: 0,
            box_is_up: true,
        }
    }

    /// When the next second begins.
    pub(super) const fn next_ms(&self) -> u64 {
        self.next_ms
    }

    /// The wallbox.
    pub(super) fn wallbox(&self) -> &Wallbox {
        &self.cable.boxes()[0]
    }

    /// The wallbox, for its faults.
    pub(super) fn wallbox_mut(&mut self) -> &mut Wallbox {
        self.cable.wallbox(0).expect("there is one")
    }

    /// Solar power less house load, in watts, at the second that has just passed.
    pub(super) fn surplus_w(&self) -> f64 {
        let Flows { solar_w, house_w, .. } = self.plant.flows();
        solar_w - house_w
    }

    /// Notes whether the wallbox has been powered up or woken.
    pub(super) fn look(&mut self, now_ms: u64) {
        let is_up = self.wallbox().power() == crate::sim::wallbox::Power::On;
        if is_up && !self.box_is_up {
            self.box_up_ms = now_ms;
        }
        self.box_is_up = is_up;
    }

    /// Lets time pass up to `now_ms`; returns whether a second has passed.
    pub(super) fn pass(&mut self, now_ms: u64) -> bool {
        if now_ms < self.next_ms {
            return false;
        }
        self.next_ms = now_ms + 1_000;
        #[expect(clippy::cast_possible_truncation, reason = "a scenario lasts some hours")]
        let t_s = self.begins_s + (now_ms / 1_000) as u32;
        let pilot = self.wallbox().pilot();
        self.plant.step(f64::from(self.day.pv_w(t_s)), f64::from(self.day.house_w(t_s)), pilot);
        self.cable.tick(0, now_ms, self.plant.signal(pilot));
        let meters = meters(self.plant.flows());
        for (topic, state) in self.home.poll(now_ms, &meters) {
            self.post.publish(topic, state, true, now_ms);
        }
        if let Some((every_ms, next_ms)) = self.ghosts.filter(|(_, next_ms)| now_ms >= *next_ms) {
            self.post.replay("homeassistant/", now_ms);
            self.ghosts = Some((every_ms, next_ms + every_ms));
        }
        true
    }

    /// Makes exactly these faults act from now on.
    pub(super) fn set_faults<'a>(&mut self, active: &(impl Iterator<Item = &'a Fault> + Clone), now_ms: u64) {
        let kinds = || active.clone().map(|fault| &fault.what);
        self.set_home_faults(kinds());
        self.set_ways(kinds(), now_ms);
        self.set_box_faults(kinds());
        let habits = kinds().find_map(|what| if let What::Car(habits) = what { Some(*habits) } else { None });
        self.plant.set_habits(habits.unwrap_or(Habits::ORDINARY));
        let battery = kinds().find_map(|what| if let What::Battery(habit) = what { Some(*habit) } else { None });
        self.plant.set_battery_habit(battery.unwrap_or(BatteryHabit::Balances));
        self.plant.set_off_grid(kinds().any(|what| *what == What::OffGrid));
        self.plant.set_plugged(!kinds().any(|what| *what == What::CarLeaves));
    }

    fn set_home_faults<'a>(&mut self, kinds: impl Iterator<Item = &'a What> + Clone) {
        let mut available = true;
        let mut dead = false;
        let mut every_ms = None;
        for entity in Entity::ALL {
            self.home.set_fault(entity, None);
        }
        for what in kinds {
            match what {
                What::Entity(entity, fault) => self.home.set_fault(*entity, Some(*fault)),
                What::AllEntities(fault) => {
                    for entity in Entity::ALL {
                        self.home.set_fault(entity, Some(*fault));
                    }
                }
                What::PowerwallGone => available = false,
                What::HomeAssistantDead => dead = true,
                What::Ghosts { every_s } => {
                    dead = true;
                    every_ms = Some(u64::from(*every_s) * 1_000);
                }
                _ => {}
            }
        }
        self.home.set_available(available);
        self.home.set_dead(dead);
        self.ghosts = every_ms.map(|every_ms| self.ghosts.unwrap_or((every_ms, self.next_ms + every_ms)));
    }

    fn set_ways<'a>(&mut self, kinds: impl Iterator<Item = &'a What>, now_ms: u64) {
        let mut cable = CableFaults::default();
        let mut post = PostFaults::default();
        for what in kinds {
            match *what {
                What::BrokerDown => post.down = true,
                What::BrokerFrozen => post.frozen = true,
                What::Messages { lost, doubled, delay_ms } => post = PostFaults { lost, doubled, delay_ms, ..post },
                What::Unplugged => cable.unplugged = true,
                What::Requests { lost, bad } => {
                    cable = CableFaults { lost_requests: lost, bad_requests: bad, ..cable };
                }
                What::Replies { lost, bad, double, delay_ms, strays } => {
                    cable = CableFaults {
                        lost_replies: lost,
                        bad_replies: bad,
                        double_replies: double,
                        delay_ms,
                        strays,
                        ..cable
                    };
                }
                What::Echo => cable.echo = true,
                _ => {}
            }
        }
        self.cable.set_faults(cable);
        self.post.set_faults(post, now_ms);
    }

    fn set_box_faults<'a>(&mut self, kinds: impl Iterator<Item = &'a What>) {
        let wallbox = self.wallbox_mut();
        wallbox.set_derating(None);
        wallbox.set_error(None);
        wallbox.set_external_lock(false);
        wallbox.set_stuck_state(None);
        let mut healed = true;
        for what in kinds {
            match what {
                What::Derated(deciamps) => wallbox.set_derating(Some(*deciamps)),
                What::Error(error) => wallbox.set_error(Some(*error)),
                What::KeySwitch => wallbox.set_external_lock(true),
                What::StateStuck(state) => wallbox.set_stuck_state(Some(*state)),
                What::BoxLine(fault) => {
                    healed = false;
                    wallbox.fault(fault.clone(), None);
                }
                _ => {}
            }
        }
        if healed {
            wallbox.heal();
        }
    }
}

/// A generated day, made once.
fn day(weather: Weather, number: u64) -> &'static Day {
    static ALL: LazyLock<Vec<Day>> = LazyLock::new(|| {
        let all = Weather::ALL.into_iter();
        all.flat_map(|weather| (0..DAYS).map(move |number| Day::generate(number, weather))).collect()
    });
    let place = Weather::ALL.iter().position(|kind| *kind == weather).unwrap_or(0);
    &ALL[place * usize::try_from(DAYS).expect("few") + usize::try_from(number).expect("few")]
}

/// The meters show whole watts.
fn meters(flows: Flows) -> Meters {
    #[expect(clippy::cast_possible_truncation, reason = "a house draws some ten thousand watts")]
    let whole = |watts: f64| watts.round() as i32;
    Meters {
        grid_w: whole(flows.grid_w),
        solar_w: whole(flows.solar_w),
        load_w: whole(flows.house_w + flows.car_w),
        battery: flows.soc_pct.map(|soc_pct| (whole(flows.battery_w), soc_pct)),
    }
}
