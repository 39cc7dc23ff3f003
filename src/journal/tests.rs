//! Records are read back as written, damage is noticed, and a failing disk costs history and nothing else.

mod disk;
mod golden;

use std::collections::BTreeMap;
use std::io::Read;

use control::{
    Action, BatteryPolicy, CarryOver, ChargerCarryOver, ChargerConfig, ChargerId, ChargerReport, Command, Config,
    Doubt, FailSafe, Fault, GroupId, Input, Milliamps, Millis, Mode, Order, Percent, Permille, PhaseSwitching,
    Reachability, Reading, Reason, Restore, Sampling, SolarPolicy, Source, Sources, Spent, Tick, Vehicle, Volts,
    WattHours, Watts,
};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;

use super::batch::{Batch, Builder, deflate};
use super::wire::{Bytes, FORMAT, Field, codes, fields};
use super::{Damaged, Decided, Head, Record, Sample, Start};

fn watts() -> impl Strategy<Value = Watts> {
    any::<i32>().prop_map(Watts)
}

fn milliamps() -> impl Strategy<Value = Milliamps> {
    any::<u32>().prop_map(Milliamps)
}

fn millis() -> impl Strategy<Value = Millis> {
    any::<u64>().prop_map(Millis)
}

fn percent() -> impl Strategy<Value = Percent> {
    any::<u8>().prop_map(Percent)
}

fn tick() -> impl Strategy<Value = Tick> {
    any::<u64>().prop_map(Tick)
}

fn charger() -> impl Strategy<Value = ChargerId> {
    (0..3_u8).prop_map(ChargerId)
}

fn mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(&Mode::ALL[..])
}

fn source() -> impl Strategy<Value = Source> {
    prop::sample::select(&Source::ALL[..])
}

fn fault() -> impl Strategy<Value = Fault> {
    prop::sample::select(&[Fault::Locked, Fault::Error, Fault::Refused, Fault::Phases, Fault::Unusable][..])
}

fn reason() -> impl Strategy<Value = Reason> {
    let plain = prop::sample::select(
        &[
            Reason::Off,
            Reason::Starting,
            Reason::Offline,
            Reason::Asleep,
            Reason::ReadOnly,
            Reason::NoVehicle,
            Reason::Adopted,
            Reason::OffGrid,
            Reason::Slow,
            Reason::Fast,
            Reason::Fixed,
            Reason::SiteLimit,
            Reason::UnknownState,
            Reason::BudgetUsed,
        ][..],
    );
    prop_oneof![
        plain,
        fault().prop_map(Reason::Fault),
        watts().prop_map(|surplus| Reason::SlowSolar { surplus }),
        watts().prop_map(|surplus| Reason::Following { surplus }),
        (watts(), watts(), watts(), of(millis())).prop_map(|(surplus, mean, stop_below, left)| Reason::Holding {
            surplus,
            mean,
            stop_below,
            left
        }),
        any::<u8>().prop_map(|missing| Reason::NoData { missing: Sources(missing) }),
        doubt().prop_map(|doubt| Reason::Doubted { doubt }),
        millis().prop_map(|age| Reason::DataLost { age }),
        millis().prop_map(|age| Reason::Asking { age }),
        (millis(), millis()).prop_map(|(every, limit)| Reason::SlowSamples { every, limit }),
        (watts(), watts()).prop_map(|(surplus, start_at)| Reason::TooLittleSun { surplus, start_at }),
        (watts(), watts()).prop_map(|(surplus, stop_below)| Reason::SunGone { surplus, stop_below }),
        (of(percent()), percent()).prop_map(|(soc, below)| Reason::BatteryFirst { soc, below }),
        percent().prop_map(|soc| Reason::BatteryCarries { soc }),
        millis().prop_map(|left| Reason::MinimumOn { left }),
        millis().prop_map(|left| Reason::MinimumOff { left }),
        any::<u16>().prop_map(|starts| Reason::StartsUsed { starts }),
        millis().prop_map(|age| Reason::Stale { age }),
        millis().prop_map(|age| Reason::Blind { age }),
        (any::<u8>(), of(watts())).prop_map(|(to, surplus)| Reason::SwitchingPhases { to, surplus }),
        (milliamps(), milliamps(), of(milliamps())).prop_map(|(offered, drawn, takes_from)| Reason::NotTaken {
            offered,
            drawn,
            takes_from
        }),
        millis().prop_map(|left| Reason::Withheld { left }),
        (any::<u16>(), millis()).prop_map(|(closures, left)| Reason::ContactorRest { closures, left }),
        (milliamps(), milliamps(), millis()).prop_map(|(told, drawn, left)| Reason::Overdraw { told, drawn, left }),
    ]
}

fn report() -> impl Strategy<Value = ChargerReport> {
    let link = prop::sample::select(
        &[
            Reachability::Starting,
            Reachability::Online,
            Reachability::ReadOnly,
            Reachability::Asleep,
            Reachability::Offline,
        ][..],
    );
    let vehicle = prop::sample::select(
        &[Vehicle::Unknown, Vehicle::Absent, Vehicle::Connected, Vehicle::Requesting, Vehicle::Charging][..],
    );
    let said = (charger(), tick(), link, vehicle, of(fault()), any::<bool>(), any::<bool>(), any::<bool>());
    let currents = of([milliamps(), milliamps(), milliamps()]);
    let voltages = of([any::<u16>(), any::<u16>(), any::<u16>()].prop_map(|volts| volts.map(Volts)));
    let measured = (of(watts()), currents, voltages, of(any::<i64>().prop_map(WattHours)));
    let set = (of(milliamps()), of(any::<u8>()), of(milliamps()), of(milliamps()));
    (said, measured, set).prop_map(|(said, measured, set)| {
        let (charger, at, link, vehicle, fault, derated, waking, released) = said;
        let (power, currents, voltages, energy) = measured;
        let (setpoint, connected, box_max, box_min) = set;
        ChargerReport {
            charger,
            at,
            link,
            vehicle,
            fault,
            derated,
            waking,
            power,
            currents,
            voltages,
            setpoint,
            connected,
            box_max,
            box_min,
            energy,
            released,
        }
    })
}

fn charger_config() -> impl Strategy<Value = ChargerConfig> {
    let currents = (milliamps(), milliamps(), milliamps(), milliamps(), milliamps());
    (currents, any::<u8>(), mode(), of(millis()), of(millis())).prop_map(
        |(currents, phases, mode, wake_after, pause)| {
            let (max, min, safe, step, fixed) = currents;
            let switching = pause.map(|pause| PhaseSwitching { pause });
            ChargerConfig { max, min, safe, step, phases, mode, fixed, wake_after, switching }
        },
    )
}

fn config() -> impl Strategy<Value = Config> {
    let sampling = (millis(), millis(), of(millis()));
    let battery = (percent(), percent(), percent(), watts(), any::<i64>());
    let solar = (any::<u16>(), any::<i64>(), any::<u16>(), millis(), millis());
    let fail_safe = (millis(), millis(), [milliamps(), milliamps(), milliamps(), milliamps(), milliamps()]);
    let sources = btree_map(source(), any::<u8>().prop_map(GroupId), 0..5);
    let chargers = btree_map(charger(), charger_config(), 0..3);
    (sources, sampling, battery, solar, fail_safe, (milliamps(), watts()), chargers).prop_map(
        |(sources, sampling, battery, solar, fail_safe, (site_limit, connection), chargers)| {
            let (settle, meter_age, refresh_every) = sampling;
            let (priority_soc, buffer_soc, floor_soc, max_charge, drain_budget) = battery;
            let (min_share, start_cost, starts_per_day_max, min_on, min_off) = solar;
            let (stale_after, stop_after, [blind_solar, blind_slow, blind_fast, blind_fixed, off_grid]) = fail_safe;
            Config {
                sources,
                sampling: Sampling { settle, meter_age, refresh_every },
                battery: BatteryPolicy {
                    priority_soc,
                    buffer_soc,
                    floor_soc,
                    max_charge,
                    drain_budget: WattHours(drain_budget),
                },
                solar: SolarPolicy {
                    min_share: Permille(min_share),
                    start_cost: WattHours(start_cost),
                    starts_per_day_max,
                    min_on,
                    min_off,
                },
                fail_safe: FailSafe {
                    stale_after,
                    stop_after,
                    blind_solar,
                    blind_slow,
                    blind_fast,
                    blind_fixed,
                    off_grid,
                },
                site_limit,
                connection,
                chargers,
            }
        },
    )
}

fn doubt() -> impl Strategy<Value = Doubt> {
    prop_oneof![
        prop::sample::select(&[Doubt::CarNotSeen, Doubt::WrongSign][..]),
        (source(), watts()).prop_map(|(source, value)| Doubt::OutOfRange { source, value }),
        watts().prop_map(|off| Doubt::Imbalance { off }),
        watts().prop_map(|house| Doubt::HouseProduces { house }),
        (watts(), watts()).prop_map(|(grid, battery)| Doubt::BatteryFromGrid { grid, battery }),
        watts().prop_map(|surplus| Doubt::Jump { surplus }),
        any::<u8>().prop_map(|sources| Doubt::Unconfirmed { sources: Sources(sources) }),
    ]
}

fn decided() -> impl Strategy<Value = Decided> {
    (charger(), mode(), milliamps(), milliamps(), reason(), any::<u8>(), any::<u16>()).prop_map(
        |(charger, mode, fixed, setpoint, reason, phases, starts)| Decided {
            charger,
            mode,
            fixed,
            setpoint,
            reason,
            phases,
            starts,
        },
    )
}

fn sample() -> impl Strategy<Value = Sample> {
    let powers = [of(watts()), of(watts()), of(watts()), of(watts()), of(watts()), of(watts()), of(watts())];
    (tick(), powers, of(percent()), of(doubt())).prop_map(
        |(at, [grid, solar, battery, load, house, surplus, imbalance], soc, doubt)| Sample {
            at,
            grid,
            solar,
            battery,
            load,
            soc,
            house,
            surplus,
            imbalance,
            doubt,
        },
    )
}

fn names() -> impl Strategy<Value = BTreeMap<ChargerId, String>> {
    btree_map(charger(), "\\PC{0,12}", 0..3)
}

fn carry_over() -> impl Strategy<Value = CarryOver> {
    let spent = (millis(), any::<i64>()).prop_map(|(left, wh)| Spent { left, energy: WattHours(wh) });
    let of_one = (vec(millis(), 0..5), any::<bool>());
    let of_one = of_one.prop_map(|(starts, may_run)| ChargerCarryOver { starts, may_run });
    (of(vec(spent, 0..5)), btree_map(charger(), of_one, 0..3))
        .prop_map(|(drained, chargers)| CarryOver { drained, chargers })
}

fn record() -> impl Strategy<Value = Record> {
    let reading = (source(), of(any::<i32>()), any::<bool>());
    let reading = reading.prop_map(|(source, value, retained)| Reading { source, value, retained });
    let command = prop_oneof![
        (of(charger()), mode()).prop_map(|(charger, mode)| Command::Mode { charger, mode }),
        (of(charger()), milliamps()).prop_map(|(charger, current)| Command::FixedCurrent { charger, current }),
    ];
    let restore = (charger(), mode(), milliamps(), of(millis()));
    let restore = restore.prop_map(|(charger, mode, fixed, stopped_ago)| Restore { charger, mode, fixed, stopped_ago });
    let order = (charger(), of(milliamps()), of(any::<u8>()), tick());
    let order =
        order.prop_map(|(charger, setpoint, phases, valid_until)| Order { charger, setpoint, phases, valid_until });
    prop_oneof![
        reading.prop_map(|reading| Record::Input(Input::Reading(reading))),
        report().prop_map(|report| Record::Input(Input::Report(report))),
        command.prop_map(|command| Record::Input(Input::Command(command))),
        restore.prop_map(|restore| Record::Input(Input::Restore(restore))),
        carry_over().prop_map(|carried| Record::Input(Input::CarryOver(carried))),
        config().prop_map(|config| Record::Input(Input::Reconfigure(config))),
        Just(Record::Timeout),
        order.prop_map(|order| Record::Action(Action::Order(order))),
        charger().prop_map(|charger| Record::Action(Action::Wake(charger))),
        Just(Record::Action(Action::Refresh)),
        decided().prop_map(Record::Decided),
        sample().prop_map(Record::Sample),
        any::<i64>().prop_map(Record::Wall),
        names().prop_map(Record::Names),
    ]
}

fn head() -> impl Strategy<Value = Head> {
    let known = (btree_map(charger(), report(), 0..3), btree_map(charger(), decided(), 0..3), of(sample()));
    let rest = (btree_map(charger(), tick(), 0..3), btree_map(source(), any::<i32>(), 0..5));
    (tick(), any::<i64>(), config(), names(), known, rest).prop_map(|(tick, wall_ms, config, names, known, rest)| {
        let (mut reports, decided, sample) = known;
        for (id, report) in &mut reports {
            report.charger = *id;
        }
        let (stopped, values) = rest;
        Head { tick, wall_ms, config, names, decided, reports, stopped, values, sample }
    })
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![Just(Start::Begin), Just(Start::Follows), any::<u64>().prop_map(Start::Gap)]
}

fn newest(rest: &[u8]) -> Bytes<'_> {
    Bytes { rest, format: FORMAT }
}

/// An arbitrary configuration.
pub(crate) fn some_config() -> Config {
    let environment = crate::config::Environment::default();
    let text = include_str!("../../config/surplusd.toml");
    let known = crate::charger::profile::known();
    let files = crate::config::Files::Ignore;
    let loaded = crate::config::parse(text, "surplusd.toml".as_ref(), &environment, &known, files);
    loaded.config.expect("the reference is good").control
}

#[test]
fn a_report_of_another_charger_is_damage() {
    let mut head = Head::new(Tick(1), 0, some_config(), BTreeMap::new());
    head.reports.insert(ChargerId(0), ChargerReport::silent(ChargerId(1), Tick(1), Reachability::Online));
    let blob = Builder::new(Start::Begin, head).pack();
    assert_eq!(Batch::unpack(&blob).unwrap_err(), Damaged::Range);
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(start in start(), head in head(), records in vec((tick(), record()), 0..40)) {
        let mut builder = Builder::new(start, head.clone());
        for (tick, record) in &records {
            builder.push(*tick, record);
        }
        let batch = Batch::unpack(&builder.pack()).unwrap();
        prop_assert_eq!(batch.start, start);
        prop_assert_eq!(&batch.head, &head);
        let read: Vec<_> = batch.records().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read, records);
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in vec(any::<u8>(), 0..2_000), packed in any::<bool>()) {
        let blob = if packed { deflate(&bytes) } else { bytes };
        if let Ok(batch) = Batch::unpack(&blob) {
            let _ = batch.records().count();
        }
    }

    /// After a correct beginning, one byte is wrong: the reader continues as long as the bytes make sense.
    #[test]
    fn a_flipped_byte_is_read_without_harm(head in head(), records in vec((tick(), record()), 1..20), place in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut builder = Builder::new(Start::Begin, head);
        for (tick, record) in &records {
            builder.push(*tick, record);
        }
        let mut bytes = Vec::new();
        flate2::read::ZlibDecoder::new(builder.pack().as_slice()).read_to_end(&mut bytes).unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= flip;
        if let Ok(batch) = Batch::unpack(&deflate(&bytes)) {
            let _ = batch.records().count();
        }
        // In the blob itself, the checksum shows the damage.
        let mut blob = builder.pack();
        let place = place % blob.len();
        blob[place] ^= flip;
        if let Ok(batch) = Batch::unpack(&blob) {
            let read: Vec<_> = batch.records().flatten().collect();
            prop_assert_eq!(read, records);
        }
    }

    #[test]
    fn numbers_of_any_size(unsigned in any::<u64>(), signed in any::<i64>()) {
        let mut bytes = Vec::new();
        unsigned.put(&mut bytes);
        signed.put(&mut bytes);
        let mut input = newest(&bytes);
        prop_assert_eq!((u64::take(&mut input), i64::take(&mut input), input.rest.len()), (Ok(unsigned), Ok(signed), 0));
    }
}

#[test]
fn numbers_that_are_none() {
    let take = |bytes: &[u8]| u64::take(&mut newest(bytes));
    assert_eq!(take(&[]), Err(Damaged::Short));
    assert_eq!(take(&[0x80]), Err(Damaged::Short));
    assert_eq!(take(&[0xff; 10]), Err(Damaged::Range));
    assert_eq!(take(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]), Err(Damaged::Range));
    assert_eq!(u8::take(&mut newest(&[0x80, 0x02])), Err(Damaged::Range));
    assert_eq!(String::take(&mut newest(&[0xff, 0xff, 0xff, 0xff, 0x0f, b'a'])), Err(Damaged::Short));
}

/// A blob of a later version is reported as such, with what to do.
#[test]
fn a_newer_format_is_told() {
    let mut bytes = Vec::new();
    (FORMAT + 1).put(&mut bytes);
    bytes.extend([200; 50]);
    let error = Batch::unpack(&deflate(&bytes)).unwrap_err();
    assert_eq!(error, Damaged::Newer(FORMAT + 1));
    assert!(error.to_string().contains("use the surplusd that wrote it"), "{error}");
}

/// A few bytes must not inflate to gigabytes.
#[test]
fn what_unpacks_to_more_than_a_batch_is_refused() {
    let blob = deflate(&vec![0; 8 << 20]);
    assert!(blob.len() < 20_000);
    assert_eq!(Batch::unpack(&blob).unwrap_err(), Damaged::Packing);
}

/// The bytes of format 1 as written by 0.1.0: data in the field must stay readable. Do not change them.
#[test]
fn the_bytes_of_format_1() {
    let report = ChargerReport {
        vehicle: Vehicle::Charging,
        power: Some(Watts(4_140)),
        currents: Some([Milliamps(6_000); 3]),
        setpoint: Some(Milliamps(6_000)),
        ..ChargerReport::silent(ChargerId(0), Tick(1_990), Reachability::Online)
    };
    let order =
        Order { charger: ChargerId(0), setpoint: Some(Milliamps(6_000)), phases: None, valid_until: Tick(12_000) };
    let reading = Reading { source: Source::Solar, value: Some(-3), retained: true };
    let hex =
        "02d00f00a314140104 01f02e 01d840 01e05de05de05d 0600 0001f02e00a09c01 0102 0101 0501 02ce0f 000014 00 00"
            .replace(' ', "");
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|place| u8::from_str_radix(&hex[place..place + 2], 16).unwrap()).collect();
    let mut codec = super::codec::Codec::new(&Head::new(Tick(1_000), 0, some_config(), BTreeMap::new()));
    let mut input = Bytes { rest: &bytes, format: 1 };
    for (tick, record) in [
        (2_000, Record::Input(Input::Report(report))),
        (2_000, Record::Action(Action::Order(order))),
        (2_001, Record::Input(Input::Reading(reading))),
        (3_000, Record::Input(Input::Report(ChargerReport { at: Tick(2_990), ..report }))),
        (3_000, Record::Timeout),
    ] {
        assert_eq!(codec.take(&mut input), Ok((Tick(tick), record)));
    }
    assert!(input.rest.is_empty());
}

#[derive(Debug, PartialEq, Eq)]
struct Grown {
    first: u8,
    second: Option<u16>,
    third: bool,
    shape: Shape,
}

#[derive(Debug, PartialEq, Eq)]
enum Shape {
    Plain,
    Round { across: u8, deep: u16 },
    Named { name: String },
}

fields! {
    Grown { first, second; since 2: third = true; since 3: shape = Shape::Plain }
}

codes! {
    Shape { 0 = Plain, 1 = Round { across; since 2: deep = 7 }, 2 = Named { ; since 3: name = "none".to_owned() } }
}

/// Fields added later have their default value in older data.
#[test]
fn a_field_that_older_formats_do_not_have_has_its_value_there() {
    let grown = || Grown { first: 1, second: Some(2), third: false, shape: Shape::Round { across: 3, deep: 4 } };
    let mut bytes = Vec::new();
    grown().put(&mut bytes);
    assert_eq!(bytes, [1, 1, 2, 0, 1, 3, 4]);
    let take = |format, rest: &'static [u8]| {
        let mut input = Bytes { rest, format };
        let grown = Grown::take(&mut input).unwrap();
        assert!(input.rest.is_empty());
        grown
    };
    assert_eq!(take(3, &[1, 1, 2, 0, 1, 3, 4]), grown());
    assert_eq!(take(2, &[1, 1, 2, 0]), Grown { shape: Shape::Plain, ..grown() });
    assert_eq!(take(1, &[1, 1, 2]), Grown { third: true, shape: Shape::Plain, ..grown() });
    let shape = |format, rest| Shape::take(&mut Bytes { rest, format }).unwrap();
    assert_eq!(shape(1, &[1, 3]), Shape::Round { across: 3, deep: 7 });
    assert_eq!(shape(2, &[2]), Shape::Named { name: "none".to_owned() });
    assert_eq!(shape(3, &[2, 1, b'x']), Shape::Named { name: "x".to_owned() });
}
