//! `surplusd status` and `surplusd set` against the built daemon, through its sockets.

use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;
use surplusd::sim::wallbox::WallboxOptions;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::house::{BASE, House};
use crate::mosquitto::SOON;

fn socket(house: &House, name: &str) -> PathBuf {
    house.folder.path().join(name)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A house whose daemon has its sockets in the house's folder, with 6.9 kW of sun and a car that charges.
async fn charging() -> House {
    let mut house = House::build(WallboxOptions::default()).await;
    house.start_with_sockets();
    let mut peer = house.peer().await;
    peer.expect(&format!("{BASE}/state/vehicle"), "requesting").await;
    house.follows(&peer, 6_900, 0, 100).await;
    peer.expect(&format!("{BASE}/state/vehicle"), "charging").await;
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_what_it_does_and_why() {
    let house = charging().await;
    for name in ["control.sock", "status.sock"] {
        let output = house.ask(name, &["status"]).await;
        let page = text(&output);
        assert!(output.status.success(), "{page}");
        for part in [
            "carport    10.0 A (solar): following 6900 W of surplus",
            "car charging",
            "wallbox online for",
            "today 0.",
            "this car 0.",
            "solar 7300 W, house 400 W",
            "grid ",
            " old",
            "broker     connected for",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }
    let json = house.ask("status.sock", &["status", "--json"]).await;
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(document["chargers"]["carport"]["setpoint_a"], 10.0);
    assert_eq!((&document["version"], &document["broker"]["state"]), (&1.into(), &"connected".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn set_steers_and_says_what_is_in_force() {
    let mut house = charging().await;
    let output = house.ask("control.sock", &["set", "mode", "fast"]).await;
    assert!(output.status.success() && text(&output).starts_with("carport: 16.0 A (fast)"), "{}", text(&output));
    house.setpoint(160).await;
    let output = house.ask("control.sock", &["set", "current", "8.5", "--charger", "carport"]).await;
    assert!(output.status.success(), "{}", text(&output));
    let output = house.ask("control.sock", &["set", "charger", "carport", "mode", "fixed"]).await;
    assert!(output.status.success() && text(&output).starts_with("carport: 8.5 A (fixed)"), "{}", text(&output));
    house.setpoint(85).await;
    for (socket, arguments, code, part) in [
        ("control.sock", &["set", "mode", "sideways"][..], 2, "unknown mode \"sideways\": use off, solar"),
        ("control.sock", &["set", "current", "4"], 2, "amperes from 6 to 32"),
        ("control.sock", &["set", "charger", "garage", "mode", "fast"], 2, "use one of carport"),
        ("status.sock", &["set", "mode", "fast"], 77, "this socket is read-only"),
        ("none.sock", &["set", "mode", "fast"], 69, "surplusd is not running here"),
        ("none.sock", &["status"], 69, "surplusd is not running here"),
    ] {
        let output = house.ask(socket, arguments).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(part), "{arguments:?}: {}", text(&output));
    }
    house.signal("TERM");
    assert_eq!(house.ended().await.code(), Some(0));
    assert!(!socket(&house, "control.sock").exists() && !socket(&house, "status.sock").exists());
    house.assert_well_behaved();
}

/// Each change is shown until the daemon ends, which is reported.
#[tokio::test(flavor = "multi_thread")]
async fn watch_shows_each_change() {
    let mut house = charging().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_surplusd"));
    command.args(["status", "--watch", "--json", "--socket"]).arg(socket(&house, "status.sock"));
    let mut watching = command.stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut seen = async |mode: &str| {
        let found = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                let document: Value = serde_json::from_str(&line).unwrap();
                if document["chargers"]["carport"]["mode"] == mode {
                    return;
                }
            }
            panic!("it ended");
        };
        timeout(SOON, found).await.expect("in time");
    };
    seen("solar").await;
    house.ask("control.sock", &["set", "mode", "off"]).await;
    seen("off").await;
    house.signal("TERM");
    house.ended().await;
    let ended = timeout(SOON, watching.wait()).await.expect("in time").unwrap();
    assert_eq!(ended.code(), Some(69));
}
