//! The link against a real broker.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt;
use surplusd::clock::Clock;
use surplusd::config::{ClientAuth, MqttConfig, Secret, TlsConfig};
use surplusd::mqtt::link::{Event, Link, LinkSetup, spawn};
use surplusd::mqtt::trouble::DownKind;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use crate::mosquitto::{Broker, Peer, Pki, Proxy, SOON, Validity, free_port, has_ipv6};

const STATUS: &str = "home/status";

fn setup(host: &str, port: u16, tls: Option<TlsConfig>) -> LinkSetup {
    LinkSetup {
        mqtt: MqttConfig {
            host: host.to_owned(),
            port,
            tls,
            username: None,
            password: None,
            client_id: "surplusd-test".to_owned(),
            keep_alive_s: 5,
        },
        status_topic: Some(STATUS.to_owned()),
    }
}

fn plain(port: u16) -> LinkSetup {
    setup("127.0.0.1", port, None)
}

fn trusting(ca: PathBuf) -> TlsConfig {
    TlsConfig { ca_file: Some(ca), client_auth: None }
}

fn start(setup: LinkSetup) -> (Link, Receiver<Event>) {
    let (link, [events]) = spawn(setup, [vec!["in/#".to_owned(), "home/set/#".to_owned()]], Clock::start(1));
    (link, events)
}

async fn next(events: &mut Receiver<Event>) -> Event {
    timeout(SOON, events.recv()).await.expect("in time").expect("the link lives")
}

async fn up(events: &mut Receiver<Event>) {
    let event = next(events).await;
    assert_eq!(event, Event::Up);
}

/// Waits for trouble of this kind, whatever else comes first, and returns its description.
async fn down(events: &mut Receiver<Event>, want: DownKind) -> (String, u64) {
    let mut seen = Vec::new();
    let found = async {
        loop {
            match events.recv().await.expect("the link lives") {
                Event::Down { kind, why, retry_in } if kind == want => return (why, retry_in.0),
                other @ (Event::Up
                | Event::Down { .. }
                | Event::SubscriptionRefused { .. }
                | Event::LeftOut { .. }
                | Event::Unheard { .. }
                | Event::Message { .. }) => {
                    seen.push(other);
                }
            }
        }
    };
    let found = timeout(SOON, found).await.ok();
    found.unwrap_or_else(|| panic!("no {want:?}, but {seen:?}"))
}

/// Waits for a message on this topic.
async fn message(events: &mut Receiver<Event>, want: &str) -> (Vec<u8>, bool) {
    loop {
        if let Event::Message { topic, payload, retained } = next(events).await
            && topic == want
        {
            return (payload, retained);
        }
    }
}

#[tokio::test]
async fn says_and_hears_over_plain_mqtt() {
    let broker = Broker::plain().await;
    let mut peer = Peer::watch(broker.port).await;
    peer.publish("in/old", "1", true);
    peer.expect("in/old", "1").await;
    let (link, mut events) = start(plain(broker.port));
    link.set_state("home/state", "early").expect("fits");
    up(&mut events).await;
    assert_eq!(message(&mut events, "in/old").await, (b"1".to_vec(), true));
    peer.expect(STATUS, "online").await;
    peer.expect("home/state", "early").await;

    link.publish("home/charger", "event").expect("fits");
    assert!(!peer.expect("home/charger", "event").await);
    peer.publish("in/live", "2", false);
    assert_eq!(message(&mut events, "in/live").await, (b"2".to_vec(), false));
    peer.publish("home/set/mode", "solar", false);
    assert_eq!(message(&mut events, "home/set/mode").await, (b"solar".to_vec(), false));

    link.set_state("home/state", "late").expect("fits");
    assert!(link.shutdown(SOON).await, "the farewell is acknowledged");
    peer.expect("home/state", "late").await;
    peer.expect(STATUS, "offline").await;
    let mut later = Peer::watch(broker.port).await;
    assert!(later.expect("home/state", "late").await, "states are retained");
    assert!(later.expect(STATUS, "offline").await);
}

#[tokio::test]
async fn the_last_will_speaks_for_a_link_that_vanishes() {
    let broker = Broker::plain().await;
    let mut peer = Peer::watch(broker.port).await;
    let (link, mut events) = start(plain(broker.port));
    up(&mut events).await;
    peer.expect(STATUS, "online").await;
    drop(link);
    peer.expect(STATUS, "offline").await;
}

#[tokio::test]
async fn tls_with_a_private_authority_by_name_and_by_address() {
    let pki = Pki::new();
    let broker = Broker::start(&pki.listener(&["localhost", "127.0.0.1", "::1"], Validity::Now)).await;
    let mut hosts = vec!["localhost", "127.0.0.1"];
    if has_ipv6() {
        hosts.push("::1");
    }
    for host in hosts {
        let (link, mut events) = start(setup(host, broker.port, Some(trusting(pki.ca()))));
        up(&mut events).await;
        assert!(link.shutdown(SOON).await, "{host}");
    }
}

#[tokio::test]
async fn client_certificates() {
    let pki = Pki::new();
    let listener = pki.listener(&["127.0.0.1"], Validity::Now);
    let broker = Broker::start(&format!("{listener}require_certificate true\n")).await;
    pki.issue_client();
    let with = |pki: &Pki, ca: PathBuf| {
        let client_auth = Some(ClientAuth { cert_file: pki.path("client.crt"), key_file: pki.path("client.key") });
        setup("127.0.0.1", broker.port, Some(TlsConfig { ca_file: Some(ca), client_auth }))
    };
    let (link, mut events) = start(with(&pki, pki.ca()));
    up(&mut events).await;
    assert!(link.shutdown(SOON).await);

    let (_link, mut events) = start(setup("127.0.0.1", broker.port, Some(trusting(pki.ca()))));
    let (why, _) = down(&mut events, DownKind::ClientCertWanted).await;
    assert!(why.contains("client-cert-file"), "{why}");

    let stranger = Pki::new();
    stranger.issue_client();
    let (_link, mut events) = start(with(&stranger, pki.ca()));
    down(&mut events, DownKind::ClientCertRejected).await;
}

#[tokio::test]
async fn certificates_that_are_not_accepted() {
    let pki = Pki::new();
    for (names, validity, ca, want) in [
        (["127.0.0.1"], Validity::Now, Pki::new(), DownKind::TlsUnknownCa),
        (["homeassistant.local"], Validity::Now, Pki::new(), DownKind::TlsUnknownCa),
    ] {
        let broker = Broker::start(&pki.listener(&names, validity)).await;
        let (_link, mut events) = start(setup("127.0.0.1", broker.port, Some(trusting(ca.ca()))));
        let (why, retry_in) = down(&mut events, want).await;
        assert!(why.contains("ca-file"), "{why}");
        assert!(retry_in >= 30_000, "no hurry");
    }
    for (names, validity, want, hint) in [
        (["homeassistant.local"], Validity::Now, DownKind::TlsWrongName, "homeassistant.local"),
        (["127.0.0.1"], Validity::Past, DownKind::TlsExpired, "renew"),
        (["127.0.0.1"], Validity::Future, DownKind::TlsNotYetValid, "clock"),
    ] {
        let broker = Broker::start(&pki.listener(&names, validity)).await;
        let (_link, mut events) = start(setup("127.0.0.1", broker.port, Some(trusting(pki.ca()))));
        let (why, retry_in) = down(&mut events, want).await;
        assert!(why.contains(hint), "{why}");
        assert_eq!(
            retry_in >= 30_000,
            want != DownKind::TlsNotYetValid,
            "a clock will be set, the others need a person"
        );
    }
}

#[tokio::test]
async fn certificate_files_are_read_anew_at_each_connection() {
    let (old, new) = (Pki::new(), Pki::new());
    let ca = tempfile::tempdir().expect("scratch folder");
    let file = ca.path().join("ca.crt");
    std::fs::copy(old.ca(), &file).expect("file");
    let mut broker = Broker::start(&old.listener(&["127.0.0.1"], Validity::Now)).await;
    let (_link, mut events) = start(setup("127.0.0.1", broker.port, Some(trusting(file.clone()))));
    up(&mut events).await;
    std::fs::copy(new.ca(), &file).expect("file");
    broker.kill();
    broker.configure(&new.listener(&["127.0.0.1"], Validity::Now));
    broker.restart().await;
    loop {
        match next(&mut events).await {
            Event::Up => return,
            Event::Down { kind, .. } => assert!(kind != DownKind::TlsUnknownCa, "the old file was used"),
            Event::SubscriptionRefused { .. }
            | Event::LeftOut { .. }
            | Event::Unheard { .. }
            | Event::Message { .. } => {}
        }
    }
}

#[tokio::test]
async fn an_authority_file_that_is_not_there() {
    let absent = PathBuf::from("/nonexistent/ca.crt");
    let (_link, mut events) = start(setup("127.0.0.1", 1, Some(trusting(absent))));
    let (why, retry_in) = down(&mut events, DownKind::CertificateFiles).await;
    assert!(why.contains("/nonexistent/ca.crt"), "{why}");
    assert!(retry_in >= 30_000);
}

#[tokio::test]
async fn wrong_ports_and_names() {
    let (_link, mut events) = start(plain(free_port()));
    down(&mut events, DownKind::Refused).await;
    let (_link, mut events) = start(setup("no-such-host.invalid", 1883, None));
    down(&mut events, DownKind::NameNotFound).await;

    let pki = Pki::new();
    let broker = Broker::plain().await;
    let (_link, mut events) = start(setup("127.0.0.1", broker.port, Some(trusting(pki.ca()))));
    down(&mut events, DownKind::TlsFailed).await;
    let broker = Broker::start(&pki.listener(&["127.0.0.1"], Validity::Now)).await;
    let (_link, mut events) = start(plain(broker.port));
    let (why, _) = down(&mut events, DownKind::WantsTls).await;
    assert!(why.contains("mqtts://"), "{why}");
}

#[tokio::test]
async fn user_name_and_password() {
    let folder = tempfile::tempdir().expect("scratch folder");
    let file = folder.path().join("passwords");
    let made =
        std::process::Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&file).args(["me", "right"]).status();
    assert!(made.expect("mosquitto_passwd is installed").success());
    let broker = Broker::start(&format!("allow_anonymous false\npassword_file {}\n", file.display())).await;
    let with = |password: &str| {
        let mut setup = plain(broker.port);
        setup.mqtt.username = Some(Secret("me".to_owned()));
        setup.mqtt.password = Some(Secret(password.to_owned()));
        setup
    };
    let (link, mut events) = start(with("right"));
    up(&mut events).await;
    assert!(link.shutdown(SOON).await);

    // Mosquitto 2.0 answers a wrong password with "not authorized".
    for wrong in [with("wrong"), plain(broker.port)] {
        let (_link, mut events) = start(wrong);
        let (why, retry_in) = down(&mut events, DownKind::NotAuthorized).await;
        assert!(why.contains("password") && !why.contains("wrong"), "{why}");
        assert!(retry_in >= 30_000);
    }
}

#[tokio::test]
async fn a_restarted_broker_hears_everything_again() {
    let mut broker = Broker::plain().await;
    let (link, mut events) = start(plain(broker.port));
    link.set_state("home/unchanged", "1").expect("fits");
    link.set_state("home/changed", "before").expect("fits");
    up(&mut events).await;
    broker.kill();
    down(&mut events, DownKind::Refused).await;
    link.set_state("home/changed", "between").expect("fits");
    link.set_state("home/changed", "after").expect("fits");
    for number in 0..40 {
        link.publish("home/event", number.to_string()).expect("fits");
    }
    broker.restart().await;
    let mut peer = Peer::watch(broker.port).await;
    for number in 0..40 {
        peer.expect("home/event", &number.to_string()).await;
    }
    let mut peer = Peer::watch(broker.port).await;
    for (topic, payload) in [("home/changed", "after"), ("home/unchanged", "1"), (STATUS, "online")] {
        let mut again = Peer::watch(broker.port).await;
        again.expect(topic, payload).await;
    }
    peer.publish("in/x", "1", false);
    assert_eq!(message(&mut events, "in/x").await, (b"1".to_vec(), false), "subscribed again");
    peer.expect("in/x", "1").await;
}

#[tokio::test]
async fn a_silent_line_is_noticed_and_left() {
    let broker = Broker::plain().await;
    let proxy = Proxy::to(broker.port).await;
    let mut peer = Peer::watch(broker.port).await;
    let (link, mut events) = start(plain(proxy.port));
    up(&mut events).await;
    peer.expect(STATUS, "online").await;
    peer.publish("in/x", "1", false);
    message(&mut events, "in/x").await; // by now no acknowledgement is pending
    proxy.silence(true);
    down(&mut events, DownKind::KeepAlive).await;
    link.set_state("home/state", "after").expect("fits");
    proxy.silence(false);
    peer.expect("home/state", "after").await;
}

#[tokio::test]
async fn missing_acknowledgements_are_noticed() {
    let broker = Broker::plain().await;
    let proxy = Proxy::to(broker.port).await;
    let mut patient = plain(proxy.port);
    patient.mqtt.keep_alive_s = 60;
    let (link, mut events) = start(patient);
    up(&mut events).await;
    proxy.silence(true);
    link.publish("home/event", "1").expect("fits");
    down(&mut events, DownKind::NoAck).await;
    let mut peer = Peer::watch(broker.port).await;
    proxy.silence(false);
    peer.expect("home/event", "1").await;
}

#[tokio::test]
async fn a_megabyte_on_a_subscribed_topic_does_no_harm() {
    let broker = Broker::plain().await;
    let mut peer = Peer::watch(broker.port).await;
    peer.publish("in/big", vec![b'1'; 1 << 20], true);
    peer.publish("in/marker", "1", true);
    peer.expect("in/marker", "1").await;
    let (_link, mut events) = start(plain(broker.port));
    up(&mut events).await;
    let mut cut = 0;
    let mut marker = false;
    while cut == 0 || !marker {
        let event = next(&mut events).await;
        let Event::Message { topic, payload, .. } = event else { panic!("{event:?}") };
        match topic.as_str() {
            "in/big" => cut = payload.len(),
            topic => marker |= topic == "in/marker",
        }
    }
    assert_eq!(cut, 64 * 1024 + 1);
    peer.publish("in/live", "2", false);
    let event = next(&mut events).await;
    assert!(matches!(event, Event::Message { ref topic, .. } if topic == "in/live"), "no new connection: {event:?}");
}

#[tokio::test]
async fn a_second_client_with_the_same_id() {
    let broker = Broker::plain().await;
    let (_link, mut events) = start(plain(broker.port));
    up(&mut events).await;
    let _twin = Peer::named(broker.port, "surplusd-test").await;
    let (why, _) = down(&mut events, DownKind::Closed).await;
    assert!(why.contains("client id"), "{why}");
    up(&mut events).await;
}

#[tokio::test]
async fn a_slow_consumer_loses_nothing() {
    const COUNT: u32 = 900;
    let broker = Broker::plain().await;
    let mut peer = Peer::watch(broker.port).await;
    let (link, mut events) = start(plain(broker.port));
    up(&mut events).await;
    peer.expect(STATUS, "online").await;
    for number in 0..COUNT {
        peer.publish("in/many", number.to_string(), false);
    }
    peer.expect("in/many", &(COUNT - 1).to_string()).await;
    link.set_state("home/state", "alive").expect("fits");
    for number in 0..COUNT {
        let event = next(&mut events).await;
        let Event::Message { payload, .. } = event else { panic!("no new connection: {event:?}") };
        assert_eq!(payload, number.to_string().into_bytes());
    }
    peer.expect("home/state", "alive").await;
    assert!(link.shutdown(SOON).await);
}

#[tokio::test]
async fn an_end_without_a_reader_and_without_a_broker() {
    let broker = Broker::plain().await;
    let mut peer = Peer::watch(broker.port).await;
    let (link, events) = start(plain(broker.port));
    peer.expect(STATUS, "online").await;
    for number in 0..300 {
        peer.publish("in/many", number.to_string(), false);
    }
    peer.expect("in/many", "299").await;
    assert!(link.shutdown(SOON).await, "a full channel does not hold up the farewell");
    drop(events);

    let (link, mut events) = start(plain(free_port()));
    down(&mut events, DownKind::Refused).await;
    assert!(!link.shutdown(Duration::from_millis(500)).await, "nobody to say it to");
}

#[tokio::test]
async fn a_link_that_lives_has_not_ended() {
    let broker = Broker::plain().await;
    let peer = Peer::watch(broker.port).await;
    let (link, mut events) = start(plain(broker.port));
    up(&mut events).await;
    for payload in ["1", "2"] {
        // The message that gets through proves that the link is alive.
        peer.publish("in/x", payload, false);
        assert_eq!(message(&mut events, "in/x").await.0, payload.as_bytes());
        assert_eq!(link.ended().now_or_never(), None);
    }
}
