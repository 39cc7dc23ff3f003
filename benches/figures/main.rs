//! Prints the table of figures: latency, memory, CPU, size, speed of the controller. Asserts nothing: the figures depend on the machine.
//! Takes about five minutes.
//!
//! `SURPLUSD` names the program to measure; without it, the one that cargo built together with this benchmark is used.
#![expect(clippy::disallowed_methods, reason = "real time is what is measured")]
#![expect(clippy::print_stdout, reason = "it prints a table")]

mod house;
mod latency;
mod line;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use control::{
    ChargerId, ChargerReport, Config, Controller, Input, Milliamps, Reachability, Reading, Source, Tick, Vehicle,
    Volts, Watts,
};
use surplusd::charger::profile;
use surplusd::config::{self, Environment};
use surplusd::sim::frames::line_time_ms;

use house::{Broker, Daemon, HomeAssistant, Usage, configure};
use latency::{TOP, WATTS, Wait, latencies, spread, start_charging};
use line::{GAP, Line};

/// Number of publishes whose latency is measured.
const PUBLISHES: usize = 210;
/// How long memory, CPU and wake-ups are observed, in seconds.
const MINUTE: u32 = 60;
const QUIET: Duration = Duration::from_secs(10);

fn main() -> anyhow::Result<()> {
    // Cargo passes `--bench`; other words are filters, but there is only one table.
    let program = env::var_os("SURPLUSD").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_surplusd")), PathBuf::from);
    let folder = tempfile::tempdir()?;
    let broker = Broker::start(folder.path())?;
    let line = Line::open(&folder.path().join("rs485"))?;
    let config = configure(folder.path(), &broker)?;
    let mut home = HomeAssistant::connect(&broker)?;
    let daemon = Daemon::start(&program, &config, folder.path())?;
    let measured = measure(&daemon, &line, &mut home).with_context(|| daemon.log());
    let (begin, end, idle, waits) = measured?;
    daemon.stop()?;
    let speed = controller_speed(&read(&config)?);
    print(&program, &Figures { begin, end, idle, waits, speed })
}

/// All measured figures.
struct Figures {
    /// Before and after the minute with one update per second.
    begin: Usage,
    end: Usage,
    /// Before and after a period without updates.
    idle: (Usage, Usage),
    waits: Vec<Wait>,
    speed: f64,
}

type Measured = (Usage, Usage, (Usage, Usage), Vec<Wait>);

fn measure(daemon: &Daemon, line: &Line, home: &mut HomeAssistant) -> anyhow::Result<Measured> {
    start_charging(line, home)?;
    let begin = daemon.usage()?;
    for second in 1..=MINUTE {
        let due = begin.at + Duration::from_secs(1) * second;
        // As on a cloudy day: the setpoint changes with nearly every update.
        home.sample(WATTS * i32::from(fastrand::u16(80..TOP)), line.drawn.load(Ordering::Relaxed))?;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let end = daemon.usage()?;
    thread::sleep(Duration::from_secs(1));
    let still = daemon.usage()?;
    thread::sleep(QUIET);
    let idle = (still, daemon.usage()?);
    Ok((begin, end, idle, latencies(line, home, PUBLISHES)?))
}

fn read(file: &Path) -> anyhow::Result<Config> {
    let environment = Environment::from_variables(|name| env::var_os(name));
    let known = profile::known();
    Ok(config::load(file, &environment, &known).config.context("the configuration is not accepted")?.control)
}

/// Simulated seconds that the controller handles in one real second: each has a sample, a charger report and the passing of time, and what
/// was decided is taken out and formatted.
fn controller_speed(config: &Config) -> f64 {
    let charger = ChargerId(0);
    let mut controller = Controller::new(config.clone(), Tick(1_000));
    let mut random = fastrand::Rng::with_seed(1);
    let mut tick = Tick(1_000);
    let mut steps = 0_u32;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        for _ in 0..1_000 {
            tick = Tick(tick.0 + 1_000);
            let report = ChargerReport {
                vehicle: Vehicle::Charging,
                power: Some(Watts(0)),
                voltages: Some([Volts(230); 3]),
                setpoint: Some(Milliamps(6_000)),
                ..ChargerReport::silent(charger, tick, Reachability::Online)
            };
            controller.handle(Input::Report(report), tick);
            while controller.poll_action().is_some() {}
            let surplus = random.i32(2_000..11_000);
            let powers =
                [(Source::Solar, surplus + 400), (Source::Load, 400), (Source::Battery, 0), (Source::Grid, -surplus)];
            for (source, value) in powers {
                controller.handle(Input::Reading(Reading { source, value: Some(value), retained: false }), tick);
                while controller.poll_action().is_some() {}
            }
            controller.handle_timeout(tick);
            while controller.poll_action().is_some() {}
            std::hint::black_box(controller.snapshot());
        }
        steps += 1_000;
    }
    f64::from(steps) / began.elapsed().as_secs_f64()
}

fn row(figure: &str, value: &str, aim: &str, met: Option<bool>) {
    let verdict = met.map_or("", |met| if met { "met" } else { "missed" });
    println!("{figure:<58} {value:>23}   {aim:<18} {verdict}");
}

fn spread_row(figure: &str, times: impl Iterator<Item = Duration>, aim: bool) {
    let Some([median, most, worst]) = spread(times) else { return row(figure, "none", "", None) };
    let (aim, met) = if aim { ("p50, p99 < 5 ms", Some(median < 5.0 && most < 5.0)) } else { ("", None) };
    row(figure, &format!("{median:.1} / {most:.1} / {worst:.1} ms"), aim, met);
}

fn print(program: &Path, figures: &Figures) -> anyhow::Result<()> {
    let Figures { begin, end, idle, waits, speed } = figures;
    let held = || waits.iter().filter(|wait| wait.held);
    let free = || waits.iter().filter(|wait| !wait.held);
    println!("{} on {}", program.display(), machine());
    println!("{:<58} {:>23}   {:<18}", "figure", "value", "aim");
    println!("publish to last byte of the setpoint frame                     p50 / p99 / max");
    spread_row(&format!("  all {} publishes", waits.len()), waits.iter().map(|wait| wait.all), true);
    spread_row(&format!("  {} that met a free bus", free().count()), free().map(|wait| wait.all), true);
    spread_row(&format!("  {} that met a busy one [1]", held().count()), held().map(|wait| wait.all), false);
    spread_row("    of which beyond what the bus demands", held().map(|wait| wait.ours), true);
    spread_row("  for comparison: how late a sleep ends on this machine", waits.iter().map(|wait| wait.late), false);
    let mib = |kib: u64| f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0;
    let rss = mib(end.rss_kib);
    row("memory after a minute, resident", &format!("{rss:.1} MiB"), "10 MiB", Some(rss <= 10.0));
    row("memory, peak", &format!("{:.1} MiB", mib(end.peak_kib)), "", None);
    let cpu = end.cpu_percent(begin);
    row("CPU at one update a second, of one core", &format!("{cpu:.2} %"), "< 0.5 %", Some(cpu < 0.5));
    row("CPU without updates", &format!("{:.2} %", idle.1.cpu_percent(&idle.0)), "", None);
    row("wake-ups a second, at one update a second", &format!("{:.0}", end.wakes(begin)), "", None);
    row("wake-ups a second, without updates [2]", &format!("{:.0}", idle.1.wakes(&idle.0)), "", None);
    let size = fs::metadata(program)?.len();
    row("size of the stripped program", &format!("{:.2} MiB", mib(size.div_ceil(1024))), "", None);
    row("controller, simulated seconds a second", &format!("{speed:.0}"), "", None);
    println!(
        "\nA pseudo-terminal has no line time: the frame of 8 bytes takes {:.1} ms more at 19200 baud, to which the aim adds its 5 ms.",
        8.0 * 11.0 / 19.2
    );
    println!(
        "[1] A request was waiting for its answer, or less than {} ms had passed since the last one: the wallbox needs that pause.",
        GAP.as_millis()
    );
    println!(
        "    The answer to a poll takes the simulated wallbox up to {} ms. In the field samples come every 30 s and fewer meet a busy bus.",
        20 + line_time_ms(8) + line_time_ms(33)
    );
    println!("[2] One poll of the charger, one decision and its order to the charger a second, states every 10 s.");
    Ok(())
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').nth(1).unwrap_or("?");
    format!("{}, {cores} cores, load of the last 5 minutes {load}", name.unwrap_or(env::consts::ARCH))
}
