//! Chargers on one line: recognises the same line under different names, and checks what all chargers on a line must agree on.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use control::{ChargerId, Millis};

use super::Files;
use super::checks::Surroundings;
use super::domain::{ChargerSetup, LinkConfig};
use super::report::Report;

/// Returns the number of a character device, which is the same under all its names; `None` if it is missing or anything else.
pub fn device_number(path: &Path) -> Option<u64> {
    let about = std::fs::metadata(path).ok()?;
    about.file_type().is_char_device().then(|| about.rdev())
}

/// Returns the link as written for the first charger that has it: a line has one master, so it must be opened only once.
pub(super) fn as_first_named(
    report: &mut Report,
    path: &str,
    link: LinkConfig,
    others: &BTreeMap<ChargerId, ChargerSetup>,
    around: &Surroundings,
) -> LinkConfig {
    let LinkConfig::Serial { path: device } = &link else { return link };
    let number = if around.files == Files::Read { device_number(device) } else { None };
    for (id, other) in others {
        let LinkConfig::Serial { path: named } = &other.link else { continue };
        if named != device && number.is_some() && device_number(named) == number {
            let key = format!("charger[{}].link", id.0);
            let message = format!("this is the same device as `{key}`, {}: both are one line", named.display());
            report.warning(&format!("{path}.link"), message, "write the same link for both");
            return other.link.clone();
        }
    }
    link
}

/// Normalises a host for comparison: names in lower case and without a trailing dot, addresses in their usual form.
pub(super) fn plain_host(host: &str) -> String {
    let host = host.strip_suffix('.').unwrap_or(host);
    match host.parse::<Ipv6Addr>() {
        Ok(address) => IpAddr::V6(address).to_canonical().to_string(),
        Err(_) => host.to_ascii_lowercase(),
    }
}

/// Checks `reply-ms`: how long to wait for an answer, if it is set.
pub(super) fn reply(
    report: &mut Report,
    path: &str,
    given: Option<f64>,
    poll: Option<Millis>,
    watchdog: Option<Millis>,
) -> Option<Millis> {
    let path = format!("{path}.reply-ms");
    // A shorter time than one frame and an adapter's delay makes no sense; a Pico relay waits 5 s at most.
    let reply = report.millis(&path, given?, 100.0..=5_000.0)?;
    if let (Some(poll), Some(watchdog)) = (poll, watchdog)
        && poll.0.saturating_mul(3) <= watchdog.0
        && (poll + reply) * 3 > watchdog
    {
        let message = format!(
            "with `poll-s` an answer may take {}, and the charger gives up after {watchdog}: one or two lost answers would stop it",
            poll + reply
        );
        report.error(
            &path,
            message,
            "keep `charger-watchdog-s` at three times `poll-s` and `reply-ms` together or more",
        );
    }
    Some(reply)
}

/// Applies `reply-ms` of any charger to all chargers on its line, and reports chargers that differ.
pub(super) fn agree_on_reply(report: &mut Report, setups: &mut BTreeMap<ChargerId, ChargerSetup>) {
    let mut agreed: BTreeMap<LinkConfig, (ChargerId, Millis)> = BTreeMap::new();
    for (id, setup) in &*setups {
        let Some(reply) = setup.reply else { continue };
        let (first, said) = *agreed.entry(setup.link.clone()).or_insert((*id, reply));
        if said != reply {
            let message = format!("`charger[{}].reply-ms` is {}, and both are on one line", first.0, said.0);
            report.error(&format!("charger[{}].reply-ms", id.0), message, "write the same for both, or leave one out");
        }
    }
    for setup in setups.values_mut() {
        setup.reply = agreed.get(&setup.link).map(|(_, reply)| *reply);
    }
}
