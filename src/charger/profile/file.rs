//! The file format of profiles, version 1, and its checks. Nothing outside knows these types.

use std::collections::BTreeMap;

use control::{Fault, Millis, Vehicle};
use serde::Deserialize;

use super::{
    Kind, Layout, LinkDefaults, Lock, Measure, Parity, PhaseSwitch, Profile, ProfileError, Register, SetCurrent,
    Setting, Standby, State, Table, Unit,
};

/// Most registers in one read: Modbus application protocol V1.1b3, section 6.3.
const READ_MAX: u16 = 125;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Spec {
    version: u32,
    title: String,
    source: String,
    link: LinkSpec,
    layout: LayoutSpec,
    measure: MeasureSpec,
    set_current: SetCurrentSpec,
    watchdog: SettingSpec,
    fail_safe: SettingSpec,
    standby: Option<StandbySpec>,
    phase_switch: Option<PhaseSwitchSpec>,
    lock: LockSpec,
    state: Vec<StateSpec>,
    register: BTreeMap<String, RegisterSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct LinkSpec {
    baud: u32,
    parity: ParitySpec,
    stop_bits: u8,
    gap_ms: u32,
    reply_ms: u32,
    quiet_ms: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ParitySpec {
    None,
    Even,
    Odd,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct LayoutSpec {
    register: String,
    control_since: String,
    settings_kept_since: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct MeasureSpec {
    state: String,
    currents: [String; 3],
    voltages: [String; 3],
    power: String,
    energy: Vec<String>,
    energy_since_power_on: String,
    box_max: String,
    box_min: String,
    serial: String,
    wired_from_v: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SetCurrentSpec {
    register: String,
    off: u16,
    min: u16,
    max: u16,
    #[serde(default)]
    hold_ms: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SettingSpec {
    register: String,
    default: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct StandbySpec {
    register: String,
    allowed: u16,
    forbidden: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct PhaseSwitchSpec {
    command: String,
    state: String,
    one: u16,
    three: u16,
    settle_ms: u32,
    confirm_ms: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct LockSpec {
    register: String,
    locked: u16,
    unlocked: u16,
    hold_ms: u32,
    external: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct StateSpec {
    raw: u16,
    code: String,
    vehicle: VehicleSpec,
    fault: Option<FaultSpec>,
    #[serde(default)]
    derated: bool,
    title: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum VehicleSpec {
    Unknown,
    Absent,
    Connected,
    Requesting,
    Charging,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FaultSpec {
    Locked,
    Error,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RegisterSpec {
    table: TableSpec,
    address: u16,
    #[serde(rename = "type")]
    kind: KindSpec,
    length: Option<u16>,
    unit: Option<UnitSpec>,
    #[serde(default = "one")]
    scale: u16,
    since: String,
    readable_since: Option<String>,
    #[serde(default)]
    writable: bool,
    title: String,
    cite: String,
    #[serde(default)]
    values: Vec<ValueSpec>,
}

const fn one() -> u16 {
    1
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TableSpec {
    Input,
    Holding,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KindSpec {
    U16,
    I16,
    U32,
    Text,
}

#[derive(Deserialize)]
enum UnitSpec {
    #[serde(rename = "layout")]
    Layout,
    #[serde(rename = "mA")]
    Milliampere,
    V,
    #[serde(rename = "VA")]
    VoltAmpere,
    #[serde(rename = "VAh")]
    VoltAmpereHour,
    #[serde(rename = "ms")]
    Millisecond,
    #[serde(rename = "m°C")]
    MilliCelsius,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValueSpec {
    raw: u16,
    means: String,
}

pub(super) fn parse(name: &str, text: &str) -> Result<Profile, ProfileError> {
    let spec: Spec = toml::from_str(text)
        .map_err(|error| ProfileError::Syntax { name: name.to_owned(), text: error.to_string() })?;
    Builder { name, registers: BTreeMap::new() }.profile(spec)
}

struct Builder<'a> {
    name: &'a str,
    registers: BTreeMap<String, Register>,
}

impl Builder<'_> {
    fn invalid(&self, path: impl Into<String>, reason: impl Into<String>) -> ProfileError {
        ProfileError::Invalid { name: self.name.to_owned(), path: path.into(), reason: reason.into() }
    }

    fn check(&self, holds: bool, path: &str, reason: &str) -> Result<(), ProfileError> {
        if holds { Ok(()) } else { Err(self.invalid(path, reason)) }
    }

    fn layout(&self, path: &str, text: &str) -> Result<Layout, ProfileError> {
        Layout::parse(text).ok_or_else(|| self.invalid(path, format!("{text:?} is not a layout like 1.0.7")))
    }

    fn find(&self, path: &str, key: &str) -> Result<Register, ProfileError> {
        self.registers.get(key).cloned().ok_or_else(|| self.invalid(path, format!("no register is named {key:?}")))
    }

    fn find_writable(&self, path: &str, key: &str) -> Result<Register, ProfileError> {
        let register = self.find(path, key)?;
        self.check(register.writable && register.kind == Kind::U16, path, "must be a writable u16 register")?;
        Ok(register)
    }

    fn three(&self, path: &str, keys: &[String; 3]) -> Result<[Register; 3], ProfileError> {
        let [first, second, third] = keys;
        Ok([self.find(path, first)?, self.find(path, second)?, self.find(path, third)?])
    }

    fn register(&self, key: &str, spec: RegisterSpec) -> Result<Register, ProfileError> {
        let path = format!("register.{key}");
        let since = self.layout(&path, &spec.since)?;
        let kind = match (spec.kind, spec.length) {
            (KindSpec::U16, None) => Kind::U16,
            (KindSpec::I16, None) => Kind::I16,
            (KindSpec::U32, None) => Kind::U32,
            (KindSpec::Text, Some(length)) if (1..=READ_MAX).contains(&length) => Kind::Text(length),
            (KindSpec::Text, _) => return Err(self.invalid(path, "text needs a length of 1 to 125 registers")),
            (KindSpec::U16 | KindSpec::I16 | KindSpec::U32, Some(_)) => {
                return Err(self.invalid(path, "only text has a length"));
            }
        };
        let readable_since = spec.readable_since.map_or(Ok(since), |text| self.layout(&path, &text))?;
        self.check(readable_since >= since, &path, "readable-since is before since")?;
        self.check(spec.scale > 0, &path, "scale is 0")?;
        let table = match spec.table {
            TableSpec::Input => Table::Input,
            TableSpec::Holding => Table::Holding,
        };
        self.check(!spec.writable || table == Table::Holding, &path, "input registers are not writable")?;
        Ok(Register {
            name: key.to_owned(),
            table,
            address: spec.address,
            kind,
            unit: unit(spec.unit.as_ref()),
            scale: spec.scale,
            since,
            readable_since,
            writable: spec.writable,
            title: spec.title,
            cite: spec.cite,
            values: spec.values.into_iter().map(|value| (value.raw, value.means)).collect(),
        })
    }

    fn measure(&self, spec: &MeasureSpec) -> Result<Measure, ProfileError> {
        let path = "measure";
        let energy: Result<Vec<_>, _> = spec.energy.iter().map(|key| self.find(path, key)).collect();
        let measure = Measure {
            state: self.find(path, &spec.state)?,
            currents: self.three(path, &spec.currents)?,
            voltages: self.three(path, &spec.voltages)?,
            power: self.find(path, &spec.power)?,
            energy: energy?,
            energy_since_power_on: self.find(path, &spec.energy_since_power_on)?,
            box_max: self.find(path, &spec.box_max)?,
            box_min: self.find(path, &spec.box_min)?,
            serial: self.find(path, &spec.serial)?,
            wired_from: spec.wired_from_v,
        };
        self.check(measure.polled().all(|register| register.table == Table::Input), path, "must be input registers")?;
        self.check(measure.box_max.end() == measure.box_min.address, path, "box-min must follow box-max")?;
        self.check(matches!(measure.serial.kind, Kind::Text(_)), path, "serial must be text")?;
        Ok(measure)
    }

    fn standby(&self, spec: &StandbySpec) -> Result<Standby, ProfileError> {
        let register = self.find_writable("standby", &spec.register)?;
        Ok(Standby { register, allowed: spec.allowed, forbidden: spec.forbidden })
    }

    fn phase_switch(&self, spec: &PhaseSwitchSpec) -> Result<PhaseSwitch, ProfileError> {
        let path = "phase-switch";
        let command = self.find_writable(path, &spec.command)?;
        let state = self.find(path, &spec.state)?;
        self.check(state.kind == Kind::U16, path, "state must be a u16 register")?;
        self.check(spec.one != spec.three, path, "one and three must differ")?;
        self.check(spec.confirm_ms > 0, path, "confirm-ms must not be 0")?;
        Ok(PhaseSwitch {
            command,
            state,
            one: spec.one,
            three: spec.three,
            settle: Millis(u64::from(spec.settle_ms)),
            confirm: Millis(u64::from(spec.confirm_ms)),
        })
    }

    fn profile(mut self, mut spec: Spec) -> Result<Profile, ProfileError> {
        self.check(spec.version == 1, "version", "only version 1 is known")?;
        for (key, register) in std::mem::take(&mut spec.register) {
            let register = self.register(&key, register)?;
            self.registers.insert(key, register);
        }
        let mut registers: Vec<Register> = self.registers.values().cloned().collect();
        registers.sort_by_key(|register| (register.table == Table::Holding, register.address));
        let profile = Profile {
            name: self.name.to_owned(),
            title: spec.title,
            source: spec.source,
            link: link(&spec.link),
            layout: self.find("layout", &spec.layout.register)?,
            control_since: self.layout("layout.control-since", &spec.layout.control_since)?,
            settings_kept_since: self.layout("layout.settings-kept-since", &spec.layout.settings_kept_since)?,
            measure: self.measure(&spec.measure)?,
            set_current: SetCurrent {
                register: self.find_writable("set-current", &spec.set_current.register)?,
                off: spec.set_current.off,
                min: spec.set_current.min,
                max: spec.set_current.max,
                hold: Millis(u64::from(spec.set_current.hold_ms)),
            },
            watchdog: Setting {
                register: self.find_writable("watchdog", &spec.watchdog.register)?,
                default: spec.watchdog.default,
            },
            fail_safe: Setting {
                register: self.find_writable("fail-safe", &spec.fail_safe.register)?,
                default: spec.fail_safe.default,
            },
            standby: spec.standby.map(|spec| self.standby(&spec)).transpose()?,
            phase_switch: spec.phase_switch.map(|spec| self.phase_switch(&spec)).transpose()?,
            lock: Lock {
                register: self.find_writable("lock", &spec.lock.register)?,
                locked: spec.lock.locked,
                unlocked: spec.lock.unlocked,
                hold: Millis(u64::from(spec.lock.hold_ms)),
                external: spec.lock.external.as_deref().map(|name| self.find("lock", name)).transpose()?,
            },
            states: states(spec.state),
            registers,
        };
        self.cross_check(&profile)?;
        Ok(profile)
    }

    fn cross_check(&self, profile: &Profile) -> Result<(), ProfileError> {
        let set = &profile.set_current;
        self.check(set.off < set.min && set.min <= set.max, "set-current", "off < min <= max does not hold")?;
        let floor = profile.decode_current(set.min) >= control::Milliamps::PILOT_MIN;
        self.check(floor, "set-current.min", "below 6 A no pilot signal exists")?;
        let scales = profile.fail_safe.register.scale == set.register.scale;
        self.check(scales, "fail-safe", "must have the scale of set-current")?;
        let present = profile.control_since >= set.register.since.max(profile.fail_safe.register.since);
        self.check(present, "layout.control-since", "the registers that control needs come later")?;
        let stop_bits = matches!(profile.link.stop_bits, 1 | 2);
        self.check(stop_bits, "link.stop-bits", "must be 1 or 2")?;
        let times = profile.link.gap.0 > 0 && profile.link.reply.0 > 0 && profile.link.quiet.0 > 0;
        self.check(times, "link", "times must not be 0")?;
        for layout in profile.registers.iter().map(|register| register.since) {
            let (start, count) = profile.poll_block(layout);
            self.check(count <= READ_MAX, "measure", "more than 125 registers in one poll")?;
            let known = |address: u16| {
                profile.registers.iter().any(|register| {
                    register.table == Table::Input
                        && register.since <= layout
                        && (register.address..register.end()).contains(&address)
                })
            };
            let whole = (start..start.saturating_add(count)).all(known);
            self.check(whole, "measure", "the run of polled registers has a hole")?;
        }
        Ok(())
    }
}

const fn unit(spec: Option<&UnitSpec>) -> Unit {
    match spec {
        None => Unit::None,
        Some(UnitSpec::Layout) => Unit::Layout,
        Some(UnitSpec::Milliampere) => Unit::Milliampere,
        Some(UnitSpec::V) => Unit::Volt,
        Some(UnitSpec::VoltAmpere) => Unit::VoltAmpere,
        Some(UnitSpec::VoltAmpereHour) => Unit::VoltAmpereHour,
        Some(UnitSpec::Millisecond) => Unit::Millisecond,
        Some(UnitSpec::MilliCelsius) => Unit::MilliCelsius,
    }
}

fn link(spec: &LinkSpec) -> LinkDefaults {
    LinkDefaults {
        baud: spec.baud,
        parity: match spec.parity {
            ParitySpec::None => Parity::None,
            ParitySpec::Even => Parity::Even,
            ParitySpec::Odd => Parity::Odd,
        },
        stop_bits: spec.stop_bits,
        gap: Millis(u64::from(spec.gap_ms)),
        reply: Millis(u64::from(spec.reply_ms)),
        quiet: Millis(u64::from(spec.quiet_ms)),
    }
}

fn states(specs: Vec<StateSpec>) -> BTreeMap<u16, State> {
    let state = |spec: StateSpec| State {
        code: spec.code,
        vehicle: match spec.vehicle {
            VehicleSpec::Unknown => Vehicle::Unknown,
            VehicleSpec::Absent => Vehicle::Absent,
            VehicleSpec::Connected => Vehicle::Connected,
            VehicleSpec::Requesting => Vehicle::Requesting,
            VehicleSpec::Charging => Vehicle::Charging,
        },
        fault: spec.fault.map(|fault| match fault {
            FaultSpec::Locked => Fault::Locked,
            FaultSpec::Error => Fault::Error,
        }),
        derated: spec.derated,
        title: spec.title,
    };
    specs.into_iter().map(|spec| (spec.raw, state(spec))).collect()
}
