//! Faults of the broker and of the way to it, while a car charges from surplus.

use std::time::Duration;

use surplusd::sim::wallbox::WallboxOptions;

use crate::home::{HomeAssistant, status};
use crate::house::House;
use crate::mosquitto::Validity;
use crate::plan::{Watch, data_limits, in_namespaces, run, say, skip};

/// What the age of the data adds to these limits at most, or what takes from them: they count from when the meters were read.
const DATA_AGE_S: f64 = 4.0;
/// `min-off-s`, which must be over before the time to the next start says something about the fault.
const MIN_OFF: Duration = Duration::from_secs(31);
/// How long a connection must last to count as a good one, and a bit.
const GOOD: Duration = Duration::from_secs(31);
/// From the first sample after a fault to the current in force, on a busy machine.
const START_S: f64 = 20.0;
const NAMES: &[&str] = &["localhost", "127.0.0.1"];

/// What is expected of an outage.
struct Expected {
    case: &'static str,
    /// The log and `surplusd status` must say this, cause and remedy.
    said: &'static str,
    /// How long a new connection may take after the end of the fault, in seconds.
    connect_s: f64,
}

/// A house that is ready to be broken.
async fn house() -> House {
    let mut house = House::build(WallboxOptions::default()).await;
    (house.stale_after_s, house.stop_after_s) = data_limits();
    house.configure(16);
    house
}

/// Adds keys to the table `[mqtt]`.
fn add_keys(house: &House, keys: &str) {
    let text = std::fs::read_to_string(house.config_file()).unwrap();
    std::fs::write(house.config_file(), text.replace("keep-alive-s = 5\n", &format!("keep-alive-s = 5\n{keys}")))
        .unwrap();
}

/// Sends the broker a signal by name.
fn signal(house: &House, name: &str) {
    let pid = house.broker.child.as_ref().expect("running").id().to_string();
    run("kill", &[&format!("-{name}"), &pid]);
}

/// Charges from surplus, breaks something, waits until the current has ended, repairs it, and waits until the car charges again.
async fn outage(
    mut house: House,
    expected: Expected,
    begin: impl AsyncFnOnce(&mut House),
    end: impl AsyncFnOnce(&mut House),
) {
    let case = expected.case;
    let (stale_s, stop_s) = data_limits();
    house.start_with_sockets();
    let _home = HomeAssistant::start(&house);
    house.until("it charges", |wallbox| wallbox.state() == 7 && wallbox.registers().setpoint > 80).await;
    // By then the connection counts as a good one, as nearly all are that break.
    tokio::time::sleep(GOOD).await;
    begin(&mut house).await;
    let fault = Watch::start();
    house.until("the minimum", |wallbox| wallbox.registers().setpoint == 60).await;
    let minimum = fault.seconds();
    house.setpoint(0).await;
    let off = fault.seconds();
    house.logged(expected.said).await;
    let page = status(&house).await;
    tokio::time::sleep(MIN_OFF).await;
    let lines = house.log().lines().count();
    end(&mut house).await;
    let repaired = Watch::start();
    let is_back = |log: &str| log.lines().skip(lines).any(|line| line.contains("connected to the broker"));
    let mut connected = None;
    while house.port.wallbox().state() != 7 && repaired.seconds() < expected.connect_s + START_S {
        connected = connected.or_else(|| is_back(&house.log()).then(|| repaired.seconds()));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let charging = repaired.seconds();
    let connected = connected.unwrap_or(0.0);
    let said = page.lines().find(|line| line.contains(expected.said)).map(str::trim);
    say(
        case,
        format_args!(
            "6 A after {minimum:.1} s (limit {stale_s}), 0 A after {off:.1} s (limit {stop_s}); repaired: connected after \
             {connected:.1} s, charging after {charging:.1} s; status: {:?}",
            said.unwrap_or("?")
        ),
    );
    assert!(said.is_some(), "{case}: {page}\n{}", house.log());
    assert!(minimum < f64::from(stale_s) + DATA_AGE_S, "{case}: {}", house.log());
    assert!(off < f64::from(stop_s) + DATA_AGE_S, "{case}: {}", house.log());
    assert!(connected < expected.connect_s, "{case}: {}", house.log());
    assert!(charging < expected.connect_s + START_S, "{case}: {}", house.log());
    house.assert_well_behaved();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/test-faults"]
async fn killed() {
    let expected = Expected {
        case: "broker::killed",
        said: "nothing is listening there: is the broker running, and is the port right?",
        connect_s: 8.0,
    };
    let restart = async |house: &mut House| house.broker.restart().await;
    outage(house().await, expected, async |house| house.broker.kill(), restart).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/test-faults"]
async fn frozen() {
    let expected = Expected {
        case: "broker::frozen",
        said: "something takes connections there but does not answer as a broker does",
        connect_s: 16.0,
    };
    let freeze = async |house: &mut House| signal(house, "STOP");
    outage(house().await, expected, freeze, async |house| signal(house, "CONT")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/test-faults"]
async fn black_holed() {
    if !in_namespaces() {
        return skip("broker::black_holed");
    }
    let expected = Expected {
        case: "broker::black_holed",
        said: "no answer in time: check address, network and firewall",
        connect_s: 16.0,
    };
    let house = house().await;
    let port = house.broker.port;
    let drop = async |_: &mut House| {
        let rules = format!(
            "add table inet faults; add chain inet faults input {{ type filter hook input priority 0; }}; \
             add rule inet faults input tcp dport {port} drop; add rule inet faults input tcp sport {port} drop"
        );
        run("nft", &[&rules]);
    };
    outage(house, expected, drop, async |_| run("nft", &["delete table inet faults"])).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/test-faults"]
async fn certificate_expired() {
    let expected = Expected {
        case: "broker::certificate_expired",
        said: "the broker's certificate has expired: renew it (or is the clock of this machine wrong?)",
        connect_s: 70.0,
    };
    let renew = async |house: &mut House, validity| {
        house.pki.listener(NAMES, validity);
        house.broker.restart().await;
    };
    let expire = async |house: &mut House| renew(house, Validity::Past).await;
    outage(house().await, expected, expire, async |house| renew(house, Validity::Now).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/test-faults"]
async fn password_changed() {
    let expected = Expected {
        case: "broker::password_changed",
        said: "the broker refuses this client: check user name, password and the broker's access rules",
        connect_s: 70.0,
    };
    let mut house = house().await;
    let file = house.folder.path().join("passwords").display().to_string();
    let ours = house.folder.path().join("password");
    std::fs::write(&ours, "before").unwrap();
    add_keys(&house, &format!("username = \"gateway\"\npassword-file = \"{}\"\n", ours.display()));
    let listener = house.pki.listener(NAMES, Validity::Now);
    let listener = listener.replace("allow_anonymous true", &format!("allow_anonymous false\npassword_file {file}"));
    house.broker.configure(&listener);
    let change = async |house: &mut House, password: &str| {
        run("mosquitto_passwd", &["-b", "-c", &file, "gateway", password]);
        house.broker.restart().await;
    };
    change(&mut house, "before").await;
    let changed = async |house: &mut House| change(house, "after").await;
    outage(house, expected, changed, async |house| change(house, "before").await).await;
}

/// The broker reads its list again while the connection stays: nothing but silence shows it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/test-faults"]
async fn access_denied() {
    let expected = Expected { case: "broker::access_denied", said: "access list", connect_s: 10.0 };
    let mut house = house().await;
    let list = house.folder.path().join("acl");
    let allow = |rule: &str| std::fs::write(&list, format!("topic {rule} #\n")).unwrap();
    allow("readwrite");
    let listener = house.pki.listener(NAMES, Validity::Now) + "require_certificate true\n";
    house.broker.configure(&format!("{listener}acl_file {}\n", list.display()));
    house.broker.restart().await;
    let set = async |house: &mut House, rule: &str| {
        allow(rule);
        signal(house, "HUP");
    };
    let deny = async |house: &mut House| set(house, "write").await;
    outage(house, expected, deny, async |house| set(house, "readwrite").await).await;
}
