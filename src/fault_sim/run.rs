//! Runs a scenario: lets world and gateway pass from one moment at which anything happens to the next.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use control::Tick;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::gateway::{Disk, Gateway};
use super::judge::{Figures, Judge, Running, Violation};
use super::scenario::{Fault, Scenario, What};
use super::world::World;
use crate::config::{Config, Environment, Files};

/// Steps at the same moment, of which a busy one needs some ten.
const AT_ONCE_MAX: u32 = 1_000;

/// How a scenario ended.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub(super) violation: Option<Violation>,
    pub(super) figures: Figures,
    /// Number of moments at which something happened.
    pub(super) steps: u64,
}

/// Runs a scenario to its end or to the first broken rule. `story` gets what a reader needs to follow it.
pub(super) fn run(scenario: &Scenario, story: Option<Arc<Mutex<String>>>) -> Verdict {
    let lines = Arc::new(AtomicU64::new(0));
    let count = Count { lines: Arc::clone(&lines), story: story.clone() };
    let subscriber = tracing_subscriber::registry().with(count.with_filter(LevelFilter::INFO));
    let guard = tracing::subscriber::set_default(subscriber);
    let mut course = Course::new(scenario, story);
    let mut violation = None;
    while course.now_ms < u64::from(scenario.lasts_s) * 1_000 {
        if let Err(broken) = course.step() {
            violation = Some(broken);
            break;
        }
    }
    drop(guard);
    let lines = lines.load(Ordering::Relaxed);
    if violation.is_none() {
        violation = course.judge.end(scenario, &course.world, lines, course.now_ms).err();
    }
    Verdict { violation, figures: course.judge.figures, steps: course.steps }
}

struct Course<'a> {
    scenario: &'a Scenario,
    config: Config,
    world: World,
    gateway: Option<Gateway>,
    disk: Disk,
    judge: Judge,
    random: fastrand::Rng,
    story: Option<Arc<Mutex<String>>>,
    /// Edges of the faults that are still to come: the time in milliseconds, and the fault's place.
    edges: Vec<(u64, usize)>,
    active: Vec<usize>,
    started_ms: u64,
    now_ms: u64,
    steps: u64,
    /// Steps at this moment.
    at_once: u32,
    tell_every_s: u64,
}

impl<'a> Course<'a> {
    fn new(scenario: &'a Scenario, story: Option<Arc<Mutex<String>>>) -> Self {
        let mut random = fastrand::Rng::with_seed(scenario.seed ^ 0x5eed);
        let config = config(scenario, scenario.house.poll_s);
        let disk = Disk { text: None, refuses: false, takes_ms: random.u64(1..400), boot: (0, 0), wall_off_ms: 0 };
        let gateway = Gateway::start(&config, &disk, random.fork(), Tick(1));
        let edge = |(place, fault): (usize, &Fault)| {
            [(u64::from(fault.from_s) * 1_000, place), (u64::from(fault.until_s) * 1_000, place)]
        };
        let mut edges: Vec<_> = scenario.faults.iter().enumerate().flat_map(edge).collect();
        edges.sort_by_key(|(at_ms, _)| std::cmp::Reverse(*at_ms));
        Self {
            world: World::new(scenario),
            judge: Judge::new(scenario),
            gateway: Some(gateway),
            scenario,
            config,
            disk,
            random,
            story,
            edges,
            active: Vec::new(),
            started_ms: 1,
            now_ms: 1,
            steps: 0,
            at_once: 0,
            tell_every_s: super::tests::number("SURPLUSD_SOAK_EVERY").unwrap_or(60),
        }
    }

    fn is(&self, kind: impl Fn(&What) -> bool) -> bool {
        self.active.iter().any(|place| kind(&self.scenario.faults[*place].what))
    }

    fn running(&self) -> Running {
        Running {
            since_ms: self.gateway.as_ref().map(|_| self.started_ms),
            loop_runs: !self.is(|what| *what == What::LoopHangs),
            line_runs: !self.is(|what| *what == What::LineHangs),
        }
    }

    fn step(&mut self) -> Result<(), Violation> {
        self.steps += 1;
        let running = self.running();
        let mut next = self.world.next_ms();
        if let Some(gateway) = &self.gateway {
            let due = gateway.next(&self.world, Tick(self.now_ms), running.loop_runs, running.line_runs);
            next = due.map_or(next, |due| next.min(due.0));
        }
        if let Some((at_ms, _)) = self.edges.last() {
            next = next.min(*at_ms);
        }
        self.at_once = if next > self.now_ms { 0 } else { self.at_once + 1 };
        if self.at_once > AT_ONCE_MAX {
            let what = "time does not pass: something is due again and again".to_owned();
            return Err(Violation { rule: "standstill", at_ms: self.now_ms, what });
        }
        self.now_ms = next.max(self.now_ms);
        while self.edges.last().is_some_and(|(at_ms, _)| *at_ms <= self.now_ms) {
            let Some((_, place)) = self.edges.pop() else { break };
            self.edge(place);
        }
        let running = self.running();
        let second = self.world.pass(self.now_ms);
        let now = Tick(self.now_ms);
        if let Some(gateway) = &mut self.gateway {
            gateway.pass(&mut self.world, &mut self.disk, now, running.loop_runs, running.line_runs);
        }
        self.world.look(self.now_ms);
        let active = self.active.iter().map(|place| &self.scenario.faults[*place]);
        self.judge.faults(active, self.now_ms);
        self.judge.step(&self.world, self.gateway.as_mut().map(|gateway| &mut gateway.seen), running, self.now_ms)?;
        if second {
            self.tell();
            let seen = self.gateway.as_ref().map(|gateway| &gateway.seen);
            self.judge.second(&self.world, seen, running, self.now_ms)?;
        }
        Ok(())
    }

    /// A fault begins or ends.
    fn edge(&mut self, place: usize) {
        let scenario = self.scenario;
        let fault = &scenario.faults[place];
        if let Some(index) = self.active.iter().position(|active| *active == place) {
            self.active.remove(index);
            self.note(&format!("over: {:?}", fault.what));
        } else {
            self.active.push(place);
            self.note(&format!("begins: {:?}", fault.what));
            self.begin(&fault.what);
        }
        if matches!(fault.what, What::BoxOff) {
            let off = self.is(|what| *what == What::BoxOff);
            let now_ms = self.now_ms;
            self.world.wallbox_mut().mains(now_ms, !off);
        }
        self.disk.refuses = self.is(|what| *what == What::DiskRefuses);
        let active = self.active.iter().map(|place| &scenario.faults[*place]);
        self.world.set_faults(&active, self.now_ms);
        let killed = self.is(|what| matches!(what, What::Killed { .. }));
        if !killed && self.gateway.is_none() {
            self.started_ms = self.now_ms;
            self.note("the program starts");
            let random = self.random.fork();
            self.gateway = Some(Gateway::start(&self.config, &self.disk, random, Tick(self.now_ms)));
        }
    }

    fn begin(&mut self, what: &What) {
        let now_ms = self.now_ms;
        match *what {
            What::HomeAssistantRestarts { takes_s } => self.world.home.restart(now_ms, u64::from(takes_s) * 1_000),
            What::BoxReboots => self.world.wallbox_mut().power_cycle(now_ms),
            What::Killed { torn, power_cut } => self.kill(torn, power_cut),
            What::WallClock { jump_s } => self.disk.wall_off_ms += jump_s * 1_000,
            What::Reload { poll_s } => {
                self.config = config(self.scenario, poll_s);
                if let Some(gateway) = &mut self.gateway {
                    gateway.reload(self.config.clone(), Tick(now_ms));
                }
            }
            What::Mode(mode) => self.world.post.publish("surplusd/surplusd/set/mode", mode, false, now_ms),
            What::Nonsense => self.nonsense(),
            _ => {}
        }
    }

    fn kill(&mut self, torn: bool, power_cut: bool) {
        self.gateway = None;
        self.world.post.close();
        if power_cut {
            self.disk.boot = (self.now_ms, self.disk.boot.1 + 1);
        }
        if torn && let Some(text) = &mut self.disk.text {
            let length = self.random.usize(0..=text.len());
            let kept = String::from_utf8_lossy(&text.as_bytes()[..length]).into_owned();
            *text = kept;
        }
    }

    /// Somebody publishes what makes no sense, everywhere.
    fn nonsense(&mut self) {
        for topic in ["surplusd/surplusd/set/mode", "surplusd/surplusd/set/current", "surplusd/surplusd/status"] {
            for _ in 0..20 {
                let payload: Vec<u8> = (0..self.random.usize(0..40)).map(|_| self.random.u8(..)).collect();
                self.world.post.publish(topic, payload, self.random.bool(), self.now_ms);
            }
        }
        for entity in crate::sim::home_assistant::Entity::ALL {
            for _ in 0..20 {
                let payload: Vec<u8> = (0..self.random.usize(0..12)).map(|_| self.random.u8(b' '..b'~')).collect();
                self.world.post.publish(entity.topic(), payload, true, self.now_ms);
            }
        }
    }

    fn note(&self, text: &str) {
        if let Some(story) = &self.story {
            let at = format!("{:>6}.{:03}", self.now_ms / 1_000, self.now_ms % 1_000);
            let mut story = story.lock().expect("one thread");
            story.extend([at.as_str(), "  ", text, "\n"]);
        }
    }

    /// Tells of the world every so many seconds.
    fn tell(&self) {
        if self.story.is_none() || !(self.now_ms / 1_000).is_multiple_of(self.tell_every_s) {
            return;
        }
        let flows = self.world.plant.flows();
        let reason = self.gateway.as_ref().map_or("dead", |gateway| gateway.seen.reason.as_str());
        self.note(&format!(
            "sun {:.0} house {:.0} car {:.0} battery {:.0} grid {:.0} W, offered {} dA: {reason}",
            flows.solar_w,
            flows.house_w,
            flows.car_w,
            flows.battery_w,
            flows.grid_w,
            self.world.wallbox().allowed_deciamps(),
        ));
    }
}

/// The gateway's configuration in this household.
fn config(scenario: &Scenario, poll_s: u32) -> Config {
    let house = &scenario.house;
    let heartbeat = if house.heartbeat {
        "heartbeat = { topic = \"homeassistant/sensor/surplusd_heartbeat/state\" }\n"
    } else {
        ""
    };
    let text = format!(
        "version = 1\n[mqtt]\nurl = \"mqtts://localhost\"\n[inputs]\n{heartbeat}[battery]\npresent = {}\n\
         [fail-safe]\ncharger-watchdog-s = {}\n[journal]\nenabled = false\n\
         [[charger]]\nname = \"carport\"\nprofile = \"heidelberg-energy-control\"\nlink = \"serial:///dev/null\"\n\
         max-current-a = {}\nphases = {}\nmode = \"{}\"\nstandby = {}\npoll-s = {poll_s}\n",
        house.battery.is_some(),
        house.watchdog_s,
        house.max_a,
        house.car_phases,
        house.mode,
        house.standby,
    );
    let known = crate::charger::profile::known();
    let loaded = crate::config::parse(&text, Path::new("simulated"), &Environment::default(), &known, Files::Ignore);
    loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.findings))
}

/// Counts the lines of the log, and adds them to the story.
struct Count {
    lines: Arc<AtomicU64>,
    story: Option<Arc<Mutex<String>>>,
}

impl<S: tracing::Subscriber> Layer<S> for Count {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Text<'a>(&'a mut String);
        impl tracing::field::Visit for Text<'_> {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                use std::fmt::Write;
                if field.name() == "message" {
                    let _ = writeln!(self.0, "               log: {value:?}");
                }
            }
        }
        self.lines.fetch_add(1, Ordering::Relaxed);
        if let Some(story) = &self.story {
            event.record(&mut Text(&mut story.lock().expect("one thread")));
        }
    }
}
