//! `kill -9` at random moments: several daemons at a time, each with a broker and a wallbox of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use surplusd::sim::wallbox::{Wallbox, WallboxOptions};
use tokio::task::JoinSet;

use crate::home::{HomeAssistant, replay};
use crate::house::{BASE, Car, House};
use crate::mosquitto::Peer;
use crate::plan::{Watch, kills, say, seed};

/// `charger-watchdog-s`: as short as it can be set.
const WATCHDOG_S: u16 = 4;
/// What a busy machine may add to the wallbox's own watchdog, in seconds.
const BUSY_S: f64 = 1.5;
/// Daemons at a time with a car that charges, and with one that sleeps and is woken.
const AWAKE: usize = 10;
const ASLEEP: usize = 4;
/// How long a moment is waited for: the wallbox's recovery, the minimum-off time and the wake-up after it.
const MOMENT_S: f64 = 150.0;
/// How soon after its start a daemon must have taken a charge back that it found running, in seconds.
const TAKEN_BACK_S: f64 = 20.0;
/// How soon after its start a daemon must have unlocked its wallbox, in seconds.
const UNLOCKED_S: f64 = 20.0;

/// What the daemon does when it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// So many milliseconds after its start: it opens its files, its line and its connection, and takes a charge back.
    Starting(u64),
    /// So long after a charge was seen.
    Charging(u64),
    /// So long after a command that is stored at once.
    Storing(u64),
    /// So long after the wallbox was locked to wake the car.
    Waking(u64),
}

impl Moment {
    fn draw(random: &mut fastrand::Rng, asleep: bool) -> Self {
        match random.u32(0..10) {
            0..4 if !asleep => Self::Starting(random.u64(0..1_500)),
            4..7 if !asleep => Self::Charging(random.u64(0..3_000)),
            _ if !asleep => Self::Storing(random.u64(0..60)),
            0..3 => Self::Starting(random.u64(0..1_500)),
            _ => Self::Waking(random.u64(0..9_000)),
        }
    }
}

/// What was seen.
#[derive(Debug, Default)]
struct Seen {
    /// Number of kills: starting, charging, storing, waking.
    moments: [u32; 4],
    /// Times from a kill to the fail-safe current, in seconds: with the watchdog as configured, and before it was written.
    fell: Vec<f64>,
    fell_by_default: Vec<f64>,
    /// Times from a restart to the line in the log that the charge was taken back.
    adopted: Vec<f64>,
    /// Number of charges that had ended before the daemon was back, because its predecessor had sent nothing for long.
    too_late: u32,
    /// Times from a restart to the unlocking.
    unlocked: Vec<f64>,
    /// Number of journals that were replayed after a kill, and of those without a batch so far.
    replayed: u32,
    empty: u32,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.moments.iter_mut().zip(other.moments).for_each(|(sum, one)| *sum += one);
        self.fell.extend(other.fell);
        self.fell_by_default.extend(other.fell_by_default);
        self.adopted.extend(other.adopted);
        self.too_late += other.too_late;
        self.unlocked.extend(other.unlocked);
        self.replayed += other.replayed;
        self.empty += other.empty;
    }
}

struct Victim {
    house: House,
    peer: Peer,
    _home: HomeAssistant,
    /// Where the log of the present daemon begins.
    from: usize,
    seen: Seen,
}

impl Victim {
    async fn new(asleep: bool) -> Self {
        let mut house = House::build(WallboxOptions::default()).await;
        house.watchdog_s = WATCHDOG_S;
        house.batch_s = 10;
        if asleep {
            house.extra = "mode = \"slow\"\nwake-after-s = 30\n".to_owned();
            house.car(Car::Asleep);
        }
        let (peer, home) = (house.peer().await, HomeAssistant::start(&house));
        house.start();
        Self { house, peer, _home: home, from: 0, seen: Seen::default() }
    }

    /// Waits for the moment. One that does not come in time is a kill like any other.
    async fn wait_for(&mut self, moment: Moment, n: usize) {
        let waits = Watch::start();
        let until = async |wish: fn(&Wallbox) -> bool| {
            while !wish(&self.house.port.wallbox()) && waits.seconds() < MOMENT_S {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let (kind, ms) = match moment {
            Moment::Starting(ms) => (0, ms),
            Moment::Charging(ms) => {
                until(|wallbox| wallbox.state() == 7).await;
                (1, ms)
            }
            Moment::Storing(ms) => {
                until(|wallbox| wallbox.state() == 7).await;
                self.peer.publish(&format!("{BASE}/set/current"), (6 + n % 10).to_string(), false);
                (2, ms)
            }
            Moment::Waking(ms) => {
                until(|wallbox| wallbox.registers().remote_lock == 0).await;
                (3, ms)
            }
        };
        self.seen.moments[kind] += 1;
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    /// Kills the daemon, judges what it left, and starts it again: at once, or after the wallbox has fallen back.
    async fn kill(&mut self, plan: &str, waits: bool) {
        let killed = Watch::start();
        self.house.kill_9().await;
        let (registers, charges) = {
            let wallbox = self.house.port.wallbox();
            (wallbox.registers(), wallbox.state() == 7)
        };
        self.judge_state(plan);
        if waits {
            self.house.until("fail-safe", |wallbox| wallbox.bus_lost() && wallbox.allowed_deciamps() == 0).await;
            let took = killed.seconds();
            assert!(took < f64::from(registers.watchdog_ms) / 1e3 + BUSY_S, "{plan}: {took} s, {registers:?}");
            let is_ours = registers.watchdog_ms == WATCHDOG_S * 1_000;
            if is_ours { &mut self.seen.fell } else { &mut self.seen.fell_by_default }.push(took);
            self.judge_journal(plan).await;
        }
        let from = self.house.log().len();
        self.from = from;
        let started = Watch::start();
        self.house.start();
        if charges && !waits {
            self.taken_back(plan, from, started, registers.setpoint).await;
        }
        if registers.remote_lock == 0 {
            let is_open = |wallbox: &Wallbox| wallbox.registers().remote_lock == 1;
            self.house.until("unlocked", is_open).await;
            assert!(started.seconds() < UNLOCKED_S, "{plan}: {}", self.house.log());
            self.seen.unlocked.push(started.seconds());
        }
        let new = self.house.log().split_off(from);
        assert!(!new.contains("set aside") && !new.contains("cannot be used"), "{plan}: {new}");
        assert_eq!(self.house.port.wallbox().last_forbidden(), None, "{plan}");
    }

    /// The stored state is whole or missing; what was being written beside it is not in the way.
    fn judge_state(&self, plan: &str) {
        match std::fs::read_to_string(self.house.folder.path().join("state.json")) {
            Ok(text) => {
                let state: serde_json::Value =
                    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{plan}: {error}: {text:?}"));
                assert!(state.is_object(), "{plan}: {text}");
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{plan}"),
        }
    }

    async fn judge_journal(&mut self, plan: &str) {
        let (good, text) = replay(&self.house.journal()).await;
        let empty = text.contains("nothing has been recorded yet") || text.contains("does not exist");
        assert!(good || empty, "{plan}: {text}");
        if good {
            self.seen.replayed += 1;
        } else {
            self.seen.empty += 1;
        }
    }

    /// A charge that was found running goes on, unless the wallbox had heard nothing for longer than its watchdog takes.
    async fn taken_back(&mut self, plan: &str, from: usize, started: Watch, setpoint: u16) {
        loop {
            let (lost, now) = {
                let wallbox = self.house.port.wallbox();
                (wallbox.bus_lost(), wallbox.registers().setpoint)
            };
            if lost {
                self.seen.too_late += 1;
                return;
            }
            let log = self.house.log().split_off(from);
            assert!(now >= 60 && now <= setpoint.max(105), "{plan}: from {setpoint} to {now}: {log}");
            // If a sample comes at the same moment, the charge is judged at once.
            if log.contains("keeping the charge found running") || log.contains("following") {
                self.seen.adopted.push(started.seconds());
                return;
            }
            assert!(started.seconds() < TAKEN_BACK_S, "{plan}: the charge was not taken back: {log}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends the last daemon in good order.
    async fn end(mut self) -> Seen {
        self.judge_journal("the end").await;
        let started = Watch::start();
        while !self.house.log()[self.from..].contains("charger carport: connected") {
            assert!(started.seconds() < MOMENT_S, "{}", self.house.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.house.signal("TERM");
        assert_eq!(self.house.ended().await.code(), Some(0), "{}", self.house.log());
        let registers = self.house.port.wallbox().registers();
        assert_eq!((registers.setpoint, registers.remote_lock), (0, 1), "{}", self.house.log());
        self.house.assert_well_behaved();
        self.seen
    }
}

fn worst(times: &[f64]) -> f64 {
    times.iter().copied().fold(0.0, f64::max)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/test-faults"]
async fn at_random_moments() {
    let (seed, kills, began) = (seed(), kills(), Watch::start());
    println!("kill::at_random_moments: seed {seed}");
    let taken = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for worker in 0..AWAKE + ASLEEP {
        let (asleep, taken) = (worker >= AWAKE, Arc::clone(&taken));
        workers.spawn(async move {
            let mut victim = Victim::new(asleep).await;
            loop {
                let n = taken.fetch_add(1, Ordering::Relaxed);
                if n >= kills {
                    return victim.end().await;
                }
                let mut random = fastrand::Rng::with_seed(seed.wrapping_add(n as u64));
                let (moment, waits) = (Moment::draw(&mut random, asleep), random.u32(0..4) == 0);
                let plan =
                    format!("seed {seed}, kill {n}: {moment:?}, {}", if waits { "then silence" } else { "restarted" });
                victim.wait_for(moment, n).await;
                victim.kill(&plan, waits).await;
            }
        });
    }
    let mut all = Seen::default();
    while let Some(done) = workers.join_next().await {
        all.add(done.expect("a worker has said what is wrong"));
    }
    let [starting, charging, storing, waking] = all.moments;
    say(
        "kill::at_random_moments",
        format_args!(
            "seed {seed}, {kills} kills in {:.0} s ({starting} starting, {charging} charging, {storing} storing, {waking} waking): \
             {} times left alone, fail-safe after {:.2} s at most (watchdog {WATCHDOG_S}); {} of them before that was set, after \
             {:.2} s at most (default 15); {} charges taken back, within {:.1} s; {} had ended before; {} locks opened, within \
             {:.1} s; {} journals replayed ({} without a batch), no state damaged",
            began.seconds(),
            all.fell.len() + all.fell_by_default.len(),
            worst(&all.fell),
            all.fell_by_default.len(),
            worst(&all.fell_by_default),
            all.adopted.len(),
            worst(&all.adopted),
            all.too_late,
            all.unlocked.len(),
            worst(&all.unlocked),
            all.replayed,
            all.empty,
        ),
    );
    assert_eq!(all.moments.iter().sum::<u32>() as usize, kills);
}
