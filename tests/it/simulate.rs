//! The simulation as a whole: a table of scenarios that reveals any drift, the absence of limit cycles, and the command.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use control::Milliamps;
use surplusd::sim::weather::{Day, Weather};
use surplusd::simulate::{MetersOptions, Nobody, Scenario, Setup, Simulation, Trace, TraceRow};

/// Days of the table: kind of weather, seed, day of the year.
const DAYS: [(Weather, u64, u16); 4] =
    [(Weather::Clear, 1, 135), (Weather::Hazy, 2, 172), (Weather::Broken, 3, 135), (Weather::Overcast, 4, 172)];

/// Days × scenarios, compared exactly: any change in what a car gets shows in the diff of this file. `UPDATE_GOLDEN=1` rewrites it.
#[test]
fn the_table_of_scenarios_is_as_it_was() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/scenarios.txt");
    let days: Vec<(String, Trace)> = DAYS
        .iter()
        .map(|(kind, seed, day_of_year)| {
            let day = Day::generate_on(*seed, *kind, *day_of_year);
            (format!("{}-{seed}", kind.name()), Trace::from_day(&day))
        })
        .collect();
    let runs: Vec<(Scenario, &(String, Trace))> =
        Scenario::ALL.into_iter().flat_map(|scenario| days.iter().map(move |day| (scenario, day))).collect();
    let line = |(scenario, (name, trace)): &(Scenario, &(String, Trace))| {
        let Ok(totals) = Simulation::run(&scenario.config().unwrap(), &scenario.setup(), trace, &mut Nobody);
        let ledger = totals.ledger;
        let [solar, grid, battery] =
            [ledger.solar_to_car_wh, ledger.grid_to_car_wh, ledger.battery_to_car_wh].map(|wh| wh / 1e3);
        format!(
            "{:<18}{name:<12}{solar:>9.3}{grid:>9.3}{battery:>9.3}{:>7}{:>8}{:>8}{:>8}\n",
            scenario.name(),
            ledger.starts,
            totals.setpoint_writes,
            totals.phase_switches,
            totals.refresh_requests
        )
    };
    let (some, others) = runs.split_at(runs.len() / 2);
    let lines = std::thread::scope(|scope| {
        let others = scope.spawn(|| others.iter().map(line).collect::<String>());
        some.iter().map(line).collect::<String>() + &others.join().unwrap()
    });
    let head = format!(
        "{:<18}{:<12}{:>9}{:>9}{:>9}{:>7}{:>8}{:>8}{:>8}\n",
        "scenario", "day", "solar", "grid", "battery", "starts", "writes", "phases", "asked"
    );
    let table = head + &lines;
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &table).unwrap();
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    assert!(golden == table, "{} differs; if that is meant, UPDATE_GOLDEN=1. It is now:\n{table}", file.display());
}

/// Events in an hour of steady sun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hour {
    /// A first start, once the cloud has been forgotten, is not part of a cycle; a stop is.
    stops: u32,
    writes: u32,
    /// Lowest and highest setpoint while charging was ordered.
    range: (u32, u32),
}

/// An hour of constant sun and house load, after a start, a cloud of a minute, and twenty minutes to settle.
fn steady_hour(scenario: Scenario, setup: &Setup, solar_w: f32) -> Hour {
    const CLOUD_S: std::ops::Range<u32> = 600..660;
    const SETTLED_S: u32 = CLOUD_S.end + 1_200;
    let sun = |t_s| if CLOUD_S.contains(&t_s) { solar_w * 0.6 } else { solar_w };
    let row = |from_s| TraceRow { from_s, solar_w: sun(from_s), house_w: 500.0 };
    let mut simulation = Simulation::new(&scenario.config().unwrap(), setup, 0);
    let mut last = 0;
    for t_s in 0..SETTLED_S {
        last = simulation.step(row(t_s)).setpoint.0;
    }
    let before = simulation.totals();
    let (mut stops, mut range) = (0, (u32::MAX, 0));
    for t_s in SETTLED_S..SETTLED_S + 3_600 {
        let Milliamps(setpoint) = simulation.step(row(t_s)).setpoint;
        if setpoint > 0 {
            range = (range.0.min(setpoint), range.1.max(setpoint));
        } else if last > 0 {
            stops += 1;
        }
        last = setpoint;
    }
    Hour { stops, writes: simulation.totals().setpoint_writes - before.setpoint_writes, range }
}

/// Solar power in watts (the house takes 500): surplus below the start line, between the lines, just above 6 A, in the middle, and above 16
/// A.
const SUN_W: [f32; 8] = [3_000.0, 3_900.0, 4_400.0, 4_700.0, 6_000.0, 8_000.0, 11_000.0, 13_000.0];

/// All runs of a scenario with these delays and skews that do not settle.
fn restless(scenario: Scenario, latenesses: &[u32], skews: &[u32], restless: impl Fn(&Hour) -> bool) -> String {
    let mut found = String::new();
    for &delay_s in latenesses {
        for &skew_s in skews {
            for solar_w in SUN_W {
                for seed in 1..=if skew_s > 0 { 3 } else { 1 } {
                    let plant = scenario.setup();
                    let setup = Setup { meters: MetersOptions { delay_s, skew_s, ..plant.meters }, seed, ..plant };
                    let hour = steady_hour(scenario, &setup, solar_w);
                    if restless(&hour) {
                        let _ = writeln!(
                            found,
                            "{}: {delay_s} s late, skew {skew_s} s, seed {seed}, sun {solar_w} W: {hour:?}",
                            scenario.name()
                        );
                    }
                }
            }
        }
    }
    found
}

#[test]
fn steady_sun_gives_a_steady_setpoint() {
    let ideal = [
        Scenario::Powerwall30s,
        Scenario::Powerwall10s,
        Scenario::NoBattery30s,
        Scenario::NoBatteryLive,
        Scenario::PowerwallRefresh,
        Scenario::Phases13,
    ];
    let found: String = std::thread::scope(|scope| {
        let one = |scenario| move || restless(scenario, &[0, 5, 10, 20], &[0, 5], |hour| hour.writes > 0);
        let threads: Vec<_> = ideal.into_iter().map(|scenario| scope.spawn(one(scenario))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(found.is_empty(), "the setpoint does not come to rest:\n{found}");
}

#[test]
fn noise_alone_moves_the_setpoint_by_little() {
    // Noise of 20 W on two meters changes a sample by some 60 W, the gain errors by a constant: that is one step of 0.1 A, rarely more.
    let found = restless(Scenario::Realistic, &[0, 5, 10, 20], &[0, 5], |hour| {
        hour.stops > 0 || hour.range.1.saturating_sub(hour.range.0) > 300
    });
    assert!(found.is_empty(), "the setpoint does not come to rest:\n{found}");
}

/// Near its floor the battery turns on and off within minutes: a charge that it helps to sustain would empty it, and stop.
#[test]
fn a_battery_near_its_floor_gives_no_rhythm() {
    let mut found = String::new();
    for scenario in [Scenario::Powerwall30s, Scenario::Powerwall10s, Scenario::PowerwallRefresh, Scenario::Realistic] {
        for solar_w in [3_900.0, 4_100.0, 4_300.0, 4_500.0, 4_700.0, 5_500.0] {
            let mut setup = scenario.setup();
            if let Some(battery) = &mut setup.battery {
                battery.soc = 0.21;
            }
            let hour = steady_hour(scenario, &setup, solar_w);
            if hour.stops > 1 {
                let _ = writeln!(found, "{}: sun {solar_w} W: {hour:?}", scenario.name());
            }
        }
    }
    assert!(found.is_empty(), "stops again and again:\n{found}");
}

/// Runs the built program.
fn surplusd(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_surplusd")).arg("simulate").args(arguments).current_dir(folder).output().unwrap()
}

fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// An hour of sun at noon, one row per minute.
fn noon() -> String {
    (0..60).fold("t_s,pv_w,load_w\n".to_owned(), |text, minute| {
        text + &format!("{},{},400\n", 43_200 + minute * 60, 7_000 + minute * 13)
    })
}

#[test]
fn the_command_writes_rows_totals_and_a_picture() {
    let folder = folder_with(&[("noon.csv", &noon()), ("plant.toml", "battery = false\nmeter-period-s = 0\n")]);
    let run = |number: u32| {
        let (out, plot) = (format!("out{number}.csv"), format!("plot{number}.svg"));
        let output = surplusd(
            &["--trace", "noon.csv", "--plant", "plant.toml", "--out", &out, "--plot", &plot, "--json"],
            folder.path(),
        );
        assert!(output.status.success(), "{output:?}");
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        (String::from_utf8(output.stdout).unwrap(), read(&out), read(&plot))
    };
    let (json, rows, picture) = run(1);
    assert_eq!(run(2), (json.clone(), rows.clone(), picture.clone()), "two runs differ");
    let totals: serde_json::Value = serde_json::from_str(&json).unwrap();
    let mut keys: Vec<&str> = totals.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected = "battery_to_car_kwh charger_kwh export_kwh grid_to_car_kwh import_kwh minutes_charging phase_switches setpoint_writes \
        solar_to_car_kwh starts";
    assert_eq!(keys.join(" "), expected);
    let mut lines = rows.lines();
    assert_eq!(
        lines.next(),
        Some("t_s,pv_w,house_w,charger_w,setpoint_ma,enabled,battery_w,battery_soc_pct,grid_w,reason")
    );
    assert_eq!(
        (lines.clone().count(), lines.next().unwrap()),
        (3_600, "43200,7000.0,400.0,0.0,9500,1,0.0,,-6600.0,following")
    );
    let charger_kwh =
        rows.lines().skip(1).map(|row| row.split(',').nth(3).unwrap().parse::<f64>().unwrap()).sum::<f64>() / 3.6e6;
    assert!((totals["charger_kwh"].as_f64().unwrap() - charger_kwh).abs() < 1e-3);
    assert_eq!((totals["starts"].as_u64(), totals["battery_to_car_kwh"].as_f64()), (Some(1), Some(0.0)));
    for word in ["<svg", "noon: ", "kWh into the car", "house", "grid", "kW</text>", "12:15", "</svg>"] {
        assert!(picture.contains(word), "no {word} in the picture");
    }
}

#[test]
fn the_configuration_decides_and_needs_no_file_that_it_names() {
    let config = "version = 1\n[mqtt]\nurl = \"mqtts://localhost\"\nusername-file = \"not-there\"\npassword-file = \"not-there\"\nca-file = \"not-there.crt\"\n\
        [[charger]]\nname = \"car\"\nprofile = \"heidelberg-energy-control\"\nlink = \"serial:///dev/null\"\nmode = \"fixed\"\nfixed-current-a = 8\n";
    let folder = folder_with(&[
        ("noon.csv", &noon()),
        ("config.toml", config),
        ("bad.toml", "version = 1\n[solar]\nmin-share = 3\n"),
    ]);
    let output = surplusd(&["--trace", "noon.csv", "--config", "config.toml", "--out", "out.csv"], folder.path());
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("from the sun"));
    let rows = fs::read_to_string(folder.path().join("out.csv")).unwrap();
    assert!(
        rows.lines().last().unwrap().contains(",8000,1,") && rows.ends_with(",fixed\n"),
        "{}",
        rows.lines().last().unwrap()
    );
    let output = surplusd(&["--trace", "noon.csv", "--config", "bad.toml"], folder.path());
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("bad.toml:3:"), "{output:?}");
}

#[test]
fn wrong_input_is_answered_with_what_to_do() {
    let folder = folder_with(&[
        ("noon.csv", &noon()),
        ("columns.csv", "t_s,power\n0,1\n"),
        ("order.csv", "t_s,pv_w,house_w\n60,1,1\n0,1,1\n"),
        ("clock.csv", "t_s;pv_w;house_w\n12:00;1;1\n"),
        ("plant.toml", "phases = 2\n"),
    ]);
    for (arguments, code, words) in [
        (&["--trace", "columns.csv"][..], 78, "columns.csv:1: there is no column pv_w; begin the file with a header"),
        (&["--trace", "order.csv"], 78, "order.csv:3: t_s does not ascend; sort the rows"),
        (&["--trace", "clock.csv"], 78, "clock.csv:2: t_s is \"12:00\"; give seconds from midnight"),
        (&["--trace", "/dev/zero"], 78, "/dev/zero: it cannot be read: it is not a regular file"),
        (
            &["--trace", "noon.csv", "--plant", "/dev/zero"],
            78,
            "/dev/zero: it cannot be read: it is not a regular file",
        ),
        (&["--trace", "none.csv"], 78, "none.csv: it cannot be read"),
        (&["--trace", "noon.csv", "--plant", "plant.toml"], 78, "plant.toml:1: phases is 2; give 1 or 3"),
        (&["--trace", "noon.csv", "--plant", "none.toml"], 78, "none.toml: it cannot be read"),
        (&["--trace", "noon.csv", "--out", "no/folder.csv"], 2, "no/folder.csv: it cannot be written"),
        (&["--trace", "noon.csv", "--plot", "no/folder.svg"], 2, "no/folder.svg: it cannot be written"),
        (&["--weather", "windy"], 2, "windy"),
        (&["--trace", "noon.csv", "--weather", "clear"], 2, "cannot be used with"),
        (&[], 2, "--trace"),
    ] {
        let output = surplusd(arguments, folder.path());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

/// The clairvoyant bound of the benchmark.
#[path = "../../benches/score/bound.rs"]
mod bound;

#[test]
fn the_bound_of_a_steady_day_is_what_a_hand_computes() {
    // Ten minutes of 6.9 kW of surplus: 8 s are lost at the start, which costs 0.1 kWh.
    let surplus_w = vec![6_900.0; 600];
    let expected = 6.9 * 592.0 / 3_600.0 - 0.1;
    assert!((bound::three_phases(&surplus_w) - expected).abs() < 1e-9);
    // With 2 kW, three phases gain nothing; one phase uses all of it.
    let surplus_w = vec![2_000.0; 3_600];
    assert!(bound::three_phases(&surplus_w).abs() < 1e-9);
    let expected = 2.0 * 3_592.0 / 3_600.0 - 0.1;
    assert!((bound::one_or_three_phases(&surplus_w) - expected).abs() < 1e-9);
}

/// A generated day can be simulated without a file.
#[test]
fn a_made_up_day_needs_no_trace() {
    let folder = folder_with(&[]);
    let output = surplusd(&["--weather", "hazy", "--seed", "5", "--json"], folder.path());
    assert!(output.status.success() && output.stdout.starts_with(b"{"), "{output:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{:?}", PathBuf::from(folder.path()));
}

/// README's picture is the one that its command draws.
#[test]
fn the_picture_of_the_readme_is_of_today() {
    let folder = folder_with(&[]);
    let output = surplusd(&["--weather", "hazy", "--seed", "5", "--plot", "day.svg"], folder.path());
    assert!(output.status.success(), "{output:?}");
    let drawn = fs::read_to_string(folder.path().join("day.svg")).unwrap();
    assert!(drawn == include_str!("../../docs/day.svg"), "draw docs/day.svg anew, as README says");
    assert!(drawn.contains("41.4 kWh into the car, 94 % from the sun, 3 starts"), "README says so");
    let readme = include_str!("../../README.md");
    assert!(
        readme.contains("--weather hazy --seed 5 --plot docs/day.svg")
            && readme.contains("41.4 kWh into the car, 94 %")
    );
}

/// A trace in kilowatts is simulated as given, with a warning.
#[test]
fn a_trace_in_kilowatts_is_doubted() {
    let folder = folder_with(&[("kw.csv", "t_s,pv_w,house_w\n0.2,0,0.3\n0.6,9.5,0.4\n60,8,0.4\n")]);
    let output = surplusd(&["--trace", "kw.csv"], folder.path());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("note: pv_w never exceeds 9.5: is the trace in kW?"), "{text}");
}

/// A small compressed file that unpacks to one endless line.
#[test]
fn a_zipped_file_that_unpacks_to_much_is_refused() {
    let folder = folder_with(&[]);
    let file = folder.path().join("bomb.csv.gz");
    let mut zip = flate2::write::GzEncoder::new(fs::File::create(&file).unwrap(), flate2::Compression::best());
    zip.write_all(b"t_s,pv_w,house_w\n0,1,1\n").unwrap();
    for _ in 0..16 {
        zip.write_all(&vec![b'1'; 1 << 20]).unwrap();
    }
    zip.finish().unwrap();
    let output = surplusd(&["--trace", "bomb.csv.gz"], folder.path());
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), text.contains("a row is longer than 1 MiB")), (Some(78), true), "{text}");
}
