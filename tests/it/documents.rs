//! Everything that the documents tell a household to copy, run together: Mosquitto's listeners and access list, the example configuration,
//! and Home Assistant's side. Only ports, paths and the broker's name are replaced.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use surplusd::sim::wallbox::WallboxOptions;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::house::{BASE, House};
use crate::mosquitto::{Broker, SOON};

const CONF: &str = include_str!("../../docs/mosquitto/surplusd.conf");
const ACL: &str = include_str!("../../docs/mosquitto/acl");
const EXAMPLE: &str = include_str!("../../config/examples/powerwall-heidelberg.toml");
const WITH_CERTIFICATE: &str = include_str!("../../config/examples/tls-client-certificate.toml");
const STATESTREAM: &str = include_str!("../../docs/home-assistant/statestream.yaml");
const BLUEPRINT: &str = include_str!("../../docs/home-assistant/refresh-blueprint.yaml");
const README: &str = include_str!("../../README.md");

/// Replaces `old`, which must be there.
fn with(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "{old:?} is not in:\n{text}");
    text.replace(old, new)
}

/// The text between `before` and the end of its line.
fn value<'a>(text: &'a str, before: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{before:?} is not there"));
    rest.split([' ', '\n', '"']).next().unwrap_or_default()
}

/// The topics that `mqtt_statestream` publishes with the documented block.
fn published() -> Vec<String> {
    let base = value(STATESTREAM, "base_topic: ");
    let entities = STATESTREAM.lines().filter_map(|line| line.trim().strip_prefix("- "));
    let entities = entities.filter(|entity| entity.starts_with("sensor.") || entity.starts_with("binary_sensor."));
    entities.map(|entity| format!("{base}/{}/state", entity.replace('.', "/"))).collect()
}

/// The broker of the documents, with its certificates and passwords.
struct Site {
    folder: tempfile::TempDir,
    broker: Broker,
}

impl Site {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let surplusd = |arguments: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_surplusd"));
            let done = command.arg("certs").args(arguments).arg("--dir").arg(folder.path()).output().unwrap();
            assert!(done.status.success(), "{done:?}");
        };
        surplusd(&["init", "--broker", "127.0.0.1"]);
        for name in ["gateway", "pico-carport"] {
            surplusd(&["issue", name]);
        }
        std::fs::write(path("passwords"), "").unwrap();
        for user in ["homeassistant", "surplusd"] {
            let passwords = path("passwords");
            let made = Command::new("mosquitto_passwd").args(["-b", &passwords, user, &password(user)]).status();
            assert!(made.unwrap().success());
        }
        std::fs::write(path("acl"), ACL).unwrap();
        let conf = with(CONF, "/etc/mosquitto/passwords", &path("passwords"));
        let conf = with(&conf, "/etc/mosquitto/acl", &path("acl"));
        let conf = with(&conf, "/etc/mosquitto/certs/", &path(""));
        let broker = Broker::configured(|port, other| {
            let conf = with(&conf, "listener 8883", &format!("listener {port} 127.0.0.1"));
            let conf = with(&conf, "listener 8884", &format!("listener {other} 127.0.0.1"));
            format!("user root\npersistence false\nlog_type all\nlog_dest stderr\n{conf}")
        });
        Self { broker: broker.await, folder }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A Mosquitto client as that user: with the password or, if there is a certificate of that name, with it.
    fn client(&self, program: &str, user: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-q", "1", "--cafile", &self.file("ca.crt")]);
        if Path::new(&self.file(&format!("{user}.crt"))).exists() {
            command.args(["-p", &self.broker.door.to_string(), "--cert", &self.file(&format!("{user}.crt"))]);
            command.args(["--key", &self.file(&format!("{user}.key"))]);
        } else {
            command.args(["-p", &self.broker.port.to_string(), "-u", user, "-P", &password(user)]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn publish(&self, user: &str, arguments: &[&str]) -> Output {
        self.client("mosquitto_pub", user).args(arguments).output().unwrap()
    }
}

fn password(user: &str) -> String {
    format!("the secret of {user}")
}

/// The messages that one user of the broker sees.
struct Observer {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    seen: Vec<String>,
}

impl Observer {
    fn start(site: &Site, user: &str) -> Self {
        let mut command = tokio::process::Command::from(site.client("mosquitto_sub", user));
        let mut child = command.args(["-v", "-t", "surplusd/#"]).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _child: child, lines, seen: Vec::new() }
    }

    /// Waits until a message starts like this (topic, blank, payload), unless it was seen already.
    async fn sees(&mut self, start: &str) {
        let wanted = |line: &String| line.starts_with(start);
        if self.seen.iter().any(wanted) {
            return;
        }
        let found = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                self.seen.push(line);
                if self.seen.last().is_some_and(wanted) {
                    return;
                }
            }
        };
        let found = timeout(SOON, found).await;
        assert!(found.is_ok(), "{start:?} is not among {:#?}", self.seen);
    }
}

/// Home Assistant: the documented entities, as they change, once a second.
fn home_assistant(site: &Arc<Site>, house: &House) -> JoinSet<()> {
    let (site, wallbox) = (Arc::clone(site), house.port.share());
    let topics = published();
    let mut task = JoinSet::new();
    task.spawn(async move {
        for second in 0_u32.. {
            let car = f64::from(wallbox.lock().unwrap_or_else(PoisonError::into_inner).allowed_deciamps()) * 0.069;
            let solar = 7.3 + f64::from(second % 7) / 1_000.0;
            let values = [("site", car + 0.4 - solar), ("solar", solar), ("load", car + 0.4), ("battery", 0.0)];
            for (meter, kilowatts) in values {
                let topic = format!("homeassistant/sensor/my_home_{meter}_power/state");
                assert!(topics.contains(&topic), "{topic} is not published by the documented block: {topics:?}");
                let done = site.publish("homeassistant", &["-r", "-t", &topic, "-m", &format!("{kilowatts:.3}")]);
                assert!(done.status.success(), "{done:?}");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    task
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_files_charge_a_car_together() {
    let mut house = House::build(WallboxOptions::default()).await;
    let site = Arc::new(Site::start().await);
    let mut observer = Observer::start(&site, "homeassistant");
    let file = |name: &str| house.folder.path().join(name).display().to_string();
    let text = with(EXAMPLE, "mqtts://homeassistant.local", &format!("mqtts://127.0.0.1:{}", site.broker.port));
    let text = with(&text, "/etc/surplusd/certs/ca.crt", &site.file("ca.crt"));
    let text = with(&text, "/dev/surplusd-rs485", &house.port.path().display().to_string());
    let text = with(&text, "version = 1\n", &format!("version = 1\nstate-file = \"{}\"\n", file("state.json")));
    let text = format!("{text}\n[journal]\nfile = \"{}\"\n", file("journal.sqlite"));
    assert_eq!(value(EXAMPLE, "username = \""), "surplusd");
    std::fs::write(house.config_file(), text).unwrap();
    let password_file = file(value(EXAMPLE, "password-file = \""));
    std::fs::write(&password_file, password("surplusd")).unwrap();
    std::fs::set_permissions(&password_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let publishing = home_assistant(&site, &house);
    house.start();

    house.until("charging", |wallbox| wallbox.registers().setpoint >= 90).await;
    for what in ["status online", "reason following", "state/mode solar", "state/vehicle charging", "state {"] {
        observer.sees(&format!("{BASE}/{what}")).await;
    }
    // Home Assistant falls silent, so fresh samples are requested.
    drop(publishing);
    observer.sees(&format!("{BASE}/refresh ")).await;
    let topic = format!("{BASE}/set/mode");
    assert!(site.publish("homeassistant", &["-t", &topic, "-m", "fast"]).status.success());
    house.setpoint(160).await;
    house.signal("TERM");
    assert_eq!(house.ended().await.code(), Some(0), "{}", house.log());
    observer.sees(&format!("{BASE}/status offline")).await;
    assert!(house.log().contains("the broker knows that surplusd is offline"), "{}", house.log());
    let denied: Vec<String> =
        site.broker.log().lines().filter(|line| line.contains("Denied")).map(str::to_owned).collect();
    assert!(denied.is_empty(), "{denied:#?}");
    house.assert_well_behaved();
}

/// The example with a client certificate fits the documented second listener, and its key is where systemd puts it.
#[tokio::test(flavor = "multi_thread")]
async fn the_documented_client_certificate_is_let_in() {
    let mut house = House::build(WallboxOptions::default()).await;
    let site = Site::start().await;
    let mut observer = Observer::start(&site, "homeassistant");
    let file = |name: &str| house.folder.path().join(name).display().to_string();
    let text =
        with(WITH_CERTIFICATE, "mqtts://homeassistant.local:8884", &format!("mqtts://127.0.0.1:{}", site.broker.door));
    let text = with(&text, "/etc/surplusd/certs/", &site.file(""));
    let text = with(&text, "/dev/surplusd-rs485", &house.port.path().display().to_string());
    let text = with(&text, "version = 1\n", &format!("version = 1\nstate-file = \"{}\"\n", file("state.json")));
    std::fs::write(house.config_file(), format!("{text}\n[journal]\nfile = \"{}\"\n", file("journal.sqlite"))).unwrap();
    let base = format!("surplusd/{}", value(WITH_CERTIFICATE, "node-id = \""));
    house.start();

    observer.sees(&format!("{base}/status online")).await;
    let topic = format!("{base}/set/mode");
    assert!(site.publish("homeassistant", &["-t", &topic, "-m", "fast"]).status.success());
    house.setpoint(160).await;
    house.signal("TERM");
    assert_eq!(house.ended().await.code(), Some(0), "{}", house.log());
    assert!(!site.broker.log().contains("Denied"), "{}", site.broker.log());
}

/// The access list keeps others from charging, and from a relay's contact.
#[tokio::test]
async fn the_documented_access_list_keeps_others_out() {
    let site = Site::start().await;
    let denied = || site.broker.log().matches("Denied PUBLISH").count();
    for (user, topic) in [
        ("homeassistant", "surplusd/surplusd/set/mode"),
        ("homeassistant", "homeassistant/sensor/my_home_site_power/state"),
        ("surplusd", "surplusd-relay/pico-carport/to"),
        ("gateway", "surplusd-relay/pico-carport/to"),
        ("gateway", "surplusd/surplusd/state"),
        ("pico-carport", "surplusd-relay/pico-carport/from"),
        ("pico-carport", "surplusd-relay/pico-carport/online"),
    ] {
        let done = site.publish(user, &["-t", topic, "-m", "1"]);
        assert!(done.status.success() && denied() == 0, "{user} {topic}: {done:?}\n{}", site.broker.log());
    }
    let cases = [
        ("homeassistant", "surplusd-relay/pico-carport/to"),
        ("surplusd", "homeassistant/sensor/my_home_site_power/state"),
        ("pico-carport", "surplusd-relay/pico-garage/to"),
        ("pico-carport", "surplusd-relay/pico-carport/to"),
        ("pico-carport", "surplusd/surplusd/set/mode"),
    ];
    for (count, (user, topic)) in cases.iter().enumerate() {
        site.publish(user, &["-t", topic, "-m", "1"]);
        assert_eq!(denied(), count + 1, "{user} {topic}\n{}", site.broker.log());
    }
    let mut stranger = site.client("mosquitto_pub", "homeassistant");
    assert!(!stranger.args(["-P", "guessed", "-t", "t", "-m", "1"]).status().unwrap().success());
}

/// README's automation, the blueprint and the example use the names that the block for Home Assistant publishes.
#[test]
fn entities_and_topics_are_the_same_in_all_documents() {
    let topics = published();
    let site = value(EXAMPLE, "site-name = \"");
    let entity = value(README, "entity_id: ");
    assert_eq!(entity, format!("sensor.{site}_site_power"));
    for (name, text) in [("README", README), ("the blueprint", BLUEPRINT)] {
        assert!(text.contains("surplusd/surplusd/refresh"), "{name}");
    }
    for meter in ["site_power", "solar_power", "load_power", "battery_power", "charge"] {
        let topic = format!("homeassistant/sensor/{site}_{meter}/state");
        assert!(topics.contains(&topic), "{topic}: {topics:?}");
    }
    for file in [
        "docs/home-assistant/statestream.yaml",
        "docs/home-assistant/refresh-blueprint.yaml",
        "docs/mosquitto/README.md",
    ] {
        assert!(README.contains(file), "README does not name {file}");
    }
}
