//! A whole household for tests: the built program, a real Mosquitto with TLS and client certificates, and a simulated wallbox on a
//! pseudo-terminal with a car that draws what it is offered.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use surplusd::clock::Clock;
use surplusd::sim::plant::CarSignal;
use surplusd::sim::port::WallboxPort;
use surplusd::sim::wallbox::{Wallbox, WallboxOptions};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::mosquitto::{Broker, Peer, Pki, SOON, Validity};

pub(crate) const BASE: &str = "surplusd/surplusd";
/// Enough time for the wallbox's recovery and the minimum-off time after it.
const LONG: Duration = Duration::from_secs(240);
/// How often the simulated wallbox and car are stepped.
const STEP: Duration = Duration::from_millis(20);

/// What the car does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Car {
    /// Not plugged in.
    Away,
    /// Plugged in, but does not ask for current.
    Asleep,
    /// Plugged in, and draws what it is offered.
    Awake,
}

/// The daemon and everything around it.
pub(crate) struct House {
    pub(crate) broker: Broker,
    pub(crate) pki: Pki,
    pub(crate) port: WallboxPort,
    pub(crate) folder: TempDir,
    pub(crate) daemon: Option<Child>,
    car: tokio::sync::watch::Sender<Car>,
    /// A contactor in L2 and L3 upstream of the wallbox.
    pub(crate) contactor: Arc<AtomicBool>,
    clock: Clock,
    /// The charger's link, if not the pseudo-terminal.
    pub(crate) link: Option<String>,
    /// Additional keys for the charger's table.
    pub(crate) extra: String,
    /// `fail-safe.stale-after-s`: far away unless a test waits for it.
    pub(crate) stale_after_s: u32,
    /// `fail-safe.charger-watchdog-s`: long unless a test waits for it.
    pub(crate) watchdog_s: u16,
    /// `fail-safe.stop-after-s`.
    pub(crate) stop_after_s: u32,
    /// `journal.batch-s`.
    pub(crate) batch_s: u32,
    _driver: JoinSet<()>,
}

impl House {
    /// A house with this wallbox at 230 V and a car plugged in; the daemon is not started yet.
    pub(crate) async fn build(options: WallboxOptions) -> Self {
        let options = WallboxOptions { voltages: [230; 3], ..options };
        let folder = tempfile::tempdir().expect("scratch folder");
        let clock = Clock::start(1);
        let link = folder.path().join("rs485");
        let port = WallboxPort::open(Wallbox::new(options), clock, Some(link)).expect("pseudo-terminal");
        let pki = Pki::new();
        pki.issue_client();
        let listener = pki.listener(&["localhost", "127.0.0.1"], Validity::Now) + "require_certificate true\n";
        let broker = Broker::start(&listener).await;
        let (car, is_car) = tokio::sync::watch::channel(Car::Awake);
        let contactor = Arc::new(AtomicBool::new(true));
        let (shared, is_closed) = (port.share(), Arc::clone(&contactor));
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            loop {
                {
                    let mut wallbox = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    let (plugged, asks) = (*is_car.borrow() != Car::Away, *is_car.borrow() == Car::Awake);
                    let offered = if asks { f64::from(wallbox.allowed_deciamps()) / 10.0 } else { 0.0 };
                    let others = if is_closed.load(Ordering::Relaxed) { offered } else { 0.0 };
                    let signal = CarSignal { plugged, asks, amps: [offered, others, others] };
                    wallbox.tick(clock.now().0, signal);
                }
                tokio::time::sleep(STEP).await;
            }
        });
        Self {
            broker,
            pki,
            port,
            folder,
            daemon: None,
            car,
            contactor,
            clock,
            link: None,
            extra: String::new(),
            stale_after_s: 120,
            watchdog_s: 30,
            stop_after_s: 240,
            batch_s: 600,
            _driver: driver,
        }
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.folder.path().join("journal.sqlite")
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.folder.path().join("surplusd.toml")
    }

    /// Writes the configuration; `max` is the charger's highest current.
    pub(crate) fn configure(&self, max: u32) {
        let show = |path: &Path| path.display().to_string();
        let text = format!(
            r#"
version = 1
state-file = "{state}"
[mqtt]
url = "mqtts://localhost:{port}"
ca-file = "{ca}"
client-cert-file = "{cert}"
client-key-file = "{key}"
keep-alive-s = 5
[solar]
min-on-s = 0
min-off-s = 30
[fail-safe]
stale-after-s = {stale_after}
stop-after-s = {stop_after}
charger-watchdog-s = {watchdog}
[journal]
file = "{journal}"
batch-s = {batch_s}
[publish]
charger-power-topic = "home/charger/power"
state-every-s = 1
[[charger]]
name = "carport"
profile = "heidelberg-energy-control"
link = "{link}"
poll-s = 0.3
max-current-a = {max}
{extra}"#,
            state = show(&self.folder.path().join("state.json")),
            journal = show(&self.journal()),
            batch_s = self.batch_s,
            port = self.broker.port,
            ca = show(&self.pki.ca()),
            cert = show(&self.pki.path("client.crt")),
            key = show(&self.pki.path("client.key")),
            link = self.link.clone().unwrap_or_else(|| format!("serial://{}", show(self.port.path()))),
            stale_after = self.stale_after_s,
            stop_after = self.stop_after_s,
            watchdog = self.watchdog_s,
            extra = self.extra,
        );
        std::fs::write(self.config_file(), text).expect("configuration");
    }

    /// Starts the daemon; its log goes to `log` in the folder.
    pub(crate) fn start(&mut self) {
        self.start_with(&[]);
    }

    pub(crate) fn start_with(&mut self, variables: &[(&str, &str)]) {
        if !self.config_file().exists() {
            self.configure(16);
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_surplusd"));
        command.args(["run", "--config"]).arg(self.config_file()).stderr(log.expect("log file")).stdin(Stdio::null());
        command.envs(variables.iter().copied()).kill_on_drop(true);
        self.daemon = Some(command.spawn().expect("the built program"));
    }

    /// Starts the daemon with its sockets in the folder, for [`Self::ask`].
    pub(crate) fn start_with_sockets(&mut self) {
        let folder = self.folder.path().display().to_string();
        self.start_with(&[("RUNTIME_DIRECTORY", &folder)]);
    }

    /// Runs the built program with these arguments, and those of a socket in the folder.
    pub(crate) async fn ask(&self, socket: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_surplusd"));
        command.args(arguments).arg("--socket").arg(self.folder.path().join(socket));
        timeout(SOON, command.output()).await.expect("in time").expect("the built program")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().and_then(Child::id).expect("running")
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let done = std::process::Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(done.expect("kill is there").success());
    }

    /// Waits for the daemon to exit.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut daemon = self.daemon.take().expect("running");
        timeout(SOON, daemon.wait()).await.expect("it ends").expect("our child")
    }

    /// Kills the daemon, as a power cut does.
    pub(crate) async fn kill_9(&mut self) {
        self.signal("KILL");
        assert_eq!(self.ended().await.signal(), Some(9));
    }

    pub(crate) fn car(&self, car: Car) {
        self.car.send_replace(car);
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now().0
    }

    /// Waits until the wallbox is in the wanted state; otherwise fails with its state and the daemon's log.
    pub(crate) async fn until(&self, what: &str, wish: impl Fn(&Wallbox) -> bool) {
        let reached = async {
            while !wish(&self.port.wallbox()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let reached = timeout(LONG, reached).await.is_ok();
        let registers = self.port.wallbox().registers();
        let state = self.port.wallbox().state();
        assert!(reached, "{what}: {registers:?}, state {state}\n{}", self.log());
    }

    /// Waits until register 261 has this value, in tenths of an ampere.
    pub(crate) async fn setpoint(&self, deciamps: u16) {
        self.until(&format!("setpoint {deciamps}"), |wallbox| wallbox.registers().setpoint == deciamps).await;
    }

    /// Publishes this much surplus while the car draws `car` watts, and waits until the setpoint follows. If a sample expires before it had
    /// an effect, another one is sent.
    pub(crate) async fn follows(&self, peer: &Peer, surplus: i32, car: i32, deciamps: u16) {
        let again = Duration::from_secs(u64::from(self.stale_after_s)) * 2 / 3;
        let publishing = async {
            loop {
                sample(peer, surplus, car);
                tokio::time::sleep(again).await;
            }
        };
        tokio::select! {
            () = self.setpoint(deciamps) => {}
            () = publishing => {}
        }
    }

    /// Waits for a line of the daemon's log.
    pub(crate) async fn logged(&self, text: &str) {
        let reached = async {
            while !self.log().contains(text) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(SOON, reached).await.is_ok(), "{text:?} is not in the log:\n{}", self.log());
    }

    pub(crate) async fn peer(&self) -> Peer {
        Peer::watch(self.broker.door).await
    }

    /// Asserts that no forbidden write was made, and that no request came while a reply was pending.
    pub(crate) fn assert_well_behaved(&self) {
        let wallbox = self.port.wallbox();
        assert_eq!(wallbox.last_forbidden(), None, "{}", self.log());
        assert_eq!(wallbox.overlaps(), 0, "{}", self.log());
    }
}

/// Publishes the house's values as Home Assistant does: this much surplus while the car draws `car` watts.
pub(crate) fn sample(peer: &Peer, surplus: i32, car: i32) {
    for (topic, payload) in meters(surplus, car) {
        peer.publish(&topic, payload, true);
    }
}

/// The topics and payloads of the house's meters with this much surplus while the car draws `car` watts.
pub(crate) fn meters(surplus: i32, car: i32) -> [(String, String); 4] {
    let meter = |name: &str, watts: i32| {
        let sign = if watts < 0 { "-" } else { "" };
        let payload = format!("{sign}{}.{:03}", watts.abs() / 1000, watts.abs() % 1000);
        (format!("homeassistant/sensor/powerwall_{name}_now/state"), payload)
    };
    [meter("solar", surplus + 400), meter("load", car + 400), meter("battery", 0), meter("site", car - surplus)]
}
