//! The RS-485 adapter is pulled out and comes back as another device, behind the same link, as with `/dev/serial/by-id`.

use std::path::PathBuf;
use std::time::Duration;

use serialport::{SerialPort, TTYPort};
use surplusd::sim::wallbox::{Wallbox, WallboxOptions};

use crate::home::status;
use crate::house::House;
use crate::plan::{Watch, say};

/// `charger-watchdog-s`.
const WATCHDOG_S: u16 = 10;
/// What a busy machine may add to the wallbox's own watchdog, in seconds.
const BUSY_S: f64 = 1.5;
/// From the adapter's return to the first answer, in seconds: the line is tried every few seconds.
const ANSWER_S: f64 = 20.0;
/// The wallbox's recovery and the minimum-off time after it, in seconds.
const RECOVERY_S: f64 = 45.0;

/// Pseudo-terminals opened until one has the adapter's old number, at most: both ends of each.
const SQUATTERS: usize = 200;

/// Unplugs the adapter and plugs it in again after a while. Its old number is taken meanwhile, so that it gets another one.
async fn renumbered(house: &mut House, away: impl AsyncFnOnce(&House)) -> (PathBuf, PathBuf) {
    let device = |house: &House| std::fs::read_link(house.port.path()).unwrap();
    let before = device(house);
    house.port.unplug();
    away(house).await;
    let mut squatters: Vec<TTYPort> = Vec::new();
    while squatters.len() < SQUATTERS
        && squatters.last().and_then(SerialPort::name).map(PathBuf::from) != Some(before.clone())
    {
        let (master, slave) = TTYPort::pair().unwrap();
        squatters.extend([master, slave]);
    }
    house.port.replug().unwrap();
    drop(squatters);
    let after = device(house);
    assert_ne!(before, after);
    (before, after)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/test-faults"]
async fn renumbered_and_back() {
    let mut house = House::build(WallboxOptions::default()).await;
    house.watchdog_s = WATCHDOG_S;
    house.extra = "mode = \"fast\"\n".to_owned();
    house.start_with_sockets();
    house.until("it charges", |wallbox| wallbox.state() == 7 && wallbox.registers().setpoint == 160).await;
    let answered = |house: &House| house.port.wallbox().log().last().map(|entry| entry.at_ms);

    // Back within the watchdog's time: the charge goes on.
    let pulled = Watch::start();
    renumbered(&mut house, async |_| tokio::time::sleep(Duration::from_millis(500)).await).await;
    let back = answered(&house);
    house.until("an answer from the new device", |wallbox| wallbox.log().last().map(|entry| entry.at_ms) > back).await;
    let short = pulled.seconds();
    assert!(short < f64::from(WATCHDOG_S), "{short}: {}", house.log());
    let goes_on = |wallbox: &Wallbox| !wallbox.bus_lost() && wallbox.state() == 7;
    assert!(goes_on(&house.port.wallbox()), "{}", house.log());

    // Away for longer: the wallbox falls back by itself.
    let pulled = Watch::start();
    let (mut lost, mut page) = (0.0, String::new());
    let (before, after) = renumbered(&mut house, async |house| {
        house.until("the wallbox's watchdog", |wallbox| wallbox.bus_lost() && wallbox.allowed_deciamps() == 0).await;
        lost = pulled.seconds();
        tokio::time::sleep(Duration::from_secs(3)).await;
        page = status(house).await;
    })
    .await;
    let returned = Watch::start();
    let back = answered(&house);
    house.until("an answer from the new device", |wallbox| wallbox.log().last().map(|entry| entry.at_ms) > back).await;
    let found = returned.seconds();
    house.until("it charges again", |wallbox| wallbox.state() == 7 && wallbox.registers().setpoint == 160).await;
    let charging = returned.seconds();
    let said = page.lines().find(|line| line.contains("there is no such device: is the adapter plugged in?"));
    say(
        "adapter::renumbered_and_back",
        format_args!(
            "{} to {}: away for 0.5 s, asked again {short:.1} s after the pull, the charge went on; away for long, 0 A after \
             {lost:.1} s (watchdog {WATCHDOG_S}), back: asked after {found:.1} s, charging after {charging:.1} s; status: {:?}",
            before.display(),
            after.display(),
            said.map_or("?", str::trim)
        ),
    );
    assert!(said.is_some(), "{page}\n{}", house.log());
    assert!(lost < f64::from(WATCHDOG_S) + BUSY_S, "{}", house.log());
    assert!(found < ANSWER_S && charging < found + RECOVERY_S, "{}", house.log());
    house.assert_well_behaved();
}
