//! Disks that are full or read-only, below the stored state and the journal of a daemon that charges.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use surplusd::sim::wallbox::WallboxOptions;
use tokio::time::timeout;

use crate::home::{replay, status};
use crate::house::{BASE, House};
use crate::mosquitto::{Peer, SOON};
use crate::plan::{Watch, in_namespaces, run, say, skip};

/// From a command to the setpoint at the wallbox, in seconds: whatever the disk does.
const STEER_S: f64 = 3.0;

/// A house with a small disk of its own for its state, and one for its journal; `how` are the options of the mount.
async fn house_on(how: &str) -> House {
    let mut house = House::build(WallboxOptions::default()).await;
    house.batch_s = 10;
    house.extra = "mode = \"fixed\"\nfixed-current-a = 8\n".to_owned();
    house.configure(16);
    let mut text = std::fs::read_to_string(house.config_file()).unwrap();
    for (folder, file) in [("cards", "state.json"), ("books", "journal.sqlite")] {
        let disk = house.folder.path().join(folder);
        std::fs::create_dir(&disk).unwrap();
        run("mount", &["-t", "tmpfs", "-o", how, "none", &disk.display().to_string()]);
        text =
            text.replace(&house.folder.path().join(file).display().to_string(), &disk.join(file).display().to_string());
    }
    std::fs::write(house.config_file(), text).unwrap();
    house
}

fn state(house: &House) -> PathBuf {
    house.folder.path().join("cards/state.json")
}

fn journal(house: &House) -> PathBuf {
    house.folder.path().join("books/journal.sqlite")
}

fn remount(house: &House, folder: &str, how: &str) {
    run("mount", &["-o", &format!("remount,{how}"), &house.folder.path().join(folder).display().to_string()]);
}

fn unmount(house: &House) {
    for folder in ["cards", "books"] {
        run("umount", &["-l", &house.folder.path().join(folder).display().to_string()]);
    }
}

async fn charging(house: &mut House) -> Peer {
    house.start_with_sockets();
    let peer = house.peer().await;
    house.until("it charges", |wallbox| wallbox.state() == 7 && wallbox.registers().setpoint == 80).await;
    peer
}

/// Sets another current and returns after how many seconds it is at the wallbox.
async fn steer(house: &House, peer: &Peer, amperes: u16) -> f64 {
    let asked = Watch::start();
    peer.publish(&format!("{BASE}/set/current"), amperes.to_string(), false);
    house.setpoint(amperes * 10).await;
    asked.seconds()
}

/// Waits until the stored state contains this text.
async fn stored(house: &House, text: &str) {
    let waits = async {
        while !std::fs::read_to_string(state(house)).is_ok_and(|stored| stored.contains(text)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(SOON, waits).await.is_ok(), "{text}: {}", house.log());
}

/// Waits until a batch is in the journal.
async fn recorded(house: &House) {
    let file = journal(house);
    let waits = async {
        while !replay(&file).await.0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    assert!(timeout(SOON, waits).await.is_ok(), "{:?}\n{}", replay(&file).await, house.log());
}

/// Kills the daemon and starts it again: what was stored since the disk is good again is still there.
async fn survives(house: &mut House, amperes: u16) {
    house.kill_9().await;
    house.start_with_sockets();
    house.until("the stored current", |wallbox| wallbox.registers().setpoint == amperes * 10).await;
    recorded(house).await;
    assert!(!house.log().contains("set aside") && !house.log().contains("cannot be used"), "{}", house.log());
    house.assert_well_behaved();
}

fn count(house: &House, text: &str) -> usize {
    house.log().lines().filter(|line| line.contains(text)).count()
}

const NO_STATE: &str = "mode and counters cannot be stored";
const NO_JOURNAL: &str = "cannot be written";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/test-faults"]
async fn full() {
    if !in_namespaces() {
        return skip("disk::full");
    }
    let mut house = house_on("size=256k").await;
    let peer = charging(&mut house).await;
    stored(&house, "\"running\": true").await;
    recorded(&house).await;
    for disk in ["cards", "books"] {
        let ballast = house.folder.path().join(disk).join("ballast");
        assert_eq!(std::fs::write(ballast, vec![1; 1 << 20]).unwrap_err().kind(), ErrorKind::StorageFull);
    }
    let steered = steer(&house, &peer, 9).await;
    house.logged(NO_STATE).await;
    house.logged(NO_JOURNAL).await;
    let steered = steered.max(steer(&house, &peer, 10).await);
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!((count(&house, NO_STATE), count(&house, NO_JOURNAL)), (1, 1), "said once: {}", house.log());
    let page = status(&house).await;
    for disk in ["cards", "books"] {
        std::fs::remove_file(house.folder.path().join(disk).join("ballast")).unwrap();
    }
    let freed = Watch::start();
    house.logged("the journal can be written again").await;
    let journal_again = freed.seconds();
    house.logged("mode and counters can be stored again").await;
    let state_again = freed.seconds();
    let steered = steered.max(steer(&house, &peer, 11).await);
    stored(&house, "11000").await;
    assert!(warnings(&status(&house).await).is_empty(), "{}", status(&house).await);
    survives(&mut house, 11).await;
    say(
        "disk::full",
        format_args!(
            "the charge went on, commands took {steered:.2} s at most; freed: state stored after {state_again:.1} s by itself, \
             journal after {journal_again:.1} s with the next batch; kept over kill -9; status: {:?}",
            warnings(&page)
        ),
    );
    assert!(steered < STEER_S, "{}", house.log());
    assert!(page.contains(NO_STATE) && page.contains(NO_JOURNAL), "{page}");
    unmount(&house);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/test-faults"]
async fn read_only() {
    if !in_namespaces() {
        return skip("disk::read_only");
    }
    let mut house = house_on("size=1m,ro").await;
    let peer = charging(&mut house).await;
    let steered = steer(&house, &peer, 9).await;
    house.logged(NO_STATE).await;
    house.logged(NO_JOURNAL).await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!((count(&house, NO_STATE), count(&house, NO_JOURNAL)), (1, 1), "said once: {}", house.log());
    let page = status(&house).await;
    for disk in ["cards", "books"] {
        remount(&house, disk, "rw");
    }
    let freed = Watch::start();
    let steered = steered.max(steer(&house, &peer, 10).await);
    house.logged("mode and counters can be stored again").await;
    let state_again = freed.seconds();
    recorded(&house).await;
    let journal_again = freed.seconds();
    stored(&house, "10000").await;
    // The card of the state alone becomes read-only while it is in use: nothing holds it open.
    remount(&house, "cards", "ro");
    let steered = steered.max(steer(&house, &peer, 12).await);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(count(&house, NO_STATE), 2, "{}", house.log());
    remount(&house, "cards", "rw");
    let steered = steered.max(steer(&house, &peer, 11).await);
    stored(&house, "11000").await;
    survives(&mut house, 11).await;
    say(
        "disk::read_only",
        format_args!(
            "charged from the start, commands took {steered:.2} s at most; writable again: state stored after {state_again:.1} s with \
             the next change, journal after {journal_again:.1} s; kept over kill -9; status: {:?}",
            warnings(&page)
        ),
    );
    assert!(steered < STEER_S, "{}", house.log());
    assert!(page.contains(NO_STATE) && page.contains(NO_JOURNAL), "{page}");
    unmount(&house);
}

fn warnings(page: &str) -> Vec<&str> {
    page.lines().filter(|line| line.starts_with("WARNING")).collect()
}
