//! The phase switch of the connect series: register 501 commands, register 5001 reports the connected phases, 0 during a change.
//!
//! Source: the vendor's table as shown in evcc issue 20063, and the values written by evcc and two integrations for Home Assistant. The
//! contactor is open during a change. How a real wallbox reacts to a switch command under load is unknown; this one rejects and records it,
//! because no master may rely on that.

use super::Wallbox;

/// Modbus exception: busy.
const BUSY: u8 = 6;
/// A phase counts as loaded from this current upwards, in amperes.
const LOAD_A: f64 = 1.0;

/// A fault of the phase switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchFault {
    /// The command is stored, and nothing happens.
    Ignores,
    /// The change begins and never ends: no contactor is closed.
    Hangs,
}

/// State of the phase switch.
#[derive(Debug)]
pub(super) struct Switch {
    phases: u8,
    /// No contactor is closed before this time.
    until_ms: Option<u64>,
    to: u8,
    pub(super) fault: Option<SwitchFault>,
}

impl Switch {
    pub(super) const fn new() -> Self {
        Self { phases: 3, until_ms: None, to: 3, fault: None }
    }

    pub(super) const fn open(&self) -> bool {
        self.until_ms.is_some()
    }

    pub(super) const fn phases(&self) -> u8 {
        self.phases
    }

    /// The value of register 5001.
    pub(super) fn state(&self) -> u16 {
        if self.open() { 0 } else { u16::from(self.phases) }
    }

    pub(super) fn advance(&mut self, now_ms: u64) {
        if self.until_ms.is_some_and(|until_ms| now_ms >= until_ms) {
            self.until_ms = None;
            self.phases = self.to;
        }
    }

    /// Power-up with this command in register 501.
    pub(super) const fn start(&mut self, command: u16) {
        self.phases = if command == 1 { 1 } else { 3 };
        self.to = self.phases;
        self.until_ms = None;
    }

    fn command(&mut self, now_ms: u64, command: u16, takes_ms: u64) {
        let to = if command == 1 { 1 } else { 3 };
        match self.fault {
            Some(SwitchFault::Ignores) => return,
            Some(SwitchFault::Hangs) => self.until_ms = Some(u64::MAX),
            None if to == self.to => return,
            None => self.until_ms = Some(now_ms + takes_ms),
        }
        self.to = to;
    }
}

impl Wallbox {
    /// Applies a fault to the switch, or clears it.
    pub const fn set_switch_fault(&mut self, fault: Option<SwitchFault>) {
        self.switch.fault = fault;
    }

    /// Handles a write to register 501: rejected while the wallbox offers current or the car draws any.
    pub(super) fn switch_phases(&mut self, now_ms: u64, command: u16) -> Result<(), u8> {
        let load = self.settings.setpoint > 0 || self.car.amps.iter().any(|amps| *amps >= LOAD_A);
        if load && u16::from(self.switch.to) != command {
            self.line.note_forbidden(now_ms, 501, command);
            return Err(BUSY);
        }
        self.switch.command(now_ms, command, u64::from(self.options.switch_s) * 1_000);
        Ok(())
    }
}
