//! Ten thousand messages a second on topics that the daemon reads: what they do to its decisions and its memory.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::figures::house::{Broker, Daemon, HomeAssistant, configure};
use crate::figures::latency::{Wait, latencies, spread, start_charging};
use crate::figures::line::Line;
use crate::plan::{Watch, say};
use crate::stream::Stream;

/// Messages a second.
const RATE: u32 = 10_000;
/// Number of decisions timed without and with a flood: one takes a second.
const DECISIONS: usize = 58;
/// What a flood may add to the time of a decision, in milliseconds.
const DELAY_MS: f64 = 50.0;
/// A busy machine makes a decision later, never sooner: the best of so many floods counts.
const ATTEMPTS: u32 = 3;
/// What a flood may add to the resident memory, in KiB.
const GROWTH_KIB: u64 = 2_048;

const SOC: &str = "homeassistant/sensor/powerwall_charge/state";

/// Half of it on a topic of the site, half on topics of commands: accepted ones that change no decision, repeated ones, and refused ones.
fn message(n: u64) -> (String, String) {
    match n % 8 {
        0 | 2 | 4 | 6 => (SOC.to_owned(), format!("{}.{}", 50 + n % 9, n % 10)),
        1 => ("surplusd/surplusd/set/current".to_owned(), (6 + n / 8 % 10).to_string()),
        3 => ("surplusd/surplusd/set/mode".to_owned(), "solar".to_owned()),
        5 => ("surplusd/surplusd/set/mode".to_owned(), format!("x{n}")),
        _ => ("surplusd/surplusd/set/carport/current".to_owned(), format!("{n}")),
    }
}

/// Number of messages that the broker has sent to all clients, as it says every ten seconds.
fn passed_on(broker: &Broker) -> u64 {
    let mut command = Command::new("mosquitto_sub");
    command.args(["-p", &broker.door.to_string(), "-C", "1", "-W", "30", "-t", "$SYS/broker/publish/messages/sent"]);
    let output = command.output().expect("mosquitto-clients is installed");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}

fn described(waits: &[Wait]) -> String {
    let show = |times: [f64; 3]| format!("{:.1} / {:.1} / {:.1} ms", times[0], times[1], times[2]);
    let of = |time: fn(&Wait) -> Duration| spread(waits.iter().map(time)).map_or_else(|| "none".to_owned(), show);
    format!(
        "{} (with the bus {}, sleeps end late by {})",
        of(|wait| wait.ours),
        of(|wait| wait.all),
        of(|wait| wait.late)
    )
}

/// What a flood did.
struct Round {
    sent: u64,
    seconds: f64,
    passed_on: u64,
    waits: Vec<Wait>,
    cpu_percent: f64,
}

/// Times decisions during a flood.
fn flood(broker: &Broker, line: &Line, home: &mut HomeAssistant, daemon: &Daemon) -> Round {
    let passed_before = passed_on(broker);
    let before = daemon.usage().unwrap();
    let stream = Stream::start(broker.door, *b"fl", RATE, message);
    let began = Watch::start();
    // The first seconds fill all the queues there are.
    std::thread::sleep(Duration::from_secs(2));
    let waits = latencies(line, home, DECISIONS).unwrap_or_else(|error| panic!("{error}: {}", daemon.log()));
    let after = daemon.usage().unwrap();
    let (sent, seconds) = (stream.sent(), began.seconds());
    drop(stream);
    // The broker counts for ten seconds before it says so.
    std::thread::sleep(Duration::from_secs(11));
    let passed_on = passed_on(broker).saturating_sub(passed_before);
    Round { sent, seconds, passed_on, waits, cpu_percent: after.cpu_percent(&before) }
}

#[test]
#[ignore = "scripts/test-faults"]
fn delays_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).unwrap();
    let line = Line::open(&folder.path().join("rs485")).unwrap();
    let config = configure(folder.path(), &broker).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&config).unwrap();
    write!(file, "[journal]\nfile = \"{}/journal.sqlite\"\nbatch-s = 10\n", folder.path().display()).unwrap();
    let mut home = HomeAssistant::connect(&broker).unwrap();
    let daemon = Daemon::start(&PathBuf::from(env!("CARGO_BIN_EXE_surplusd")), &config, folder.path()).unwrap();
    start_charging(&line, &mut home).unwrap();
    let before = daemon.usage().unwrap();
    let mut attempts = 0;
    let grown = loop {
        attempts += 1;
        let quiet = latencies(&line, &mut home, DECISIONS).unwrap_or_else(|error| panic!("{error}: {}", daemon.log()));
        let round = flood(&broker, &line, &mut home, &daemon);
        let times = |waits: &[Wait]| spread(waits.iter().map(|wait| wait.ours)).unwrap();
        let delay = times(&round.waits)
            .into_iter()
            .zip(times(&quiet))
            .map(|(with, without)| with - without)
            .fold(0.0, f64::max);
        let grown = daemon.usage().unwrap().peak_kib.saturating_sub(before.peak_kib);
        say(
            "flood::delays_nothing",
            format_args!(
                "{} messages in {:.0} s, {} passed on to the daemon; publish to setpoint frame beyond what the bus demands, p50 / p99 / \
                 max: without {}; with {}; more with it: {delay:.1} ms (bound {DELAY_MS}); memory +{grown} KiB \
                 (bound {GROWTH_KIB}), CPU {:.0} % of a core",
                round.sent,
                round.seconds,
                round.passed_on,
                described(&quiet),
                described(&round.waits),
                round.cpu_percent
            ),
        );
        assert!(round.passed_on >= round.sent * 9 / 10, "the broker kept messages back");
        if delay <= DELAY_MS {
            break grown;
        }
        assert!(attempts < ATTEMPTS, "{}", daemon.log());
    };
    assert!(grown <= GROWTH_KIB, "{}", daemon.log());
    daemon.stop().unwrap();
}
