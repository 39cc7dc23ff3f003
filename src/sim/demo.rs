//! A world to run the daemon in: plant, wallbox on a pseudo-terminal, broker with TLS, and Home Assistant, all on one clock.
//!
//! All its files are in one directory owned by the caller. Left out: the view (that belongs to the command) and the daemon.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use control::Millis;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::broker::{Broker, BrokerOptions, Message};
use super::home_assistant::{HomeAssistant, HomeAssistantOptions, Meters};
use super::pki::Pki;
use super::plant::{BatteryOptions, CarOptions, Flows, Ledger, Plant};
use super::port::WallboxPort;
use super::wallbox::{Wallbox, WallboxOptions};
use super::weather::{DAY_S, Day, Weather};
use crate::clock::Clock;

/// Options of the world.
#[derive(Debug, Clone, PartialEq)]
pub struct WorldOptions {
    /// Seed of weather and household.
    pub seed: u64,
    /// The kind of day.
    pub weather: Weather,
    /// Second of the day at which the world starts.
    pub start_s: u32,
    /// The home battery with its state of charge; `None`: no battery.
    pub battery: Option<BatteryOptions>,
    /// The car. Its timetable counts from the start of the world.
    pub car: CarOptions,
    /// The wallbox.
    pub wallbox: WallboxOptions,
    /// Home Assistant.
    pub home_assistant: HomeAssistantOptions,
    /// Topic on which refresh requests are expected: the daemon's base topic and `/refresh`.
    pub refresh_topic: String,
    /// Address for the broker to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
}

impl Default for WorldOptions {
    /// Broken clouds from 10:00, a half-charged Powerwall, a car that takes all it can get.
    fn default() -> Self {
        Self {
            seed: 1,
            weather: Weather::Broken,
            start_s: 10 * 3_600,
            battery: Some(BatteryOptions::POWERWALL),
            car: CarOptions::ALL_DAY,
            wallbox: WallboxOptions::default(),
            home_assistant: HomeAssistantOptions::default(),
            refresh_topic: "surplusd/demo/refresh".to_owned(),
            listen: BrokerOptions::plain().listen,
        }
    }
}

/// A snapshot of the world.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WorldView {
    /// Second of the day, 0 … 86 399.
    pub time_of_day_s: u32,
    /// Powers in watts, and the battery's state of charge.
    pub flows: Flows,
    /// Energies since the start.
    pub ledger: Ledger,
    /// Current offered to the car by the wallbox, in tenths of an ampere per phase.
    pub offer_deciamps: u32,
    /// Register 5 of the wallbox.
    pub wallbox_state: u16,
}

/// A running world. Dropping it ends it at once.
#[derive(Debug)]
pub struct World {
    broker: Arc<Broker>,
    pki: Pki,
    port: WallboxPort,
    heart: Arc<Mutex<Heart>>,
    view: watch::Receiver<WorldView>,
    task: JoinSet<()>,
}

/// Everything that is stepped once a second.
#[derive(Debug)]
struct Heart {
    plant: Plant,
    home_assistant: HomeAssistant,
}

impl World {
    /// Starts the world. Certificates and the link to the serial port go into `dir`, which must exist, belong to the caller alone, and not
    /// contain them yet.
    pub async fn start(options: WorldOptions, dir: &Path, clock: Clock) -> io::Result<Self> {
        let pki = Pki::create(dir)?;
        let tls = BrokerOptions::tls(pki.server_cert_file.clone(), pki.server_key_file.clone());
        let broker = Arc::new(Broker::start(BrokerOptions { listen: options.listen, ..tls }).await?);
        let refreshes = broker.listen(&options.refresh_topic);
        let port = WallboxPort::open(Wallbox::new(options.wallbox), clock, Some(dir.join("rs485")))?;
        let heart = Arc::new(Mutex::new(Heart {
            plant: Plant::new(options.car, options.battery),
            home_assistant: HomeAssistant::new(options.home_assistant),
        }));
        let (sender, view) = watch::channel(WorldView {
            time_of_day_s: options.start_s % DAY_S,
            flows: lock(&heart).plant.flows(),
            ledger: Ledger::default(),
            offer_deciamps: 0,
            wallbox_state: 1,
        });
        let life = Life {
            day: Day::generate(options.seed, options.weather),
            time_of_day_s: options.start_s % DAY_S,
            heart: Arc::clone(&heart),
            broker: Arc::clone(&broker),
            wallbox: port.share(),
            refreshes,
            view: sender,
            clock,
        };
        let mut task = JoinSet::new();
        task.spawn(life.run());
        Ok(Self { broker, pki, port, heart, view, task })
    }

    /// The address that the broker listens on.
    pub fn broker_address(&self) -> SocketAddr {
        self.broker.address()
    }

    /// TCP port of the broker.
    pub fn broker_port(&self) -> u16 {
        self.broker.port()
    }

    /// Certificate of the authority that signed the broker's certificate.
    pub fn ca_file(&self) -> &Path {
        &self.pki.ca_file
    }

    /// All certificates.
    pub const fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Path of the serial port that the wallbox is connected to.
    pub fn serial_path(&self) -> PathBuf {
        self.port.path().to_owned()
    }

    /// Snapshots of the world, one for every simulated second.
    pub fn view(&self) -> watch::Receiver<WorldView> {
        self.view.clone()
    }

    /// The broker, for injecting faults.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The wallbox, for injecting faults and for observation.
    pub fn wallbox(&self) -> MutexGuard<'_, Wallbox> {
        self.port.wallbox()
    }

    /// The serial port, for unplugging.
    pub const fn port(&mut self) -> &mut WallboxPort {
        &mut self.port
    }

    /// Plugs the car in, or drives it away.
    pub fn set_car_plugged(&self, plugged: bool) {
        lock(&self.heart).plant.set_plugged(plugged);
    }

    /// Whether Home Assistant can read the Powerwall.
    pub fn set_powerwall_available(&self, available: bool) {
        lock(&self.heart).home_assistant.set_available(available);
    }

    /// Ends the world and returns its last snapshot.
    pub async fn stop(mut self) -> WorldView {
        self.task.shutdown().await;
        self.port.unplug();
        *self.view.borrow()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The task that steps the world every second.
struct Life {
    day: Day,
    time_of_day_s: u32,
    heart: Arc<Mutex<Heart>>,
    broker: Arc<Broker>,
    wallbox: Arc<Mutex<Wallbox>>,
    refreshes: mpsc::Receiver<Message>,
    view: watch::Sender<WorldView>,
    clock: Clock,
}

impl Life {
    /// A machine that is too slow catches up second by second: the plant must not skip any.
    async fn run(mut self) {
        let mut next = self.clock.now();
        // The clock waits for the next due second even while one is being processed: another thread may look at it meanwhile.
        let mut due = self.clock.waiting(next);
        loop {
            self.second(next.0);
            next = next + Millis::from_secs(1);
            drop(std::mem::replace(&mut due, self.clock.waiting(next)));
            self.clock.sleep_until(next).await;
        }
    }

    fn second(&mut self, now_ms: u64) {
        let solar_w = f64::from(self.day.pv_w(self.time_of_day_s));
        let house_w = f64::from(self.day.house_w(self.time_of_day_s));
        let mut heart = lock(&self.heart);
        let (pilot, wallbox_state) = {
            let mut wallbox = lock(&self.wallbox);
            let pilot = wallbox.pilot();
            heart.plant.step(solar_w, house_w, pilot);
            wallbox.tick(self.clock.now().0, heart.plant.signal(pilot));
            (wallbox.pilot(), wallbox.state())
        };
        let flows = heart.plant.flows();
        while self.refreshes.try_recv().is_ok() {
            heart.home_assistant.refresh(now_ms);
        }
        for (topic, state) in heart.home_assistant.poll(now_ms, &meters(flows)) {
            self.broker.publish(topic, state, true);
        }
        let ledger = heart.plant.ledger();
        drop(heart);
        self.view.send_replace(WorldView {
            time_of_day_s: self.time_of_day_s,
            flows,
            ledger,
            offer_deciamps: pilot.offer_deciamps,
            wallbox_state,
        });
        self.time_of_day_s = (self.time_of_day_s + 1) % DAY_S;
    }
}

/// The meters show whole watts.
fn meters(flows: Flows) -> Meters {
    Meters {
        grid_w: whole(flows.grid_w),
        solar_w: whole(flows.solar_w),
        load_w: whole(flows.house_w + flows.car_w),
        battery: flows.soc_pct.map(|soc_pct| (whole(flows.battery_w), soc_pct)),
    }
}

fn whole(watts: f64) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "a house draws some ten thousand watts")]
    let watts = watts.round() as i32;
    watts
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_serial::SerialStream;

    use super::*;
    use crate::sim::frames::seal;

    /// The master sets 16 A and keeps the watchdog fed; the car must follow, and the meters must show it.
    #[tokio::test(flavor = "multi_thread")]
    async fn an_order_over_the_serial_line_becomes_a_load_on_the_meters() {
        let dir = tempfile::tempdir().unwrap();
        let wallbox =
            WallboxOptions { reply_delay_ms: 0, line_time: false, gap_ms: 2_000, ..WallboxOptions::default() };
        let options = WorldOptions { weather: Weather::Clear, wallbox, ..WorldOptions::default() };
        let world = World::start(options, dir.path(), Clock::start(60)).await.unwrap();
        let mut states = world.broker().listen("homeassistant/sensor/powerwall_load_now/state");
        let path = world.serial_path().display().to_string();
        let mut line = SerialStream::open(&tokio_serial::new(path, 19_200)).unwrap();
        let order = seal(vec![1, 6, 1, 5, 0, 160]);
        let view = world.view();
        let charging = async {
            while view.borrow().flows.car_w < 11_000.0 {
                line.write_all(&order).await.unwrap();
                let mut reply = [0; 8];
                line.read_exact(&mut reply).await.unwrap();
                assert_eq!(reply[..], order[..]);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), charging).await.unwrap();
        world.broker().publish("surplusd/demo/refresh", "1", false);
        let seen = async {
            loop {
                let load: f64 = String::from_utf8(states.recv().await.unwrap().payload).unwrap().parse().unwrap();
                if load > 11.0 {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), seen).await.unwrap();
        assert_eq!(world.wallbox().last_forbidden(), None);
        let last = world.stop().await;
        assert_eq!((last.ledger.starts, last.offer_deciamps, last.wallbox_state), (1, 160, 7));
        assert!(last.time_of_day_s > 36_000);
    }
}
