//! The simulated broker against Mosquitto's clients, over TLS, and its faults.

use std::process::{Output, Stdio};
use std::time::Duration;

use surplusd::sim::broker::{Broker, BrokerOptions, BrokerTls};
use surplusd::sim::pki::Pki;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Upper limit: nothing here takes that long, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

struct Site {
    _dir: TempDir,
    pki: Pki,
    broker: Broker,
}

impl Site {
    async fn start(mutual: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::create(dir.path()).unwrap();
        let tls = BrokerTls {
            cert_file: pki.server_cert_file.clone(),
            key_file: pki.server_key_file.clone(),
            client_ca_file: mutual.then(|| pki.ca_file.clone()),
        };
        let broker = Broker::start(BrokerOptions { tls: Some(tls), ..BrokerOptions::plain() }).await.unwrap();
        Self { _dir: dir, pki, broker }
    }

    fn command(&self, program: &str, host: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", host, "-p", &self.broker.port().to_string(), "--cafile"]).arg(&self.pki.ca_file);
        command.args(["-V", "mqttv311"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn publish(&self, arguments: &[&str]) {
        let output = self.command("mosquitto_pub", "localhost", arguments).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn subscribe(&self, arguments: &[&str]) -> Child {
        self.command("mosquitto_sub", "localhost", arguments).spawn().unwrap()
    }

    async fn connected(&self, client: &str, present: bool) {
        until(|| self.broker.clients().iter().any(|id| id == client) == present).await;
    }

    async fn subscribed(&self, client: &str, filters: &[&str]) {
        until(|| self.broker.subscriptions(client) == filters).await;
    }
}

/// Waits for a condition that another program brings about.
async fn until(mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.expect("in time");
}

async fn text(child: Child) -> String {
    let output: Output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_clients_exchange_messages_over_tls() {
    let site = Site::start(false).await;
    let subscriber =
        site.subscribe(&["-i", "sub", "-t", "a/+/c", "-t", "b/#", "-q", "1", "-C", "3", "-F", "%t %q %r %p"]);
    let mut heard = site.broker.listen("#");
    site.subscribed("sub", &["a/+/c", "b/#"]).await;
    site.publish(&["-t", "a/1/c", "-m", "one", "-q", "1"]).await;
    site.publish(&["-t", "a/1/d", "-m", "not wanted", "-q", "1"]).await;
    site.publish(&["-t", "b", "-m", "two", "-q", "0"]).await;
    // Messages with QoS 0 are not acknowledged.
    let mut topics = Vec::new();
    while topics.last().is_none_or(|topic| topic != "b") {
        let message = tokio::time::timeout(LIMIT, heard.recv()).await.unwrap().unwrap();
        topics.push(message.topic);
    }
    site.broker.publish("b/c/d", "three", false);
    assert_eq!(text(subscriber).await, "a/1/c 1 0 one\nb 1 0 two\nb/c/d 1 0 three\n");
    assert_eq!(topics, ["a/1/c", "a/1/d", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_wait_for_subscribers_and_can_be_deleted() {
    let site = Site::start(false).await;
    site.publish(&["-t", "r/1", "-m", "kept", "-r", "-q", "1"]).await;
    site.broker.publish("r/2", "kept too", true);
    let large = "x".repeat(100_000);
    site.publish(&["-t", "r/3", "-m", &large, "-r"]).await;
    until(|| site.broker.retained("r/3").is_some()).await;
    let output = text(site.subscribe(&["-t", "r/#", "-C", "3", "-F", "%t %r %l"])).await;
    assert_eq!(output, "r/1 1 4\nr/2 1 8\nr/3 1 100000\n");
    site.publish(&["-t", "r/1", "-n", "-r", "-q", "1"]).await;
    assert_eq!(site.broker.retained("r/1"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn wills_are_sent_on_unclean_ends_alone() {
    let site = Site::start(false).await;
    let with_will = ["-i", "mortal", "-t", "t", "--will-topic", "w", "--will-payload", "gone", "--will-retain"];
    let mut child = site.subscribe(&with_will);
    site.connected("mortal", true).await;
    child.kill().await.unwrap();
    until(|| site.broker.retained("w").as_deref() == Some(b"gone")).await;

    site.broker.publish("w", "", true);
    let child = site.subscribe(&[&with_will[..], &["-W", "1"]].concat());
    site.connected("mortal", true).await;
    text(child).await;
    site.connected("mortal", false).await;
    assert_eq!(site.broker.retained("w"), None, "it said goodbye");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_client_of_the_same_name_takes_over() {
    let site = Site::start(false).await;
    let will = ["--will-topic", "w", "--will-payload", "pushed", "--will-retain"];
    let _first = site.subscribe(&[&["-i", "twin", "-t", "t"], &will[..]].concat());
    site.connected("twin", true).await;
    site.publish(&["-i", "twin", "-t", "x", "-m", "mine now", "-q", "1"]).await;
    until(|| site.broker.retained("w").is_some()).await;
}

/// Without TLS: Mosquitto's clients give up if a TLS connection ends without notice.
#[tokio::test(flavor = "multi_thread")]
async fn cut_and_deaf_are_what_clients_notice() {
    let broker = Broker::start(BrokerOptions::plain()).await.unwrap();
    let other = Broker::start(BrokerOptions::plain()).await.unwrap();
    let client_of = |broker: &Broker, program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &broker.port().to_string(), "-t", "t", "-q", "1"]).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap()
    };
    let client = |program: &str, arguments: &[&str]| client_of(&broker, program, arguments);
    // A connection is not enough: a message published before the subscription never reaches it.
    let present = || broker.subscriptions("sub") == ["t"];
    let subscriber = client("mosquitto_sub", &["-i", "sub", "-C", "1", "-W", "60"]);
    until(present).await;
    broker.cut_all();
    assert!(!present());
    // mosquitto_sub reconnects by itself, after a second.
    until(present).await;
    broker.set_deaf(true);
    let mut stuck = client("mosquitto_pub", &["-m", "after all"]);
    // Other clients started later, at a broker that is not deaf, have ended meanwhile.
    for _ in 0..3 {
        text(client_of(&other, "mosquitto_pub", &["-m", "m"])).await;
    }
    assert_eq!(stuck.try_wait().unwrap(), None, "nobody answers");
    broker.set_deaf(false);
    text(stuck).await;
    assert_eq!(text(subscriber).await, "after all\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_checked_by_both_sides() {
    let site = Site::start(true).await;
    let refused =
        site.command("mosquitto_pub", "localhost", &["-t", "t", "-m", "m", "-q", "1"]).output().await.unwrap();
    assert!(!refused.status.success());
    let cert = site.pki.client_cert_file.to_str().unwrap();
    let key = site.pki.client_key_file.to_str().unwrap();
    let arguments = ["-t", "t", "-m", "m", "-q", "1", "--cert", cert, "--key", key];
    for host in ["localhost", "127.0.0.1"] {
        let output = site.command("mosquitto_pub", host, &arguments).output().await.unwrap();
        assert!(output.status.success(), "{host}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let stranger = tempfile::tempdir().unwrap();
    let other = Pki::create(stranger.path()).unwrap();
    let refused = Command::new("mosquitto_pub")
        .args(["-h", "localhost", "-p", &site.broker.port().to_string(), "-t", "t", "-m", "m", "-q", "1"])
        .arg("--cafile")
        .arg(&other.ca_file)
        .args(["--cert", cert, "--key", key])
        .output()
        .await
        .unwrap();
    assert!(!refused.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_wanted_where_one_is_set() {
    let options = BrokerOptions { login: Some(("u".into(), "p".into())), ..BrokerOptions::plain() };
    let broker = Broker::start(options).await.unwrap();
    for (user, password, expected) in [("u", "p", true), ("u", "q", false)] {
        let status = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &broker.port().to_string(), "-u", user, "-P", password])
            .args(["-t", "t", "-m", "m", "-q", "1"])
            .stderr(Stdio::null())
            .status()
            .await
            .unwrap();
        assert_eq!(status.success(), expected);
    }
}
