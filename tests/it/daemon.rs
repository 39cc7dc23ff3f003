//! The built program from end to end.

use surplusd::sim::registers::Layout;
use surplusd::sim::wallbox::WallboxOptions;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use crate::house::{BASE, House, sample};
use crate::mosquitto::SOON;

/// Starts a house whose daemon and wallbox are ready, then gives it 6.9 kW of sun.
async fn charging() -> (House, crate::mosquitto::Peer) {
    charging_in(House::build(WallboxOptions::default()).await).await
}

/// Data expires after 5 s; a decision delayed by a busy machine is made again.
async fn charging_on_data_that_ages(stop_after_s: u32) -> (House, crate::mosquitto::Peer) {
    let mut house = House::build(WallboxOptions::default()).await;
    house.stale_after_s = 5;
    house.stop_after_s = stop_after_s;
    charging_in(house).await
}

async fn charging_in(mut house: House) -> (House, crate::mosquitto::Peer) {
    house.start();
    let mut peer = house.peer().await;
    peer.expect(&format!("{BASE}/status"), "online").await;
    house.until("watchdog programmed", |wallbox| wallbox.registers().watchdog_ms == house.watchdog_s * 1_000).await;
    house.until("no standby", |wallbox| wallbox.registers().standby == 4).await;
    peer.expect(&format!("{BASE}/state/vehicle"), "requesting").await;
    house.follows(&peer, 6_900, 0, 100).await;
    (house, peer)
}

#[tokio::test(flavor = "multi_thread")]
async fn sun_in_current_out_and_a_clean_end() {
    let (mut house, mut peer) = charging().await;
    peer.expect(&format!("{BASE}/state/setpoint"), "10.0").await;
    peer.expect(&format!("{BASE}/state/mode"), "solar").await;
    peer.expect(&format!("{BASE}/reason"), "following 6900 W of surplus").await;
    peer.expect(&format!("{BASE}/state/vehicle"), "charging").await;
    // A busy machine makes the stop longer, never shorter: the best of several attempts counts.
    for left in (0..5).rev() {
        let asked = house.now_ms();
        house.signal("TERM");
        assert_eq!(house.ended().await.code(), Some(0), "{}", house.log());
        let (took, setpoint) = (house.now_ms() - asked, house.port.wallbox().registers().setpoint);
        peer.expect(&format!("{BASE}/status"), "offline").await;
        if took < 3_000 && setpoint == 0 {
            break;
        }
        assert!(left > 0, "{took} ms, register 261 is {setpoint}\n{}", house.log());
        house.start();
        peer.expect(&format!("{BASE}/status"), "online").await;
        house.follows(&peer, 6_900, 0, 100).await;
    }
    house.assert_well_behaved();
    assert!(house.port.wallbox().writes()[&258] == 1, "the standby register is in EEPROM");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_originals_message() {
    let (_house, mut peer) = charging().await;
    peer.expect("home/charger/power", r#"{"chargeP": 0, "unit": "W"}"#).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_steer_and_the_mode_survives() {
    let (mut house, mut peer) = charging().await;
    peer.publish(&format!("{BASE}/set/mode"), "fast", false);
    house.setpoint(160).await;
    peer.publish(&format!("{BASE}/set/current"), "8.5", false);
    peer.publish(&format!("{BASE}/set/carport/mode"), "fixed", false);
    house.setpoint(85).await;
    peer.publish(&format!("{BASE}/set/mode"), "sideways", false);
    house.logged("unknown mode").await;
    let error = r#"unknown mode \"sideways\": use off, solar, slow, slow+solar, fast or fixed"#;
    let refusal = format!(r#"{{"code":"unknown-mode","error":"{error}","topic":"{BASE}/set/mode"}}"#);
    peer.expect(&format!("{BASE}/error"), &refusal).await;
    // One that is far too long is answered too, with its beginning.
    peer.publish(&format!("{BASE}/set/mode"), "x".repeat(100_000), false);
    let error = format!(r#"unknown mode \"{}…\": use off, solar, slow, slow+solar, fast or fixed"#, "x".repeat(64));
    let refusal = format!(r#"{{"code":"unknown-mode","error":"{error}","topic":"{BASE}/set/mode"}}"#);
    peer.expect(&format!("{BASE}/error"), &refusal).await;
    house.signal("TERM");
    assert_eq!(house.ended().await.code(), Some(0));
    peer.publish(&format!("{BASE}/set/mode"), "off", true);
    house.start();
    peer.expect(&format!("{BASE}/state/mode"), "fixed").await;
    house.logged("a retained command is not carried out").await;
    let remedy = "send it without the retain flag, and delete this one";
    let error = format!("a retained command is not carried out: {remedy} (`mosquitto_pub -r -n -t {BASE}/set/mode`)");
    let refusal = format!(r#"{{"code":"retained","error":"{error}","topic":"{BASE}/set/mode"}}"#);
    assert!(!peer.expect(&format!("{BASE}/error"), &refusal).await, "an answer is not stored");
    // The minimum-off time survives a restart.
    house.logged("too soon to start again").await;
    house.setpoint(85).await;
    house.assert_well_behaved();
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_while_charging_lets_the_box_fail_safe() {
    let mut house = House::build(WallboxOptions::default()).await;
    house.watchdog_s = 4;
    let (mut house, _peer) = charging_in(house).await;
    house.kill_9().await;
    house.until("the box's own watchdog", |wallbox| wallbox.bus_lost() && wallbox.allowed_deciamps() == 0).await;
    house.start();
    house.until("back on the bus", |wallbox| !wallbox.bus_lost()).await;
    house.assert_well_behaved();
}

/// It is unknown when exactly the charge ended after `kill -9`: the minimum-off time counts from when it is known to have ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_charge_waits_the_minimum_off_time() {
    let (mut house, peer) = charging().await;
    peer.publish(&format!("{BASE}/set/mode"), "fast", false);
    house.setpoint(160).await;
    stored(&house, "\"mode\": \"fast\"").await;
    house.kill_9().await;
    house.until("the box's own watchdog", |wallbox| wallbox.bus_lost() && wallbox.allowed_deciamps() == 0).await;
    house.start();
    house.logged("carport: 0.0 A (fast): too soon to start again").await;
    house.setpoint(160).await;
    house.assert_well_behaved();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_has_used_its_starts() {
    let mut house = House::build(WallboxOptions::default()).await;
    house.configure(16);
    let text = std::fs::read_to_string(house.config_file()).unwrap();
    let text = text.replace("min-on-s = 0", "min-on-s = 0\nstarts-per-day-max = 1");
    std::fs::write(house.config_file(), text).unwrap();
    house.start();
    let mut peer = house.peer().await;
    peer.expect(&format!("{BASE}/state/vehicle"), "requesting").await;
    sample(&peer, 6_900, 0);
    house.setpoint(100).await;
    stored(&house, "\"running\": true").await;
    house.kill_9().await;
    house.until("the box's own watchdog", |wallbox| wallbox.bus_lost() && wallbox.allowed_deciamps() == 0).await;
    house.start();
    let used = async {
        while !house.log().contains("no more starts: 1 in 24 h") {
            sample(&peer, 6_900, 0);
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    };
    assert!(timeout(SOON * 2, used).await.is_ok(), "{}", house.log());
}

/// Waits until the stored state contains this text.
async fn stored(house: &House, text: &str) {
    let file = house.folder.path().join("state.json");
    let said = async {
        while !std::fs::read_to_string(&file).is_ok_and(|stored| stored.contains(text)) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(SOON, said).await.is_ok(), "{text}: {}", house.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_adopts_the_charge_without_a_jump() {
    let (mut house, mut peer) = charging().await;
    peer.expect(&format!("{BASE}/state/vehicle"), "charging").await;
    house.kill_9().await;
    let before = house.port.wallbox().writes()[&261];
    house.start();
    house.logged("keeping the charge found running").await;
    sample(&peer, 6_900, 6_900);
    house.logged("following 6900 W of surplus").await;
    let wallbox = house.port.wallbox();
    assert_eq!((wallbox.registers().setpoint, wallbox.bus_lost()), (100, false));
    assert_eq!(wallbox.writes()[&261], before, "nothing had to be written");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_stops_is_noticed() {
    let (house, _peer) = charging_on_data_that_ages(30).await;
    house.setpoint(60).await;
    house.setpoint(0).await;
    assert!(house.log().contains("no more than the minimum until there is"), "{}", house.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_and_comes_back_finds_everything_again() {
    let (mut house, _old) = charging().await;
    house.broker.restart().await;
    let mut peer = house.peer().await;
    peer.expect(&format!("{BASE}/status"), "online").await;
    peer.expect(&format!("{BASE}/state/mode"), "solar").await;
    peer.expect(&format!("{BASE}/state/charger"), "6900").await;
    sample(&peer, 8_280, 6_900);
    house.setpoint(120).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_no_data() {
    let (house, mut peer) = charging_on_data_that_ages(240).await;
    for payload in ["unavailable", "unknown", "", "nan", "inf", "3,2", "12 kW", "\u{fffd}", "none"] {
        peer.publish("homeassistant/sensor/powerwall_site_now/state", payload, false);
    }
    peer.publish("homeassistant/sensor/powerwall_site_now/state", vec![0xff, 0xfe], false);
    peer.publish("homeassistant/sensor/powerwall_site_now/state", vec![b'1'; 1_000_000], false);
    house.setpoint(60).await;
    peer.expect(&format!("{BASE}/state/charger"), "4140").await;
    house.follows(&peer, 6_900, 4_140, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_a_good_file_and_keeps_out_a_bad_one() {
    let (house, peer) = charging().await;
    peer.publish(&format!("{BASE}/set/mode"), "fast", false);
    house.setpoint(160).await;
    house.configure(12);
    house.signal("HUP");
    house.setpoint(120).await;
    house.logged("the configuration was read again").await;
    let text = std::fs::read_to_string(house.config_file()).unwrap();
    std::fs::write(house.config_file(), text.replace("max-current-a = 12", "max-current-a = 3")).unwrap();
    house.signal("HUP");
    house.logged("going on with the configuration in force").await;
    assert_eq!(house.port.wallbox().registers().setpoint, 120);
    house.assert_well_behaved();
}

/// A line that is changed is closed with its safe current: that counts as a stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_closes_the_line_keeps_the_minimum_off_time() {
    let (house, peer) = charging().await;
    peer.publish(&format!("{BASE}/set/mode"), "fast", false);
    house.setpoint(160).await;
    let text = std::fs::read_to_string(house.config_file()).unwrap();
    std::fs::write(house.config_file(), text.replace("poll-s = 0.3", "poll-s = 0.4")).unwrap();
    // The stop comes after this moment: a busy machine makes the pause longer, never shorter.
    let before = house.now_ms();
    house.signal("HUP");
    house.setpoint(0).await;
    house.setpoint(160).await;
    let pause = house.now_ms() - before;
    assert!(pause >= 30_000, "{pause} ms\n{}", house.log());
    house.assert_well_behaved();
}

/// Chargers are identified by their names, wherever they are in the file.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_adds_a_charger_in_front_mixes_up_nothing() {
    // This charger never answers, so its share of the 25 A stays reserved: 9 A.
    const GARAGE: &str = "[[charger]]\nname = \"garage\"\nprofile = \"heidelberg-energy-control\"\n\
                          link = \"tcp://127.0.0.1:1\"\nmax-current-a = 9\n";
    let (house, peer) = charging().await;
    peer.publish(&format!("{BASE}/set/mode"), "fast", false);
    house.setpoint(160).await;
    let text = std::fs::read_to_string(house.config_file()).unwrap();
    std::fs::write(house.config_file(), text.replace("[[charger]]", &format!("{GARAGE}[[charger]]"))).unwrap();
    house.signal("HUP");
    house.setpoint(0).await;
    house.logged("the configuration was read again").await;
    house.logged("carport: 0.0 A (fast): too soon to start again").await;
    house.setpoint(160).await;
    peer.publish(&format!("{BASE}/set/carport/mode"), "off", false);
    house.setpoint(0).await;
    assert!(!house.log().contains("ignoring a command"), "{}", house.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_is_78() {
    let mut house = House::build(WallboxOptions::default()).await;
    house.extra = "current-max = 3\n".to_owned();
    house.configure(16);
    house.start();
    assert_eq!(house.ended().await.code(), Some(78));
    assert!(house.log().contains("current-max"), "{}", house.log());
}

/// A key that everybody may read is none: the daemon does not start with it, and a reload leaves things as they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_public_key_is_78_and_no_reload() {
    let mut house = House::build(WallboxOptions::default()).await;
    let key = house.pki.path("client.key");
    let mode = |mode| std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o644);
    house.start();
    assert_eq!(house.ended().await.code(), Some(78));
    let said = format!("everybody on this machine may read or write {} (mode 0644); `sudo chmod 0600", key.display());
    assert!(house.log().contains(&said), "{}", house.log());
    mode(0o640);
    house.start();
    house.peer().await.expect(&format!("{BASE}/status"), "online").await;
    mode(0o646);
    house.signal("HUP");
    house.logged("(mode 0646)").await;
    house.logged("going on with the configuration in force").await;
}

/// The memory of the daemon holds the password and the key.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_crashes_leaves_no_core() {
    let mut house = House::build(WallboxOptions::default()).await;
    house.start();
    house.peer().await.expect(&format!("{BASE}/status"), "online").await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", house.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let words: Vec<&str> = core.split_whitespace().skip(4).collect();
    assert_eq!(words, ["0", "0", "bytes"], "{core}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_box_is_only_read() {
    let mut house = House::build(WallboxOptions { layout: Layout::V1_0_4, ..WallboxOptions::default() }).await;
    house.start();
    let mut peer = house.peer().await;
    peer.expect(&format!("{BASE}/reason"), "the charger's firmware cannot be told a current").await;
    assert!(house.port.wallbox().writes().keys().all(|register| *register != 261));
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_and_its_watchdog_fed() {
    let mut house = House::build(WallboxOptions::default()).await;
    let path = house.folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let path = path.display().to_string();
    house.start_with(&[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "1000000")]);
    let mut told = String::new();
    let mut hear = async |wanted: &str, count: usize| {
        let heard = async {
            while told.matches(wanted).count() < count {
                let mut buffer = [0; 1_024];
                let length = socket.recv(&mut buffer).await.unwrap();
                told += &String::from_utf8_lossy(&buffer[..length]);
                told.push('\n');
            }
        };
        assert!(timeout(SOON, heard).await.is_ok(), "{wanted}: {told}");
    };
    hear("READY=1", 1).await;
    hear("WATCHDOG=1", 3).await;
    hear("STATUS=carport: solar", 1).await;
    house.signal("TERM");
    hear("STOPPING=1", 1).await;
    assert_eq!(house.ended().await.code(), Some(0));
}
