//! Notices for the log. Every notice is an edge: it is emitted when something begins, changes or ends.

use std::fmt;

use control::{Milliamps, Millis};

use super::Trouble;
use crate::charger::codec::Failure;
use crate::charger::profile::Layout;
use crate::relay::Failure as RelayFailure;

/// News for the log; `Display` is the sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The charger has connected for the first time.
    Connected {
        /// Its register layout.
        layout: Layout,
        /// Lowest current set in the wallbox.
        box_min: Milliamps,
        /// Highest current set in the wallbox.
        box_max: Milliamps,
        /// Item number, date and serial number, if available.
        serial: Option<String>,
        /// The setpoint that it held, if read.
        setpoint: Option<Milliamps>,
    },
    /// The layout has no register for the current.
    ReadOnly {
        /// The wallbox's layout.
        layout: Layout,
        /// The first layout that has it.
        needed: Layout,
    },
    /// The wallbox's state has changed.
    State {
        /// Code and meaning of the previous state.
        from: String,
        /// Code and meaning of the new state.
        to: String,
    },
    /// A new setpoint was read back.
    SetpointProven {
        /// The setpoint.
        setpoint: Milliamps,
    },
    /// The wallbox does not keep the value of a register, or does not let it be read back: no current until the next attempt.
    Refused {
        /// Title of the register.
        title: String,
        /// Its address.
        address: u16,
        /// Raw value written.
        wanted: u16,
        /// Raw value read back; `None` where it cannot be read.
        found: Option<u16>,
    },
    /// The wallbox has lost its settings.
    PowerCycle {
        /// The sign that revealed it.
        sign: Sign,
    },
    /// All settings are restored after a power cycle.
    Restored,
    /// No order came in time: safe current, then silence.
    Lapsed {
        /// The safe current.
        safe: Milliamps,
        /// Whether there had been an order before.
        ordered: bool,
    },
    /// Orders have resumed.
    Resumed,
    /// The charger does not answer.
    LinkLost {
        /// Why the last request failed.
        failure: Failure,
    },
    /// The wallbox does not behave as it should.
    Trouble(Trouble),
    /// The charger does not answer, which standby explains.
    Asleep,
    /// A charger that did not answer does so again.
    Recovered {
        /// How long it did not answer.
        after: Millis,
    },
    /// The wallbox has been locked to wake the car.
    WakeStarted,
    /// The wallbox has been unlocked again.
    WakeEnded,
    /// The car is not woken: this wallbox, or its present state, does not allow it.
    WakeImpossible,
    /// Unlocked, because an unfinished wake-up may have left it locked.
    Unlocked,
    /// The configuration wants phase switching, but this wallbox cannot switch phases.
    NoPhaseSwitch,
    /// A phase change was requested.
    PhasesChanging {
        /// Target number of phases, 1 or 3.
        to: u8,
    },
    /// A phase change was read back and has settled.
    PhasesChanged {
        /// Number of phases now connected, 1 or 3.
        phases: u8,
        /// How long the change took.
        after: Millis,
    },
    /// The wallbox declines to change the phases, or does not keep the command.
    PhasesRefused {
        /// Number of phases requested.
        to: u8,
        /// Number of phases connected; `None` if unknown.
        connected: Option<u8>,
    },
    /// A phase change was not read back in time.
    PhasesNotConfirmed {
        /// Number of phases requested.
        to: u8,
        /// Number of phases connected; `None` if unknown.
        connected: Option<u8>,
    },
    /// The number of connected phases has been unknown for too long.
    PhasesUnknown,
    /// The relay whose contact switches the phases does not answer, or does not keep the contact closed.
    ContactLost {
        /// Why.
        failure: RelayFailure,
    },
    /// The relay answers again.
    ContactBack,
    /// The number of connected phases is known again.
    PhasesKnown {
        /// Number of phases connected.
        phases: u8,
    },
}

/// The sign of a power cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// The counter of energy since power-on went backwards.
    CounterBack,
    /// The setpoint changed by itself.
    SetpointChanged,
    /// Watchdog or fail-safe changed by itself.
    SettingsLost,
}

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Only for a close look.
    Debug,
    /// A change that a user can notice.
    Info,
    /// Someone should look into it.
    Warn,
}

/// The subject of a notice: of many notices on one subject, the newest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Whether the wallbox can be reached and controlled.
    Reachability,
    /// How many of its answers are lost.
    Reliability,
    /// The state of wallbox and car.
    State,
    /// Whether it keeps the values that are written.
    Settings,
    /// Whether orders arrive.
    Orders,
    /// Its lock.
    Lock,
    /// The number of connected phases.
    Phases,
    /// The contact that switches the phases.
    Contact,
}

impl Notice {
    /// Returns the subject; `None` for notices of level debug.
    pub const fn subject(&self) -> Option<Subject> {
        Some(match self {
            Self::SetpointProven { .. } => return None,
            Self::Connected { .. }
            | Self::ReadOnly { .. }
            | Self::LinkLost { .. }
            | Self::Asleep
            | Self::Recovered { .. } => Subject::Reachability,
            Self::Trouble(trouble) => trouble.subject(),
            Self::State { .. } => Subject::State,
            Self::Refused { .. } | Self::PowerCycle { .. } | Self::Restored => Subject::Settings,
            Self::Lapsed { .. } | Self::Resumed => Subject::Orders,
            Self::WakeStarted | Self::WakeEnded | Self::WakeImpossible | Self::Unlocked => Subject::Lock,
            Self::NoPhaseSwitch
            | Self::PhasesChanging { .. }
            | Self::PhasesChanged { .. }
            | Self::PhasesRefused { .. }
            | Self::PhasesNotConfirmed { .. }
            | Self::PhasesUnknown
            | Self::PhasesKnown { .. } => Subject::Phases,
            Self::ContactLost { .. } | Self::ContactBack => Subject::Contact,
        })
    }

    /// Returns how much the notice matters.
    pub const fn level(&self) -> Level {
        match self {
            Self::Trouble(trouble) => trouble.level(),
            Self::SetpointProven { .. } => Level::Debug,
            Self::Connected { .. }
            | Self::State { .. }
            | Self::Restored
            | Self::Resumed
            | Self::Asleep
            | Self::Recovered { .. }
            | Self::WakeStarted
            | Self::WakeEnded
            | Self::Unlocked
            | Self::PhasesChanging { .. }
            | Self::PhasesChanged { .. }
            | Self::ContactBack
            | Self::PhasesKnown { .. } => Level::Info,
            Self::ReadOnly { .. }
            | Self::Refused { .. }
            | Self::PowerCycle { .. }
            | Self::Lapsed { .. }
            | Self::LinkLost { .. }
            | Self::WakeImpossible
            | Self::NoPhaseSwitch
            | Self::PhasesRefused { .. }
            | Self::PhasesNotConfirmed { .. }
            | Self::PhasesUnknown
            | Self::ContactLost { .. } => Level::Warn,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { layout, box_min, box_max, serial, setpoint } => {
                write!(f, "connected: register layout {layout}, wallbox allows {box_min} to {box_max}")?;
                if let Some(setpoint) = setpoint {
                    write!(f, ", found at {setpoint}")?;
                }
                serial.as_ref().map_or(Ok(()), |serial| write!(f, ", {serial}"))
            }
            Self::ReadOnly { layout, needed } => write!(
                f,
                "can only be monitored: register layout {layout} has no register for the current, {needed} has (newer firmware)"
            ),
            Self::State { from, to } => write!(f, "state {from} → {to}"),
            Self::SetpointProven { setpoint } => write!(f, "setpoint {setpoint} read back"),
            Self::Refused { title, address, wanted, found: Some(found) } => {
                write!(
                    f,
                    "register {address} ({title}) stays at {found} although {wanted} was written: 0 A is requested"
                )
            }
            Self::Refused { title, address, wanted, found: None } => {
                write!(f, "register {address} ({title}) cannot be confirmed to hold {wanted}: 0 A is requested")
            }
            Self::PowerCycle { sign } => {
                let sign = match sign {
                    Sign::CounterBack => "its energy counter restarted",
                    Sign::SetpointChanged => "its setpoint changed by itself",
                    Sign::SettingsLost => "its settings changed by themselves",
                };
                write!(f, "the wallbox probably lost power ({sign}): restoring all settings and the setpoint")
            }
            Self::Restored => f.write_str("all settings and the setpoint are restored"),
            Self::Lapsed { safe, ordered: true } => {
                write!(f, "no decision in time: down to the safe current of {safe}, then silence until the next one")
            }
            Self::Lapsed { ordered: false, .. } => {
                f.write_str("no decision since the start: silent until there is one")
            }
            Self::Resumed => f.write_str("decisions have resumed"),
            Self::LinkLost { failure } => write!(f, "does not answer: {failure}"),
            Self::Trouble(trouble) => trouble.fmt(f),
            Self::Asleep => f.write_str("seems to be in standby: it was last seen without a car, and answers nothing"),
            Self::Recovered { after } => write!(f, "answers again after {after}"),
            Self::WakeStarted => f.write_str("locked for some seconds to wake the car"),
            Self::WakeEnded => f.write_str("unlocked again"),
            Self::WakeImpossible => f.write_str("the car cannot be woken now"),
            Self::Unlocked => f.write_str("unlocked, as an interrupted wake-up may have left it locked"),
            Self::NoPhaseSwitch => {
                f.write_str("cannot switch phases: take `phase-switch` out of its table in the configuration")
            }
            Self::PhasesChanging { to } => write!(f, "changing to {}", count(*to)),
            Self::PhasesChanged { phases, after } => write!(f, "{} connected after {after}", count(*phases)),
            Self::PhasesRefused { to, connected } => {
                write!(f, "does not accept the command to change to {}: {}", count(*to), Then(*connected))
            }
            Self::PhasesNotConfirmed { to, connected } => {
                let taken_back = if connected.is_some() { "the change is taken back, " } else { "" };
                write!(f, "has not changed to {} in time: {taken_back}{}", count(*to), Then(*connected))
            }
            Self::PhasesUnknown => {
                f.write_str("the number of connected phases is unknown: no charging until it is known")
            }
            Self::ContactLost { failure } => write!(f, "the contact that switches its phases: {failure}"),
            Self::ContactBack => f.write_str("the relay that switches its phases answers again"),
            Self::PhasesKnown { phases } => write!(f, "{} connected", count(*phases)),
        }
    }
}

/// The consequence of a failed change.
struct Then(Option<u8>);

impl fmt::Display for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(phases) => write!(f, "continuing with {}", count(phases)),
            None => f.write_str("no charging until the number of connected phases is known"),
        }
    }
}

const fn count(phases: u8) -> &'static str {
    match phases {
        1 => "one phase",
        3 => "three phases",
        _ => "another number of phases",
    }
}
