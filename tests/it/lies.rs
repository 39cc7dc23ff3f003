//! The link against brokers that lie, servers that are not brokers, and huge messages.

use std::process::{Command, Stdio};

use surplusd::clock::Clock;
use surplusd::config::{MqttConfig, Secret, TlsConfig};
use surplusd::mqtt::link::{Event, Link, LinkSetup, spawn};
use surplusd::mqtt::trouble::DownKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::mosquitto::{Broker, Peer, SOON};

fn setup(port: u16, tls: Option<TlsConfig>, subscriptions: &[&str]) -> (LinkSetup, Vec<String>) {
    let setup = LinkSetup {
        mqtt: MqttConfig {
            host: "127.0.0.1".to_owned(),
            port,
            tls,
            username: None,
            password: None,
            client_id: "surplusd-test".to_owned(),
            keep_alive_s: 5,
        },
        status_topic: Some("home/status".to_owned()),
    };
    (setup, subscriptions.iter().map(ToString::to_string).collect())
}

fn start((setup, subscriptions): (LinkSetup, Vec<String>)) -> (Link, Receiver<Event>) {
    let (link, [events]) = spawn(setup, [subscriptions], Clock::start(1));
    (link, events)
}

async fn next(events: &mut Receiver<Event>) -> Event {
    timeout(SOON, events.recv()).await.expect("in time").expect("the link lives")
}

async fn down(events: &mut Receiver<Event>) -> (DownKind, String) {
    loop {
        if let Event::Down { kind, why, .. } = next(events).await {
            return (kind, why);
        }
    }
}

/// A listener that answers each connection as `answer` says.
async fn answering(answer: impl Fn(usize) -> Vec<u8> + Send + 'static) -> (u16, JoinSet<()>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = socket.local_addr().expect("bound").port();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut line, _)) = socket.accept().await {
            let _ = line.read(&mut [0; 4096]).await;
            let _ = line.write_all(&answer(open.len())).await;
            open.push(line);
        }
    });
    (port, task)
}

/// A retained message above the size limit, below the same prefix as topics that are read, neither ends the connection nor hides the
/// others: only exact topics are subscribed to.
#[tokio::test]
async fn a_huge_stored_message_costs_nothing() {
    let broker = Broker::plain().await;
    let mut peer = Peer::named_with(broker.port, "big", 40 << 20).await;
    peer.publish("in/a/x", vec![b'1'; 20 << 20], true);
    peer.publish("in/a", "1", true);
    peer.publish("in/b", "2", true);
    peer.expect("in/b", "2").await;
    let (link, mut events) = start(setup(broker.port, None, &["in/a", "in/b"]));
    link.set_state("home/state", "alive").expect("fits");
    assert_eq!(next(&mut events).await, Event::Up);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let event = next(&mut events).await;
        let Event::Message { topic, payload, .. } = event else { panic!("the connection stays: {event:?}") };
        seen.push((topic, payload.len()));
    }
    seen.sort();
    assert_eq!(seen, [("in/a".to_owned(), 1), ("in/b".to_owned(), 1)]);
    peer.expect("home/state", "alive").await;
    assert!(link.shutdown(SOON).await);
}

/// The same on a topic that is read: it is detected and skipped, and the others are read.
#[tokio::test]
async fn a_huge_stored_message_costs_only_its_own_topic() {
    let broker = Broker::plain().await;
    let mut peer = Peer::named_with(broker.port, "big", 40 << 20).await;
    peer.publish("in/b", vec![b'1'; 20 << 20], true);
    peer.publish("in/a", "1", true);
    peer.publish("in/c", "3", true);
    peer.expect("in/c", "3").await;
    let (link, mut events) = start(setup(broker.port, None, &["in/a", "in/b", "in/c"]));
    link.set_state("home/state", "alive").expect("fits");
    loop {
        match next(&mut events).await {
            Event::LeftOut { topics } => {
                assert_eq!(topics, ["in/b"]);
                break;
            }
            Event::Up | Event::Message { .. } | Event::Down { kind: DownKind::TooLarge, .. } => {}
            other @ (Event::Down { .. } | Event::SubscriptionRefused { .. } | Event::Unheard { .. }) => {
                panic!("{other:?}")
            }
        }
    }
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match next(&mut events).await {
            Event::Message { topic, payload, .. } => seen.push((topic, payload)),
            Event::Up | Event::Down { kind: DownKind::TooLarge, .. } if seen.is_empty() => {}
            other @ (Event::Up
            | Event::Down { .. }
            | Event::SubscriptionRefused { .. }
            | Event::LeftOut { .. }
            | Event::Unheard { .. }) => panic!("the connection stays: {other:?}"),
        }
    }
    seen.sort();
    assert_eq!(seen, [("in/a".to_owned(), b"1".to_vec()), ("in/c".to_owned(), b"3".to_vec())]);
    peer.expect("home/state", "alive").await;
    assert!(link.shutdown(SOON).await);
}

/// The user may neither read nor write: MQTT 3.1.1 acknowledges everything nevertheless.
#[tokio::test]
async fn an_access_list_that_lets_nothing_through_is_said() {
    let folder = tempfile::tempdir().expect("scratch folder");
    let list = folder.path().join("acl");
    std::fs::write(&list, "user gateway\ntopic readwrite home/#\n").expect("file");
    let mut broker = Broker::start(&format!("allow_anonymous true\nacl_file {}\n", list.display())).await;
    let with = |user: &str| {
        let mut setup = setup(broker.port, None, &["in/a"]);
        setup.0.mqtt.username = Some(Secret(user.to_owned()));
        setup
    };
    let (link, mut events) = start(with("surplusd"));
    let mut other = with("surplusd");
    other.0.mqtt.client_id = "surplusd-patient".to_owned();
    let (patient, mut patient_events) = start(other);
    for events in [&mut events, &mut patient_events] {
        assert_eq!(next(events).await, Event::Up);
        let Event::Unheard { why: Some(why) } = next(events).await else { panic!("it is said") };
        for part in ["home/status", "this client's user", "topic readwrite home/#"] {
            assert!(why.contains(part), "{part}: {why}");
        }
        // The local socket shows it to everybody on the machine.
        assert!(!why.contains("surplusd"), "{why}");
    }
    assert!(!link.shutdown(SOON).await, "nobody has heard the farewell");

    // With a list that allows it, the status comes back, and that is reported too.
    std::fs::write(&list, "user surplusd\ntopic readwrite home/#\n").expect("file");
    broker.restart().await;
    loop {
        match next(&mut patient_events).await {
            Event::Unheard { why } => break assert_eq!(why, None),
            Event::Up | Event::Down { .. } => {}
            other @ (Event::SubscriptionRefused { .. } | Event::LeftOut { .. } | Event::Message { .. }) => {
                panic!("{other:?}")
            }
        }
    }
    assert!(patient.shutdown(SOON).await);
}

/// The access list in the examples permits the users of the examples.
#[tokio::test]
async fn the_documented_access_list_fits_the_documented_users() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples");
    let documented = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/mosquitto/acl");
    let folder = tempfile::tempdir().expect("scratch folder");
    let list = folder.path().join("acl");
    std::fs::copy(documented, &list).expect("it is there");
    let broker = Broker::start(&format!("allow_anonymous true\nacl_file {}\n", list.display())).await;
    let mut peer = Peer::watch(broker.door).await;
    let mut users = std::collections::BTreeSet::from(["gateway".to_owned()]);
    for file in std::fs::read_dir(examples).expect("examples") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("text");
        let user = |line: &str| Some(line.strip_prefix("username = \"")?.strip_suffix('"')?.to_owned());
        users.extend(text.lines().filter_map(user));
    }
    assert!(users.len() > 1, "{users:?}");
    for user in users {
        let topic = "homeassistant/sensor/powerwall_site_now/state";
        let mut setup = setup(broker.port, None, &[topic, "surplusd/surplusd/set/mode", "surplusd-relay/pico/online"]);
        setup.0.status_topic = Some("surplusd/surplusd/status".to_owned());
        setup.0.mqtt.username = Some(Secret(user.clone()));
        let (link, mut events) = start(setup);
        assert_eq!(next(&mut events).await, Event::Up);
        link.set_state("surplusd/surplusd/state", user.clone()).expect("fits");
        peer.expect("surplusd/surplusd/state", &user).await;
        for topic in [topic, "surplusd/surplusd/set/mode", "surplusd-relay/pico/online"] {
            peer.publish(topic, user.clone(), false);
            assert!(
                matches!(next(&mut events).await, Event::Message { topic: ref got, .. } if got == topic),
                "{topic}"
            );
        }
        assert!(link.shutdown(SOON).await, "{user}");
    }
}

/// Web servers that answer at once, after a blank line, or not at all.
#[tokio::test]
async fn a_web_server_on_the_port_is_called_one() {
    let at_once = answering(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;
    // The first connection, with MQTT or TLS on it, gets no answer.
    let patient = |count: usize| if count == 0 { Vec::new() } else { b"HTTP/1.1 200 OK\r\n\r\n".to_vec() };
    let late = answering(patient).await;
    let late_tls = answering(patient).await;
    let tls = || Some(TlsConfig { ca_file: None, client_auth: None });
    for (port, tls) in [(at_once.0, None), (at_once.0, tls()), (late.0, None), (late_tls.0, tls())] {
        let (_link, mut events) = start(setup(port, tls, &["in/a"]));
        let (kind, why) = down(&mut events).await;
        assert_eq!(kind, DownKind::NotMqtt, "{why}");
        assert!(why.contains("looks like HTTP"), "{why}");
    }
}

/// Other servers that complain, or that speak first, with and without TLS on our side.
#[tokio::test]
async fn what_is_no_broker_is_not_called_one() {
    let answers: [(&[u8], &str); 4] = [
        (b"-ERR unknown command\r\n", "-ERR unknown command"),
        (b"220 ProFTPD Server ready.\r\n", "220 ProFTPD"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "looks like SSH"),
        (&[0xff; 64], "bytes that are not text"),
    ];
    for (answer, said) in answers {
        for with_tls in [false, true] {
            let (port, _task) = answering(move |_| answer.to_vec()).await;
            let tls = with_tls.then_some(TlsConfig { ca_file: None, client_auth: None });
            let (_link, mut events) = start(setup(port, tls, &["in/a"]));
            let (kind, why) = down(&mut events).await;
            assert!(kind == DownKind::NotMqtt && why.contains(said), "{said}: {kind:?}, {why}");
        }
    }
}

/// Servers that answer and close, as small ones do; and a broker with another protocol version.
#[tokio::test]
async fn a_short_answer_before_the_end_is_no_fault_of_the_network() {
    for (answer, want) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), DownKind::NotMqtt),
        (&[0x20, 2, 0, 1], DownKind::OtherVersion),
    ] {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = socket.local_addr().expect("bound").port();
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Ok((mut line, _)) = socket.accept().await {
                let _ = line.read(&mut [0; 4096]).await;
                let _ = line.write_all(answer).await;
            }
        });
        let (_link, mut events) = start(setup(port, None, &["in/a"]));
        let (kind, why) = down(&mut events).await;
        assert_eq!(kind, want, "{why}");
    }
}

#[tokio::test]
async fn a_port_that_closes_at_once_is_said_to() {
    for (with_tls, want) in [(false, DownKind::ClosedEarly), (true, DownKind::TlsFailed)] {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = socket.local_addr().expect("bound").port();
        let mut task = JoinSet::new();
        task.spawn(async move { while let Ok(_closed) = socket.accept().await {} });
        let tls = with_tls.then_some(TlsConfig { ca_file: None, client_auth: None });
        let (_link, mut events) = start(setup(port, tls, &["in/a"]));
        let (kind, why) = down(&mut events).await;
        assert!(kind == want && why.contains("closed the connection"), "{kind:?}: {why}");
    }
}

#[tokio::test]
async fn something_that_never_answers_is_not_called_a_network_fault() {
    let silent = answering(|_| Vec::new()).await;
    let (_link, mut events) = start(setup(silent.0, None, &["in/a"]));
    let (kind, why) = down(&mut events).await;
    assert_eq!(kind, DownKind::NoGreeting, "{why}");
}

/// Ten thousand refusals of one subscription.
#[tokio::test]
async fn a_broker_that_refuses_ten_thousand_times_is_told_once() {
    let mut answer = vec![0x20, 2, 0, 0];
    for _ in 0..10_667 {
        answer.extend([0x90, 4, 0xEA, 0x61, 0x80, 0x80]);
    }
    let (port, _task) = answering(move |_| answer.clone()).await;
    let mut setup = setup(port, None, &["in/a"]);
    // No ping becomes due before the acknowledgement.
    setup.0.mqtt.keep_alive_s = 60;
    let (_link, mut events) = start(setup);
    assert_eq!(next(&mut events).await, Event::Up);
    let topics = vec!["in/a".to_owned()];
    assert_eq!(next(&mut events).await, Event::SubscriptionRefused { topics });
    // Nothing follows until the broker is given up because it acknowledges nothing.
    let (kind, _) = down(&mut events).await;
    assert_eq!(kind, DownKind::NoAck);
}

/// The broker's key is too short for the TLS library: the authority must not be blamed.
#[tokio::test]
async fn a_short_key_is_called_short() {
    let folder = tempfile::tempdir().expect("scratch folder");
    let mut make = Command::new("sh");
    make.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).arg("-c").arg(
        "set -e
        openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=authority -days 30
        openssl req -newkey rsa:1024 -nodes -keyout s.key -out s.csr -subj /CN=broker
        printf 'subjectAltName=IP:127.0.0.1' > ext
        openssl x509 -req -in s.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -sha256 -extfile ext -out s.crt",
    );
    assert!(make.status().expect("openssl is installed").success());
    let port = crate::mosquitto::free_port();
    let server = tokio::process::Command::new("openssl")
        .current_dir(folder.path())
        .args(["s_server", "-quiet", "-key", "s.key", "-cert", "s.crt", "-cipher", "DEFAULT@SECLEVEL=0", "-accept"])
        .arg(format!("127.0.0.1:{port}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let _server = server.expect("openssl is installed");
    let tls = TlsConfig { ca_file: Some(folder.path().join("ca.crt")), client_auth: None };
    let (_link, mut events) = start(setup(port, Some(tls), &["in/a"]));
    loop {
        let (kind, why) = down(&mut events).await;
        if kind != DownKind::Refused {
            assert_eq!(kind, DownKind::TlsUnfit, "{why}");
            assert!(why.contains("1024 bits") && !why.contains("ca-file"), "{why}");
            return;
        }
    }
}
