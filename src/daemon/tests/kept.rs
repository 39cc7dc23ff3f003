//! What survives a restart, a crash and a reload.

use super::*;
use crate::daemon::moment::Moment;
use crate::daemon::state::{Saved, State};
use crate::model::Names;

impl Daemon {
    /// Stores the state now; returns the generation to wait for.
    fn store(&mut self) -> u64 {
        let generation = self.hub.keeper.save(self.clock.now());
        self.carry_out();
        generation
    }
}

/// Nothing was locked, so nothing may look locked; and state that could not be stored is stored once the disk works again.
#[tokio::test]
async fn a_disk_that_refuses_costs_the_wake_up_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let file = daemon.hub.config.state_file.clone();
    let beside = file.with_extension("new");
    std::fs::create_dir(&beside).unwrap();
    daemon.hub.keeper.lock(ChargerId(0), false, daemon.clock.now());
    daemon.carry_out();
    let _ = daemon.writer.next().await.unwrap();
    daemon.hub.keeper.lock(ChargerId(0), true, daemon.clock.now());
    daemon.carry_out();
    let saved = daemon.writer.next().await.unwrap();
    assert!(saved.trouble.is_some());
    daemon.hub.saved(saved);
    assert!(!daemon.hub.keeper.state.get("c0").unwrap().locked);
    std::fs::remove_dir(&beside).unwrap();
    daemon.hub.keeper.state.get_mut("c0").unwrap().mode = control::Mode::Off;
    daemon.store();
    let saved = daemon.writer.next().await.unwrap();
    daemon.hub.saved(saved);
    std::fs::create_dir(&beside).unwrap();
    daemon.hub.keeper.state.get_mut("c0").unwrap().mode = control::Mode::Fast;
    daemon.store();
    let saved = daemon.writer.next().await.unwrap();
    assert!(saved.trouble.is_some());
    daemon.hub.saved(saved);
    std::fs::remove_dir(&beside).unwrap();
    let generation = daemon.store();
    let saved = tokio::time::timeout(Duration::from_secs(60), daemon.writer.next()).await.expect("it is tried again");
    assert_eq!(saved, Some(Saved { generation, trouble: None }));
    assert_eq!(load(&file).0.get("c0").unwrap().mode, control::Mode::Fast);
}

/// After a lost or damaged file, a charger may have been left locked, so each one is unlocked once.
#[tokio::test]
async fn what_is_not_known_of_a_charger_is_taken_for_the_worst() {
    let folder = tempfile::tempdir().unwrap();
    let mut fresh = daemon(1, folder.path()).await;
    let known = fresh.hub.keeper.state.get("c0").unwrap();
    assert_eq!((known.locked, known.running), (true, false));
    fresh.hub.keeper.lock(ChargerId(0), false, fresh.clock.now());
    fresh.carry_out();
    while fresh.hub.keeper.stored < 1 {
        let saved = fresh.writer.next().await.unwrap();
        fresh.hub.saved(saved);
    }
    let again = daemon(1, folder.path()).await;
    assert!(!again.hub.keeper.state.get("c0").unwrap().locked, "once is enough");

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("state.json"), "{").unwrap();
    let damaged = daemon(1, folder.path()).await;
    let known = damaged.hub.keeper.state.get("c0").unwrap();
    assert_eq!((known.locked, known.running), (true, true));
}

fn charges(charger: ChargerId, at: Tick) -> ChargerReport {
    ChargerReport { vehicle: Vehicle::Charging, setpoint: Some(Milliamps(6_000)), at, ..waits(charger) }
}

/// However often the daemon is killed, a start counts, and a charger that may just have been stopped stays stopped.
#[tokio::test]
async fn limits_survive_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let mut daemon = daemon(1, folder.path()).await;
        let now = daemon.clock.now();
        daemon.hub.controller.handle(Input::Report(charges(ChargerId(0), now)), now);
        daemon.take_the_rest();
        daemon.show(now);
        assert!(daemon.hub.keeper.state.get("c0").unwrap().running);
        let newest = daemon.store();
        while daemon.writer.next().await.unwrap().generation < newest {}
        // Killed: it does not shut anything down.
    }
    let mut daemon = daemon(1, folder.path()).await;
    let now = daemon.clock.now();
    daemon.hub.controller.handle(Input::Report(waits(ChargerId(0))), now);
    daemon.take_the_rest();
    let view = daemon.hub.controller.snapshot().chargers[&ChargerId(0)];
    assert_eq!((view.setpoint, view.reason.code()), (Milliamps(0), "minimum-off"), "{view:?}");
}

/// Waits until the file, as the next start would read it, meets the condition.
async fn until_stored(daemon: &mut Daemon, wish: impl Fn(&State) -> bool) {
    while !wish(&load(&daemon.hub.config.state_file).0) {
        let saved = tokio::time::timeout(Duration::from_secs(20), daemon.writer.next()).await;
        assert!(
            matches!(saved, Ok(Some(Saved { trouble: None, .. }))),
            "{saved:?}, stored last at {:?}",
            daemon.hub.keeper.stored_at
        );
    }
}

fn starts(state: &State, charger: ChargerId) -> usize {
    let names: Names = [(charger, format!("c{}", charger.0))].into_iter().collect();
    state.carry_over(&names, Moment::now(), false).chargers.get(&charger).map_or(0, |counts| counts.starts.len())
}

/// A crash a moment later neither undoes what the user chose nor forgets a start.
#[tokio::test]
async fn a_wish_and_a_start_are_stored_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let car = ChargerId(0);
    let mut now = daemon.clock.now();
    daemon.show(now);
    until_stored(&mut daemon, |state| state.get("c0").is_some()).await;
    for (report, wish) in [
        (waits(car), (|state| state.get("c0").unwrap().running) as fn(&State) -> bool),
        (charges(car, now), |state| starts(state, ChargerId(0)) == 1),
    ] {
        now = now + Millis(300);
        daemon.hub.controller.handle(Input::Report(ChargerReport { at: now, ..report }), now);
        daemon.take_the_rest();
        daemon.show(now);
        until_stored(&mut daemon, wish).await;
    }
    let mode = |mode| control::Command::Mode { charger: None, mode };
    now = now + Millis(300);
    daemon.hub.controller.handle(Input::Command(mode(control::Mode::Off)), now);
    daemon.show(now);
    until_stored(&mut daemon, |state| state.get("c0").unwrap().mode == control::Mode::Off).await;

    // A user who keeps changing their mind does not wear the card, and the last choice is stored in the end.
    let mut writes = 0;
    for n in 0..20 {
        now = now + Millis(100);
        daemon
            .hub
            .controller
            .handle(Input::Command(mode(if n % 2 == 0 { control::Mode::Fast } else { control::Mode::Slow })), now);
        let before = daemon.hub.keeper.stored_at;
        daemon.show(now);
        writes += u32::from(daemon.hub.keeper.stored_at != before);
    }
    assert!(writes <= keeper::URGENT_STORES, "{writes} writes in 2 s");
    daemon.show(now + keeper::STORE_PAUSE);
    until_stored(&mut daemon, |state| state.get("c0").unwrap().mode == control::Mode::Slow).await;
}

/// A changed polling interval closes the lines and makes the controller forget the chargers, but not what counts towards the day's limits.
#[tokio::test]
async fn starts_survive_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    let now = daemon.clock.now();
    daemon.hub.controller.handle(Input::Report(waits(ChargerId(0))), now);
    daemon.take_the_rest();
    daemon.hub.controller.handle(Input::Report(charges(ChargerId(0), now)), now);
    daemon.take_the_rest();
    daemon.show(now);
    assert_eq!(daemon.hub.controller.snapshot().chargers[&ChargerId(0)].starts, 1);
    daemon.hub.begin_chargers_anew(now);
    assert_eq!(daemon.hub.controller.snapshot().chargers[&ChargerId(0)].starts, 1);
}

/// A charger removed from the file and put back a moment later keeps its limits and the user's choices.
#[tokio::test]
async fn a_charger_that_is_taken_out_and_put_back_has_forgotten_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(2, folder.path()).await;
    let car = ChargerId(1);
    let now = daemon.clock.now();
    daemon
        .hub
        .controller
        .handle(Input::Command(control::Command::Mode { charger: Some(car), mode: control::Mode::Fast }), now);
    daemon.hub.controller.handle(Input::Report(waits(car)), now);
    daemon.take_the_rest();
    daemon.hub.controller.handle(Input::Report(charges(car, now)), now);
    daemon.take_the_rest();
    daemon.show(now);
    let whole = daemon.hub.config.clone();
    let mut less = whole.clone();
    less.chargers.remove(&car);
    less.control.chargers.remove(&car);
    for config in [less, whole] {
        daemon.reload(config).await.unwrap();
        daemon.show(daemon.clock.now());
    }
    let view = daemon.hub.controller.snapshot().chargers[&car];
    assert_eq!((view.mode, view.starts), (control::Mode::Fast, 1), "{view:?}");
    assert!(daemon.hub.keeper.state.get("c1").unwrap().stopped.is_some(), "the minimum-off time runs");
}

/// When the counter disappears for a moment, nothing is counted twice and the published total never jumps.
#[tokio::test]
async fn an_energy_counter_that_goes_away_counts_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = daemon(1, folder.path()).await;
    assert!(daemon.hub.keeper.energies("c0", Tick(0)).0.is_none(), "nothing is known yet");
    let mut at = 1_000;
    for raw in [1_234_625, 1_234_625, 0, 0, 0, 1_234_625, 1_234_626] {
        at += if at == 2_000 { 60_000 } else { 1_000 };
        let report = ChargerReport { energy: Some(control::WattHours(raw)), at: Tick(at), ..waits(ChargerId(0)) };
        daemon.hub.bus(&BusEvent::Report(report), daemon.clock.now());
    }
    assert_eq!(daemon.hub.keeper.energies("c0", Tick(at)).0, Some(control::WattHours(1_234_626)));
}
