//! The built program against a wallbox and a line that misbehave.

use surplusd::sim::wallbox::{BoxError, Fault, WallboxOptions};

use crate::house::{BASE, Car, House};
use crate::mosquitto::Peer;

/// Charging at 16 A in `fast`, with a wallbox whose register 261 falls to `default` on a power loss.
async fn fast(default: u16) -> (House, Peer) {
    fast_in(House::build(WallboxOptions { setpoint_default: default, ..WallboxOptions::default() }).await).await
}

/// The same with a watchdog of 4 s.
async fn fast_and_soon_lost() -> (House, Peer) {
    let mut house = House::build(WallboxOptions::default()).await;
    house.watchdog_s = 4;
    fast_in(house).await
}

async fn fast_in(mut house: House) -> (House, Peer) {
    house.extra = "mode = \"fast\"\n".to_owned();
    house.start();
    let mut peer = house.peer().await;
    house.setpoint(160).await;
    peer.expect(&format!("{BASE}/state/vehicle"), "charging").await;
    (house, peer)
}

/// After any fault: a new order must arrive, and nothing forbidden may have been written.
async fn works_again(house: &House, peer: &Peer) {
    peer.publish(&format!("{BASE}/set/current"), "9", false);
    peer.publish(&format!("{BASE}/set/mode"), "fixed", false);
    house.setpoint(90).await;
    house.assert_well_behaved();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_wrong_late_or_missing() {
    let (house, peer) = fast(0).await;
    for fault in [
        Fault::WrongCrc,
        Fault::Truncated(4),
        Fault::Garbage(vec![0x55; 60]),
        Fault::Late,
        Fault::OtherUnit(7),
        Fault::Exception(4),
        Fault::Delay(900),
        Fault::Silent,
    ] {
        let requests = house.port.wallbox().log().count();
        house.port.wallbox().fault(fault.clone(), Some(2));
        house.until(&format!("{fault:?} is met"), |wallbox| wallbox.log().count() > requests + 8).await;
        let kept = house.port.wallbox().registers().setpoint;
        assert_eq!(kept, 160, "{fault:?}\n{}", house.log());
    }
    works_again(&house, &peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_goes_deaf_fails_safe_and_is_taken_back() {
    let (house, mut peer) = fast_and_soon_lost().await;
    house.port.wallbox().fault(Fault::Deaf, None);
    house.until("its own watchdog", |wallbox| wallbox.bus_lost() && wallbox.allowed_deciamps() == 0).await;
    house.logged("does not answer").await;
    peer.expect(&format!("{BASE}/reason"), "the charger does not answer").await;
    house.port.wallbox().heal();
    house.until("taken back", |wallbox| !wallbox.bus_lost() && wallbox.state() == 7).await;
    works_again(&house, &peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_of_the_box_costs_it_nothing_but_time() {
    for default in [0, 160] {
        let (house, peer) = fast(default).await;
        peer.publish(&format!("{BASE}/set/current"), "7", false);
        peer.publish(&format!("{BASE}/set/mode"), "fixed", false);
        house.setpoint(70).await;
        let now = house.now_ms();
        {
            // Checked before anyone can have written it again.
            let mut wallbox = house.port.wallbox();
            wallbox.power_cycle(now);
            assert_eq!(wallbox.registers().setpoint, default, "it has forgotten");
        }
        house.setpoint(70).await;
        house
            .until("all is as it was", |wallbox| {
                (wallbox.registers().watchdog_ms, wallbox.registers().fail_safe) == (house.watchdog_s * 1_000, 0)
            })
            .await;
        works_again(&house, &peer).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_adapter_is_pulled_out_and_put_back() {
    let (mut house, peer) = fast_and_soon_lost().await;
    house.port.unplug();
    house.until("its own watchdog", surplusd::sim::wallbox::Wallbox::bus_lost).await;
    house.port.replug().unwrap();
    house.until("taken back", |wallbox| !wallbox.bus_lost()).await;
    works_again(&house, &peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_does_not_keep_what_is_written_is_not_charged_with() {
    let mut house = House::build(WallboxOptions::default()).await;
    house.extra = "mode = \"fast\"\n".to_owned();
    house.port.wallbox().fault(Fault::Forgets, None);
    house.start();
    let mut peer = house.peer().await;
    peer.expect(&format!("{BASE}/reason"), "the charger does not keep what is written to it").await;
    assert_eq!(house.port.wallbox().registers().setpoint, 0);
    house.assert_well_behaved();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_daemon_lets_the_box_fail_safe() {
    let (house, peer) = fast_and_soon_lost().await;
    house.signal("STOP");
    house.until("its own watchdog", |wallbox| wallbox.bus_lost() && wallbox.allowed_deciamps() == 0).await;
    house.signal("CONT");
    house.until("taken back", |wallbox| !wallbox.bus_lost()).await;
    works_again(&house, &peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn car_errors_and_locks_are_told_apart() {
    let (house, mut peer) = fast(0).await;
    house.car(Car::Away);
    peer.expect(&format!("{BASE}/reason"), "no car is plugged in").await;
    house.setpoint(0).await;
    house.car(Car::Awake);
    house.port.wallbox().set_error(Some(BoxError::E));
    peer.expect(&format!("{BASE}/reason"), "the charger reports an error").await;
    house.port.wallbox().set_error(None);
    house.port.wallbox().set_external_lock(true);
    peer.expect(
        &format!("{BASE}/reason"),
        "the charger is locked: by its key switch, or by a remote lock (the log names the register)",
    )
    .await;
    house.port.wallbox().set_external_lock(false);
    house.setpoint(160).await;
    house.port.wallbox().set_derating(Some(80));
    peer.expect(&format!("{BASE}/state/charger"), "5520").await;
    house.assert_well_behaved();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleeping_car_is_woken_and_never_left_locked() {
    left_locked(|file| {
        let stored = std::fs::read_to_string(file).unwrap();
        assert!(stored.contains("\"locked\": true"), "written down before the pulse: {stored}");
    })
    .await;
}

/// A damaged or missing state file says nothing about a lock: there may be one.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_state_leaves_no_charger_locked() {
    left_locked(|file| std::fs::write(file, "{").unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_state_leaves_no_charger_locked() {
    left_locked(|file| std::fs::remove_file(file).unwrap()).await;
}

/// Kills the daemon while a wake-up pulse holds the wallbox locked, and changes its stored state before it starts again.
async fn left_locked(happens: impl FnOnce(&std::path::Path)) {
    let mut house = House::build(WallboxOptions::default()).await;
    let file = house.folder.path().join("state.json");
    house.extra = "mode = \"slow\"\nwake-after-s = 30\n".to_owned();
    house.car(Car::Asleep);
    house.start();
    house.until("locked for the pulse", |wallbox| wallbox.registers().remote_lock == 0).await;
    house.kill_9().await;
    happens(&file);
    assert_eq!(house.port.wallbox().registers().remote_lock, 0);
    house.start();
    house.until("unlocked first thing", |wallbox| wallbox.registers().remote_lock == 1).await;
    let unlocked = async {
        while !std::fs::read_to_string(&file).is_ok_and(|text| text.contains("\"locked\": false")) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(crate::mosquitto::SOON, unlocked).await.is_ok(), "{}", house.log());
    house.assert_well_behaved();
}
