//! Fuzz target: any text as the state file, in any of its versions.

use control::{ChargerId, Millis, Spent, WattHours};

use super::file::{Form, Uptime, parse};
use super::{Names, Store};
use crate::daemon::moment::Moment;

/// Half an hour after `saved-ms` of the golden files, in the same boot as they.
const NOW: Moment = Moment(9_000_000);
const BOOT: &str = "5a8f7a0c-5a8f-4c1d-9d0e-0123456789ab";

/// Longest that anything counts, and the most that counts at once: the controller's own bounds.
const COUNTS_MAX: Millis = Millis::from_secs(86_400 + 900);
const ENERGY_MAX: WattHours = WattHours(1_000_000);

/// The state file.
pub fn file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for boot in [Some(BOOT.to_owned()), None] {
        check(text, &Uptime { boot, now: NOW });
    }
}

fn check(text: &str, uptime: &Uptime) {
    let mut state = match parse(text, uptime) {
        Ok(state) => state,
        Err(unreadable) => return assert!(!unreadable.to_string().is_empty()),
    };
    for charger in state.chargers.values() {
        assert!(charger.meter.total().is_none_or(|total| total.0 >= 0));
        assert!(charger.account.today.sun_percent().is_none_or(|percent| percent <= 100));
    }
    let Ok(written) = Form::new(&state, uptime).text() else { panic!("{state:?} cannot be written") };
    let again = match parse(&written, uptime) {
        Ok(again) => again,
        Err(unreadable) => panic!("what was written cannot be read: {unreadable}\n{written}"),
    };
    // Without a name for the boot, each start takes the moments to be from another one.
    let same = Form::new(&again, uptime).says_the_same_as(&Form::new(&state, uptime));
    assert!(same || uptime.boot.is_none(), "{written}");
    // What comes back from the controller is the same within its bounds, and once it is stored it is not worth storing again.
    let names: Names = (0..).map(ChargerId).zip(state.chargers.keys().cloned()).take(8).collect();
    let mut counts = state.carry_over(&names, NOW, true);
    for spent in counts.drained.iter_mut().flatten() {
        *spent = Spent { left: spent.left.min(COUNTS_MAX), energy: spent.energy.min(ENERGY_MAX) };
    }
    for charger in counts.chargers.values_mut() {
        charger.starts.iter_mut().for_each(|left| *left = (*left).min(COUNTS_MAX));
    }
    state.take(&counts, &names, NOW, WattHours(40));
    assert_eq!(state.take(&counts, &names, NOW, WattHours(40)), Store::Never, "the same is worth storing again");
}
