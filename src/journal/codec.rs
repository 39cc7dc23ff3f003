//! The codes and fields of everything that is recorded. Append-only: whatever was once written stays readable.
//!
//! # How to add something
//! * **A field of a struct or of a variant**: append it to its list after `; since 2:`, with its value for older journals:
//!   `Restore { charger, mode, fixed, stopped_ago; since 2: starts = 0, drained = WattHours(0) }`. Further fields of the same format follow
//!   after a comma. The lists before `; since` are frozen: nothing in them is renamed, moved, removed or given another type.
//! * **A variant**: use the next free code.
//! * **A field of `ChargerReport`**: use the next free bit in `report!`. In a report without it, the field has the value that
//!   `ChargerReport::silent` gives it.
//! * **A field of `Order`, or a kind of record**: write it by hand in `Codec`; `input.format` tells whether the field exists.
//!
//! The first such change after a release raises `FORMAT` (in `wire.rs`), which then stays until the next release. Format 1 is that of
//! `tests/golden/journal-v1.sqlite`, which every future version must read as it is; format 2 is in development.

use std::collections::BTreeMap;

use control::{
    Action, BatteryPolicy, CarryOver, ChargerCarryOver, ChargerConfig, ChargerId, ChargerReport, Command, Config,
    Doubt, FailSafe, Fault, GroupId, Input, Milliamps, Millis, Mode, Order, Percent, Permille, PhaseSwitching,
    Reachability, Reading, Reason, Restore, Sampling, SolarPolicy, Source, Sources, Spent, Tick, Vehicle, Volts,
    WattHours, Watts,
};

use super::record::{Decided, Head, Record, Sample, Start};
use super::wire::{Bytes, Damaged, Field, codes, fields};

fields! {
    Watts { 0 }
    Milliamps { 0 }
    Volts { 0 }
    WattHours { 0 }
    Permille { 0 }
    Percent { 0 }
    Tick { 0 }
    Millis { 0 }
    ChargerId { 0 }
    GroupId { 0 }
    Config { sources, sampling, battery, solar, fail_safe, site_limit, chargers; since 2: connection = Watts(69_000) }
    Sampling { settle, meter_age, refresh_every }
    BatteryPolicy { priority_soc, buffer_soc, floor_soc, max_charge, drain_budget }
    SolarPolicy { min_share, start_cost, starts_per_day_max, min_on, min_off }
    FailSafe { stale_after, stop_after, blind_solar, blind_slow, blind_fast, blind_fixed; since 2: off_grid = Milliamps(0) }
    ChargerConfig { max, min, safe, step, phases, mode, fixed, wake_after, switching }
    PhaseSwitching { pause }
    Reading { source, value, retained }
    Restore { charger, mode, fixed, stopped_ago }
    CarryOver { drained, chargers }
    ChargerCarryOver { starts, may_run }
    Spent { left, energy }
    Decided { charger, mode, fixed, setpoint, reason, phases, starts }
    Sample { at, grid, solar, battery, load, soc, house, surplus, imbalance; since 2: doubt = None }
    Sources { 0 }
    Head { tick, wall_ms, config, names, decided, reports, stopped, values, sample }
}

codes! {
    Mode { 0 = Off, 1 = Solar, 2 = Slow, 3 = SlowSolar, 4 = Fast, 5 = Fixed }
    Source { 0 = Grid, 1 = Solar, 2 = Battery, 3 = Load, 4 = BatterySoc, 5 = GridStatus, 6 = Heartbeat }
    Doubt {
        0 = OutOfRange { source, value },
        1 = Imbalance { off },
        2 = HouseProduces { house },
        3 = BatteryFromGrid { grid, battery },
        4 = CarNotSeen,
        5 = WrongSign,
        6 = Jump { surplus },
        7 = Unconfirmed { sources },
    }
    Reachability { 0 = Starting, 1 = Online, 2 = ReadOnly, 3 = Asleep, 4 = Offline }
    Vehicle { 0 = Unknown, 1 = Absent, 2 = Connected, 3 = Requesting, 4 = Charging }
    Fault { 0 = Locked, 1 = Error, 2 = Refused, 3 = Phases, 4 = Unusable }
    Command { 0 = Mode { charger, mode }, 1 = FixedCurrent { charger, current } }
    Start { 0 = Begin, 1 = Follows, 2 = Gap(dropped) }
    Reason {
        0 = Off,
        1 = Starting,
        2 = Offline,
        3 = Asleep,
        4 = ReadOnly,
        5 = Fault(fault),
        6 = NoVehicle,
        7 = Adopted,
        8 = NoData { ; since 2: missing = Sources::NONE },
        9 = Slow,
        10 = SlowSolar { surplus },
        11 = Fast,
        12 = Fixed,
        13 = Following { surplus },
        14 = Holding { surplus, stop_below; since 2: mean = Watts(0), left = None },
        15 = TooLittleSun { surplus, start_at },
        16 = SunGone { surplus, stop_below },
        17 = BatteryFirst { soc, below },
        18 = BatteryCarries { soc },
        19 = MinimumOn { left },
        20 = MinimumOff { left },
        21 = StartsUsed { starts },
        22 = Stale { age },
        23 = Blind { age },
        24 = SiteLimit,
        25 = SwitchingPhases { to, surplus },
        26 = Doubted { doubt },
        27 = DataLost { age },
        28 = Asking { age },
        29 = SlowSamples { every, limit },
        30 = OffGrid,
        31 = NotTaken { offered, drawn, takes_from },
        32 = Withheld { left },
        33 = ContactorRest { closures, left },
        34 = Overdraw { told, drawn, left },
        35 = UnknownState,
        36 = BudgetUsed,
    }
}

/// A complete report, for a [`Head`].
impl Field for ChargerReport {
    fn put(&self, out: &mut Vec<u8>) {
        self.charger.put(out);
        Memory::first(self.charger).put(self, Tick(0), out);
    }

    fn take(input: &mut Bytes<'_>) -> Result<Self, Damaged> {
        let charger = ChargerId::take(input)?;
        Memory::first(charger).take(Tick(0), input)
    }
}

/// The last report of a charger. The next one is written as the differences from it.
#[derive(Debug, Clone, Copy)]
struct Memory(ChargerReport);

/// A number that is written as its difference from another one.
trait Number: Copy {
    fn wide(self) -> i64;
    fn narrow(wide: i64) -> Option<Self>;
}

macro_rules! numbers {
    ($($name:ident),*) => { $(
        impl Number for $name {
            fn wide(self) -> i64 {
                i64::from(self.0)
            }

            fn narrow(wide: i64) -> Option<Self> {
                wide.try_into().ok().map(Self)
            }
        }
    )* };
}
numbers!(Watts, Milliamps, Volts, WattHours);

fn put_number<T: Number>(new: T, old: Option<T>, out: &mut Vec<u8>) {
    new.wide().wrapping_sub(old.map_or(0, T::wide)).put(out);
}

fn take_number<T: Number>(old: Option<T>, input: &mut Bytes<'_>) -> Result<T, Damaged> {
    T::narrow(i64::take(input)?.wrapping_add(old.map_or(0, T::wide))).ok_or(Damaged::Range)
}

fn put_numbers<T: Number, const N: usize>(new: Option<[T; N]>, old: Option<[T; N]>, out: &mut Vec<u8>) {
    new.is_some().put(out);
    for (place, new) in new.iter().flatten().enumerate() {
        put_number(*new, old.and_then(|old| old.get(place).copied()), out);
    }
}

fn take_numbers<T: Number, const N: usize>(
    old: Option<[T; N]>,
    input: &mut Bytes<'_>,
) -> Result<Option<[T; N]>, Damaged> {
    if !bool::take(input)? {
        return Ok(None);
    }
    let mut numbers = Vec::with_capacity(N);
    for place in 0..N {
        numbers.push(take_number(old.and_then(|old| old.get(place).copied()), input)?);
    }
    Ok(numbers.try_into().ok())
}

/// The fields of a report, each with its bit. Only fields that changed are written.
macro_rules! report {
    (plain { $($bit:literal = $field:ident),* } number { $($number_bit:literal = $number:ident),* } numbers { $($numbers_bit:literal = $numbers:ident),* }) => {
        impl Memory {
            fn put(&mut self, report: &ChargerReport, tick: Tick, out: &mut Vec<u8>) {
                let old = std::mem::replace(&mut self.0, *report);
                // Fails to compile if a field is not written.
                let ChargerReport { charger: _, at, $($field: _,)* $($number: _,)* $($numbers: _),* } = *report;
                let mut changed = 0_u64;
                $( changed |= u64::from(old.$field != report.$field) << $bit; )*
                $( changed |= u64::from(old.$number != report.$number) << $number_bit; )*
                $( changed |= u64::from(old.$numbers != report.$numbers) << $numbers_bit; )*
                changed.put(out);
                tick.0.wrapping_sub(at.0).cast_signed().put(out);
                $( if old.$field != report.$field { report.$field.put(out); } )*
                $( if old.$number != report.$number {
                    put_numbers(report.$number.map(|new| [new]), old.$number.map(|old| [old]), out);
                } )*
                $( if old.$numbers != report.$numbers { put_numbers(report.$numbers, old.$numbers, out); } )*
            }

            fn take(&mut self, tick: Tick, input: &mut Bytes<'_>) -> Result<ChargerReport, Damaged> {
                let changed = u64::take(input)?;
                let known = $( 1 << $bit )|* $( | 1 << $number_bit )* $( | 1 << $numbers_bit )*;
                if changed & !known != 0 {
                    return Err(Damaged::Range);
                }
                let mut report = self.0;
                report.at = Tick(tick.0.wrapping_sub(i64::take(input)?.cast_unsigned()));
                $( if changed >> $bit & 1 == 1 { report.$field = Field::take(input)?; } )*
                $( if changed >> $number_bit & 1 == 1 {
                    report.$number = take_numbers(self.0.$number.map(|old| [old]), input)?.map(|[new]| new);
                } )*
                $( if changed >> $numbers_bit & 1 == 1 { report.$numbers = take_numbers(self.0.$numbers, input)?; } )*
                self.0 = report;
                Ok(report)
            }
        }
    };
}
report! {
    plain { 0 = link, 1 = vehicle, 2 = fault, 3 = derated, 4 = waking, 5 = setpoint, 6 = connected, 7 = box_max, 8 = box_min, 13 = released }
    number { 9 = power, 10 = energy }
    numbers { 11 = currents, 12 = voltages }
}

impl Memory {
    const fn first(charger: ChargerId) -> Self {
        Self(ChargerReport::silent(charger, Tick(0), Reachability::Starting))
    }
}

/// Writes or reads the records of one batch in sequence, and remembers the values that the next record is compared with.
#[derive(Debug, Clone)]
pub(super) struct Codec {
    tick: Tick,
    reports: BTreeMap<ChargerId, Memory>,
}

impl Codec {
    /// Starts from the values in the batch's head.
    pub(super) fn new(head: &Head) -> Self {
        Self { tick: head.tick, reports: head.reports.iter().map(|(id, report)| (*id, Memory(*report))).collect() }
    }

    /// Writes a record.
    pub(super) fn put(&mut self, tick: Tick, record: &Record, out: &mut Vec<u8>) {
        let code = code(record);
        out.push(code);
        tick.0.wrapping_sub(self.tick.0).cast_signed().put(out);
        self.tick = tick;
        match record {
            Record::Input(Input::Reading(reading)) => reading.put(out),
            Record::Input(Input::Report(report)) => {
                report.charger.put(out);
                self.memory(report.charger).put(report, tick, out);
            }
            Record::Input(Input::Command(command)) => command.put(out),
            Record::Input(Input::Restore(restore)) => restore.put(out),
            Record::Input(Input::Reconfigure(config)) => config.put(out),
            Record::Input(Input::CarryOver(carried)) => carried.put(out),
            Record::Timeout | Record::Action(Action::Refresh) => {}
            Record::Action(Action::Order(Order { charger, setpoint, phases, valid_until })) => {
                charger.put(out);
                setpoint.put(out);
                phases.put(out);
                valid_until.0.wrapping_sub(tick.0).cast_signed().put(out);
            }
            Record::Action(Action::Wake(charger)) => charger.put(out),
            Record::Decided(decided) => decided.put(out),
            Record::Sample(sample) => sample.put(out),
            Record::Wall(wall_ms) => wall_ms.put(out),
            Record::Names(names) => names.put(out),
        }
    }

    /// Reads a record.
    pub(super) fn take(&mut self, input: &mut Bytes<'_>) -> Result<(Tick, Record), Damaged> {
        let code = input.byte()?;
        let tick = Tick(self.tick.0.wrapping_add(i64::take(input)?.cast_unsigned()));
        self.tick = tick;
        let record = match code {
            0 => Record::Timeout,
            1 => Record::Input(Input::Reading(Field::take(input)?)),
            2 => {
                let charger = ChargerId::take(input)?;
                Record::Input(Input::Report(self.memory(charger).take(tick, input)?))
            }
            3 => Record::Input(Input::Command(Field::take(input)?)),
            4 => Record::Input(Input::Restore(Field::take(input)?)),
            5 => Record::Input(Input::Reconfigure(Field::take(input)?)),
            6 => {
                let (charger, setpoint, phases) = (Field::take(input)?, Field::take(input)?, Field::take(input)?);
                let valid_until = Tick(tick.0.wrapping_add(i64::take(input)?.cast_unsigned()));
                Record::Action(Action::Order(Order { charger, setpoint, phases, valid_until }))
            }
            7 => Record::Action(Action::Wake(Field::take(input)?)),
            8 => Record::Action(Action::Refresh),
            9 => Record::Decided(Field::take(input)?),
            10 => Record::Sample(Field::take(input)?),
            11 => Record::Wall(Field::take(input)?),
            12 => Record::Names(Field::take(input)?),
            13 => Record::Input(Input::CarryOver(Field::take(input)?)),
            code => return Err(Damaged::Code { what: "record", code }),
        };
        Ok((tick, record))
    }

    fn memory(&mut self, charger: ChargerId) -> &mut Memory {
        self.reports.entry(charger).or_insert(Memory::first(charger))
    }
}

const fn code(record: &Record) -> u8 {
    match record {
        Record::Timeout => 0,
        Record::Input(Input::Reading(_)) => 1,
        Record::Input(Input::Report(_)) => 2,
        Record::Input(Input::Command(_)) => 3,
        Record::Input(Input::Restore(_)) => 4,
        Record::Input(Input::Reconfigure(_)) => 5,
        Record::Action(Action::Order(_)) => 6,
        Record::Action(Action::Wake(_)) => 7,
        Record::Action(Action::Refresh) => 8,
        Record::Decided(_) => 9,
        Record::Sample(_) => 10,
        Record::Wall(_) => 11,
        Record::Names(_) => 12,
        Record::Input(Input::CarryOver(_)) => 13,
    }
}
