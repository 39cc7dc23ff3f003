//! What `simulate` predicts is what `run` does: the whole daemon over TLS, MQTT and raw Modbus frames, in a world at thirty times real
//! time, compared sample by sample with the simulation of the same minutes. The journal recorded meanwhile must replay to the same.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use control::{Config, Milliamps, Millis, SiteView, Watts};
use surplusd::clock::Clock;
use surplusd::config::{self, Environment};
use surplusd::daemon::{self, Ended, Wiring};
use surplusd::model::request::{Origin, Request, Wish};
use surplusd::model::status::Status;
use surplusd::sim::demo::{World, WorldOptions};
use surplusd::sim::home_assistant::HomeAssistantOptions;
use surplusd::sim::plant::Flows;
use surplusd::sim::wallbox::WallboxOptions;
use surplusd::sim::weather::{Day, Weather};
use surplusd::simulate::{Setup, Simulation, Trace};
use tokio::sync::{mpsc, watch};

const SPEED: u32 = 30;
/// A day of broken clouds; its first minutes are dark, so that the daemon has found broker and wallbox before there is anything to decide.
const SEED: u64 = 39;
const BEGINS_S: u32 = 45_923;
const SAMPLES: u32 = 30;
/// The test takes half a minute; a world that waits for a busy machine takes longer.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(600);
/// Interval between samples, in seconds.
const PERIOD_S: u32 = 30;
/// Time after a sample until its decision is in force, in seconds.
const DECIDED_S: u32 = 20;
/// The wallbox is read every second: if its last report is older than this, the machine is holding up the line.
const REPORTED: Millis = Millis::from_secs(3);
/// How long the world then waits for a report, and for a sample, in real time.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A setpoint, and the code of its reason.
type Decided = (Milliamps, &'static str);

/// What is in force after each sample, from the first one that the simulated controller uses.
fn simulated(config: &Config, first: u32) -> Vec<Decided> {
    let day = Trace::from_day(&Day::generate(SEED, Weather::Broken));
    let began_s = BEGINS_S + first * PERIOD_S;
    let mut simulation = Simulation::new(config, &Setup { battery: None, ..Setup::default() }, began_s);
    let mut setpoints = Vec::new();
    for row in day.seconds().skip_while(|row| row.from_s < began_s) {
        let second = simulation.step(row);
        if second.t_s % PERIOD_S == (BEGINS_S + DECIDED_S) % PERIOD_S {
            setpoints.push((second.setpoint, second.reason().code()));
        }
    }
    setpoints
}

/// What is in force after each sample, from the first one that the daemon used.
async fn lived(config: config::Config, world: &World, clock: Clock) -> (u32, Vec<Decided>) {
    let (status, decided) = watch::channel(None);
    let (stop, requests) = mpsc::channel(1);
    let watching = async {
        let seen = tokio::time::timeout(LIMIT, watch_samples(world, &decided, clock)).await.expect("samples in time");
        stop.send(Request { wish: Wish::Stop, origin: Origin::Process, reply: None }).await.unwrap();
        seen
    };
    let (ended, seen) = tokio::join!(daemon::run(config, Wiring { clock, requests, status }), watching);
    // The four seconds allowed for shutdown are only 133 ms in real time here; other tests check in real time whether the end is proven.
    assert!(matches!(ended.unwrap(), Ended::Asked { .. }));
    seen
}

async fn watch_samples(
    world: &World,
    decided: &watch::Receiver<Option<Arc<Status>>>,
    clock: Clock,
) -> (u32, Vec<Decided>) {
    let (mut first, mut setpoints) = (None, Vec::new());
    let mut view = world.view();
    let (mut seen_s, mut published) = (BEGINS_S, [Watts(0); 3]);
    while setpoints.len() < SAMPLES as usize {
        view.changed().await.unwrap();
        let (now_s, flows) = {
            let view = view.borrow_and_update();
            (view.time_of_day_s, view.flows)
        };
        let mut news = [None; 3];
        if now_s % PERIOD_S == BEGINS_S % PERIOD_S {
            let shown = meters(flows);
            news = std::array::from_fn(|at| Some(shown[at]).filter(|new| *new != published[at]));
            published = shown;
        }
        caught_up(decided, clock, news).await;
        // If this task is late, several seconds have passed at once.
        for t_s in std::mem::replace(&mut seen_s, now_s) + 1..=now_s {
            if t_s % PERIOD_S != (BEGINS_S + DECIDED_S) % PERIOD_S {
                continue;
            }
            let status = decided.borrow().clone();
            let known = status.filter(|status| status.site.surplus.is_some());
            if let Some(status) = known {
                first.get_or_insert((t_s - BEGINS_S) / PERIOD_S);
                let view = &status.chargers[0].view;
                setpoints.push((view.setpoint, view.reason.code()));
            }
        }
    }
    (first.unwrap(), setpoints)
}

/// Holds the world's clock until the daemon has a recent report of the wallbox and, if the meters have published, has received all values.
/// Otherwise a second in which the machine is busy elsewhere would be half a minute without contact to the wallbox and without renewed
/// orders, and would merge two samples into one.
async fn caught_up(decided: &watch::Receiver<Option<Arc<Status>>>, clock: Clock, news: [Option<Watts>; 3]) {
    let now = clock.now();
    let _held = clock.waiting(now);
    let is_heard = |status: &Option<Arc<Status>>| {
        // Nothing is compared before the first sample.
        let Some(status) = status.as_ref().filter(|status| status.site.surplus.is_some()) else { return true };
        let SiteView { grid, solar, load, .. } = status.site;
        let report = status.chargers[0].view.report;
        report.is_some_and(|report| now.since(report.at) < REPORTED)
            && news.iter().zip([grid, solar, load]).all(|(new, seen)| new.is_none() || *new == seen)
    };
    let mut decided = decided.clone();
    let in_time = tokio::time::timeout(PATIENCE, decided.wait_for(is_heard)).await.is_ok();
    assert!(in_time, "at {now:?} {news:?} is not heard: {:?}", *decided.borrow());
}

/// Grid, solar and load as shown by Home Assistant, which publishes only those that changed.
fn meters(flows: Flows) -> [Watts; 3] {
    #[expect(clippy::cast_possible_truncation, reason = "a house draws some ten thousand watts")]
    let whole = |watts: f64| Watts(watts.round() as i32);
    [flows.grid_w, flows.solar_w, flows.house_w + flows.car_w].map(whole)
}

/// On a single thread, so that the clock waits for everything: world, broker and daemon.
#[tokio::test]
async fn run_does_what_simulate_foretells_and_its_journal_replays() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::start(SPEED);
    let defaults = WallboxOptions::default();
    let options = WorldOptions {
        seed: SEED,
        weather: Weather::Broken,
        start_s: BEGINS_S,
        battery: None,
        // The house of the simulation; the pieces of a frame arrive in real time.
        wallbox: WallboxOptions {
            voltages: [230; 3],
            reply_delay_ms: 0,
            line_time: false,
            gap_ms: defaults.gap_ms * u64::from(SPEED),
            ..defaults
        },
        home_assistant: HomeAssistantOptions { answers_refresh: false, ..HomeAssistantOptions::default() },
        ..WorldOptions::default()
    };
    let world = World::start(options, folder.path(), clock).await.unwrap();
    let file = folder.path().join("surplusd.toml");
    std::fs::write(&file, config_text(&world, folder.path())).unwrap();
    let known = surplusd::charger::profile::known();
    let loaded = config::load(&file, &Environment::default(), &known);
    let config = loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.findings));
    let control = config.control.clone();

    let (first, lived) = Box::pin(lived(config, &world, clock)).await;
    world.stop().await;
    let mut simulated = simulated(&control, first);
    simulated.truncate(lived.len());
    let changes = simulated.windows(2).filter(|pair| pair[0].0 != pair[1].0).count();
    let stops = simulated.windows(2).filter(|pair| pair[0].0 > pair[1].0 && pair[1].0 == Milliamps::ZERO).count();
    assert!(changes >= 8 && stops >= 1, "these minutes show too little: {simulated:?}");
    assert_eq!(lived, simulated, "from sample {first} on");

    let replay = Command::new(env!("CARGO_BIN_EXE_surplusd"))
        .arg("replay")
        .arg(folder.path().join("journal.sqlite"))
        .output()
        .unwrap();
    assert!(replay.status.success(), "{replay:?}");
    assert!(String::from_utf8_lossy(&replay.stdout).contains("all the same"), "{replay:?}");
}

fn config_text(world: &World, folder: &Path) -> String {
    format!(
        r#"version = 1
state-file = "{state}"
[mqtt]
url = "mqtts://127.0.0.1:{port}"
ca-file = "{ca}"
[battery]
present = false
[sampling]
# The messages of one sample arrive in real time.
settle-ms = 2000
[journal]
file = "{journal}"
[[charger]]
name = "carport"
profile = "heidelberg-energy-control"
link = "serial://{serial}"
mode = "solar"
"#,
        state = folder.join("state.json").display(),
        port = world.broker_port(),
        ca = world.ca_file().display(),
        journal = folder.join("journal.sqlite").display(),
        serial = world.serial_path().display(),
    )
}
