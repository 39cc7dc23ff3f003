//! Password, user name and key are nowhere but in their files.

use std::io::Read;
use std::process::Command;

use surplusd::sim::wallbox::WallboxOptions;

use crate::house::{BASE, House};
use crate::mosquitto::{Peer, Validity};

const USER: &str = "ann-of-green-gables";
const PASSWORD: &str = "correct-horse-battery-staple";

/// Writes the broker's file of passwords.
fn known_password(house: &House, password: &str) {
    let mut command = Command::new("mosquitto_passwd");
    let made = command.args(["-b", "-c"]).arg(house.folder.path().join("passwords")).args([USER, password]).status();
    assert!(made.expect("mosquitto_passwd is installed").success());
}

/// A house whose broker wants a client certificate and a password.
async fn guarded() -> House {
    let mut house = House::build(WallboxOptions::default()).await;
    let file = |name: &str| house.folder.path().join(name).display().to_string();
    known_password(&house, PASSWORD);
    let listener = house.pki.listener(&["localhost", "127.0.0.1"], Validity::Now);
    let login = format!("allow_anonymous false\npassword_file {}", file("passwords"));
    let listener = listener.replace("allow_anonymous true", &login) + "require_certificate true\n";
    std::fs::write(file("password"), PASSWORD).unwrap();
    std::fs::set_permissions(file("password"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    house.configure(16);
    let text = std::fs::read_to_string(house.config_file()).unwrap();
    let login = format!("[mqtt]\nusername = \"{USER}\"\npassword-file = \"password\"");
    std::fs::write(house.config_file(), text.replace("[mqtt]", &login)).unwrap();
    house.broker.configure(&listener);
    house.broker.restart().await;
    house
}

/// Everything in the archive that `surplusd report` writes.
fn report(house: &House) -> String {
    let file = house.folder.path().join("report.tar.gz");
    let mut command = Command::new(env!("CARGO_BIN_EXE_surplusd"));
    command.args(["report", "--config"]).arg(house.config_file()).arg("--output").arg(&file);
    let made = command.arg("--socket").arg(house.folder.path().join("status.sock")).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(file).unwrap()).read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// With everything logged that this program and its libraries can log, and after all that is usual: a reload, a bad one, a broker that is
/// away and does not know the password any more.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_stay_in_their_files() {
    let mut house = guarded().await;
    let folder = house.folder.path().display().to_string();
    house.start_with(&[("SURPLUSD_LOG", "trace"), ("RUNTIME_DIRECTORY", &folder)]);
    let mut peer = house.peer().await;
    peer.expect(&format!("{BASE}/status"), "online").await;
    house.follows(&peer, 6_900, 0, 100).await;
    let packed = report(&house);
    assert!(packed.contains("carport") && packed.contains("(masked)"), "{packed}");
    let good = std::fs::read_to_string(house.config_file()).unwrap();
    for (text, says) in [
        (good.clone(), "the configuration was read again"),
        (good.replace("max-current-a = 16", "max-current-a = 3"), "going on with the configuration in force"),
    ] {
        std::fs::write(house.config_file(), text).unwrap();
        house.signal("HUP");
        house.logged(says).await;
    }
    let stored = Peer::watch(house.broker.door).await.stored().await;
    assert!(stored.len() > 10, "{stored:?}");
    known_password(&house, "another");
    house.broker.restart().await;
    house.logged("the broker refuses").await;
    house.signal("TERM");
    assert_eq!(house.ended().await.code(), Some(0));

    let key = std::fs::read_to_string(house.pki.path("client.key")).unwrap();
    let secrets: Vec<&str> = key.lines().filter(|line| !line.starts_with("-----")).chain([USER, PASSWORD]).collect();
    assert!(secrets.len() >= 4, "{} lines of a key", secrets.len() - 2);
    let log = house.log();
    assert!(log.contains("TRACE") && log.contains("DEBUG"), "{log}");
    for (place, text) in [("the log", &log), ("the report", &packed), ("the topics", &format!("{stored:?}"))] {
        for secret in &secrets {
            assert!(!text.contains(secret), "{secret} is in {place}");
        }
    }
}
