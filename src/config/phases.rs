//! `phase-switch` of a charger: what changes the number of phases it connects, and what that must fit.

use control::PhaseSwitching;

use super::checks::{Surroundings, shortened};
use super::domain::PhaseSwitch;
use super::file;
use super::report::Report;
use super::site::Site;

/// Pauses in products are from 10 s (the drivers of `SmartEVSE` and `EM2GO`) to some minutes; no car starts sooner after a pause.
const PAUSE_MIN_S: f64 = 10.0;
const PAUSE_MAX_S: f64 = 600.0;

/// What comes of `phase-switch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Switching {
    /// The phases are as wired.
    AsWired,
    /// Who switches, and for how long there is no current meanwhile.
    By(PhaseSwitch, PhaseSwitching),
}

impl Switching {
    pub(super) const fn who(self) -> Option<PhaseSwitch> {
        match self {
            Self::AsWired => None,
            Self::By(who, _) => Some(who),
        }
    }

    pub(super) const fn how(self) -> Option<PhaseSwitching> {
        match self {
            Self::AsWired => None,
            Self::By(_, how) => Some(how),
        }
    }
}

/// Reads the two keys; `None` after an error.
pub(super) fn phase_switch(
    report: &mut Report,
    path: &str,
    charger: &file::Charger,
    site: Option<Site>,
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
            report.choice(&switch_path, word, &[("charger", PhaseSwitch::Charger)])?
        }
        Some(file::PhaseSwitch::Contact { relay }) => {
            let message = format!("a contact of the relay \"{}\" is not supported by this version", shortened(relay));
            report.error(&switch_path, message, "use \"charger\" where the charger itself can, or leave it out");
            return None;
        }
    };
    let fits = fits(report, &switch_path, charger, site, around);
    let pause = pause?;
    fits.then_some(Switching::By(switch, PhaseSwitching { pause }))
}

/// Whether there is anything to switch; says what is in the way.
fn fits(report: &mut Report, path: &str, charger: &file::Charger, site: Option<Site>, around: &Surroundings) -> bool {
    let able = around.known_profiles.iter().filter(|profile| profile.switches_phases);
    let able: Vec<&str> = able.map(|profile| profile.name).collect();
    let known = |name: &str| around.known_profiles.iter().any(|profile| profile.name == name);
    if let Some(name) = charger.profile.as_deref().filter(|name| known(name) && !able.contains(name)) {
        let remedy = format!("leave it out; {} can", able.join(", "));
        report.error(path, format!("chargers of the profile \"{name}\" cannot switch phases"), remedy);
        return false;
    }
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
