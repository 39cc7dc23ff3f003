use clap::Parser;

use super::*;

#[derive(Debug, clap::Parser)]
struct Program {
    #[command(flatten)]
    args: Args,
}

fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
    Program::try_parse_from([&["surplusd"], arguments].concat()).map(|program| program.args)
}

#[test]
fn arguments_have_defaults_and_limits() {
    let args = parse(&[]).unwrap();
    assert_eq!((args.minutes, args.speed, args.start, args.mode), (None, 10, 36_000, Mode::Solar));
    let args = parse(&["--start", "07:30", "--weather", "clear", "--mode", "slow+solar", "--no-battery"]).unwrap();
    assert_eq!((args.start, args.weather, args.mode, args.no_battery), (27_000, Weather::Clear, Mode::SlowSolar, true));
    for wrong in [
        &["--speed", "0"][..],
        &["--speed", "121"],
        &["--start", "24:00"],
        &["--start", "7"],
        &["--start", "+7:00"],
        &["--start", ":"],
        &["--weather", "rain"],
        &["--mode", "eco"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}

/// A stand-in for the daemon reads its configuration, decides nothing, and ends when asked to.
#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_gets_a_world_that_is_gone_afterwards() {
    let args = parse(&["--speed", "60"]).unwrap();
    let mut files = None;
    demo(&args, async |run: DemoRun| {
        let text = std::fs::read_to_string(&run.config_file)?;
        let config: toml::Table = text.parse()?;
        let link = config["charger"][0]["link"].as_str().unwrap().strip_prefix("serial://").unwrap().to_owned();
        assert!(Path::new(&link).exists() && Path::new(config["mqtt"]["ca-file"].as_str().unwrap()).exists());
        run.status.send_replace(None);
        files = Some((run.config_file, link));
        assert!(!*run.stop.borrow());
        Ok(())
    })
    .await
    .unwrap();
    let (config_file, link) = files.unwrap();
    assert!(!config_file.exists() && !Path::new(&link).exists());
}

/// An hour of the world in a minute, in virtual time.
#[tokio::test(start_paused = true)]
async fn the_daemon_is_told_when_the_time_is_up() {
    let args = parse(&["--minutes", "1", "--speed", "60"]).unwrap();
    let mut lasted = 0;
    demo(&args, async |mut run: DemoRun| {
        run.stop.wait_for(|stop| *stop).await?;
        lasted = run.clock.now().0;
        Ok(())
    })
    .await
    .unwrap();
    // The machine may be delayed in the middle; the daemon is never stopped early.
    assert!((3_600_000..3_900_000).contains(&lasted), "{lasted}");
}

#[tokio::test]
async fn a_failure_of_the_daemon_is_told() {
    let args = parse(&[]).unwrap();
    let error = demo(&args, async |_: DemoRun| anyhow::bail!("no luck")).await.unwrap_err();
    assert_eq!(format!("{error:#}"), "the daemon failed: no luck");
}

#[test]
fn a_summary_says_where_the_energy_came_from() {
    let ledger = crate::sim::plant::Ledger {
        car_wh: 2_000.0,
        solar_to_car_wh: 1_500.0,
        grid_to_car_wh: 300.0,
        battery_to_car_wh: 200.0,
        starts: 1,
        ..Default::default()
    };
    let last = WorldView {
        time_of_day_s: 40_000,
        flows: crate::sim::plant::Flows::default(),
        ledger,
        offer_deciamps: 0,
        wallbox_state: 6,
    };
    assert_eq!(
        summary(&last),
        "Until 11:06:40: 2.00 kWh into the car, 1.50 from the sun (75 %), 0.30 from the grid, 0.20 from the home battery; 1 start."
    );
}
