//! Files written by older versions must stay readable. Neither the files nor the expected results may be changed.

use std::path::{Path, PathBuf};

use control::{
    Action, ChargerId, Command, Fault, Input, Milliamps, Millis, Mode, Order, Percent, Permille, Reason, Source, Tick,
    Vehicle, WattHours, Watts,
};

use crate::journal::reader::{ReadError, Reader, Run};
use crate::journal::store::{Bounds, SCHEMA, Store, Trouble};
use crate::journal::{Batch, Damaged, Record, Start};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/journal-v1.sqlite")
}

fn batches() -> Vec<Batch> {
    let reader = Reader::open(&golden()).unwrap();
    reader.batches(1).unwrap().into_iter().map(|id| reader.batch(id).unwrap()).collect()
}

/// Half an hour of the demo: `solar`, then `fixed` at 6 and 8 A, `off`, and `slow+solar`.
#[test]
fn the_journal_of_format_1_is_read_with_its_heads() {
    let reader = Reader::open(&golden()).unwrap();
    let run = Run { id: 1, began_ms: 1_795_909_083_370, version: "0.1.0".to_owned() };
    assert_eq!(reader.runs().unwrap(), [run]);
    let batches = batches();
    assert!(batches.iter().all(|batch| batch.format == 1));
    let starts: Vec<Start> = batches.iter().map(|batch| batch.start).collect();
    assert_eq!(starts, [&[Start::Begin][..], &[Start::Follows; 5]].concat());

    let first = &batches[0].head;
    assert_eq!((first.names[&ChargerId(0)].as_str(), first.wall_ms), ("carport", 1_795_909_083_370));
    let config = &first.config;
    assert_eq!((config.sources.len(), config.site_limit), (5, Milliamps(25_000)));
    let sampling = (config.sampling.settle, config.sampling.meter_age, config.sampling.refresh_every);
    assert_eq!(sampling, (Millis(200), Millis(2_000), Some(Millis(10_000))));
    assert_eq!((config.battery.buffer_soc, config.battery.floor_soc), (Percent(100), Percent(20)));
    assert_eq!((config.battery.max_charge, config.battery.drain_budget), (Watts(5_000), WattHours(4_000)));
    assert_eq!((config.solar.min_share, config.solar.start_cost), (Permille(750), WattHours(330)));
    assert_eq!((config.solar.starts_per_day_max, config.solar.min_off), (50, Millis(60_000)));
    assert_eq!((config.fail_safe.stop_after, config.fail_safe.blind_fast), (Millis(300_000), Milliamps(16_000)));
    let charger = &config.chargers[&ChargerId(0)];
    assert_eq!((charger.max, charger.min, charger.step), (Milliamps(16_000), Milliamps(6_000), Milliamps(100)));
    assert_eq!((charger.mode, charger.wake_after, charger.switching), (Mode::Solar, Some(Millis(300_000)), None));

    let last = &batches[5].head;
    assert_eq!(last.config, *config);
    let decided = last.decided[&ChargerId(0)];
    assert_eq!((decided.mode, decided.fixed, decided.setpoint), (Mode::SlowSolar, Milliamps(8_000), Milliamps(9_400)));
    assert_eq!((decided.reason, decided.starts), (Reason::Following { surplus: Watts(6_750) }, 2));
    let report = last.reports[&ChargerId(0)];
    assert_eq!((report.vehicle, report.fault, report.waking), (Vehicle::Charging, None::<Fault>, false));
    assert_eq!(
        (report.setpoint, report.currents.map(|each| each[2])),
        (Some(Milliamps(9_400)), Some(Milliamps(9_400)))
    );
    assert_eq!((last.sample.unwrap().soc, last.values[&Source::BatterySoc]), (Some(Percent(53)), 53));
    assert_eq!(last.stopped[&ChargerId(0)], Tick(1_385_679));
}

#[test]
fn the_journal_of_format_1_is_read_with_all_its_records() {
    let batches = batches();
    let records: Vec<Record> = batches.iter().flat_map(Batch::records).map(|record| record.unwrap().1).collect();
    let count = |of: fn(&Record) -> bool| records.iter().filter(|record| of(record)).count();
    let facts = count(Record::is_fact);
    let answers = count(|record| matches!(record, Record::Action(_) | Record::Decided(_)));
    assert_eq!((facts, answers), (4_429, 2_132));
    assert_eq!(count(|record| matches!(record, Record::Input(Input::Command(Command::Mode { .. })))), 3);
    assert_eq!(count(|record| matches!(record, Record::Wall(_))), 33);
    assert_eq!(count(|record| matches!(record, Record::Sample(_))), 130);
    let order = Order { charger: ChargerId(0), setpoint: None, phases: None, valid_until: Tick(15_444) };
    assert_eq!(records[1], Record::Action(Action::Order(order)));
}

/// Tables of a newer version are distinguished from those of an older one.
#[test]
fn tables_of_another_version_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("journal.sqlite");
    let bounds = Bounds { keep: Millis::from_secs(86_400), size: 64_000_000 };
    for (version, newer) in [(SCHEMA + 1, true), (99, true), (SCHEMA - 1, false), (-1, false)] {
        std::fs::copy(golden(), &file).unwrap();
        rusqlite::Connection::open(&file).unwrap().pragma_update(None, "user_version", version).unwrap();
        let before = std::fs::read(&file).unwrap();
        let (reads, writes) = (Reader::open(&file).unwrap_err(), Store::open(&file, bounds).unwrap_err());
        if newer {
            assert!(matches!(reads, ReadError::Newer(found) if found == version), "{reads}");
            assert!(matches!(writes, Trouble::Newer(found) if found == version), "{writes}");
        } else {
            assert!(matches!(reads, ReadError::Older(found) if found == version), "{reads}");
            assert!(matches!(writes, Trouble::Older(found) if found == version), "{writes}");
        }
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }
}

#[test]
fn a_batch_of_no_format_is_damaged() {
    assert_eq!(Batch::unpack(&super::deflate(&[0, 0])).unwrap_err(), Damaged::Range);
}
