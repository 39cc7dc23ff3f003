//! `surplusd demo`: the real daemon in a simulated world, with a live view.
//!
//! Needs no hardware and no broker: it creates its own in a private directory, which it removes at the end. Left out: the network
//! (everything is on 127.0.0.1) and a web page.

mod view;

use std::fs::DirBuilder;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use control::Mode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use self::view::View;
use super::exit;
use super::output::unwritable;
use super::plain::Plain;
use crate::api::CONTROL;
use crate::api::server::Server;
use crate::charger::profile;
use crate::clock::Clock;
use crate::config::{self, Environment};
use crate::daemon::{self, Ended, StatusSender, Wiring};
use crate::model::request::{Origin, Request, Wish};
use crate::sim::demo::{World, WorldOptions, WorldView};
use crate::sim::plant::BatteryOptions;
use crate::sim::wallbox::WallboxOptions;
use crate::sim::weather::Weather;

/// Runs the daemon in a simulated house: sun, battery, car, wallbox and broker.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// End after this many minutes of real time (without it: on Ctrl-C)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    pub minutes: Option<u32>,
    /// Speed relative to real time
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=120))]
    pub speed: u32,
    /// Time of day at which the simulation begins
    #[arg(long, default_value = "10:00", value_name = "HH:MM", value_parser = time_of_day)]
    pub start: u32,
    /// Kind of day: clear, hazy, broken or overcast
    #[arg(long, default_value = "broken", value_parser = weather)]
    pub weather: Weather,
    /// Simulate a house without a home battery
    #[arg(long)]
    pub no_battery: bool,
    /// Seed of the random weather and household
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Charging mode: off, solar, slow, slow+solar, fast or fixed
    #[arg(long, default_value = "solar", value_parser = mode)]
    pub mode: Mode,
    /// Address of the demo's broker, on this machine only, such as 127.0.0.1:8883 (without it: any free port)
    #[arg(long, value_name = "ADDR", value_parser = loopback)]
    pub listen: Option<SocketAddr>,
    /// Record everything in this file, for `surplusd replay` and `surplusd why`
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
}

/// What the daemon needs to run in the demo.
#[derive(Debug)]
pub struct DemoRun {
    /// The daemon's configuration, a file like any other.
    pub config_file: PathBuf,
    /// The clock that the world runs on.
    pub clock: Clock,
    /// Where the daemon publishes its status.
    pub status: StatusSender,
    /// Becomes `true` when the daemon should shut down.
    pub stop: watch::Receiver<bool>,
}

/// Runs the demo with the real daemon; returns the exit code.
pub fn run(args: &Args) -> u8 {
    super::logging::start(tracing::Level::WARN);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.context("failed to start").and_then(|runtime| runtime.block_on(demo(args, daemon)));
    match result {
        Ok(()) => exit::OK,
        Err(error) => {
            if let Some(Unwritable(error)) = error.downcast_ref() {
                return unwritable(error);
            }
            // If even this message cannot be written, the exit code still reports the failure.
            writeln!(Plain(&mut io::stderr()), "surplusd demo: {error:#}").ok();
            exit::BUG
        }
    }
}

/// Capacity of the request channel to the main loop.
const REQUESTS: usize = 16;

/// Runs the real daemon, as `surplusd run` does.
async fn daemon(run: DemoRun) -> anyhow::Result<()> {
    let known = profile::known();
    let loaded = config::load(&run.config_file, &Environment::default(), &known);
    let first = loaded.findings.first().map(ToString::to_string).unwrap_or_default();
    let config = loaded.config.with_context(|| format!("the demo's own configuration is wrong: {first}"))?;
    let (sender, requests) = mpsc::channel(REQUESTS);
    let folder = run.config_file.parent().context("the demo has a directory")?;
    let _server = Server::open(folder, sender.clone(), run.status.subscribe(), run.clock).await?;
    let mut stop = run.stop;
    let stopping = async {
        // An error means that the demo itself has ended, which is also a reason to stop.
        stop.wait_for(|stop| *stop).await.ok();
        sender.send(Request { wish: Wish::Stop, origin: Origin::Process, reply: None }).await.ok();
        std::future::pending::<()>().await;
    };
    let wiring = Wiring { clock: run.clock, requests, status: run.status };
    tokio::select! {
        ended = daemon::run(config, wiring) => match ended? {
            Ended::Asked { .. } => Ok(()),
            Ended::Broken { what } => Err(anyhow::anyhow!(what)),
        },
        () = stopping => Ok(()),
    }
}

/// Standard output cannot be written to, or its reader has gone.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written to: {0}")]
struct Unwritable(io::Error);

/// How long the daemon may take to shut down, in real time.
const END_MAX: Duration = Duration::from_secs(15);
/// Up to this speed the simulated wallbox answers with realistic delays; above it, the machine's timers are too coarse for that.
const LIFELIKE_SPEED_MAX: u32 = 10;

/// Plays the demo: starts a world, runs `run` in it, and shows both until the time is up, Ctrl-C is pressed, or the daemon ends by itself.
pub async fn demo(args: &Args, run: impl AsyncFnOnce(DemoRun) -> anyhow::Result<()>) -> anyhow::Result<()> {
    // Before anything is created that must be removed: from here on no signal kills the program without cleaning up.
    let mut end = EndSignals::listen().context("failed to listen for signals")?;
    let dir = PrivateDir::create().context("failed to make a private directory for the demo")?;
    let clock = Clock::start(args.speed);
    let world =
        World::start(world_options(args), &dir.0, clock).await.context("failed to start the simulated world")?;
    let config_file = dir.0.join("surplusd.toml");
    std::fs::write(&config_file, config_text(args, &world, &dir.0)).context("failed to write the configuration")?;

    let mut out = io::stdout();
    writeln!(out, "{}", introduction(args, &world, &config_file)).map_err(Unwritable)?;
    let (status, decided) = watch::channel(None);
    let (stop, stopped) = watch::channel(false);
    let mut view = View::new(io::stdout(), io::stdout().is_terminal(), args.speed);
    // The only place where the daemon is started.
    let mut daemon = pin!(run(DemoRun { config_file, clock, status, stop: stopped }));
    let mut shown = Ok(());
    let ended = tokio::select! {
        result = &mut daemon => Some(result),
        result = view.show(world.view(), decided) => { shown = result; None }
        () = time_is_up(args.minutes) => None,
        () = end.received() => None,
    };
    let result = if let Some(result) = ended {
        result
    } else {
        stop.send_replace(true);
        tokio::time::timeout(END_MAX, daemon).await.context("the daemon did not shut down in time")?
    };
    let last = world.stop().await;
    shown.and_then(|()| view.close()).map_err(Unwritable)?;
    writeln!(out, "{}", summary(&last)).map_err(Unwritable)?;
    result.context("the daemon failed")
}

/// The signals that end the demo in an orderly way: Ctrl-C, `SIGTERM`, and `SIGHUP`, which is sent when the terminal is closed.
struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl EndSignals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns when one of them has been received.
    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

async fn time_is_up(minutes: Option<u32>) {
    match minutes {
        Some(minutes) => tokio::time::sleep(Duration::from_secs(60) * minutes).await,
        None => std::future::pending().await,
    }
}

fn world_options(args: &Args) -> WorldOptions {
    let lifelike = args.speed <= LIFELIKE_SPEED_MAX;
    let wallbox = WallboxOptions::default();
    WorldOptions {
        seed: args.seed,
        weather: args.weather,
        start_s: args.start,
        battery: (!args.no_battery).then_some(BatteryOptions::POWERWALL),
        wallbox: WallboxOptions {
            reply_delay_ms: if lifelike { wallbox.reply_delay_ms } else { 0 },
            line_time: lifelike,
            // The pieces of a frame arrive in real time, so in simulated time the gap grows with the speed.
            gap_ms: wallbox.gap_ms * u64::from(args.speed),
            ..wallbox
        },
        listen: args.listen.unwrap_or(WorldOptions::default().listen),
        ..WorldOptions::default()
    }
}

/// The configuration that a household would write for this world.
fn config_text(args: &Args, world: &World, dir: &Path) -> String {
    format!(
        r#"# The demo's configuration: a file like any other, for `surplusd check` as well.
version = 1
state-file = "{state}"

[mqtt]
url = "mqtts://{broker}"
ca-file = "{ca}"

[inputs]
preset = "home-assistant-powerwall"
base-topic = "homeassistant"

[battery]
present = {battery}

[[charger]]
name = "carport"
profile = "heidelberg-energy-control"
link = "serial://{serial}"
mode = "{mode}"

[home-assistant]
node-id = "demo"

{journal}"#,
        state = dir.join("state.json").display(),
        broker = world.broker_address(),
        ca = world.ca_file().display(),
        battery = !args.no_battery,
        serial = world.serial_path().display(),
        mode = args.mode,
        journal = journal_text(args.journal.as_deref()),
    )
}

/// The `[journal]` section of the configuration: enabled only if a file was given.
fn journal_text(file: Option<&Path>) -> String {
    let Some(file) = file else { return "[journal]\nenabled = false\n".to_owned() };
    // A relative name in the configuration is relative to systemd's state directory; on the command line it is relative to the current one.
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    format!("[journal]\nfile = {}\n", toml::Value::String(file.display().to_string()))
}

fn introduction(args: &Args, world: &World, config_file: &Path) -> String {
    let host = world.broker_address().ip();
    let socket = config_file.with_file_name(CONTROL);
    let socket = socket.display();
    format!(
        "A simulated house on a {} day from {}, at {} times real time.\n\
         Configuration: {}\n\
         Watch it with: mosquitto_sub -h {host} -p {} --cafile {} -v -t '#'\n\
         Query and control it with: surplusd status --socket {socket}; surplusd set mode fast --socket {socket}",
        args.weather.name(),
        view::clock_time(args.start),
        args.speed,
        config_file.display(),
        world.broker_address().port(),
        world.ca_file().display(),
    )
}

fn summary(last: &WorldView) -> String {
    let ledger = last.ledger;
    let share = if ledger.car_wh > 0.0 { ledger.solar_to_car_wh / ledger.car_wh * 100.0 } else { 0.0 };
    format!(
        "Until {}: {:.2} kWh into the car, {:.2} from the sun ({share:.0} %), {:.2} from the grid, {:.2} from the home battery; {} {}.",
        view::clock_time(last.time_of_day_s),
        ledger.car_wh / 1_000.0,
        ledger.solar_to_car_wh / 1_000.0,
        ledger.grid_to_car_wh / 1_000.0,
        ledger.battery_to_car_wh / 1_000.0,
        ledger.starts,
        if ledger.starts == 1 { "start" } else { "starts" },
    )
}

fn time_of_day(text: &str) -> Result<u32, String> {
    let parsed = text.split_once(':').and_then(|(hours, minutes)| {
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok())?;
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        (hours < 24 && minutes < 60).then_some(hours * 3_600 + minutes * 60)
    });
    parsed.ok_or_else(|| "write it as HH:MM, for instance 10:00".to_owned())
}

pub(super) fn weather(text: &str) -> Result<Weather, String> {
    Weather::from_name(text).ok_or_else(|| format!("one of {}", Weather::ALL.map(Weather::name).join(", ")))
}

/// Accepts loopback addresses only: the demo's broker needs no login.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "write it as ADDRESS:PORT, for instance 127.0.0.1:8883".to_owned())?;
    if !["127.0.0.1", "::1"].contains(&address.ip().to_string().as_str()) {
        return Err("the demo's broker needs no login, so only 127.0.0.1 and [::1] are accepted".to_owned());
    }
    Ok(address)
}

fn mode(text: &str) -> Result<Mode, String> {
    Mode::from_name(text).ok_or_else(|| format!("one of {}", Mode::ALL.map(Mode::name).join(", ")))
}

/// A directory that only this user can read; removed with its contents when dropped.
struct PrivateDir(PathBuf);

impl PrivateDir {
    fn create() -> io::Result<Self> {
        let name = format!("surplusd-demo-{:016x}", fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        // Fails if it exists, so nobody can have prepared it.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        // If this fails, only a throw-away key is left in the temporary directory.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

#[cfg(test)]
mod tests;
