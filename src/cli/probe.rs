//! `surplusd probe`: reads and names every register that the profile knows, and sums up in plain words what the wallbox can do. Reads only.
//! Requests without an answer are repeated, and reported.

mod hints;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context as _;
use control::Millis;

use super::exit;
use super::plain::Plain;
use crate::charger::bus::{OneShot, Remark};
use crate::charger::codec::{Operation, Outcome, Request};
use crate::charger::line::OpenError;
use crate::charger::profile::{self, Kind, Layout, Profile, Register, Table, Unit};
use crate::clock::Clock;
use crate::config::LinkConfig;
use hints::Clues;

/// Units that the address switch of a wallbox can be set to.
const UNITS: std::ops::RangeInclusive<u8> = 1..=15;
/// How long to wait for each unit while scanning: a wallbox answers within a few tens of milliseconds.
const SCAN_REPLY: Millis = Millis(200);
/// How long to listen for late answers after that.
const SCAN_LATE: Millis = Millis(800);
/// Attempts for each request: one lost answer says nothing about a wallbox.
const TRIES: u32 = 3;
/// After this many failed requests in a row, each further one is tried only once: the wallbox is gone.
const VAIN_MAX: u32 = 2;

/// Read and name every register of a wallbox. Reads only; stop the daemon first, because a line has only one master.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Serial device, or `tcp://HOST[:PORT]` for Modbus TCP.
    #[arg(long, value_parser = parse_port)]
    port: Port,
    /// Modbus unit: the address switch of the wallbox.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=247), conflicts_with = "scan")]
    unit: u8,
    /// Look for wallboxes at units 1 to 15.
    #[arg(long)]
    scan: bool,
    /// How long to wait for each answer, in milliseconds (without it: as the register map says).
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u16).range(50..=5000))]
    reply_ms: Option<u16>,
    /// Register map.
    #[arg(long, default_value = "heidelberg-energy-control")]
    profile: String,
}

#[derive(Debug, Clone)]
struct Port(LinkConfig);

fn parse_port(text: &str) -> Result<Port, String> {
    if text.starts_with("relay://") {
        return Err(
            "the line of a relay is reached by the daemon only; `surplusd relay status` asks the relay".to_owned()
        );
    }
    let Some(rest) = text.strip_prefix("tcp://") else {
        let path = text.strip_prefix("serial://").unwrap_or(text);
        return Ok(Port(LinkConfig::Serial { path: path.into() }));
    };
    // [::1]:502, [::1], host:502, host
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err("a host is missing after tcp://".to_owned());
    }
    let port = port.map_or(Ok(502), u16::from_str).map_err(|_| "the port must be a number up to 65535".to_owned())?;
    Ok(Port(LinkConfig::Tcp { host: host.to_owned(), port }))
}

/// Runs the command and writes the results to `out`; hints go to standard error. Returns the exit code.
///
/// # Errors
/// If the profile is unknown, or `out` cannot be written to.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    run_to(args, out, &mut Plain(&mut io::stderr()))
}

/// [`run`], with the hints written to `hints`. If even they cannot be written, the exit code still reports the failure.
///
/// # Errors
/// As [`run`].
pub fn run_to(args: &Args, out: &mut dyn Write, hints: &mut dyn Write) -> anyhow::Result<u8> {
    let profile = profile::load(&args.profile)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start")?;
    let found = match runtime.block_on(probe(args, &profile)) {
        Ok(found) => found,
        Err(error) => {
            let _ = writeln!(hints, "failed to use the line: {error}");
            if let (OpenError::Lost, LinkConfig::Tcp { .. }) = (&error, &args.port.0) {
                let _ = hints.write_all(CLOSED.as_bytes());
            }
            return Ok(if error == OpenError::Denied { exit::PERMISSION } else { exit::UNAVAILABLE });
        }
    };
    out.write_all(found.text.as_bytes())?;
    if found.any {
        return Ok(exit::OK);
    }
    let asked = (!args.scan).then_some(args.unit);
    let wired = matches!(args.port.0, LinkConfig::Serial { .. });
    let _ = hints.write_all(found.clues.hints(&profile.link, asked, wired).as_bytes());
    Ok(exit::UNAVAILABLE)
}

const CLOSED: &str = "\
The other end closes the connection without an answer: is it a Modbus TCP gateway, and free for one more client?
";

struct Found {
    text: String,
    any: bool,
    clues: Clues,
}

async fn probe(args: &Args, profile: &Arc<Profile>) -> Result<Found, OpenError> {
    let mut line = OneShot::open(args.port.0.clone(), profile.link, Clock::start(1)).await?;
    let mut found = Found { text: String::new(), any: false, clues: Clues::default() };
    let units = if args.scan { UNITS } else { args.unit..=args.unit };
    let given = args.reply_ms.map(|ms| Millis(ms.into()));
    let reply = given.unwrap_or(if args.scan { SCAN_REPLY } else { profile.link.reply });
    if args.scan {
        line.listen_for(SCAN_LATE);
    }
    for unit in units {
        let mut asking = Asking { unit, reply, asked: 0, lost: 0, vain: if args.scan { VAIN_MAX } else { 0 } };
        match asking.ask(&mut line, profile.layout.read()).await? {
            Outcome::Registers(words) => {
                found.any = true;
                let layout = Layout(words.first().copied().unwrap_or(0));
                let _ = writeln!(found.text, "unit {unit}: {}, register layout {layout}", profile.title);
                asking.reply = given.unwrap_or(profile.link.reply);
                let values = table(&mut line, &mut asking, layout, profile, &mut found.text).await?;
                asking.say(&mut found.text);
                summary(profile, layout, &values, &mut found.text);
            }
            Outcome::Exception(code) => {
                found.any = true;
                let _ = writeln!(
                    found.text,
                    "unit {unit}: answers, but has no layout register (exception {code}): not a {}?",
                    profile.title
                );
            }
            Outcome::Failed(failure) => {
                found.clues.failed(failure);
                let _ = writeln!(found.text, "unit {unit}: {failure}");
            }
            Outcome::Written => {}
        }
    }
    let mut said: Vec<Remark> = Vec::new();
    for remark in line.remarks() {
        found.clues.noticed(remark);
        if !said.iter().any(|other| other.is_like(&remark)) {
            let _ = writeln!(found.text, "line: {remark}");
            said.push(remark);
        }
    }
    Ok(found)
}

/// The raw registers that could be read, by name.
type Values = std::collections::BTreeMap<String, Vec<u16>>;

/// The wallbox being asked, the reply time, and statistics of the requests.
struct Asking {
    unit: u8,
    reply: Millis,
    /// Requests so far, and those without a valid answer.
    asked: u32,
    lost: u32,
    /// Requests in a row that have failed in spite of all attempts.
    vain: u32,
}

impl Asking {
    /// Sends a request, repeated if there is no valid answer.
    async fn ask(&mut self, line: &mut OneShot, op: Operation) -> Result<Outcome, OpenError> {
        let request = Request { unit: self.unit, op };
        let mut outcome = self.once(line, request).await?;
        for _ in 1..self.tries() {
            if !matches!(outcome, Outcome::Failed(_)) {
                break;
            }
            outcome = self.once(line, request).await?;
        }
        self.vain = if matches!(outcome, Outcome::Failed(_)) { self.vain.saturating_add(1) } else { 0 };
        Ok(outcome)
    }

    async fn once(&mut self, line: &mut OneShot, request: Request) -> Result<Outcome, OpenError> {
        let outcome = line.ask(request, self.reply).await?;
        self.asked += 1;
        self.lost += u32::from(matches!(outcome, Outcome::Failed(_)));
        Ok(outcome)
    }

    const fn tries(&self) -> u32 {
        if self.vain < VAIN_MAX { TRIES } else { 1 }
    }

    /// Reports lost answers, if any.
    fn say(&self, text: &mut String) {
        if self.lost > 0 {
            let _ = writeln!(
                text,
                "  → It does not answer reliably: {} of {} requests got no valid answer. Look at the cable and its ends, and for other \
                 masters on the line; surplusd asks again, and charges as long as answers come.",
                self.lost, self.asked
            );
        }
    }
}

async fn table(
    line: &mut OneShot,
    asking: &mut Asking,
    layout: Layout,
    profile: &Profile,
    text: &mut String,
) -> Result<Values, OpenError> {
    let mut values = Values::new();
    for register in &profile.registers {
        let place = match register.table {
            Table::Input => format!("input {}", register.address),
            Table::Holding => format!("holding {}", register.address),
        };
        let shown = if register.since > layout {
            format!("not on this layout, comes with {}", register.since)
        } else if register.readable_since > layout {
            format!("there, but cannot be read before layout {}", register.readable_since)
        } else {
            let tries = asking.tries();
            match asking.ask(line, register.read()).await? {
                Outcome::Registers(words) => {
                    let shown = show(profile, register, &words);
                    values.insert(register.name.clone(), words);
                    shown
                }
                Outcome::Exception(2) => "the wallbox has no such register (exception 2)".to_owned(),
                Outcome::Exception(code) => format!("the wallbox declines (exception {code})"),
                Outcome::Failed(failure) if tries > 1 => format!("{failure}, asked {tries} times"),
                Outcome::Failed(failure) => failure.to_string(),
                Outcome::Written => String::new(),
            }
        };
        let _ = writeln!(text, "  {place:<12} {:<68} {shown}", register.title);
    }
    Ok(values)
}

/// Formats value, unit and meaning, then the raw registers.
fn show(profile: &Profile, register: &Register, words: &[u16]) -> String {
    if matches!(register.kind, Kind::Text(_)) {
        return format!("{:?}", Register::text(words));
    }
    let Some(value) = register.value(words) else { return "not understood".to_owned() };
    let mut shown = match register.unit {
        Unit::None => value.to_string(),
        Unit::Layout => Layout(words.first().copied().unwrap_or(0)).to_string(),
        Unit::Milliampere => format!("{} A", thousandths(value)),
        Unit::MilliCelsius => format!("{} °C", thousandths(value)),
        Unit::Volt => format!("{value} V"),
        Unit::VoltAmpere => format!("{value} VA"),
        Unit::VoltAmpereHour => format!("{value} VAh"),
        Unit::Millisecond => format!("{value} ms"),
    };
    let raw = words.first().copied().unwrap_or(0);
    let state = (register.name == profile.measure.state.name).then(|| profile.states.get(&raw)).flatten();
    if let Some(state) = state {
        let _ = write!(shown, " = {}, {}", state.code, state.title);
    } else if let Some(meaning) = register.values.get(&raw) {
        let _ = write!(shown, ", {meaning}");
    }
    let hex: Vec<String> = words.iter().map(|word| format!("{word:04x}")).collect();
    let _ = write!(shown, "  [{}]", hex.join(" "));
    shown
}

fn thousandths(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let value = value.unsigned_abs();
    format!("{sign}{}.{}", value / 1_000, value % 1_000 / 100)
}

/// What follows if a register that safety depends on could not be read. It may be readable next time.
const UNREAD: &str = "could not be read: surplusd does not let it charge until it can be read.";

/// Sums up the wallbox in plain words.
fn summary(profile: &Profile, layout: Layout, values: &Values, text: &mut String) {
    let value = |register: &Register| register.value(values.get(&register.name)?);
    let mut say = |sentence: String| {
        let _ = writeln!(text, "  → {sentence}");
    };
    if layout < profile.control_since {
        say(format!(
            "It can be watched but not controlled: layout {layout} has no register for the current, that needs {}.",
            profile.control_since
        ));
        return;
    }
    match value(&profile.set_current.register) {
        Some(current) => say(format!("It can be controlled; it may draw {} A now.", thousandths(current))),
        None => say(format!("Its register for the current {UNREAD}")),
    }
    match value(&profile.watchdog.register) {
        Some(0) => say("Its watchdog is switched off; surplusd will set it.".to_owned()),
        Some(limit) => say(format!("Its watchdog acts after {} s without any request.", thousandths(limit))),
        None => say(format!("Its watchdog {UNREAD}")),
    }
    match value(&profile.fail_safe.register) {
        Some(0) => say("It then stops charging and locks (state F).".to_owned()),
        Some(current) => say(format!("It then goes on charging with {} A.", thousandths(current))),
        None => say(format!("Its fail-safe current {UNREAD}")),
    }
    if let Some(switch) = profile.phase_switch.as_ref().filter(|switch| switch.state.since <= layout) {
        let raw = values.get(&switch.state.name).and_then(|words| words.first());
        match raw.map(|raw| switch.decode(*raw)) {
            Some(Some(phases)) => say(format!("It can change between one and three phases; {phases} connected now.")),
            Some(None) => say("It can change between one and three phases, but reports neither number now.".to_owned()),
            None => say("It has no switch between one and three phases, or that could not be read.".to_owned()),
        }
    }
    if layout < profile.settings_kept_since {
        say(format!("It forgets all settings without power (kept from layout {} on).", profile.settings_kept_since));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Arc<Profile> {
        profile::load("heidelberg-energy-control").unwrap()
    }

    fn find<'a>(profile: &'a Profile, name: &str) -> &'a Register {
        profile.registers.iter().find(|register| register.name == name).unwrap()
    }

    #[test]
    fn ports_are_devices_or_tcp() {
        let serial = |path: &str| LinkConfig::Serial { path: path.into() };
        let tcp = |host: &str, port| LinkConfig::Tcp { host: host.to_owned(), port };
        for (text, link) in [
            ("/dev/ttyUSB0", serial("/dev/ttyUSB0")),
            ("serial:///dev/surplusd-rs485", serial("/dev/surplusd-rs485")),
            ("tcp://box", tcp("box", 502)),
            ("tcp://box:1502", tcp("box", 1502)),
            ("tcp://[::1]:1502", tcp("::1", 1502)),
            ("tcp://[::1]", tcp("::1", 502)),
        ] {
            assert_eq!(parse_port(text).unwrap().0, link, "{text}");
        }
        assert!(parse_port("tcp://").is_err() && parse_port("relay://pico").is_err());
        assert!(parse_port("tcp://box:70000").is_err());
    }

    #[test]
    fn values_are_shown_with_unit_meaning_and_raw() {
        let profile = profile();
        let show = |name: &str, words: &[u16]| show(&profile, find(&profile, name), words);
        assert_eq!(show("state", &[7]), "7 = C2, charging  [0007]");
        assert_eq!(show("max-current", &[0]), "0.0 A, no charging  [0000]");
        assert_eq!(show("max-current", &[105]), "10.5 A  [0069]");
        assert_eq!(show("temperature", &[0xff6f]), "-14.5 °C  [ff6f]");
        assert_eq!(show("energy-total", &[0x31, 0xdde9]), "3268073 VAh  [0031 dde9]");
        assert_eq!(show("layout", &[0x107]), "1.0.7  [0107]");
        assert_eq!(show("logistic-string", &[0x4142; 32]), format!("{:?}", "AB".repeat(32)));
    }

    #[test]
    fn the_summary_says_what_can_be_done() {
        let profile = profile();
        let mut text = String::new();
        summary(&profile, Layout(0x103), &Values::new(), &mut text);
        assert!(text.contains("not controlled") && text.contains("1.0.7"), "{text}");
        text.clear();
        let values = [("max-current", 60), ("watchdog", 15_000), ("fail-safe-current", 0)];
        let values = values.into_iter().map(|(name, word)| (name.to_owned(), vec![word])).collect();
        summary(&profile, Layout(0x107), &values, &mut text);
        for part in ["6.0 A now", "15.0 s", "state F", "forgets"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("three phases"), "{text}");
    }

    #[test]
    fn the_summary_says_whether_the_phases_can_be_changed() {
        let profile = profile::load("amperfied-connect").unwrap();
        for (state, says) in [
            (Some(3), "It can change between one and three phases; 3 connected now."),
            (Some(0), "reports neither number now"),
            (None, "It has no switch between one and three phases, or that could not be read."),
        ] {
            let mut text = String::new();
            let values = state.map(|word| ("phase-switch-state".to_owned(), vec![word])).into_iter().collect();
            summary(&profile, Layout(0x204), &values, &mut text);
            assert!(text.contains(says), "{text}");
        }
    }
}
