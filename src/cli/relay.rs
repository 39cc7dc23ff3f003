//! `surplusd relay`: acts as the gateway for one Pico relay from a shell. Takes the broker from the configuration and leaves no trace
//! on it.
//!
//! If the daemon uses the same relay meanwhile, each of the two greets it again after the other did; that costs the daemon one repeated
//! request and nothing else.

mod provision;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use control::Millis;
use relay_link::topic::{PREFIX, Side, Topic, is_id};
use relay_link::{ContactState, Status};
use tokio::sync::{mpsc, oneshot};

use super::exit;
use super::plain::Plain;
use crate::charger::profile;
use crate::clock::Clock;
use crate::config::{self, Config, Environment, MqttConfig, PhaseSwitch};
use crate::mqtt::link::{self, Event, Link, LinkSetup};
use crate::mqtt::trouble::left_out;
use crate::relay::{Failure, RelayCall, RelayRequest, RelayResponse, Relays};

pub use provision::Provision;

/// How long the broker and the relay may take together.
const LIMIT: Millis = Millis::from_secs(10);
/// How long `list` listens: stored messages arrive at once.
const LISTEN: Duration = Duration::from_secs(2);
/// Time for the disconnect at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// Arguments of `relay`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// Configuration file with the broker
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/surplusd/surplusd.toml")]
    pub config: PathBuf,
    /// Action
    #[command(subcommand)]
    pub action: RelayAction,
}

/// The subcommands of `relay`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
pub enum RelayAction {
    /// Write a file for a Pico's drive that makes it this household's relay
    Provision(Provision),
    /// List the relays known to the broker
    List,
    /// Show a relay's status: uptime, Wi-Fi, contacts, counters
    Status {
        /// The relay's id
        #[arg(value_parser = id)]
        id: String,
    },
    /// Blink a relay's LED to find it
    Identify {
        /// The relay's id
        #[arg(value_parser = id)]
        id: String,
        /// Duration in seconds
        #[arg(long, default_value_t = 10)]
        seconds: u8,
    },
    /// Close a contact of a relay for some seconds (0 opens it). Never while a car is connected!
    Poke {
        /// The relay's id
        #[arg(value_parser = id)]
        id: String,
        /// Contact, 1 or 2
        #[arg(value_parser = clap::value_parser!(u8).range(1..=2))]
        contact: u8,
        /// Duration in seconds, after which the contact opens by itself
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=60))]
        seconds: u16,
        /// Also allow a contact that switches the phases of a configured charger: only with surplusd stopped and no car connected
        #[arg(long)]
        force: bool,
    },
}

fn id(text: &str) -> Result<String, String> {
    if is_id(text) { Ok(text.to_owned()) } else { Err("an id is 1 to 32 lower-case letters, digits and -".to_owned()) }
}

/// Carries out the action; returns the exit code.
///
/// # Errors
/// If the broker or the relay cannot be reached, the relay refuses, or `out` cannot be written to.
pub fn run(args: &Args, environment: &Environment, out: &mut dyn Write) -> anyhow::Result<u8> {
    if let RelayAction::Provision(provision) = &args.action {
        let Err(error) = provision::run(provision, &mut std::io::stdin().lock(), out) else { return Ok(exit::OK) };
        // Not "unavailable": the arguments do not fit together.
        writeln!(Plain(&mut std::io::stderr()), "surplusd relay provision: {error:#}")?;
        return Ok(exit::USAGE);
    }
    let Some(config) = configuration(&args.config, environment, out)? else { return Ok(exit::CONFIGURATION) };
    if let RelayAction::Poke { id, contact, force: false, .. } = &args.action {
        not_in_use(&config, id, *contact)?;
    }
    let client_id = format!("{}-shell", config.mqtt.client_id);
    let mqtt = MqttConfig { client_id, ..config.mqtt };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(act(mqtt, &args.action, out));
    // A pending DNS lookup of the broker's name may hang for half a minute.
    runtime.shutdown_background();
    result.map(|()| exit::OK)
}

fn configuration(file: &Path, environment: &Environment, out: &mut dyn Write) -> anyhow::Result<Option<Config>> {
    let loaded = config::load(file, environment, &profile::known());
    if loaded.config.is_none() {
        super::check::write_findings(&loaded, out, false)?;
    }
    Ok(loaded.config)
}

/// Refuses a contact that surplusd itself switches.
fn not_in_use(config: &Config, id: &str, number: u8) -> anyhow::Result<()> {
    let moved = PhaseSwitch::Contact { relay: id.to_owned(), contact: number };
    let charger = config.chargers.values().find(|setup| setup.phase_switch.as_ref() == Some(&moved));
    let Some(charger) = charger else { return Ok(()) };
    let name = &charger.name;
    anyhow::bail!(
        "contact {number} of {id} switches the phases of {name}: stop surplusd, unplug the car, then repeat with --force"
    )
}

async fn act(mqtt: MqttConfig, action: &RelayAction, out: &mut dyn Write) -> anyhow::Result<()> {
    match action {
        // Needs no broker.
        RelayAction::Provision(_) => Ok(()),
        RelayAction::List => list(mqtt, out).await,
        RelayAction::Status { id } => match ask(mqtt, id, RelayRequest::Status).await? {
            RelayResponse::Status(status) => Ok(show(id, &status, out)?),
            RelayResponse::Bytes(_) | RelayResponse::Contact(_) | RelayResponse::Identifying => {
                Err(Failure::Nonsense.into())
            }
        },
        RelayAction::Identify { id, seconds } => {
            ask(mqtt, id, RelayRequest::Identify { seconds: *seconds }).await?;
            Ok(writeln!(out, "{id} blinks for {seconds} s")?)
        }
        RelayAction::Poke { id, contact, seconds, .. } => {
            match ask(mqtt, id, RelayRequest::Lease { contact: *contact, seconds: *seconds }).await? {
                RelayResponse::Contact(state) => {
                    Ok(writeln!(out, "contact {contact} of {id}: {}", contact_text(state))?)
                }
                RelayResponse::Bytes(_) | RelayResponse::Status(_) | RelayResponse::Identifying => {
                    Err(Failure::Nonsense.into())
                }
            }
        }
    }
}

fn guest(mqtt: MqttConfig, subscriptions: Vec<String>, clock: Clock) -> (Link, mpsc::Receiver<Event>) {
    let (link, [events]) = link::spawn(LinkSetup { mqtt, status_topic: None }, [subscriptions], clock);
    (link, events)
}

async fn list(mqtt: MqttConfig, out: &mut dyn Write) -> anyhow::Result<()> {
    let topic = format!("{PREFIX}/+/{}", Side::Online.name());
    let (link, mut events) = guest(mqtt, vec![topic], Clock::start(1));
    let mut found = std::collections::BTreeMap::new();
    let (mut up, mut trouble) = (false, None);
    let listening = async {
        while let Some(event) = events.recv().await {
            match event {
                Event::Up => up = true,
                Event::Down { why, .. } => trouble = Some(why),
                Event::Message { topic, payload, .. } => {
                    if let Some(Topic { id, side: Side::Online }) = Topic::parse(&topic) {
                        found.insert(id.to_owned(), payload == b"online");
                    }
                }
                Event::SubscriptionRefused { .. } => {
                    trouble = Some("the broker does not let surplusd subscribe".to_owned());
                }
                Event::LeftOut { topics } => trouble = Some(left_out(&topics)),
                // A guest publishes no status of its own that could be received back.
                Event::Unheard { .. } => {}
            }
        }
    };
    let _ = tokio::time::timeout(LISTEN, listening).await;
    link.shutdown(FAREWELL).await;
    if let Some(why) = trouble.filter(|_| found.is_empty()) {
        anyhow::bail!("{why}");
    }
    anyhow::ensure!(up, "the broker did not answer within {} s", LISTEN.as_secs());
    if found.is_empty() {
        writeln!(out, "no relay has ever connected to this broker")?;
    }
    for (id, online) in found {
        writeln!(out, "{id:<32} {}", if online { "online" } else { "offline" })?;
    }
    Ok(())
}

async fn ask(mqtt: MqttConfig, id: &str, what: RelayRequest) -> anyhow::Result<RelayResponse> {
    let clock = Clock::start(1);
    let ids = BTreeSet::from([id.to_owned()]);
    let (link, mut events) = guest(mqtt, Relays::topics(&ids), clock);
    let mut relays = Relays::new(fastrand::Rng::new());
    relays.set(&ids);
    let (reply, mut answer) = oneshot::channel();
    relays.ask(RelayCall { relay: id.to_owned(), what, within: LIMIT, reply }, clock.now());
    let mut trouble = None;
    let result = loop {
        let due = relays.poll_timeout().map_or_else(|| clock.now() + LIMIT, |(due, _)| due);
        tokio::select! {
            biased;
            result = &mut answer => break result.unwrap_or(Err(Failure::Away)),
            event = events.recv() => match event {
                Some(Event::Up) => relays.link(true, clock.now()),
                Some(Event::Down { why, .. }) => {
                    trouble = Some(why);
                    relays.link(false, clock.now());
                }
                Some(Event::Message { topic, payload, retained }) => {
                    relays.message(&topic, &payload, retained, clock.now());
                }
                Some(Event::LeftOut { topics }) => trouble = Some(left_out(&topics)),
                // A guest publishes no status of its own that could be received back.
                Some(Event::Unheard { .. }) => {}
                Some(Event::SubscriptionRefused { .. }) => {
                    trouble = Some("the broker's access rules do not let surplusd subscribe to the relay's topics".to_owned());
                }
                None => break Err(Failure::Away),
            },
            () = clock.sleep_until(due) => relays.handle_timeout(clock.now()),
        }
        while let Some((topic, frame)) = relays.poll_frame() {
            let _ = link.publisher().publish_now(&topic, frame);
        }
    };
    link.shutdown(FAREWELL).await;
    match (result, trouble) {
        (Err(Failure::Away | Failure::Silent), Some(why)) => Err(anyhow::anyhow!("{why}")),
        (result, _) => result.with_context(|| format!("relay {id}")),
    }
}

fn show(id: &str, status: &Status, out: &mut dyn Write) -> std::io::Result<()> {
    let Status { uptime_s, rssi_dbm, temperature_centi_c, reset, contacts, exchanges, timeouts, garbage, version } =
        *status;
    let [major, minor, patch] = version;
    writeln!(out, "{id}: firmware {major}.{minor}.{patch}, up for {uptime_s} s (last start: {})", reset.name())?;
    let temperature = f64::from(temperature_centi_c) / 100.0;
    let wifi = if rssi_dbm == 0 { "not known".to_owned() } else { format!("{rssi_dbm} dBm") };
    writeln!(out, "  Wi-Fi      {wifi}, chip at {temperature:.1} °C")?;
    for (number, contact) in (1..).zip(contacts) {
        writeln!(out, "  contact {number}  {}", contact_text(contact))?;
    }
    writeln!(out, "  RS-485     {exchanges} exchanges, {timeouts} not answered, {garbage} damaged")
}

fn contact_text(state: ContactState) -> String {
    let ContactState { closed, read_back, welded, left_ms } = state;
    if welded {
        return "WELDED: it did not open when it should have; switch off the mains and have it replaced".to_owned();
    }
    let output = if closed { format!("closed for {:.1} s more", f64::from(left_ms) / 1e3) } else { "open".to_owned() };
    let seen = if read_back == closed { "" } else { ", not yet followed by the contactor" };
    output + seen
}
