//! A household's day through the recorder: how much it writes, and that nothing waits for it.

use std::path::{Path, PathBuf};
use std::process::Command;

use control::{ChargerReport, Milliamps, Reachability, Reading, Source, Vehicle, Volts, WattHours, Watts};

use super::*;
use crate::config::JournalConfig;
use crate::journal::reader::Reader;
use crate::journal::tests::some_config;

const CARPORT: ChargerId = ChargerId(0);

fn journal(folder: &Path) -> JournalConfig {
    JournalConfig {
        file: folder.join("journal.sqlite"),
        keep: Millis::from_secs(30 * 86_400),
        max_bytes: 64_000_000,
        batch: Millis::from_secs(600),
    }
}

fn recorder(journal: Journal) -> Recorder {
    let names = BTreeMap::from([(CARPORT, "carport".to_owned())]);
    Recorder::new(some_config(), Tick(1), names, Some((journal, Clock::start(2))))
}

/// A house with sun and clouds, and a car that takes what it is offered; all values fluctuate like real ones.
struct Day {
    random: fastrand::Rng,
    cloud: f64,
    energy: f64,
    setpoint: Milliamps,
}

impl Day {
    fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), cloud: 1.0, energy: 1_000_000.0, setpoint: Milliamps(0) }
    }

    fn jitter(&mut self, most: u64) -> u64 {
        self.random.u64(0..=most)
    }

    fn second(&mut self, second: u64, recorder: &mut Recorder) {
        self.at(second, second, recorder);
    }

    /// Plays one second at this second of the day.
    fn at(&mut self, second: u64, of_day: u64, recorder: &mut Recorder) {
        let begins = second * 1_000 + 2;
        let at = begins + self.jitter(8);
        let report = self.report(Tick(at));
        recorder.handle(Input::Report(report), Tick(at + 1 + self.jitter(1)));
        self.obey(recorder);
        if second % 30 == 7 {
            let readings = self.readings(of_day, report.power.unwrap_or(Watts::ZERO));
            for (number, (source, value)) in (0..).zip(readings) {
                let reading = Reading { source, value: Some(value), retained: false };
                recorder.handle(Input::Reading(reading), Tick(begins + 300 + number));
                self.obey(recorder);
            }
        }
        if let Some((due, _)) = recorder.poll_timeout().filter(|(due, _)| due.0 < begins + 999) {
            recorder.handle_timeout(due.max(Tick(begins + 400)) + Millis(self.jitter(3)));
            self.obey(recorder);
        }
    }

    fn obey(&mut self, recorder: &mut Recorder) {
        while let Some(action) = recorder.poll_action() {
            if let Action::Order(order) = action {
                self.setpoint = order.setpoint.unwrap_or(self.setpoint);
            }
        }
    }

    fn report(&mut self, at: Tick) -> ChargerReport {
        let charging = self.setpoint > Milliamps(0);
        let mut current = || {
            let trembling = self.setpoint.0 / 100 + self.random.u32(0..3);
            Milliamps(if charging { trembling.saturating_sub(1) * 100 } else { 0 })
        };
        let currents = [current(), current(), current()];
        let voltages = [(); 3].map(|()| Volts(self.random.u16(229..=232)));
        let watts = currents.iter().zip(voltages).map(|(amps, volts)| amps.0 * u32::from(volts.0) / 1_000).sum::<u32>();
        self.energy += f64::from(watts) / 3_600.0;
        #[expect(clippy::cast_possible_truncation, reason = "small")]
        let energy = WattHours(self.energy as i64);
        ChargerReport {
            vehicle: if charging { Vehicle::Charging } else { Vehicle::Requesting },
            power: Some(Watts(i32::try_from(watts).unwrap())),
            currents: Some(currents),
            voltages: Some(voltages),
            setpoint: Some(self.setpoint),
            box_max: Some(Milliamps(16_000)),
            box_min: Some(Milliamps(6_000)),
            energy: Some(energy),
            ..ChargerReport::silent(CARPORT, at, Reachability::Online)
        }
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "watts of a house")]
    fn readings(&mut self, second: u64, car: Watts) -> [(Source, i32); 5] {
        let hour = (second % 86_400) as f64 / 3_600.0;
        let clear = 9_000.0 * (std::f64::consts::PI * (hour - 6.0) / 12.0).sin().max(0.0);
        self.cloud = (self.cloud + self.random.f64() * 0.4 - 0.2).clamp(0.2, 1.0);
        let solar = (clear * self.cloud) as i32;
        let house = 300 + self.random.i32(0..400);
        let net = house + car.0 - solar;
        let battery = net.clamp(-3_000, 3_000);
        [
            (Source::Solar, solar),
            (Source::Load, house + car.0),
            (Source::Battery, battery),
            (Source::Grid, net - battery),
            (Source::BatterySoc, 50 + (hour as i32)),
        ]
    }
}

/// Lets the journal's thread catch up: the test is faster than the disk.
fn caught_up(recorder: &Recorder) {
    while recorder.tape.as_ref().is_some_and(|tape| !tape.journal.is_idle()) {
        std::thread::yield_now();
    }
}

fn written(key: &str) -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().parse().unwrap()
}

/// The body of the next test, in a separate process because the kernel counts writes per process.
#[tokio::test]
#[ignore = "is run by the next test"]
async fn a_day_is_recorded() {
    let Some(folder) = std::env::var_os("SURPLUSD_TEST_FOLDER").map(PathBuf::from) else { return };
    let mut recorder = recorder(Journal::start(journal(&folder)).unwrap());
    let (mut day, before) = (Day::new(1), (written("wchar:"), written("write_bytes:")));
    for second in 0..86_400 {
        day.second(second, &mut recorder);
        if second % 60 == 59 {
            caught_up(&recorder);
            // Each write reaches the disk before the next one, as in real operation, so that repeated writes to a page all count.
            for file in std::fs::read_dir(&folder).unwrap() {
                std::fs::File::open(file.unwrap().path()).unwrap().sync_all().unwrap();
            }
        }
    }
    recorder.close(Duration::from_secs(60)).await;
    let (calls, pages) = (written("wchar:") - before.0, written("write_bytes:") - before.1);
    println!("calls {calls} pages {pages}");
}

/// Writes to the card of a Raspberry Pi on a day with one report per second and five readings every 30 s.
#[test]
fn a_day_costs_the_card_a_few_megabytes() {
    let folder = tempfile::tempdir().unwrap();
    let name = "daemon::recorder::tests::a_day_is_recorded";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--ignored", "--nocapture"]).env("SURPLUSD_TEST_FOLDER", folder.path());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let figures = text.lines().find_map(|line| line.split_once("calls ")).unwrap_or_else(|| panic!("{text}")).1;
    let (calls, pages) = figures.split_once(" pages ").unwrap();
    let (calls, pages): (u64, u64) = (calls.parse().unwrap(), pages.parse().unwrap());
    let file = folder.path().join("journal.sqlite");
    let size = std::fs::metadata(&file).unwrap().len();
    let reader = Reader::open(&file).unwrap();
    let batches = reader.batches(1).unwrap().len();
    println!("a day: {batches} batches, file {size} bytes, written {calls} bytes by calls, {pages} bytes of pages");
    assert!(size < 1_500_000, "{size}");
    assert!(calls.max(pages) < 5_000_000, "{calls} {pages}");
}

/// Records `seconds` seconds of a day, starting at second `from`.
pub(crate) async fn record(config: JournalConfig, from: u64, seconds: u64) {
    let mut recorder = recorder(Journal::start(config).unwrap());
    let mut day = Day::new(7);
    for second in 0..seconds {
        day.at(second, from + second, &mut recorder);
        if second % 300 == 0 {
            caught_up(&recorder);
        }
    }
    recorder.close(Duration::from_secs(60)).await;
}

/// While another process locks the file, records that do not fit are dropped and nothing waits; then recording continues after a gap.
#[tokio::test]
async fn a_disk_that_hangs_holds_up_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = journal(folder.path());
    let mut recorder = recorder(Journal::start(config.clone()).unwrap());
    let mut day = Day::new(3);
    for second in 0..1_300 {
        day.at(second, 43_200 + second, &mut recorder);
        caught_up(&recorder);
    }
    let holder = rusqlite::Connection::open(&config.file).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut slowest = Duration::ZERO;
    for second in 1_300..9_000 {
        let before = Clock::start(1);
        day.at(second, 43_200 + second, &mut recorder);
        slowest = slowest.max(Duration::from_millis(before.now().0));
    }
    println!("slowest second of the loop while the disk hangs: {slowest:?}");
    assert!(slowest < Duration::from_secs(4), "{slowest:?}: the writer waits five seconds for the file");
    assert!(recorder.tape.as_ref().is_some_and(|tape| tape.dropped > 0));
    holder.execute_batch("COMMIT").unwrap();
    caught_up(&recorder);
    for second in 9_000..10_500 {
        day.at(second, 43_200 + second, &mut recorder);
        caught_up(&recorder);
    }
    assert_eq!(recorder.tape.as_ref().map(|tape| tape.dropped), Some(0));
    recorder.close(Duration::from_secs(60)).await;
    let reader = Reader::open(&config.file).unwrap();
    let starts: Vec<Start> = reader.batches(1).unwrap().iter().map(|id| reader.batch(*id).unwrap().start).collect();
    assert!(starts.iter().any(|start| matches!(start, Start::Gap(dropped) if *dropped > 1_000)), "{starts:?}");
    let mut out = Vec::new();
    let args = crate::cli::replay::Args { file: config.file, ..crate::cli::replay::Args::default() };
    assert_eq!(
        crate::cli::replay::run(&args, &crate::config::Environment::default(), &mut out).unwrap(),
        0,
        "{}",
        String::from_utf8_lossy(&out)
    );
    assert!(String::from_utf8_lossy(&out).contains("records are missing"));
}
