//! The registers of a Heidelberg Energy Control by layout version: which ones exist, which can be read and written, and which values they
//! take.
//!
//! Source: Heidelberg Modbus register table, 2020-10-20 (column "since"); that registers survive from 1.0.8 on is from the 2021 edition.
//! For the connect series: what is common to the programs that drive it (`OpenEMS`, evcc, two integrations for Home Assistant).

/// Layout version of the register table (register 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// No watchdog, no commands.
    V1_0_0,
    /// Watchdog.
    V1_0_3,
    /// Power, energy, standby and remote lock.
    V1_0_4,
    /// Current command and fail-safe current.
    V1_0_7,
    /// 258 and 259 can be read; 257, 258, 259 and 262 survive power cuts.
    V1_0_8,
    /// The connect series: no 258; session energy, serial number, phase switch.
    Connect2_0_4,
}

impl Layout {
    /// The value of register 4.
    pub const fn code(self) -> u16 {
        match self {
            Self::V1_0_0 => 0x0100,
            Self::V1_0_3 => 0x0103,
            Self::V1_0_4 => 0x0104,
            Self::V1_0_7 => 0x0107,
            Self::V1_0_8 => 0x0108,
            Self::Connect2_0_4 => 0x0204,
        }
    }

    /// Whether registers 261 and 262 exist.
    pub fn takes_orders(self) -> bool {
        self >= Self::V1_0_7
    }

    /// Whether the layout has a watchdog.
    pub fn has_watchdog(self) -> bool {
        self >= Self::V1_0_3
    }

    /// Whether 257, 258, 259 and 262 survive a power cut or standby.
    pub fn keeps_settings(self) -> bool {
        self >= Self::V1_0_8
    }

    fn is_connect(self) -> bool {
        self == Self::Connect2_0_4
    }

    /// Whether function 04 can read the register.
    pub fn has_input(self, register: u16) -> bool {
        match register {
            4..=13 | 100 | 101 => true,
            14..=16 | 102..=133 | 300..=318 => self >= Self::V1_0_4,
            // 203 exists since 1.0.5.
            17 | 18 | 203 => self >= Self::V1_0_7,
            19 | 20 | 1_000..=1_017 | 5_001 => self.is_connect(),
            200 => self >= Self::V1_0_3,
            // Error memory; the connect series uses these registers for other things.
            500..=819 => self >= Self::V1_0_4 && !self.is_connect(),
            _ => false,
        }
    }

    /// Whether function 03 can read the register.
    pub fn can_read_holding(self, register: u16) -> bool {
        match register {
            // 258 and 259 are write-only before 1.0.8.
            258 | 259 => self.can_write(register) && self >= Self::V1_0_8,
            // Duration and waiting time of the phase switch.
            503 | 504 => self.is_connect(),
            _ => self.can_write(register),
        }
    }

    /// Whether functions 06 and 16 can write the register.
    pub fn can_write(self, register: u16) -> bool {
        match register {
            // Since 1.0.1.
            257 => self >= Self::V1_0_3,
            258 => self >= Self::V1_0_4 && !self.is_connect(),
            259 => self >= Self::V1_0_4,
            261 | 262 => self.takes_orders(),
            501 => self.is_connect(),
            _ => false,
        }
    }
}

/// The registers that a master can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// 257: watchdog in milliseconds, 0 = off.
    pub watchdog_ms: u16,
    /// 258: 0 = standby enabled, 4 = disabled.
    pub standby: u16,
    /// 259: 0 = locked, 1 = unlocked.
    pub remote_lock: u16,
    /// 261: current command in tenths of an ampere.
    pub setpoint: u16,
    /// 262: current on bus loss in tenths of an ampere, 0 = state F.
    pub fail_safe: u16,
    /// 501 of the connect series: 1 or 3.
    pub phases: u16,
}

impl Settings {
    /// Defaults of the table, with the given default for 261.
    pub const fn defaults(setpoint: u16) -> Self {
        Self { watchdog_ms: 15_000, standby: 0, remote_lock: 1, setpoint, fail_safe: 0, phases: 3 }
    }

    /// The value of a register that some [`Layout`] can write; `None` for others.
    pub const fn get(&self, register: u16) -> Option<u16> {
        match register {
            257 => Some(self.watchdog_ms),
            258 => Some(self.standby),
            259 => Some(self.remote_lock),
            261 => Some(self.setpoint),
            262 => Some(self.fail_safe),
            501 => Some(self.phases),
            _ => None,
        }
    }

    /// Sets a register; returns `false` if the wallbox rejects the value.
    pub fn set(&mut self, register: u16, value: u16) -> bool {
        let (place, fits) = match register {
            257 => (&mut self.watchdog_ms, true),
            258 => (&mut self.standby, matches!(value, 0 | 4)),
            259 => (&mut self.remote_lock, value <= 1),
            261 => (&mut self.setpoint, value <= 160),
            262 => (&mut self.fail_safe, value <= 160),
            501 => (&mut self.phases, matches!(value, 1 | 3)),
            _ => return false,
        };
        if fits {
            *place = value;
        }
        fits
    }
}

/// The current on which the wallbox acts, in tenths of an ampere: commands of 1 … 59 count as 0.
pub const fn effective_deciamps(command: u16) -> u16 {
    if command < 60 { 0 } else { command }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_grow_as_the_table_says() {
        use Layout::{Connect2_0_4, V1_0_0, V1_0_3, V1_0_4, V1_0_7, V1_0_8};
        let who = |has: &dyn Fn(Layout) -> bool| {
            [V1_0_0, V1_0_3, V1_0_4, V1_0_7, V1_0_8, Connect2_0_4].map(has).map(u8::from)
        };
        assert_eq!(who(&|l| l.has_input(13)), [1, 1, 1, 1, 1, 1]);
        assert_eq!(who(&|l| l.has_input(14)), [0, 0, 1, 1, 1, 1]);
        assert_eq!(who(&|l| l.has_input(17)), [0, 0, 0, 1, 1, 1]);
        assert_eq!(who(&|l| l.has_input(19)), [0, 0, 0, 0, 0, 1]);
        assert_eq!(who(&|l| l.has_input(500)), [0, 0, 1, 1, 1, 0]);
        assert_eq!(who(&|l| l.can_write(257)), [0, 1, 1, 1, 1, 1]);
        assert_eq!(who(&|l| l.can_write(258)), [0, 0, 1, 1, 1, 0]);
        assert_eq!(who(&|l| l.can_read_holding(258)), [0, 0, 0, 0, 1, 0]);
        assert_eq!(who(&|l| l.can_read_holding(259)), [0, 0, 0, 0, 1, 1]);
        assert_eq!(who(&|l| l.can_write(260)), [0, 0, 0, 0, 0, 0]);
        assert_eq!(who(&|l| l.can_write(261)), [0, 0, 0, 1, 1, 1]);
        assert_eq!(who(&|l| l.can_write(501)), [0, 0, 0, 0, 0, 1]);
        assert_eq!(who(&|l| l.can_write(503)), [0; 6]);
        assert_eq!(who(&|l| l.can_read_holding(503)), [0, 0, 0, 0, 0, 1]);
        assert_eq!(who(&|l| l.has_input(5_001)), [0, 0, 0, 0, 0, 1]);
    }
}
