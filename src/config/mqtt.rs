//! Checks `[mqtt]`, `[home-assistant]` and `[publish]`.

use super::checks::Surroundings;
use super::domain::{ClientAuth, MqttConfig, PublishConfig, Secret, TlsConfig};
use super::file::{HomeAssistant, Mqtt, Publish};
use super::names;
use super::pem::Pem;
use super::report::{Report, Reported};

/// Longest node id, in bytes: our names are part of topics, and small clients accept packets of 128 bytes, topic and payload together.
const NODE_ID_MAX: usize = 32;
const BASE_TOPIC_MAX: usize = 64;
/// Longest client id. MQTT 3.1.1 (section 3.1.3.1) only requires brokers to accept 23 bytes; all of today's accept more.
const CLIENT_ID_MAX: usize = 64;
/// Where Home Assistant looks for devices by default (the discovery prefix of its MQTT integration).
const DISCOVERY: &str = "homeassistant";

/// The broker's address.
struct Broker {
    host: String,
    port: u16,
    tls: bool,
}

/// Checks `[mqtt]`.
pub(super) fn mqtt(report: &mut Report, mqtt: &Mqtt, node_id: &str, around: &Surroundings) -> Option<MqttConfig> {
    let broker = broker(report, mqtt.url.as_deref());
    let username = username(report, mqtt, around);
    let password =
        none_or_right(mqtt.password_file.as_deref(), |name| report.secret("mqtt.password-file", name, true, around));
    let named = ["mqtt.username", "mqtt.username-file"].iter().any(|key| report.given(key) || report.broken(key));
    if mqtt.password_file.is_some() && !named {
        let remedy = "add `username`: MQTT has no password without a user name";
        report.error("mqtt.password-file", "there is a password but no user name", remedy);
    }
    if let (Some(key), None) = (given_of(report, &["mqtt.username", "mqtt.username-file"]), &mqtt.password_file) {
        report.warning(key, "there is a user name but no password", "add `password-file` if the broker wants one");
    }
    let ca_file =
        none_or_right(mqtt.ca_file.as_deref(), |name| report.pem("mqtt.ca-file", name, Pem::Certificate, around));
    let client_auth = client_auth(report, mqtt, around);
    if broker.as_ref().is_some_and(|broker| !broker.tls) {
        for key in ["mqtt.ca-file", "mqtt.client-cert-file", "mqtt.client-key-file"] {
            if report.given(key) {
                report.warning(key, "it is not used without TLS", "write mqtts:// in `url`, or leave it out");
            }
        }
    }
    let client_id = client_id(report, mqtt.client_id.as_deref(), node_id);
    let keep_alive_s = report.whole("mqtt.keep-alive-s", mqtt.keep_alive_s, 5.0..=120.0);
    let broker = broker?;
    let (username, ca_file, client_auth) = (username.ok()?, ca_file.ok()?, client_auth.ok()?);
    let is_known = username.is_some() || broker.tls && client_auth.is_some();
    if !is_known {
        let message = "without a login the broker lets anybody in, and whoever it lets in can switch the charger";
        report.warning("mqtt.url", message, "add `username` and `password-file`, or a client certificate");
    }
    Some(MqttConfig {
        host: broker.host,
        port: broker.port,
        tls: broker.tls.then_some(TlsConfig { ca_file, client_auth }),
        username,
        password: password.ok()?,
        client_id: client_id?,
        keep_alive_s: keep_alive_s?,
    })
}

/// Returns the first of these keys that the user wrote.
fn given_of(report: &Report, keys: &[&'static str]) -> Option<&'static str> {
    keys.iter().copied().find(|key| report.given(key))
}

/// Checks a value if it is given; an absent one is valid too.
fn none_or_right<T>(given: Option<&str>, check: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Reported> {
    given.map(|given| check(given).ok_or(Reported)).transpose()
}

fn broker(report: &mut Report, url: Option<&str>) -> Option<Broker> {
    const PATH: &str = "mqtt.url";
    const EXAMPLE: &str = "write it as \"mqtts://homeassistant.local:8883\"";
    let Some(url) = url else {
        report.error(PATH, "the broker's `url` is missing in [mqtt]", EXAMPLE);
        return None;
    };
    let Some((scheme, rest)) = url.split_once("://") else {
        report.error(PATH, "the url has no scheme", EXAMPLE);
        return None;
    };
    let (tls, usual_port) = match scheme {
        "mqtts" => (true, 8883),
        "mqtt" => (false, 1883),
        "ssl" | "tls" => {
            report.error(PATH, format!("the scheme {scheme}:// is not known"), "MQTT over TLS is written mqtts://");
            return None;
        }
        _ => {
            report.error(PATH, "only mqtts:// and mqtt:// are supported", EXAMPLE);
            return None;
        }
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('@') {
        let remedy = "use `username` and `password-file`: this file may be read by others";
        report.error(PATH, "user and password do not belong into the url", remedy);
        return None;
    }
    if rest.contains(['/', '?']) {
        report.error(PATH, "after host and port nothing may follow", EXAMPLE);
        return None;
    }
    match names::host_and_port(rest) {
        Ok((host, port)) => {
            if !tls {
                let remedy = "write mqtts:// and give the broker a certificate";
                report.warning(
                    PATH,
                    "without TLS anybody in the network can read the password and switch the charger",
                    remedy,
                );
            }
            Some(Broker { host, port: port.unwrap_or(usual_port), tls })
        }
        Err(fault) => {
            report.error(PATH, fault, EXAMPLE);
            None
        }
    }
}

fn username(report: &mut Report, mqtt: &Mqtt, around: &Surroundings) -> Result<Option<Secret>, Reported> {
    match (&mqtt.username, &mqtt.username_file) {
        (Some(_), Some(_)) => {
            let remedy = "leave one of `username` and `username-file` out";
            report.error("mqtt.username-file", "the user name is given twice", remedy);
            Err(Reported)
        }
        (Some(name), None) if name.is_empty() || name.contains(char::is_control) => {
            report.error(
                "mqtt.username",
                "the user name is empty or has control characters",
                "write it, or leave the key out",
            );
            Err(Reported)
        }
        (Some(name), None) => Ok(Some(Secret(name.clone()))),
        (None, Some(file)) => report.secret("mqtt.username-file", file, false, around).map(Some).ok_or(Reported),
        (None, None) => Ok(None),
    }
}

fn client_auth(report: &mut Report, mqtt: &Mqtt, around: &Surroundings) -> Result<Option<ClientAuth>, Reported> {
    const CERT: &str = "mqtt.client-cert-file";
    const KEY: &str = "mqtt.client-key-file";
    let cert = none_or_right(mqtt.client_cert_file.as_deref(), |name| report.pem(CERT, name, Pem::Certificate, around));
    let key = none_or_right(mqtt.client_key_file.as_deref(), |name| report.pem(KEY, name, Pem::PrivateKey, around));
    match (cert?, key?) {
        (None, None) => Ok(None),
        (Some(cert_file), Some(key_file)) => Ok(Some(ClientAuth { cert_file, key_file })),
        (Some(_), None) => {
            if !report.broken(KEY) {
                report.error(CERT, "there is a client certificate but no key", "add `client-key-file`");
            }
            Err(Reported)
        }
        (None, Some(_)) => {
            if !report.broken(CERT) {
                report.error(KEY, "there is a client key but no certificate", "add `client-cert-file`");
            }
            Err(Reported)
        }
    }
}

fn client_id(report: &mut Report, given: Option<&str>, node_id: &str) -> Option<String> {
    let Some(id) = given else { return Some(node_id.to_owned()) };
    if !names::is_id(id, CLIENT_ID_MAX) {
        let remedy = format!("use 1 to {CLIENT_ID_MAX} letters, digits, - and _, unique on the broker");
        report.error("mqtt.client-id", "brokers refuse such a client id", remedy);
        return None;
    }
    Some(id.to_owned())
}

/// Checks `[home-assistant]` and `[publish]`.
pub(super) fn publish(report: &mut Report, home: &HomeAssistant, publish: &Publish) -> Option<PublishConfig> {
    const BASE: &str = "publish.base-topic";
    const POWER: &str = "publish.charger-power-topic";
    const NODE: &str = "home-assistant.node-id";
    let node_id = names::is_id(&home.node_id, NODE_ID_MAX).then(|| home.node_id.clone());
    if node_id.is_none() {
        let remedy = format!("use 1 to {NODE_ID_MAX} letters, digits, - and _: it is part of topics");
        report.error(NODE, "this node id cannot be used", remedy);
    }
    let base_topic = match &publish.base_topic {
        Some(base) => report.topic_prefix(BASE, base, BASE_TOPIC_MAX),
        None => node_id.as_ref().map(|node_id| format!("surplusd/{node_id}")),
    };
    let place = if report.given(BASE) { BASE } else { NODE };
    if let Some(base) = &base_topic
        && names::is_within(base, DISCOVERY)
    {
        let message = format!("\"{base}\" lies within \"{DISCOVERY}\", where Home Assistant looks for devices");
        report.error(place, message, "use a topic of its own, such as \"surplusd/house\"");
    }
    let power = none_or_right(publish.charger_power_topic.as_deref(), |topic| report.topic(POWER, topic));
    if let (Ok(Some(power)), Some(base)) = (&power, &base_topic)
        && names::is_within(power, base)
    {
        report.error(POWER, format!("\"{base}\" and all below it is used already"), "use a topic outside of it");
    }
    let state_every = report.seconds("publish.state-every-s", publish.state_every_s, 1.0..=3_600.0);
    node_id?;
    Some(PublishConfig { base_topic: base_topic?, charger_power_topic: power.ok()?, state_every: state_every? })
}
