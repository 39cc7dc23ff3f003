//! Checks `[[charger]]`: each table on its own, how the chargers fit together, and how they fit the rest of the file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use control::ranges::POLL_MAX_S;
use control::{ChargerConfig, ChargerId, Milliamps, Mode};

use super::checks::{Surroundings, shortened};
use super::domain::{ChargerSetup, LinkConfig, PhaseSwitch};
use super::file;
use super::lines;
use super::names;
use super::phases::phase_switch;
use super::report::Report;
use super::site::{CHARGER_MAX_A, Safety, Site};
use super::text::unseen;

/// Largest number of chargers in one file. More would not fit on one household's connection.
const CHARGERS_MAX: usize = 16;
/// Longest name of a charger, which is part of topics.
const NAME_MAX: usize = 24;
/// Resolution of a setpoint; coarser profiles round down themselves.
const STEP: Milliamps = Milliamps(100);

/// All chargers: the controller's part and the drivers' part.
pub(super) struct Chargers {
    pub(super) control: BTreeMap<ChargerId, ChargerConfig>,
    pub(super) setups: BTreeMap<ChargerId, ChargerSetup>,
}

/// Returns the largest plausible `max-current-a`, in amperes.
pub(super) fn highest_current(chargers: &[file::Charger]) -> f64 {
    let plausible = chargers.iter().map(|charger| charger.max_current_a).filter(|max| *max <= CHARGER_MAX_A);
    plausible.fold(super::checks::CURRENT_MIN_A, f64::max)
}

/// Checks all `[[charger]]` tables.
pub(super) fn chargers(
    report: &mut Report,
    chargers: &[file::Charger],
    site: Option<Site>,
    safety: Option<Safety>,
    around: &Surroundings,
) -> Option<Chargers> {
    if chargers.is_empty() {
        report.error("charger", "there is no charger", "add a table [[charger]] with `name`, `profile` and `link`");
        return None;
    }
    if chargers.len() > CHARGERS_MAX {
        let path = format!("charger[{CHARGERS_MAX}]");
        report.error(
            &path,
            format!("there are more than {CHARGERS_MAX} chargers"),
            "run a second surplusd for the rest",
        );
        return None;
    }
    let mut all = Chargers { control: BTreeMap::new(), setups: BTreeMap::new() };
    let mut complete = true;
    for (number, charger) in (0_u8..).zip(chargers) {
        let path = format!("charger[{number}]");
        let switch = phase_switch(report, &path, charger, site, safety, around);
        let limits = limits(report, &path, charger, site, safety, around);
        let setup = setup(report, &path, charger, safety, around);
        if let (Some(limits), Some(setup), Some(switch)) = (limits, setup, switch) {
            let (who, how) = switch.parts();
            let limits = ChargerConfig { switching: how, ..limits };
            let link = lines::as_first_named(report, &path, setup.link.clone(), &all.setups, around);
            let setup = ChargerSetup { link, phase_switch: who, ..setup };
            same_twice(report, &path, &setup, &all.setups);
            all.control.insert(ChargerId(number), limits);
            all.setups.insert(ChargerId(number), setup);
        } else {
            complete = false;
        }
    }
    lines::agree_on_reply(report, &mut all.setups);
    together(report, chargers.len(), site, safety);
    complete.then_some(all)
}

/// Checks the controller's part of a charger.
fn limits(
    report: &mut Report,
    path: &str,
    charger: &file::Charger,
    site: Option<Site>,
    safety: Option<Safety>,
    around: &Surroundings,
) -> Option<ChargerConfig> {
    let max_path = format!("{path}.max-current-a");
    let fixed_path = format!("{path}.fixed-current-a");
    let phases_path = format!("{path}.phases");
    let max = report.current(&max_path, charger.max_current_a, CHARGER_MAX_A);
    if let (Some(max), Some(site)) = (max, site)
        && max > site.limit
    {
        let message = format!("{max} is more than the {} that [site] allows", site.limit);
        report.error(&max_path, message, "lower it, or correct `main-fuse-a` or `charger-limit-a`");
    }
    let fits = site.is_none_or(|site| max.is_none_or(|max| max <= site.limit));
    let max = max.map(|max| if fits { within_profile(report, &max_path, max, charger, around) } else { max });
    let min = minimum(report, path, charger, max, safety);
    let fixed = report.current(&fixed_path, charger.fixed_current_a, CHARGER_MAX_A);
    if let (Some(fixed), Some(max)) = (fixed, max)
        && fixed > max
    {
        report.error(&fixed_path, format!("{fixed} is more than `max-current-a`, {max}"), "lower it");
    }
    if let (Some(fixed), Some(min)) = (fixed, min)
        && fixed < min
        && report.given(&fixed_path)
    {
        report.error(&fixed_path, format!("{fixed} is less than `min-current-a`, {min}"), "raise it");
    }
    let phases: Option<u8> = report.whole(&phases_path, charger.phases, 1.0..=3.0);
    if let (Some(phases), Some(site)) = (phases, site)
        && phases > site.phases
    {
        let message = format!("a charger cannot use {phases} phases where the house has {}", site.phases);
        report.error(&phases_path, message, format!("use {}, or correct `phases` in [site]", site.phases));
    }
    let modes = Mode::ALL.map(|mode| (mode.name(), mode));
    let mode = report.choice(&format!("{path}.mode"), &charger.mode, &modes);
    let wake_after = report.seconds_or_never(&format!("{path}.wake-after-s"), charger.wake_after_s, 30.0..=86_400.0);
    Some(ChargerConfig {
        max: max?,
        min: min?,
        safe: safety?.charger_current,
        step: STEP,
        phases: phases?,
        mode: mode?,
        fixed: fixed?.max(min?),
        wake_after: wake_after.ok()?,
        switching: None,
    })
}

/// Limits the highest current to what the profile's chargers can be set to.
fn within_profile(
    report: &mut Report,
    path: &str,
    max: Milliamps,
    charger: &file::Charger,
    around: &Surroundings,
) -> Milliamps {
    let named = around.known_profiles.iter().find(|known| charger.profile.as_deref() == Some(known.name));
    match named {
        Some(profile) if profile.max < max => {
            let message = format!("a {} gives {} at most, not {max}", profile.name, profile.max);
            report.warning(path, message, format!("set it to {}; more has no effect", amps(profile.max)));
            profile.max
        }
        Some(_) | None => max,
    }
}

/// Checks the lowest current that the car accepts.
fn minimum(
    report: &mut Report,
    path: &str,
    charger: &file::Charger,
    max: Option<Milliamps>,
    safety: Option<Safety>,
) -> Option<Milliamps> {
    let path = format!("{path}.min-current-a");
    let min = report.current(&path, charger.min_current_a, CHARGER_MAX_A)?;
    if let Some(max) = max
        && min > max
    {
        report.error(&path, format!("{min} is more than `max-current-a`, {max}"), "lower it");
        return None;
    }
    let blind = safety.map(|safety| safety.fail_safe.blind_slow);
    if let Some(blind) = blind.filter(|blind| *blind > Milliamps::ZERO && *blind < min) {
        let message = format!("without data `slow` is limited to {blind}, which is less: the charge would stop");
        let remedy = format!("set `blind-current-slow-a` in [fail-safe] to 0 or to {} at least", amps(min));
        report.warning(&path, message, remedy);
    }
    Some(min)
}

/// The current in amperes, as written in the file.
fn amps(current: Milliamps) -> f64 {
    f64::from(current.0) / 1_000.0
}

/// Checks the driver's part of a charger.
fn setup(
    report: &mut Report,
    path: &str,
    charger: &file::Charger,
    safety: Option<Safety>,
    around: &Surroundings,
) -> Option<ChargerSetup> {
    let name = name(report, &format!("{path}.name"), charger.name.as_deref());
    let profile = profile(report, &format!("{path}.profile"), charger.profile.as_deref(), around);
    let link = link(report, &format!("{path}.link"), charger.link.as_deref());
    // Wallboxes on Ethernet often answer to 255 (Modbus Messaging on TCP/IP Implementation Guide V1.0b, 4.4.2.1); a serial line has 247.
    let unit_max = if matches!(link, Some(LinkConfig::Tcp { .. })) { 255.0 } else { 247.0 };
    let unit = report.whole(&format!("{path}.unit"), charger.unit, 1.0..=unit_max);
    let poll_path = format!("{path}.poll-s");
    let poll = report.seconds(&poll_path, charger.poll_s, 0.2..=f64::from(POLL_MAX_S));
    if let (Some(poll), Some(safety)) = (poll, safety)
        && poll.0.saturating_mul(3) > safety.watchdog.0
    {
        let watchdog = "fail-safe.charger-watchdog-s";
        let place = if report.given(&poll_path) { poll_path.as_str() } else { watchdog };
        let message = format!(
            "the charger is asked every {poll} and gives up after {}: one or two lost answers would stop it",
            safety.watchdog
        );
        report.error(place, message, "keep `charger-watchdog-s` at three times `poll-s` or more");
    }
    let reply = lines::reply(report, path, charger.reply_ms, poll, safety.map(|safety| safety.watchdog));
    if let (Some(safety), true) = (safety, safety.is_some_and(|s| s.charger_current > max_of(charger))) {
        let message = format!("{} is more than this charger's `max-current-a`", safety.charger_current);
        report.error("fail-safe.charger-current-a", message, "lower it; 0 stops the charge when surplusd dies");
    }
    let safety = safety?;
    Some(ChargerSetup {
        name: name?,
        profile: profile?,
        link: link?,
        unit: unit?,
        poll: poll?,
        watchdog: safety.watchdog,
        safe_current: safety.charger_current,
        standby: charger.standby,
        phase_switch: None,
        reply,
    })
}

/// The charger's maximum current, for comparison only; problems with it have already been reported.
fn max_of(charger: &file::Charger) -> Milliamps {
    if !(super::checks::CURRENT_MIN_A..=CHARGER_MAX_A).contains(&charger.max_current_a) {
        return Milliamps(u32::MAX);
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 6 … 32")]
    Milliamps((charger.max_current_a * 1_000.0).round() as u32)
}

fn name(report: &mut Report, path: &str, name: Option<&str>) -> Option<String> {
    let Some(name) = name else {
        report.error(path, "the charger has no `name`", "add `name = \"carport\"`");
        return None;
    };
    if !names::is_label(name, NAME_MAX) {
        let message = format!("\"{}\" cannot be a charger's name: it is part of topics", shortened(name));
        report.error(path, message, format!("use 1 to {NAME_MAX} lower-case letters, digits and -"));
        return None;
    }
    Some(name.to_owned())
}

fn profile(report: &mut Report, path: &str, profile: Option<&str>, around: &Surroundings) -> Option<String> {
    let known: Vec<&str> = around.known_profiles.iter().map(|profile| profile.name).collect();
    let Some(profile) = profile else {
        report.error(path, "the charger has no `profile`", format!("use one of {}", known.join(", ")));
        return None;
    };
    if !known.contains(&profile) {
        let remedy = match names::nearest(profile, known.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("use one of {}", known.join(", ")),
        };
        report.error(path, format!("the profile \"{}\" is not known", shortened(profile)), remedy);
        return None;
    }
    Some(profile.to_owned())
}

fn link(report: &mut Report, path: &str, link: Option<&str>) -> Option<LinkConfig> {
    const EXAMPLE: &str =
        "write it as \"serial:///dev/surplusd-rs485\", \"tcp://192.168.1.40:502\" or \"relay://pico-carport\"";
    let Some(link) = link else {
        report.error(path, "the charger has no `link`", EXAMPLE);
        return None;
    };
    match link.split_once("://") {
        Some(("serial", device)) if device.starts_with('/') && !device.contains(unseen) => {
            if device.starts_with("/dev/ttyUSB") || device.starts_with("/dev/ttyACM") {
                let message = format!("{device} may be another adapter after the next start");
                report.warning(path, message, "name it by /dev/serial/by-id/…, or by surplusd's udev rule");
            }
            Some(LinkConfig::Serial { path: PathBuf::from(device) })
        }
        Some(("serial", _)) => {
            report.error(path, "the device must be an absolute path of characters that are seen", EXAMPLE);
            None
        }
        Some(("tcp", address)) => match names::host_and_port(address.strip_suffix('/').unwrap_or(address)) {
            Ok((host, port)) => Some(LinkConfig::Tcp { host: lines::plain_host(&host), port: port.unwrap_or(502) }),
            Err(fault) => {
                report.error(path, fault, EXAMPLE);
                None
            }
        },
        Some(("relay", id)) if relay_link::topic::is_id(id) => Some(LinkConfig::Relay { id: id.to_owned() }),
        Some(("relay", _)) => {
            let remedy = "write it as \"relay://pico-carport\": lower-case letters, digits and -, at most 32";
            report.error(path, "this is not the name of a relay", remedy);
            None
        }
        Some(_) | None => {
            report.error(path, "only serial://, tcp:// and relay:// are supported", EXAMPLE);
            None
        }
    }
}

/// Reports a name, a place on a line or a relay that an earlier charger already has.
fn same_twice(report: &mut Report, path: &str, setup: &ChargerSetup, others: &BTreeMap<ChargerId, ChargerSetup>) {
    for (id, other) in others {
        let nth = usize::from(id.0) + 1;
        if other.name == setup.name {
            let message = format!("charger {nth} is named \"{}\" as well", setup.name);
            report.error(&format!("{path}.name"), message, "give each its own name");
        }
        if other.link == setup.link && other.unit == setup.unit {
            let message = format!("charger {nth} answers to unit {} on the same link as well", setup.unit);
            let unit = format!("{path}.unit");
            let place = if report.given(&unit) { unit } else { format!("{path}.link") };
            report.error(&place, message, "give each its own unit, as set on its switches");
        }
        let relay = |setup: &ChargerSetup| setup.phase_switch.as_ref().and_then(PhaseSwitch::relay).map(str::to_owned);
        if let (Some(relay), true) = (relay(setup), relay(setup) == relay(other)) {
            let message = format!("charger {nth} switches its phases with the relay \"{relay}\" as well");
            let remedy = "use a second relay: of the two contacts of one only one is ever closed";
            report.error(&format!("{path}.phase-switch"), message, remedy);
        }
    }
}

/// Checks what all chargers draw together against the site's limit.
fn together(report: &mut Report, count: usize, site: Option<Site>, safety: Option<Safety>) {
    let (Some(site), Ok(count)) = (site, u32::try_from(count)) else { return };
    if count < 2 {
        return;
    }
    let least = Milliamps(Milliamps::PILOT_MIN.0.saturating_mul(count));
    if least > site.limit {
        let message = format!("{count} chargers need {least} at least, [site] allows {}: they take turns", site.limit);
        report.warning("charger", message, "raise `main-fuse-a` or `charger-limit-a` if that is not meant");
    }
    let alone = safety.map_or(Milliamps::ZERO, |safety| safety.charger_current * count);
    if alone > site.limit {
        let message = format!("when surplusd dies, {count} chargers draw {alone}, [site] allows {}", site.limit);
        report.error("fail-safe.charger-current-a", message, "lower it; 0 stops the charges");
    }
}
