//! Checks `phase-switch` of a charger: what switches the number of phases it connects, and whether that fits the rest.

use control::{Milliamps, Millis, PhaseSwitching};
use relay_link::contacts::{CONTACTS, LEASE_MAX_S, LEASE_RESERVE_S};

use super::KnownProfile;
use super::checks::{Surroundings, shortened};
use super::domain::PhaseSwitch;
use super::file;
use super::names;
use super::report::Report;
use super::site::{Safety, Site};

/// Shortest pause, in seconds. Products pause from 10 s (the drivers of `SmartEVSE` and `EM2GO`) to some minutes; no car starts sooner
/// after a pause.
const PAUSE_MIN_S: f64 = 10.0;
const PAUSE_MAX_S: f64 = 600.0;
/// Longest watchdog that a contact's lease can outlast.
const CONTACT_WATCHDOG_MAX: Millis = Millis::from_secs((LEASE_MAX_S - LEASE_RESERVE_S) as u64);

/// The result of `phase-switch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Switching {
    /// The phases stay as wired.
    AsWired,
    /// What switches the phases, and how long the current is off meanwhile.
    By(PhaseSwitch, PhaseSwitching),
}

impl Switching {
    pub(super) fn parts(self) -> (Option<PhaseSwitch>, Option<PhaseSwitching>) {
        match self {
            Self::AsWired => (None, None),
            Self::By(who, how) => (Some(who), Some(how)),
        }
    }
}

/// Reads the two keys; `None` after an error.
pub(super) fn phase_switch(
    report: &mut Report,
    path: &str,
    charger: &file::Charger,
    site: Option<Site>,
    safety: Option<Safety>,
    around: &Surroundings,
) -> Option<Switching> {
    let switch_path = format!("{path}.phase-switch");
    let pause_path = format!("{path}.phase-switch-pause-s");
    let pause = report.seconds(&pause_path, charger.phase_switch_pause_s, PAUSE_MIN_S..=PAUSE_MAX_S);
    if report.broken(&switch_path) {
        return None;
    }
    let switch = match &charger.phase_switch {
        None => return pause.map(|_| Switching::AsWired),
        Some(file::PhaseSwitch::Word(word)) => {
            if word != "charger" {
                let remedy = match names::nearest(word, ["charger"]) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => "use \"charger\", or { relay = \"pico-carport\", contact = 1 }".to_owned(),
                };
                report.error(&switch_path, format!("\"{}\" switches no phases", shortened(word)), remedy);
                return None;
            }
            PhaseSwitch::Charger
        }
        Some(file::PhaseSwitch::Contact { relay, contact }) => {
            by_contact(report, &switch_path, (relay, *contact), charger, safety, around)?
        }
    };
    if switch == PhaseSwitch::Charger && !able(report, &switch_path, charger, around) {
        return None;
    }
    let fits = fits(report, &switch_path, charger, site);
    let pause = pause?;
    fits.then_some(Switching::By(switch, PhaseSwitching { pause }))
}

/// Checks a contact of a relay, and that everything that makes it safe is configured.
fn by_contact(
    report: &mut Report,
    path: &str,
    (relay, contact): (&str, f64),
    charger: &file::Charger,
    safety: Option<Safety>,
    around: &Surroundings,
) -> Option<PhaseSwitch> {
    if !relay_link::topic::is_id(relay) {
        let message = format!("\"{}\" is not the name of a relay", shortened(relay));
        report.error(path, message, "use lower-case letters, digits and -, at most 32, as in `surplusd relay list`");
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "two")]
    let contact = report.whole(&format!("{path}.contact"), contact, 1.0..=CONTACTS as f64)?;
    let named = |known: &&KnownProfile<'_>| charger.profile.as_deref() == Some(known.name);
    if around.known_profiles.iter().find(named).is_some_and(|profile| profile.switches_phases) {
        let message = "this charger may switch its phases by itself: two switches do not know of each other";
        report.warning(
            path,
            message,
            "use \"charger\" unless its own switch is missing or set to three phases for good",
        );
    }
    let safety = safety?;
    // The contact opens when surplusd dies. By then no current may flow through it.
    let mut safe = true;
    if safety.charger_current > Milliamps::ZERO {
        let remedy = "set it to 0: when surplusd dies the charge must have ended before the contact opens";
        report.error("fail-safe.charger-current-a", "a contact would switch the phases under this current", remedy);
        safe = false;
    }
    if safety.watchdog > CONTACT_WATCHDOG_MAX {
        let message = format!("with a contact for the phases this is at most {CONTACT_WATCHDOG_MAX}");
        let remedy = "lower it: when surplusd dies the charge must have ended before the contact opens, after 60 s at the latest";
        report.error("fail-safe.charger-watchdog-s", message, remedy);
        safe = false;
    }
    safe.then(|| PhaseSwitch::Contact { relay: relay.to_owned(), contact })
}

/// Whether the charger itself can switch phases; reports it if not.
fn able(report: &mut Report, path: &str, charger: &file::Charger, around: &Surroundings) -> bool {
    let able = around.known_profiles.iter().filter(|profile| profile.switches_phases);
    let able: Vec<&str> = able.map(|profile| profile.name).collect();
    let known = |name: &str| around.known_profiles.iter().any(|profile| profile.name == name);
    let Some(name) = charger.profile.as_deref().filter(|name| known(name) && !able.contains(name)) else { return true };
    let remedy = format!("leave it out; {} can, and a contact of a Pico W relay", able.join(", "));
    report.error(path, format!("chargers of the profile \"{name}\" cannot switch phases"), remedy);
    false
}

/// Whether there is anything to switch; reports what prevents or makes it useless.
fn fits(report: &mut Report, path: &str, charger: &file::Charger, site: Option<Site>) -> bool {
    if site.is_some_and(|site| site.phases == 1) {
        let remedy = "leave it out, or correct `phases` in [site]";
        report.error(path, "a house with one phase has nothing to switch", remedy);
        return false;
    }
    if charger.phases < 3.0 {
        let message = "a car that does not use three phases gains nothing by switching";
        report.warning(path, message, "leave it out, or set `phases = 3` if the car can");
    }
    true
}
