//! A Heidelberg Energy Control at byte level: registers, watchdog, standby, locks, counters and faults. Pure: each call passes the time.
//!
//! Sources: Heidelberg Modbus register table (2020-10-20) for registers and states; behaviour that the table leaves open (recovery in 9 …
//! 10 s, standby after 13 minutes, counters saved only on entering standby) follows reports of owners.
//!
//! ```text
//!            mains on            3 s                no car for 13 min, 258 = 0, unlocked
//!  Off ───────────────▶ Booting ─────▶ On ────────────────────────────────────────▶ Standby
//!   ▲                      ▲                                                             │
//!   └── mains off ─────────┼────────────────── a car is plugged in ──────────────────────┘
//! ```
//! Left out: several wallboxes on one line that share current, and the lights.

mod line;
mod switch;

use std::collections::BTreeMap;

use self::line::Line;
pub use self::line::{Fault, ForbiddenWrite, LogEntry, LogKind};
use self::switch::Switch;
pub use self::switch::SwitchFault;
use super::plant::{CarSignal, Pilot};
use super::registers::{Layout, Settings, effective_deciamps};

/// Time from mains or plug to the first reply.
const BOOT_MS: u64 = 3_000;
/// Time from the first valid frame after a bus loss to the end of state F.
const RECOVERY_MS: u64 = 9_500;

/// Options of the wallbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WallboxOptions {
    /// Modbus unit, 1 … 15 (switch S4).
    pub unit: u8,
    /// Version of the register table.
    pub layout: Layout,
    /// Register 100 in amperes (switch S1).
    pub hardware_max_a: u16,
    /// Register 101 in amperes (switch S3).
    pub hardware_min_a: u16,
    /// Register 261 after power-up and standby, in tenths of an ampere. The table says the hardware maximum, real wallboxes say 0.
    pub setpoint_default: u16,
    /// Voltages of L1, L2, L3 to neutral; some 8 V where nothing is connected.
    pub voltages: [u16; 3],
    /// Registers 17/18 at the start, in volt-ampere hours.
    pub installed_vah: u32,
    /// Processing time before a reply, in milliseconds.
    pub reply_delay_ms: u64,
    /// Whether to simulate the transmission time of request and reply (19200 baud, 8E1).
    pub line_time: bool,
    /// Silence that ends a frame, in milliseconds.
    pub gap_ms: u64,
    /// Time without a car until standby, in milliseconds.
    pub standby_after_ms: u64,
    /// How long the contactor stays open while the connect series switches phases, in seconds (register 503).
    pub switch_s: u16,
    /// Registers that this wallbox rejects although its layout has them.
    pub missing: Vec<u16>,
    /// Registers 102 … 133, at most 64 ASCII characters; on the connect series 1000 … 1017 as well.
    pub logistic: String,
}

impl Default for WallboxOptions {
    /// A wallbox with layout 1.0.8 on three phases at 16 A, which replies within some 40 ms.
    fn default() -> Self {
        Self {
            unit: 1,
            layout: Layout::V1_0_8,
            hardware_max_a: 16,
            hardware_min_a: 6,
            setpoint_default: 0,
            voltages: [237, 238, 238],
            installed_vah: 0,
            reply_delay_ms: 20,
            line_time: true,
            gap_ms: 20,
            standby_after_ms: 13 * 60_000,
            switch_s: 90,
            missing: Vec::new(),
            logistic: "SIM-00.779.2901/A 20201020 000000001".to_owned(),
        }
    }
}

/// Power state of the wallbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// No mains.
    Off,
    /// Starting; sends no replies.
    Booting {
        /// When it will be up.
        until_ms: u64,
    },
    /// Up.
    On,
    /// In standby; sends no replies until a car is plugged in.
    Standby,
}

/// An error that the wallbox reports about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoxError {
    /// State 9 (E).
    E,
    /// State 11 (ERR).
    Err,
}

/// Energy counters in VA·ms, so that nothing is lost between ticks.
#[derive(Debug, Clone, Copy, Default)]
struct Counters {
    since_power_on: u64,
    since_installation: u64,
    /// The value restored after a power cut.
    stored: u64,
    session: u64,
}

/// A wallbox.
#[derive(Debug)]
pub struct Wallbox {
    options: WallboxOptions,
    now_ms: Option<u64>,
    power: Power,
    settings: Settings,
    car: CarSignal,
    no_car_since_ms: u64,
    fed_ms: u64,
    bus_lost: bool,
    recovers_at_ms: Option<u64>,
    externally_locked: bool,
    derated: Option<u16>,
    error: Option<BoxError>,
    stuck: Option<u16>,
    switch: Switch,
    counters: Counters,
    line: Line,
}

impl Wallbox {
    /// A wallbox that is up; its time begins with the first call.
    pub fn new(options: WallboxOptions) -> Self {
        let stored = u64::from(options.installed_vah) * VAMS_PER_VAH;
        Self {
            now_ms: None,
            power: Power::On,
            settings: Settings::defaults(options.setpoint_default),
            car: CarSignal::default(),
            no_car_since_ms: 0,
            fed_ms: 0,
            bus_lost: false,
            recovers_at_ms: None,
            externally_locked: false,
            derated: None,
            error: None,
            stuck: None,
            switch: Switch::new(),
            counters: Counters { since_installation: stored, stored, ..Counters::default() },
            line: Line::new(options.gap_ms),
            options,
        }
    }

    /// Advances the time and sets the car's signal.
    pub fn tick(&mut self, now_ms: u64, car: CarSignal) {
        self.advance(now_ms);
        if car.plugged && !self.car.plugged {
            self.counters.session = 0;
            if self.power == Power::Standby {
                self.start(now_ms);
            }
        }
        if car.plugged {
            self.no_car_since_ms = now_ms;
        }
        self.car = car;
        for (amps, volts) in self.car.amps.iter_mut().zip(self.options.voltages) {
            if volts < WIRED_V {
                *amps = 0.0;
            }
        }
    }

    /// The signal to the car.
    pub fn pilot(&self) -> Pilot {
        Pilot {
            offer_deciamps: u32::from(self.allowed_deciamps()),
            state_f: self.power == Power::On && self.in_state_f(),
            phases: self.connected_phases(),
        }
    }

    /// The current offered to the car in tenths of an ampere per phase, whether or not a car is plugged in.
    pub fn allowed_deciamps(&self) -> u16 {
        if self.power != Power::On || self.error.is_some() || self.in_state_f() || self.switch.open() {
            return 0;
        }
        let limit = self.options.hardware_max_a * 10;
        let order = match (self.options.layout.takes_orders(), self.bus_lost) {
            (true, false) => self.settings.setpoint,
            (true, true) => self.settings.fail_safe,
            (false, _) => limit,
        };
        effective_deciamps(order.min(limit).min(self.derated.unwrap_or(limit)))
    }

    /// The value of register 5.
    pub fn state(&self) -> u16 {
        let offers = self.allowed_deciamps() > 0;
        if let Some(stuck) = self.stuck {
            return stuck;
        }
        match self.error {
            Some(BoxError::E) => return 9,
            Some(BoxError::Err) => return 11,
            None => {}
        }
        if self.power != Power::On {
            return 1;
        }
        if self.in_state_f() {
            return 10;
        }
        match (self.car.plugged, self.car.asks, offers) {
            (false, _, false) => 2,
            (false, _, true) => 3,
            (true, false, false) => 4,
            (true, false, true) => 5,
            (true, true, false) => 6,
            (true, true, true) if self.derated.is_some() => 8,
            (true, true, true) => 7,
        }
    }

    /// The registers as set by masters.
    pub const fn registers(&self) -> Settings {
        self.settings
    }

    /// The power state.
    pub const fn power(&self) -> Power {
        self.power
    }

    /// Whether the watchdog has expired and the wallbox has not recovered yet.
    pub const fn bus_lost(&self) -> bool {
        self.bus_lost
    }

    /// Number of accepted writes by register.
    pub const fn writes(&self) -> &BTreeMap<u16, u32> {
        self.line.writes()
    }

    /// The last write that no master may ever make: 1 … 59 or more than 160 to 261 or 262, more than the hardware maximum to 261, or a
    /// phase switch under load.
    pub const fn last_forbidden(&self) -> Option<ForbiddenWrite> {
        self.line.last_forbidden()
    }

    /// The last frames on the line, oldest first (at most 4096 are kept).
    pub fn log(&self) -> impl Iterator<Item = &LogEntry> {
        self.line.log()
    }

    /// Number of requests that arrived while the reply to an earlier one was still pending.
    pub const fn overlaps(&self) -> u64 {
        self.line.overlaps()
    }

    /// Frames discarded: wrong CRC, incomplete, too long.
    pub const fn bad_frames(&self) -> u64 {
        self.line.bad_frames()
    }

    // Faults.

    /// Applies a fault to this many of the following requests, or to all until [`Wallbox::heal`].
    pub fn fault(&mut self, fault: Fault, requests: Option<u32>) {
        self.line.set_fault(fault, requests);
    }

    /// Ends the current line fault.
    pub fn heal(&mut self) {
        self.line.clear_fault();
    }

    /// Sends unsolicited bytes.
    pub fn garbage(&mut self, now_ms: u64, bytes: Vec<u8>) {
        self.line.send(now_ms, bytes);
    }

    /// Switches the mains on or off.
    pub fn mains(&mut self, now_ms: u64, on: bool) {
        self.advance(now_ms);
        match (on, self.power) {
            (true, Power::Off) => self.start(now_ms),
            (false, Power::On | Power::Standby | Power::Booting { .. }) => {
                self.power = Power::Off;
                self.line.cut();
                self.counters.since_power_on = 0;
                self.counters.session = 0;
                self.counters.since_installation = self.counters.stored;
            }
            (true, Power::On | Power::Standby | Power::Booting { .. }) | (false, Power::Off) => {}
        }
    }

    /// Switches the mains off and on again at once.
    pub fn power_cycle(&mut self, now_ms: u64) {
        self.mains(now_ms, false);
        self.mains(now_ms, true);
    }

    /// Sets the key switch at the external input (register 13).
    pub const fn set_external_lock(&mut self, locked: bool) {
        self.externally_locked = locked;
    }

    /// Limits the current to this many tenths of an ampere because of temperature (state 8), or ends that.
    pub const fn set_derating(&mut self, deciamps: Option<u16>) {
        self.derated = deciamps;
    }

    /// Sets or clears an error of the wallbox itself.
    pub const fn set_error(&mut self, error: Option<BoxError>) {
        self.error = error;
    }

    /// Makes register 5 show this state whatever happens, or the true one again.
    pub const fn set_stuck_state(&mut self, state: Option<u16>) {
        self.stuck = state;
    }

    // What happens by itself.

    fn start(&mut self, now_ms: u64) {
        let defaults = Settings::defaults(self.options.setpoint_default);
        self.settings = if self.options.layout.keeps_settings() {
            Settings { setpoint: defaults.setpoint, ..self.settings }
        } else {
            defaults
        };
        self.switch.start(self.settings.phases);
        self.bus_lost = false;
        self.recovers_at_ms = None;
        self.power = Power::Booting { until_ms: now_ms + BOOT_MS };
    }

    /// Carries out everything that depends on time, up to `now_ms`.
    fn advance(&mut self, now_ms: u64) {
        let Some(before_ms) = self.now_ms.replace(now_ms) else {
            self.fed_ms = now_ms;
            self.no_car_since_ms = now_ms;
            return;
        };
        if matches!(self.power, Power::On) {
            let vams = u64::from(self.volt_amps()) * now_ms.saturating_sub(before_ms);
            self.counters.since_power_on += vams;
            self.counters.since_installation += vams;
            self.counters.session += vams;
        }
        if let Power::Booting { until_ms } = self.power
            && now_ms >= until_ms
        {
            self.power = Power::On;
            self.fed_ms = until_ms;
            self.no_car_since_ms = until_ms;
        }
        self.switch.advance(now_ms);
        if self.power == Power::On {
            self.watch_bus(now_ms);
            self.fall_asleep(now_ms);
        }
    }

    fn watch_bus(&mut self, now_ms: u64) {
        let watchdog_ms = u64::from(self.settings.watchdog_ms);
        let runs = self.options.layout.has_watchdog() && watchdog_ms > 0;
        if runs && now_ms.saturating_sub(self.fed_ms) > watchdog_ms {
            self.bus_lost = true;
            self.recovers_at_ms = None;
        } else if self.recovers_at_ms.is_some_and(|at| now_ms >= at) {
            self.bus_lost = false;
            self.recovers_at_ms = None;
        }
    }

    fn fall_asleep(&mut self, now_ms: u64) {
        let long_ago = now_ms.saturating_sub(self.no_car_since_ms) >= self.options.standby_after_ms;
        // A locked wallbox does not enter standby.
        if !self.car.plugged && long_ago && self.settings.standby == 0 && self.settings.remote_lock == 1 {
            self.power = Power::Standby;
            self.line.cut();
            // The only moment at which the total counter is saved.
            self.counters.stored = self.counters.since_installation;
        }
    }

    /// Handles the arrival of a valid frame for this wallbox.
    fn feed(&mut self, now_ms: u64) {
        self.fed_ms = now_ms;
        if !self.bus_lost {
            return;
        }
        if self.fail_safe() > 0 {
            self.bus_lost = false;
        } else if self.recovers_at_ms.is_none() {
            self.recovers_at_ms = Some(now_ms + RECOVERY_MS);
        }
    }

    fn fail_safe(&self) -> u16 {
        if self.options.layout.takes_orders() { effective_deciamps(self.settings.fail_safe) } else { 0 }
    }

    fn in_state_f(&self) -> bool {
        self.externally_locked || self.settings.remote_lock == 0 || (self.bus_lost && self.fail_safe() == 0)
    }

    fn connected_phases(&self) -> u8 {
        let wired = self.options.voltages.iter().map(|volts| u8::from(*volts >= WIRED_V)).sum::<u8>();
        wired.min(self.switch.phases())
    }

    fn deciamps(&self) -> [u16; 3] {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "currents of a car: 0 … 32 A")]
        self.car.amps.map(|amps| (amps.clamp(0.0, 35.0) * 10.0).round() as u16)
    }

    /// Register 14: apparent power.
    fn volt_amps(&self) -> u16 {
        let products = self.deciamps().into_iter().zip(self.options.voltages);
        let deci: u32 = products.map(|(deciamps, volts)| u32::from(deciamps) * u32::from(volts)).sum();
        u16::try_from(deci / 10).unwrap_or(u16::MAX)
    }

    fn letters(&self, pair: u16) -> u16 {
        let letter = |at: usize| self.options.logistic.as_bytes().get(at).copied().unwrap_or(0);
        let at = usize::from(pair) * 2;
        u16::from_be_bytes([letter(at), letter(at + 1)])
    }

    /// Returns an input register of the layout.
    fn input(&self, register: u16) -> u16 {
        let [i1, i2, i3] = self.deciamps();
        let [u1, u2, u3] = self.options.voltages;
        let counter = |vams: u64, low: bool| {
            let vah = vams / VAMS_PER_VAH;
            u16::try_from((if low { vah } else { vah >> 16 }) & 0xFFFF).unwrap_or(0)
        };
        match register {
            4 => self.options.layout.code(),
            5 => self.state(),
            6 => i1,
            7 => i2,
            8 => i3,
            // 25.1 °C when idle, some degrees more under load; in 0.1 °C.
            9 => 251 + i1 / 4,
            10 => u1,
            11 => u2,
            12 => u3,
            13 => u16::from(!self.externally_locked),
            14 => self.volt_amps(),
            15 | 16 => counter(self.counters.since_power_on, register == 16),
            17 | 18 => counter(self.counters.since_installation, register == 18),
            19 | 20 => counter(self.counters.session, register == 20),
            100 => self.options.hardware_max_a,
            101 => self.options.hardware_min_a,
            102..=133 => self.letters(register - 102),
            1_000..=1_017 => self.letters(register - 1_000),
            5_001 => self.switch.state(),
            _ => 0,
        }
    }
}

/// Milliseconds per hour.
const VAMS_PER_VAH: u64 = 3_600_000;
/// Below this voltage a phase is not connected.
const WIRED_V: u16 = 100;

#[cfg(test)]
mod tests;
